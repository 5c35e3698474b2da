"""What was reached before, and what is worse now."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from scipy.stats import chi2

from benchmarks.fault_bench.report import Found, KindReport, Report, from_json, to_json

FILE = Path(__file__).parent.parent / "faults_baseline.json"
SLOWER, SLACK_S = 1.5, 120.0  # a delay may grow by half and two minutes
CONFIDENCE = 0.95


def load(effort: str) -> Report:
    """The committed report of that effort, empty if there is none yet."""
    if not FILE.exists():
        return {}
    return from_json(json.loads(FILE.read_text(encoding="utf-8")).get(effort, {}))


def save(effort: str, report: Mapping[str, KindReport]) -> None:
    """Puts these kinds in the place of those in the file."""
    content = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    content.setdefault(effort, {}).update(to_json(report))
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def regressions(before: Mapping[str, KindReport], now: Mapping[str, KindReport]) -> list[str]:
    """What is worse than before, one line each; what was not run now, or is new, is not compared.

    A run in which a safety fault is found late counts whatever was before. Where one of the two had fewer
    runs, its runs are the first of the other's: the rest may have found the fault or not, and the median of
    other runs is another, so only what must hold of the common ones is compared.
    """
    found: list[str] = []
    for kind, part in now.items():
        for name, severities in part.faults.items():
            for severity, seen in severities.items():
                where = f"{kind}.{name} at {severity}"
                if seen.late:
                    found.append(
                        f"{where}: {seen.late} of {seen.runs} runs later than safety allows"
                    )
                past = before[kind].faults.get(name, {}).get(severity) if kind in before else None
                if past is not None:
                    found += [f"{where}: {what}" for what in _worse(past, seen)]
        if kind in before:
            found += [f"{kind}: {what}" for what in _noisier(before[kind], part)]
    return found


def _worse(past: Found, seen: Found) -> Iterator[str]:
    left_out = max(past.runs - seen.runs, 0)
    if seen.any_ < past.any_ - left_out:
        yield f"found in {seen.any_} of {seen.runs} runs, was {past.any_} of {past.runs}"
    if seen.own < past.own - left_out:
        yield f"by its own rule in {seen.own} of {seen.runs} runs, was {past.own} of {past.runs}"
    if past.delay_s is not None and seen.delay_s is not None and past.runs == seen.runs:
        limit = SLOWER * past.delay_s + SLACK_S
        if seen.delay_s > limit:
            yield f"found after {seen.delay_s:.0f} s, was {past.delay_s:.0f} s"


def _noisier(past: KindReport, seen: KindReport) -> Iterator[str]:
    for what in ("statistical", "shown", "deterministic"):
        before, now = getattr(past.false_alarms, what), getattr(seen.false_alarms, what)
        scale = seen.false_alarms.asset_months / past.false_alarms.asset_months
        if now > most_expected(before) * scale:
            yield f"{now} {what} false alarms, was {before}"


def most_expected(count: int) -> float:
    """Upper end of the exact 95 % interval of a Poisson mean of which `count` were seen (Garwood 1936)."""
    return float(chi2.ppf((1 + CONFIDENCE) / 2, 2 * (count + 1))) / 2
