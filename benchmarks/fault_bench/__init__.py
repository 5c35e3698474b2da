"""Every fault of the simulators under the product's rule packs, and months without any.

`python -m benchmarks.fault_bench` prints the whole table and fails if something is worse than in
faults_baseline.json; `run` gives the sums for `python -m benchmarks fault_bench`.
"""

from benchmarks import Row
from benchmarks.fault_bench.bench import KINDS, run_one
from benchmarks.fault_bench.report import KindReport


def run() -> list[Row]:
    return [row for kind in KINDS for row in _rows(kind, run_one(kind, "full"))]


def _rows(kind: str, report: KindReport) -> list[Row]:
    rows: list[Row] = []
    for severity in sorted({s for found in report.faults.values() for s in found}):
        seen = [found[severity] for found in report.faults.values() if severity in found]
        share = 100 * sum(f.any_ for f in seen) / sum(f.runs for f in seen)
        rows.append(Row(f"{kind}: faults found at severity {severity}", "pms_iot", share, "%"))
    false = report.false_alarms
    for what, count in (
        ("statistical", false.statistical),
        ("statistical, shown to people", false.shown),
        ("deterministic", false.deterministic),
    ):
        per_month = count / false.asset_months
        rows.append(Row(f"{kind}: false alarms, {what}", "pms_iot", per_month, "per asset-month"))
    return rows
