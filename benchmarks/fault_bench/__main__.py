"""`python -m benchmarks.fault_bench [--short] [--kinds a,b] [--jobs N] [--json FILE] [--save]`.

--seeds, --days and --severities ask for less than the effort's own.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.fault_bench import baseline
from benchmarks.fault_bench.bench import EFFORTS, KINDS, cases_of, less, run_all
from benchmarks.fault_bench.report import table, to_json


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m benchmarks.fault_bench", description=__doc__)
    words.add_argument(
        "--short", action="store_true", help="a few faults and a week, as in the tests"
    )
    words.add_argument("--kinds", default=",".join(KINDS))
    words.add_argument("--seeds", type=int, help="healthy machines, and runs of each fault")
    words.add_argument("--days", type=int, help="counted days of each healthy machine")
    words.add_argument("--severities", help="e.g. 0.6,1")
    words.add_argument("--jobs", type=int, default=1, help="kinds that run side by side")
    words.add_argument("--json", type=Path, help="write the report there")
    words.add_argument("--save", action="store_true", help="take the result as the new baseline")
    said = words.parse_args()
    effort, kinds = "short" if said.short else "full", said.kinds.split(",")
    cases = [case for kind in kinds for case in cases_of(kind, effort)]
    severities = (
        tuple(float(one) for one in said.severities.split(",")) if said.severities else None
    )
    asked = less(EFFORTS[effort], seeds=said.seeds, days=said.days, severities=severities)
    report = run_all(kinds, effort, said.jobs, asked)
    print(table(report, cases))
    if said.json:
        said.json.write_text(json.dumps(to_json(report), indent=1) + "\n", encoding="utf-8")
    worse = baseline.regressions(baseline.load(effort), report)
    for line in worse:
        print(f"worse: {line}", file=sys.stderr)
    if said.save:
        baseline.save(effort, report)
        return 0
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
