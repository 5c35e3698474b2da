"""Who reads, and what rules, points and their values are called in his language."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pms_iot.alerts.rule import Rule
from pms_iot.assets.points import PointDef
from pms_iot.kernel.text import Text
from pms_iot.rulepacks import RulePack
from pms_iot.web.formats import number
from pms_iot.web.i18n import N_, translate


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who reads `language`, on a page or in a message."""

    packs: Mapping[str, RulePack]
    language: str

    def say(self, message: str, **values: object) -> str:
        """The message in the reader's language."""
        return translate(self.language, message, **values)

    def text(self, text: Text | None) -> str:
        """A text of a rule pack; empty if there is none."""
        return "" if text is None else text.to(self.language)

    def rule(self, rule_id: str) -> Rule | None:
        """None if the rule packs no longer have it."""
        pack = self.packs.get(kind_of(rule_id))
        return next((rule for rule in pack.rules if rule.id == rule_id), None) if pack else None

    def title(self, rule_id: str) -> str:
        """The rule's label; its id if the rule is gone."""
        rule = self.rule(rule_id)
        return self.text(rule.label) if rule else rule_id

    def point(self, kind: str, key: str) -> PointDef | None:
        pack = self.packs.get(kind)
        return pack.points.get(key) if pack else None

    def label(self, kind: str, key: str) -> str:
        """What the point is called; its key if the rule pack no longer has it."""
        point = self.point(kind, key)
        return self.text(point.label) if point else key

    def words_of(self, point: PointDef) -> dict[str, str]:
        """Code -> word of a point whose values are not quantities; empty for one whose values are."""
        if point.type == "bool":
            return {"0": self.say(N_("No")), "1": self.say(N_("Yes"))}
        return {str(code): self.text(word) for code, word in point.values.items()}

    def coded(self, kind: str, key: str, value: float) -> str:
        """The word for a coded value; empty if it is a quantity or an unknown code."""
        point = self.point(kind, key)
        if point is None or value != value // 1:
            return ""
        return self.words_of(point).get(str(int(value)), "")

    def value(self, kind: str, key: str, value: float | None, *, unit: str | None = None) -> str:
        """A value of a point with its unit, or its word. unit: as it was when the value was noted."""
        if value is None:
            return number(None)
        if word := self.coded(kind, key, value):
            return word
        point = self.point(kind, key)
        shown = unit if unit is not None else point.unit if point else ""
        return f"{number(value)} {shown}".rstrip()

    def sentence(self, clauses: Iterable[str]) -> str:
        """One sentence of several clauses."""
        between, end = ("；", "。") if self.language == "zh" else ("; ", ".")
        return between.join(clauses) + end

    def listing(self, items: Iterable[str]) -> str:
        return self.say(N_(", ")).join(items)


def kind_of(rule_id: str) -> str:
    """The kind of equipment that a rule is for."""
    return rule_id.partition(".")[0]
