"""What makes an alert. Rules are data: `rules/<kind>/alerts.yaml`, read by `pms_iot.rulepacks`."""

from dataclasses import dataclass
from typing import Literal

from pms_iot.kernel.text import Text
from pms_iot.telemetry.condition import Condition, Gate

__all__ = ["Condition", "Gate", "Rule", "Severity"]

Severity = Literal["P1", "P2", "P3", "P4"]  # P1 is immediate danger


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a kind of equipment: a condition on its points, or a time of silence.

    id is `<kind>.<name>`. A rule with several points makes an alert for each. `condition` is None
    exactly when `silent_for_s` is given. The condition must hold for `for_s` (on-delay) while all
    gates of `when` are open; it ends when it has been false for `clear_for_s`.
    """

    id: str
    kind: str
    label: Text
    points: tuple[str, ...]
    condition: Condition | None
    severity: Severity
    cause: Text
    consequence: Text
    response: Text
    skill: str = ""
    for_s: float = 0.0
    clear_for_s: float = 0.0
    when: tuple[Gate, ...] = ()
    safety: bool = False
    work_order: bool = True
    silent_for_s: float | None = None
