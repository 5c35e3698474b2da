"""What the cores of this package say: an alert began, an alert ended."""

from dataclasses import dataclass
from typing import Any, Literal

from pms_iot.alerts.rule import Rule


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of the alert `key`. at_ns: sample time of the step; since_ns: when the condition began.

    why: a template id and values, so that every reader gets it in his language.
    """

    kind: Literal["fired", "resolved"]
    key: str
    rule: Rule
    asset: str
    asset_id: int
    series: int | None
    at_ns: int
    since_ns: int
    value: float | None
    limit: float | None
    why: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert that the database holds as firing."""

    key: str
    since_ns: int


def alert_key(rule: str, asset: str, point: str = "") -> str:
    """What there is at most one live alert for."""
    return f"{rule}|{asset}|{point}"
