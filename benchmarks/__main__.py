"""Runs every benchmark of this folder, or those named: `python -m benchmarks [telemetry …]`."""

import sys
from importlib import import_module
from pkgutil import iter_modules

import benchmarks

APART = ("__main__", "processes", "fault_bench", "pictures")  # not a benchmark, or one of an hour
names = sys.argv[1:] or [m.name for m in iter_modules(benchmarks.__path__) if m.name not in APART]
print(f"{'measured':58}{'by':34}{'median':>14}  unit")
for name in names:
    for row in import_module(f"benchmarks.{name}").run():
        print(f"{row.what:58}{row.who:34}{row.median:>14,.0f}  {row.unit}", flush=True)
