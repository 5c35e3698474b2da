"""The ledger's sums are what really happened, whatever came twice, late or not at all, and whenever we died."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from pms_iot import recovery
from pms_iot.kernel.clock import to_ns
from pms_iot.kernel.db import transaction
from pms_iot.pipeline import Pipeline
from pms_iot.telemetry.ledger import points
from pms_iot.telemetry.ledger.books import HOUR_NS
from pms_iot.telemetry.ledger.completeness import completeness
from pms_iot.telemetry.ledger.days import first_heard, gateway_days
from pms_iot.telemetry.ledger.tables import LedgerHour
from tests.pipeline.rig import EPOCH, T0, Rig, ns
from tests.pipeline.test_crash import (
    Mishap,
    ProcessDied,
    Trouble,
    TroubledStore,
    patiently,
    troubled_core,
)

PERIOD_S, LATE_S = 10.0, 60.0  # of the rig's points
START_S = 5400.0  # when the first batch arrives, seconds after T0


@dataclass(frozen=True)
class Sample:
    asset: str
    point: str
    age_s: float  # when it arrives
    value: float | None  # None: the device did not answer


@dataclass(frozen=True)
class Sent:
    """A batch of the stream; `lost`: how many batches before it the gateway had to give up."""

    samples: tuple[Sample, ...]
    lost: int = 0


@dataclass
class Stream:
    """A gateway with its batches; four of them arrive in the same minute, twenty minutes apart."""

    batches: Sequence[Sent]

    def __post_init__(self) -> None:
        self.seqs, seq = list[int](), 0
        for batch in self.batches:
            seq += batch.lost + 1
            self.seqs.append(seq)

    def arrival_s(self, index: int) -> float:
        return START_S + 1200.0 * (index // 4)

    def body(self, index: int) -> bytes:
        batch, seq = self.batches[index], self.seqs[index]
        base = seq if batch.lost else 1
        head = f"#pms1 gw=gw-01 epoch={EPOCH} seq={seq} n={len(batch.samples)} base={base}\n"
        return (head + "".join(self._line(index, sample) for sample in batch.samples)).encode()

    def at_ns(self, index: int, sample: Sample) -> int:
        return ns(self.arrival_s(index) - sample.age_s)

    def _line(self, index: int, sample: Sample) -> str:
        head, at = f"pump,site=riverside,asset={sample.asset}", self.at_ns(index, sample)
        if sample.value is None:
            return f'{head} bad="{sample.point}",q=0i {at}\n'
        return f"{head} {sample.point}={sample.value},q=192i {at}\n"


def truth(stream: Stream) -> dict[int, Counter[str]]:
    """Hour -> counts, sample by sample."""
    hours: dict[int, Counter[str]] = {}
    for index, batch in enumerate(stream.batches):
        arrival = hours.setdefault(ns(stream.arrival_s(index)) // HOUR_NS, Counter())
        arrival.update(batches=1, sent=len(batch.samples), skipped=batch.lost)
        for sample in batch.samples:
            if sample.age_s < -300:
                arrival["in_future"] += 1
            elif sample.point == "nobody":
                arrival["unknown"] += 1
            else:
                own = hours.setdefault(stream.at_ns(index, sample) // HOUR_NS, Counter())
                own["samples"] += 1
                own["missing"] += sample.value is None
                own["late"] += sample.age_s > LATE_S + PERIOD_S
    return {hour: +counts for hour, counts in hours.items() if +counts}


def kept(rig: Rig) -> dict[int, Counter[str]]:
    """Hour -> counts, as the ledger has them; what came twice aside."""
    names = [
        "samples",
        "missing",
        "late",
        "batches",
        "sent",
        "skipped",
        "spoilt",
        "unknown",
        "too_old",
        "in_future",
        "text",
    ]
    with transaction(rig.core) as session:
        rows = session.exec(select(LedgerHour)).all()
    found = {
        to_ns(row.hour) // HOUR_NS: +Counter({n: getattr(row, n) for n in names}) for row in rows
    }
    assert len(found) == len(rows)
    return {hour: counts for hour, counts in found.items() if counts}


def late_by_point(rig: Rig) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    infos = {info.id: info for info in rig.build().catalog.all()}
    with transaction(rig.core) as session:
        for row in session.exec(select(LedgerHour)):
            for series, count in points.counts(row.late_points).items():
                found[infos[series].asset, infos[series].point] += count
    return found


def play(rig: Rig, path: Pipeline, stream: Stream, at_once: int) -> None:
    """Sends from the first batch that is not acknowledged, as a gateway does."""
    while (first := sum(seq <= rig.acks.upto() for seq in stream.seqs)) < len(stream.batches):
        last = min(first + at_once, len(stream.batches), first // 4 * 4 + 4)
        rig.clock.at = T0 + timedelta(seconds=stream.arrival_s(first))
        bodies = [rig.received(stream.body(index)) for index in range(first, last)]
        patiently(partial(path.process_all, bodies))
        patiently(lambda: path.tick(rig.clock.now_ns()))


SAMPLES = st.builds(
    Sample,
    asset=st.sampled_from(["PU-01", "PU-02"]),
    point=st.sampled_from(["temp", "level", "head", "nobody"]),
    age_s=st.one_of(st.floats(0, 65), st.floats(71, 9000), st.just(-400.0)).map(
        lambda age: round(age, 3)
    ),
    value=st.one_of(st.none(), st.integers(10, 40).map(float)),
)
BATCHES = st.lists(
    st.builds(
        Sent,
        samples=st.lists(SAMPLES, max_size=6).map(tuple),
        lost=st.sampled_from([0, 0, 0, 0, 1, 7]),
    ),
    min_size=1,
    max_size=12,
)
MISHAPS = st.dictionaries(
    st.integers(1, 60),
    st.sampled_from(["fails", "fails after", "dies", "dies after"]),
    max_size=5,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=BATCHES, plan=MISHAPS, at_once=st.integers(1, 4))
def test_the_sums_are_the_truth_whenever_the_process_dies(
    template: Path, batches: list[Sent], plan: Mapping[int, Mishap], at_once: int
) -> None:
    stream = Stream(batches)
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(template, Path(directory))
        trouble = Trouble(plan)
        done = False
        while not done:
            with troubled_core(rig, trouble) as core:
                try:
                    path = rig.build(engine=core, store=TroubledStore(rig.samples, trouble))
                    patiently(partial(recovery.restore, path))
                    play(rig, path, stream, at_once)
                    done = True
                except ProcessDied:
                    rig.samples.close()
                    rig.samples = rig.open_samples()
        assert kept(rig) == truth(stream)
        told = rig.rows("select batches, skipped, duplicates from watermark")
        with transaction(rig.core) as session:
            rows = session.exec(select(LedgerHour)).all()
            spoke = first_heard(session)
        sums = [
            sum(getattr(r, n) for r in rows) for n in ("batches", "skipped", "duplicate_batches")
        ]
        assert told == [tuple(sums)]
        late = Counter(
            (s.asset, s.point)
            for b in batches
            for s in b.samples
            if s.age_s > LATE_S + PERIOD_S and s.point != "nobody"
        )
        assert late_by_point(rig) == late
        infos = {info.id: info for info in path.catalog.all()}
        came = {(asset, point) for asset, point, _, _ in rig.stored()}
        assert {(infos[n].asset, infos[n].point) for n in spoke} == {
            (info.asset, info.point)
            for info in infos.values()
            if (info.asset, info.point) in came and not info.derived
        }
        rig.close()


def started(rig: Rig) -> Pipeline:
    """An engine to which the first batch of a stream comes now."""
    rig.clock.at = T0 + timedelta(seconds=START_S)
    return rig.start()


def test_what_comes_again_is_counted_as_such_and_by_point(rig: Rig) -> None:
    path = started(rig)
    stream = Stream(
        [Sent((Sample("PU-01", "temp", 5, 20.0), Sample("PU-01", "head", 4000, 20.0)))] * 3
    )
    for index in (0, 1, 0, 2, 1, 1):
        path.process(rig.received(stream.body(index)))
    with transaction(rig.core) as session:
        before, now = session.exec(select(LedgerHour).order_by(LedgerHour.hour)).all()
    assert (now.batches, now.duplicate_batches, now.first_seq, now.last_seq) == (3, 3, 1, 3)
    assert (now.duplicate_samples, before.duplicate_samples) == (3, 3)
    temp, head = (path.catalog.lookup("PU-01", point) for point in ("temp", "head"))
    assert points.counts(now.duplicate_points) == {temp: 3}
    assert points.counts(before.duplicate_points) == {head: 3}
    assert points.counts(before.late_points) == {head: 3}
    assert path.counters["samples_late"] == 3


def test_a_message_without_a_header_stands_apart(rig: Rig) -> None:
    path = started(rig)
    path.process(
        rig.received(f"pump,site=riverside,asset=PU-01 temp=20 {ns(START_S - 10)}".encode())
    )
    with transaction(rig.core) as session:
        [row] = session.exec(select(LedgerHour)).all()
    assert (row.lane, row.epoch, row.batches, row.samples, row.sent) == ("plain", "", 1, 1, 1)
    assert row.first_seq is None


def test_a_batch_that_cannot_be_read_has_its_place(rig: Rig) -> None:
    path = started(rig)
    path.process(rig.received(f"#pms1 gw=gw-01 epoch={EPOCH} seq=1 n=3 base=1\nrubbish".encode()))
    with transaction(rig.core) as session:
        [row] = session.exec(select(LedgerHour)).all()
    assert (row.batches, row.spoilt, row.samples, row.last_seq) == (1, 1, 0, 1)


def test_a_day_compares_with_what_was_declared(rig: Rig) -> None:
    """Two points every 10 s from 8:30 to 8:50, the second with a hole of five minutes."""
    path = rig.start()
    ticks = range(1800, 3000, 10)
    samples = [("temp", at) for at in ticks] + [
        ("head", at) for at in ticks if not 2100 <= at < 2400
    ]
    batch = Sent(tuple(Sample("PU-01", point, START_S - at, 20.0) for point, at in samples))
    path.process(rig.received(Stream([batch]).body(0)))
    now = T0 + timedelta(seconds=3070)  # what was due at 8:50 is late from then on
    with transaction(rig.core) as session:
        [day] = gateway_days(session, path.catalog, T0, T0 + timedelta(hours=24), now)
    assert (day.site, day.gateway, day.assets) == ("riverside", "gw-01", ("PU-01", "PU-02"))
    assert len(day.hours) == 24
    assert day.expected == pytest.approx(240)
    assert day.sums.values == 210
    assert day.ratio == pytest.approx(210 / 240)
    series = path.catalog.lookup("PU-01", "head") or 0
    found = completeness(rig.samples, path.catalog, series, ns(1800), ns(3000))
    assert (found.expected, found.stored, found.ratio) == (120, 90, 0.75)
