"""`python -m benchmarks.fault_bench [--short] [--kinds a,b] [--jobs N] [--json FILE] [--save]`."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.fault_bench import baseline
from benchmarks.fault_bench.bench import KINDS, cases_of, run_all
from benchmarks.fault_bench.report import table, to_json


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m benchmarks.fault_bench", description=__doc__)
    words.add_argument(
        "--short", action="store_true", help="a few faults and a week, as in the tests"
    )
    words.add_argument("--kinds", default=",".join(KINDS))
    words.add_argument("--jobs", type=int, default=1, help="kinds that run side by side")
    words.add_argument("--json", type=Path, help="write the report there")
    words.add_argument("--save", action="store_true", help="take the result as the new baseline")
    said = words.parse_args()
    effort, kinds = "short" if said.short else "full", said.kinds.split(",")
    cases = [case for kind in kinds for case in cases_of(kind, effort)]
    report = run_all(kinds, effort, said.jobs)
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
