"""Decoding and storing samples, side by side with the plain way of doing it.

The message is a gateway's: 50 lifts of 20 points, one line each, 1,000 samples, 24 kB.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from influxdb_client.client.write.point import Point
from influxdb_client.domain.write_precision import WritePrecision

from benchmarks import Row
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.db import open_engine
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.influx_lines import Lines
from pms_iot.telemetry.line import parse_line
from pms_iot.telemetry.wire import decode, join
from tests.register import register

T0 = 1_700_000_000_000_000_000
ASSETS = [f"EL-{i:02}" for i in range(50)]
POINTS = [f"measured_point_{i}" for i in range(20)]
TOPIC = "pms/v1/riverside/gw-01/data"


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        catalog = register(
            open_engine(f"sqlite:///{folder}/core.db"),
            {"riverside": {f"elevator:{asset}": POINTS for asset in ASSETS}},
        )
        return [*_decoding(catalog), *_line_protocol(catalog), *_writing(catalog, Path(folder))]


def _decoding(catalog: SeriesCatalog) -> list[Row]:
    payload = _message()
    backlog = [_message(seq) for seq in range(1, 33)]
    what, unit = "decode a message of 1,000 samples, of a core", "samples/s"
    at_once = "decode and join a backlog of 32 such messages, of a core"
    cpu = time.process_time  # the same whatever else the machine does
    return [
        Row(
            what,
            "pms_iot wire.decode",
            _rate(lambda: decode(TOPIC, payload, catalog, T0), clock=cpu),
            unit,
        ),
        Row(
            what,
            "one regex parse per line, dicts",
            _rate(lambda: _plain(payload, catalog), 20, clock=cpu),
            unit,
        ),
        Row(
            at_once,
            "pms_iot wire.decode, wire.join",
            _rate(
                lambda: join(decode(TOPIC, one, catalog, T0) for one in backlog),
                60,
                1000 * len(backlog),
                clock=cpu,
            ),
            unit,
        ),
    ]


def _line_protocol(catalog: SeriesCatalog) -> list[Row]:
    batch = decode(TOPIC, _message(), catalog, T0).batch
    # What write() does before it sends; the server is left out on purpose.
    lines = Lines(catalog.info, lambda _: Batch.empty())
    what, unit = "1,000 samples to line protocol", "samples/s"
    return [
        Row(what, "pms_iot InfluxStore", _rate(lambda: list(lines.pieces(batch))), unit),
        Row(what, "influxdb-client Point", _rate(lambda: _points(batch, catalog), 20), unit),
    ]


def _writing(catalog: SeriesCatalog, folder: Path) -> list[Row]:
    rows: list[Row] = []
    for synchronous in ("FULL", "NORMAL"):
        for seconds in (1, 10):
            store = EmbeddedStore(folder / f"{synchronous}{seconds}.db", synchronous=synchronous)
            batches = iter([_batch(catalog, second, seconds) for second in range(40)])
            rate = _rate(lambda: store.write(next(batches)), 40, samples=1000 * seconds)  # noqa: B023  # run at once
            store.close()
            what = f"write {1000 * seconds:,} samples, durable"
            rows.append(Row(what, f"EmbeddedStore {synchronous}", rate, "samples/s"))
    return rows


def _rate(
    call: Callable[[], object],
    times: int = 200,
    samples: int = 1000,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Samples per second of the median call."""
    took: list[float] = []
    for _ in range(times):
        began = clock()
        call()
        took.append(clock() - began)
    return samples / median(took)


def _message(seq: int = 1) -> bytes:
    rng = random.Random(seq)
    lines = [
        f"elevator,site=riverside,asset={asset} "
        + ",".join(f"{point}={rng.uniform(-100, 100):.5g}" for point in POINTS)
        + f",q=192i {T0}"
        for asset in ASSETS
    ]
    head = f"#pms1 gw=gw-01 epoch=9f3a1c2b seq={seq} n={len(ASSETS) * len(POINTS)} base=1"
    return ("\n".join([head, *lines]) + "\n").encode()


def _plain(payload: bytes, catalog: SeriesCatalog) -> list[tuple[int | None, int, float | str]]:
    parsed = [parse_line(line) for line in payload.decode().splitlines()[1:]]
    return [
        (catalog.lookup(line.tags["asset"], name), line.at, value)
        for line in parsed
        for name, value in line.fields
    ]


def _points(batch: Batch, catalog: SeriesCatalog) -> str:
    """As the client's documentation shows it."""
    return "\n".join(
        Point(catalog.info(series).kind)
        .tag("site", catalog.info(series).site)
        .tag("asset", catalog.info(series).asset)
        .field(catalog.info(series).point, value)
        .time(at, WritePrecision.NS)
        .to_line_protocol()
        for series, at, value in zip(
            batch.series.tolist(), batch.at.tolist(), batch.value.tolist(), strict=True
        )
    )


def _batch(catalog: SeriesCatalog, number: int, seconds: int) -> Batch:
    """`seconds` s of all points at one sample a second, the n-th such stretch."""
    series = np.array([info.id for info in catalog.all()])
    at = T0 + (number * seconds + np.repeat(np.arange(seconds), len(series))) * 10**9
    value = np.random.default_rng(number).normal(50, 10, len(at)).round(2)
    return Batch.of(np.tile(series, seconds), at, value)
