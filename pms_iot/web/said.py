"""What people said of a detector's alarm, and what that did to the detector, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from pms_iot.alerts.tables import Alert
from pms_iot.feedback import service as feedback
from pms_iot.feedback.tables import Feedback
from pms_iot.web.i18n import N_
from pms_iot.web.visit import Visit
from pms_iot.web.words import OUTCOME

_HELD: Mapping[str, str] = {
    "budget:asset": N_(
        "Nobody was told: this asset has used up its budget of unconfirmed alarms. It becomes a work order if it still fires when there is room again."
    ),
    "budget:site": N_(
        "Nobody was told: the site has used up its budget of unconfirmed alarms. It becomes a work order if it still fires when there is room again."
    ),
}
_ACCEPTED = N_("Taken for normal")
_WITHDRAWN = N_("Withdrawn: {outcome}")
_WAITING = N_("The detector hears it with the next sample.")
_HEARD = N_("The detector has heard it.")
_RAISED = N_("Its limit was raised by {n} %.")
_LOWERED = N_("Its limit was lowered by {n} %.")
_SAME = N_("Its limit stays as it is.")


@dataclass(frozen=True, slots=True)
class SaidLine:
    """One thing that was said."""

    at: datetime
    who: str
    what: str
    effect: str


def held_words(visit: Visit, alert: Alert) -> str | None:
    """Why nobody was told of the alarm; None if people were."""
    reason = _HELD.get(alert.suppressed_by or "")
    return visit.say(reason) if reason else None


def said_of(visit: Visit, session: Session, alert: Alert) -> list[SaidLine]:
    """All that was said of an alarm, in order."""
    rows = feedback.of_alert(session, alert.id or 0)
    return [SaidLine(row.at, row.actor, _what(visit, row), _effect(visit, row)) for row in rows]


def _what(visit: Visit, row: Feedback) -> str:
    if row.kind == "accepted":
        return visit.say(_ACCEPTED)
    outcome = visit.say(OUTCOME[row.outcome])
    return outcome if row.kind == "judged" else visit.say(_WITHDRAWN, outcome=outcome)


def _effect(visit: Visit, row: Feedback) -> str:
    if not row.heard:
        return visit.say(_WAITING)
    if not row.limit_before or row.limit_after is None:  # a detector without a limit of its own
        return visit.say(_HEARD)
    change = round((row.limit_after / row.limit_before - 1) * 100)
    if change == 0:
        return visit.say(_SAME)
    return visit.say(_RAISED if change > 0 else _LOWERED, n=abs(change))
