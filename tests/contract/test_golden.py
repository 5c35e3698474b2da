"""The wire files that gateways wrote: each decodes to exactly these samples."""

import math
from pathlib import Path

import numpy as np
import pytest

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.db import open_engine
from pms_iot.telemetry.gaps import GapRecord
from pms_iot.telemetry.wire import Header, decode
from tests.register import register

GOLDEN = Path(__file__).parent / "golden"
EDGE_GOLDEN = Path(__file__).parents[2] / "edge" / "tests" / "golden"
T0 = 1_700_000_000_000_000_000
POINTS = ("motor_temp", "run", "mode", "car_vib", "runs")
ALL = {"motor_temp": 45.2, "run": 1, "mode": 1, "car_vib": 1.5, "runs": 123456}
NAN = math.nan

Samples = list[tuple[str, float, int, int]]  # point, value, quality, ns after T0


def rows(values: dict[str, float], quality: int = 192, after: int = 0) -> Samples:
    return [(point, value, quality, after) for point, value in values.items()]


CASES: dict[str, tuple[str, str, tuple[int, int, int], Samples]] = {
    "good": (
        "riverside",
        "EL-01",
        (1, 10, 1),
        rows(ALL) + rows(ALL | {"run": 0}, after=10**9),
    ),
    "uncertain": (
        "riverside",
        "EL-01",
        (57, 5, 41),
        rows({"run": 1, "car_vib": 1.5, "runs": 123456}) + rows({"motor_temp": 160, "mode": 7}, 64),
    ),
    "bad": (
        "riverside",
        "EL-01",
        (58, 5, 41),
        rows({"run": 1, "runs": 123456})
        + rows({"motor_temp": 160}, 64)
        + rows({"mode": NAN, "car_vib": NAN}, 0),
    ),
    "silent": ("riverside", "EL-01", (59, 5, 59), rows(dict.fromkeys(POINTS, NAN), 0)),
    "event": ("riverside", "EL-01", (1, 1, 1), rows({"run": 0}, after=10**9)),
    "escaped": ("river side", "电梯 1=A,B", (2, 5, 1), rows(ALL)),
    "gap": ("riverside", "EL-01", (90, 0, 90), []),
    "gap_full_disk": ("riverside", "EL-01", (91, 0, 91), []),
    "gap_unknown": ("riverside", "EL-01", (1, 0, 1), []),
    "gzip": (
        "riverside",
        "EL-01",
        (1, 10, 1),
        rows(ALL) + rows(ALL | {"run": 0}, after=10**9),
    ),
    "zstd": (
        "riverside",
        "EL-01",
        (1, 10, 1),
        rows(ALL) + rows(ALL | {"run": 0}, after=10**9),
    ),
}
GAPS = {
    "gap": (GapRecord("data", "evicted", 12, 90, 79_000, T0, T0 + 79 * 10**9),),
    "gap_full_disk": (GapRecord("data", "disk_full", None, None, 10, T0, T0 + 10**9),),
    "gap_unknown": (GapRecord("data", "corrupt", None, None, None, None, None),),
}


def catalog_of(site: str, asset: str, directory: Path) -> SeriesCatalog:
    return register(
        open_engine(f"sqlite:///{directory / 'core.db'}"), {site: {f"elevator:{asset}": POINTS}}
    )


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.pms1")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_golden_files_decode_exactly(name: str, tmp_path: Path) -> None:
    site, asset, (seq, n, base), expected = CASES[name]
    catalog = catalog_of(site, asset, tmp_path)
    payload = (GOLDEN / f"{name}.pms1").read_bytes()
    lane = "event" if name == "event" else "data"
    decoded = decode(f"pms/v1/{site}/gw-01/{lane}", payload, catalog, T0)
    assert decoded.header == Header("gw-01", "9f3a1c2b", seq, n, base)
    assert (decoded.lane, decoded.unknown, decoded.refused) == (lane, (), {})
    assert (decoded.gaps, decoded.malformed_gaps) == (GAPS.get(name, ()), 0)
    batch = decoded.batch
    assert [catalog.info(series).point for series in batch.series.tolist()] == [
        r[0] for r in expected
    ]
    np.testing.assert_array_equal(batch.value, [r[1] for r in expected])
    assert batch.quality.tolist() == [r[2] for r in expected]
    assert batch.at.tolist() == [T0 + r[3] for r in expected]


@pytest.mark.skipif(not EDGE_GOLDEN.exists(), reason="the engine is checked out without the edge")
def test_both_ends_hold_the_same_files() -> None:
    ours, theirs = (
        {path.name: path.read_bytes() for path in folder.glob("*.pms1")}
        for folder in (GOLDEN, EDGE_GOLDEN)
    )
    assert ours == theirs
