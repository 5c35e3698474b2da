"""Gaps in what the store holds, and how complete it is."""

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from pms_iot.assets.tables import Point
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.embedded import EmbeddedStore
from pms_iot.telemetry.ledger.causes import Gap
from pms_iot.telemetry.ledger.completeness import completeness
from pms_iot.telemetry.ledger.holes import holes, in_samples
from tests.register import register

S = 10**9
T0 = 1_700_000_000 * S // (3600 * S) * 3600 * S  # a whole hour
PERIOD = 10 * S


def gaps_of(batch: Batch, start: int, end: int) -> list[Gap]:
    return [hole.gap for hole in in_samples(batch, PERIOD, start, end)]


def test_three_periods_are_no_gap_and_the_ends_of_the_window_count() -> None:
    at = [T0 + 40 * S, T0 + 70 * S, T0 + 110 * S]
    assert gaps_of(Batch.of([1] * 3, at, [1.0] * 3), T0, T0 + 120 * S) == [
        Gap(T0, T0 + 40 * S),
        Gap(T0 + 70 * S, T0 + 110 * S),
    ]
    assert gaps_of(Batch.empty(), T0, T0 + 31 * S) == [Gap(T0, T0 + 31 * S)]
    assert gaps_of(Batch.empty(), T0, T0 + 30 * S) == []


def test_samples_without_a_value_are_a_gap_and_speak_for_the_device() -> None:
    at = T0 + np.arange(20) * PERIOD
    bad = (at >= T0 + 50 * S) & (at < T0 + 150 * S)
    batch = Batch.of([1] * 20, at, np.where(bad, np.nan, 1.0), np.where(bad, 0, 192))
    [hole] = in_samples(batch, PERIOD, T0, T0 + 200 * S)
    assert hole.gap == Gap(T0 + 40 * S, T0 + 150 * S)
    [evidence] = hole.evidence
    assert (evidence.cause, evidence.start_ns <= T0 + 50 * S, evidence.end_ns > T0 + 140 * S) == (
        "device",
        True,
        True,
    )


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cut=st.lists(st.tuples(st.integers(0, 2879), st.integers(1, 200)), max_size=5),
    start=st.integers(0, 3000),
    length=st.integers(1, 14_000),
    every=st.sampled_from([PERIOD, PERIOD // 2]),
)
def test_looking_at_counts_first_finds_what_reading_all_finds(
    tmp_path: Path, cut, start: int, length: int, every: int
) -> None:
    store = EmbeddedStore(tmp_path / f"{uuid4()}.db", synchronous="NORMAL")
    at = T0 + np.arange(14_400 * S // every) * every
    kept = np.ones(len(at), bool)
    for first, count in cut:
        kept[first : first + count] = False
    at = at[kept]
    store.write(Batch.of(np.ones(len(at)), at, np.ones(len(at))))
    window = T0 + start * S, T0 + (start + length) * S
    expected = in_samples(store.read(1, *window), PERIOD, *window)
    assert holes(store, 1, PERIOD, *window) == expected
    store.close()


def test_a_surplus_of_one_hour_makes_up_for_nothing_in_another(tmp_path: Path) -> None:
    store, catalog, series = pump(tmp_path, period_s=10.0)
    at = np.concatenate((T0 + np.arange(1800) * 2 * S, T0 + 3600 * S + np.arange(90) * 40 * S))
    store.write(Batch.of([series] * len(at), at, np.ones(len(at))))
    found = completeness(store, catalog, series, T0, T0 + 7200 * S)
    assert (found.expected, found.stored, found.counted) == (720, 1890, 360 + 90)
    assert found.ratio == 0.625
    store.close()


def test_a_window_may_begin_and_end_anywhere(tmp_path: Path) -> None:
    store, catalog, series = pump(tmp_path, period_s=10.0)
    at = T0 + np.arange(3 * 360) * PERIOD
    store.write(Batch.of([series] * len(at), at, np.ones(len(at))))
    for start, end in ((0, 10_800), (1800, 9000), (600, 1200), (3600, 7200), (4000, 7300)):
        found = completeness(store, catalog, series, T0 + start * S, T0 + end * S)
        assert found.stored == found.expected == (end - start) / 10
        assert found.ratio == 1.0
    half = completeness(store, catalog, series, T0 + 9000 * S, T0 + 12_600 * S)
    assert half.ratio == pytest.approx(0.5)
    store.close()


def test_nothing_is_expected_without_a_period(tmp_path: Path) -> None:
    store, catalog, series = pump(tmp_path, period_s=None)
    store.write(Batch.of([series], [T0], [1.0]))
    found = completeness(store, catalog, series, T0, T0 + 3600 * S)
    assert (found.expected, found.stored, found.ratio) == (0, 1, None)
    store.close()


def pump(folder: Path, *, period_s: float | None):
    engine = open_engine(f"sqlite:///{folder / 'core.db'}")
    catalog = register(engine, {"riverside": {"pump:PU-01": ["flow"]}})
    with transaction(engine) as session:
        session.exec(select(Point)).one().period_s = period_s
    catalog.refresh()
    return EmbeddedStore(folder / "samples.db"), catalog, catalog.lookup("PU-01", "flow") or 0
