"""Why an alert fired, in words: its template id and values become sentences in the reader's language.

The values are those of `pms_iot.alerts.explain`. Any but the template may be missing: alerts of older
versions, points that an asset lacks, rules that are gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pms_iot.alerts.tables import Alert
from pms_iot.kernel.clock import from_ns
from pms_iot.web.formats import duration, local_seconds, number
from pms_iot.web.i18n import N_
from pms_iot.web.reader import Reader, kind_of

_CLAUSES = {
    "above": N_("{point} was {value}, above the limit of {limit}"),
    "below": N_("{point} was {value}, below the limit of {limit}"),
    "outside": N_("{point} was {value}, outside the permitted range; the limit is {limit}"),
    "equals": N_("{point}: {value}"),
    "in": N_("{point}: {value}"),
    "not_equals": N_("{point}: {value}, where {limit} is expected"),
}
_TERMS = {
    "above": N_("above {limit}"),
    "below": N_("below {limit}"),
    "outside": N_("beyond {limit}"),
    "equals": N_("at {limit}"),
    "in": N_("at {limit}"),
    "not_equals": N_("unless {limit}"),
}
_SCORE = N_("{point} was {value}, an alarm is raised above {limit}")
_SEEN = N_("{point} was {seen}, expected {expected}")
_WITHIN = N_("{point} ({seen}, expected {expected})")
_RANGE = N_("{low} to {high}")
_SILENT = N_("No data since {time}; at most {span} without data is permitted")


@dataclass(frozen=True, slots=True)
class Part:
    """A point's share of what an asset model found unusual: 0..1, and seen against expected in words."""

    label: str
    share: float
    percent: int
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """Another rule of the asset. value and limit in words; waits: true so far, its delay not over."""

    title: str
    rule: str
    point: str
    value: str = ""
    limit: str = ""
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """An alert's why in words. facts: (what, how it was). *_more: how many more there were."""

    sentence: str
    facts: Sequence[tuple[str, str]]
    parts: Sequence[Part]
    checked: Sequence[Check]
    checked_more: int
    also: Sequence[Check]
    stale: Sequence[Check]
    stale_more: int


def why(reader: Reader, alert: Alert, zone: str) -> str:
    """One sentence."""
    return _Words(reader, alert, zone).sentence()


def explanation(reader: Reader, alert: Alert, zone: str) -> Explanation:
    """Everything that the alert tells."""
    return _Words(reader, alert, zone).explanation()


