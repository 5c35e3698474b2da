"""Runs what rule packs say of themselves: `rules/<kind>/tests/*.yaml`, samples in, alerts out."""

import math
import re
from pathlib import Path

from pms_iot.alerts.transition import Transition
from pms_iot.rulepacks.document import Document, did_you_mean, read_document
from pms_iot.rulepacks.models import CaseYaml, InputYaml, parse
from pms_iot.rulepacks.pack import RulePack, load_packs
from pms_iot.rulepacks.rehearsal import Columns, rehearse

_START_NS = 1_767_225_600_000_000_000  # 2026-01-01; cases count their seconds from here
_S = 1_000_000_000


def check_packs(root: Path) -> list[str]:
    """What failed, one `file:line: …` each; empty if every case of every pack gives what it expects.

    Raises PackError if the packs themselves are wrong.
    """
    problems: list[str] = []
    for kind, pack in load_packs(root).items():
        for file in sorted((root / kind / "tests").glob("*.yaml")):
            name = f"{root.name}/{kind}/tests/{file.name}"
            document = read_document(file, name, problems)
            if document is not None:
                problems += _check_case(pack, document)
    return problems


def _check_case(pack: RulePack, document: Document) -> list[str]:
    problems: list[str] = []
    case = parse(CaseYaml, document, (), document.content, problems)
    if case is None:
        return problems
    series: dict[str, Columns] = {}
    for point, samples in case.input.items():
        if point not in pack.points:
            what = f"no point {point!r}{did_you_mean(point, pack.points)}"
            problems.append(document.problem(("input", point), what))
            continue
        try:
            series[point] = _columns(samples)
        except ValueError as error:
            problems.append(document.problem(("input", point, "values"), str(error)))
    problems += _check_names(pack, case, document)
    if problems:
        return problems
    return _compare(pack, case, document, rehearse(pack, case.asset, series))


def _check_names(pack: RulePack, case: CaseYaml, document: Document) -> list[str]:
    known = {rule.id.partition(".")[2] for rule in pack.rules}
    said = [(("rules", i), name) for i, name in enumerate(case.rules or [])]
    said += [(("expect", i), expected.rule) for i, expected in enumerate(case.expect)]
    return [
        document.problem(where, f"no rule {name!r}{did_you_mean(name, known)}")
        for where, name in said
        if name not in known
    ]


def _columns(samples: InputYaml) -> Columns:
    values: list[float] = []
    for word in samples.values:
        found = re.fullmatch(r"(nan|[-+]?\d*\.?\d+(?:e[-+]?\d+)?)(?:x(\d+))?", str(word))
        if found is None:
            raise ValueError(f"{word!r} is neither a number nor value x count, such as 70x30")
        values += [float(found[1])] * int(found[2] or 1)
    step = samples.step
    at = [_START_NS + round((samples.start + i * step) * _S) for i in range(len(values))]
    return at, values


def _compare(
    pack: RulePack, case: CaseYaml, document: Document, seen: list[Transition]
) -> list[str]:
    """Each expected alert must be there at its time, and no other."""
    prefix = f"{pack.kind}."
    chosen = [t for t in seen if not case.rules or t.rule.id.removeprefix(prefix) in case.rules]
    fired = [t for t in chosen if t.kind == "fired"]
    problems: list[str] = []
    for i, wanted in enumerate(case.expect):
        match = next(
            (
                t
                for t in fired
                if t.rule.id == prefix + wanted.rule
                and math.isclose(_seconds(t), wanted.fires_at, abs_tol=1e-6)
                and (wanted.point is None or t.key.endswith(f"|{wanted.point}"))
            ),
            None,
        )
        if match is None:
            what = f"{wanted.rule} did not fire at {wanted.fires_at:g}s; {_said(fired)}"
            problems.append(document.problem(("expect", i), what))
            continue
        fired.remove(match)
        if wanted.resolves_at is not None:
            ends = [_seconds(t) for t in chosen if t.key == match.key and t.kind == "resolved"]
            if wanted.resolves_at not in ends:
                what = f"{wanted.rule} did not resolve at {wanted.resolves_at:g}s but at {ends}"
                problems.append(document.problem(("expect", i), what))
    if fired and not problems:
        problems.append(document.problem(("expect",), f"more than expected; {_said(fired)}"))
    return problems


def _seconds(transition: Transition) -> float:
    return (transition.at_ns - _START_NS) / _S


def _said(fired: list[Transition]) -> str:
    said = ", ".join(f"{t.key} at {_seconds(t):g}s" for t in fired)
    return f"fired: {said or 'nothing'}"