class _Words:
    """One alert's values before one reader."""

    def __init__(self, reader: Reader, alert: Alert, zone: str) -> None:
        self._reader, self._alert, self._zone = reader, alert, zone
        self._why: Mapping[str, Any] = alert.why
        self._kind = kind_of(alert.rule)
        self._point = str(self._why.get("point", ""))
        self._base = self._point.split(".", maxsplit=1)[0]

    def sentence(self) -> str:
        return self._reader.sentence([self._silent()] if self._is_silent() else self._clauses())

    def explanation(self) -> Explanation:
        why = self._why
        return Explanation(
            sentence=self.sentence(),
            facts=[(label, text) for label, text in self._facts() if text],
            parts=[self._part(part) for part in why.get("parts", ())],
            checked=[self._check(check) for check in why.get("checked", ())],
            checked_more=int(why.get("checked_more", 0)),
            also=[self._check(check) for check in why.get("also", ())],
            stale=[self._check(check) for check in why.get("stale", ())],
            stale_more=int(why.get("stale_more", 0)),
        )

    def _is_silent(self) -> bool:
        return self._why.get("template") == "silent"

    def _silent(self) -> str:
        since = local_seconds(from_ns(int(self._why.get("last_ns", 0))), self._zone)
        return self._reader.say(_SILENT, time=since, span=self._span(self._why.get("for_s", 0)))

    def _clauses(self) -> list[str]:
        """What happened; then, where they are known, cause, contributions and state."""
        said = [self._seen()] if self._is_score() and self._expected() else [self._rule()]
        if not self._is_score() and (expected := self._expected()):
            said.append(self._reader.say(N_("expected {expected}"), expected=expected))
        if parts := self._why.get("parts"):
            part = parts[0]
            said.append(
                self._reader.say(N_("mostly {part}"), part=self._part_seen(part, within=True))
            )
        if cause := self._cause():
            said.append(self._reader.say(N_("pattern: {cause}"), cause=cause))
        return said + self._states()[:1]

    def _is_score(self) -> bool:
        """Whether the rule judges what a detector made of another point."""
        point = self._reader.point(self._kind, self._point)
        return self._base != self._point and (point is None or point.derived)

    def _rule(self) -> str:
        """The rule's own terms."""
        template = str(self._why.get("template"))
        clause = _SCORE if self._is_score() and template == "above" else _CLAUSES.get(template, _CLAUSES["equals"])  # fmt: skip
        return self._reader.say(
            clause,
            point=self._reader.label(self._kind, self._point),
            value=self._own(self._alert.value),
            limit=self._own(self._alert.limit),
        )

    def _own(self, value: float | None) -> str:
        unit = str(self._why.get("unit") or "")
        return self._reader.value(self._kind, self._point, value, unit=unit)

    def _seen(self) -> str:
        return self._reader.say(
            _SEEN,
            point=self._reader.label(self._kind, self._base),
            seen=self._reader.value(self._kind, self._base, self._why.get("seen")),
            expected=self._expected(),
        )

    def _expected(self) -> str:
        """The expected band, or what a model expected; empty if neither is known."""
        if "expected" in self._why:
            low, high = self._why["expected"]
            high = self._reader.value(self._kind, self._base, high)
            return self._reader.say(_RANGE, low=number(low), high=high)
        if "predicted" in self._why:
            return self._reader.value(self._kind, self._base, self._why["predicted"])
        return ""

    def _cause(self) -> str:
        code = self._why.get("cause")
        return "" if code is None else self._reader.coded(self._kind, f"{self._base}.cause", code)

    def _states(self) -> list[str]:
        """`Pump 1 state: running` for each state that is known."""
        said = ((s["point"], self._reader.coded(self._kind, s["point"], s["value"])) for s in self._why.get("states", ()))  # fmt: skip
        return [self._named(point, word) for point, word in said if word]

    def _named(self, point: str, value: str) -> str:
        label = self._reader.label(self._kind, point)
        return self._reader.say(N_("{point}: {value}"), point=label, value=value)

    def _span(self, seconds: float) -> str:
        return duration(float(seconds), self._reader.language)

    def _facts(self) -> list[tuple[str, str]]:
        say, reader = self._reader.say, self._reader
        held = (self._alert.opened_at - self._alert.since).total_seconds()
        if self._is_silent():
            return []
        seen = reader.value(self._kind, self._base, self._why["seen"]) if self._is_score() and "seen" in self._why else ""  # fmt: skip
        return [
            (say(N_("Seen")), seen),
            (say(N_("What was expected")), self._expected()),
            (say(N_("Score")) if self._is_score() else say(N_("Limit")), self._measure()),
            (say(N_("Pattern")), self._cause()),
            (say(N_("Operating state")), reader.listing(self._states())),
            (say(N_("Held before the alarm")), self._span(held) if held > 0 else ""),
            (
                say(N_("Looked at only while")),
                reader.listing(map(self._gate, self._why.get("gates", ()))),
            ),
        ]

    def _measure(self) -> str:
        """Value against limit, as a rule of the pack puts it."""
        terms = self._terms({**self._why, "op": self._why.get("template")}, self._point)
        value = self._own(self._alert.value)
        return self._reader.say(N_("{value}; alarm {terms}"), value=value, terms=terms) if terms else value  # fmt: skip

    def _terms(self, said: Mapping[str, Any], point: str) -> str:
        """`above 80 °C`: the condition; empty if it is not known."""
        codes = said.get("values") or [said.get("limit")]
        limits = [self._reader.value(self._kind, point, code) for code in codes if code is not None]
        template = _TERMS.get(str(said.get("op")))
        if template is None or not limits:
            return ""
        return self._reader.say(template, limit=self._reader.listing(limits))

    def _gate(self, gate: Mapping[str, Any]) -> str:
        """`Flow: 50 m³/h (below 60 m³/h) for at least 60 s`; of codes the value says it all."""
        point = str(gate["point"])
        said = self._named(point, self._reader.value(self._kind, point, gate.get("value")))
        limits = [gate[name] for name in ("low", "high") if name in gate]
        if limits and (terms := self._terms({"op": gate.get("op"), "values": limits}, point)):
            said = self._reader.say(N_("{state} ({terms})"), state=said, terms=terms)
        if not gate.get("for_s"):
            return said
        span = self._span(gate["for_s"])
        return self._reader.say(N_("{state} for at least {span}"), state=said, span=span)

    def _part(self, part: Mapping[str, Any]) -> Part:
        share = float(part["share"])
        label = self._reader.label(self._kind, part["point"])
        return Part(label, share, round(100 * share), self._part_seen(part))

    def _part_seen(self, part: Mapping[str, Any], *, within: bool = False) -> str:
        """`Flow was 48 m³/h, expected 42 m³/h`; within another clause `Flow (48 m³/h, expected 42 m³/h)`."""
        point = str(part["point"])
        label = self._reader.label(self._kind, point)
        seen, expected = (
            self._reader.value(self._kind, point, part.get(name)) for name in ("seen", "expected")
        )
        if part.get("expected") is None:
            return self._named(point, seen)
        template = _WITHIN if within else _SEEN
        return self._reader.say(template, point=label, seen=seen, expected=expected)

    def _check(self, check: Mapping[str, Any]) -> Check:
        point = str(check["point"])
        value = self._reader.value(self._kind, point, check.get("value")) if "value" in check else ""  # fmt: skip
        age = self._span(check["age_s"]) if "age_s" in check else ""
        return Check(
            title=self._reader.title(str(check["rule"])),
            rule=str(check["rule"]),
            point=self._reader.label(self._kind, point),
            value=value or age,
            limit=self._terms(check, point),
            waits=bool(check.get("holds")),
        )
