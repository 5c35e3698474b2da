"""Whatever happens to the spool, what comes out is in order, without holes that are not told of."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from spool_rig import batch, keep, open_spool, settle

MAX_BYTES = 100_000
LANES = st.sampled_from(["data", "data", "data", "event"])


class SpoolMachine(RuleBasedStateMachine):
    """The model is how many batches were kept and acked: batch i of a lane has number i."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-"))
        self.kept = {"data": 0, "event": 0}
        self.acked = {"data": 0, "event": 0}
        self.size: dict[tuple[str, int], int] = {}
        self.spool = open_spool(self.folder / "spool.db", MAX_BYTES)

    @rule(lane=LANES, count=st.integers(1, 45), size=st.integers(100, 900))
    def keep(self, lane: str, count: int, size: int) -> None:
        if lane == "event":
            count, size = min(count, 80 - self.kept[lane]), 100  # they are never evicted
        batches = []
        for i in range(self.kept[lane] + 1, self.kept[lane] + count + 1):
            self.size[lane, i] = size
            batches.append(self.made(lane, i))
        self.kept[lane] += len(batches)
        keep(self.spool, *batches)

    @rule(lane=LANES, part=st.floats(0, 1))
    def ack(self, lane: str, part: float) -> None:
        base, last, _ = self.spool.span(lane)
        seq = base - 1 + round(part * (last - base + 1))
        self.acked[lane] = max(self.acked[lane], seq)
        self.spool.ack(lane, self.spool.epoch, seq)
        settle(self.spool)

    @rule()
    def reopen(self) -> None:
        epoch = self.spool.epoch
        assert self.spool.close(30)
        self.spool = settle(open_spool(self.folder / "spool.db", MAX_BYTES))
        assert self.spool.epoch == epoch

    @invariant()
    def what_comes_out_is_all_that_was_not_acked(self) -> None:
        assert not self.spool.failing
        for lane in self.kept:
            self.check(lane)
        assert self.spool.stats().bytes <= 1.5 * MAX_BYTES

    def check(self, lane: str) -> None:
        span = self.spool.span(lane)
        rows = self.spool.read(lane, span.base, 1 << 60)
        assert span.last == self.kept[lane]
        assert [row.seq for row in rows[:1]] == [span.base][: len(rows)]
        told = None  # up to where the stream says what became of each batch
        for row in rows:
            first = row.gap.first if row.gap else row.seq
            assert told is None or first == told + 1
            told = row.seq
            if row.gap is None:
                assert row.batch == self.made(lane, row.seq)
            else:
                self.check_gap(lane, row.gap)
        if rows:
            begins = rows[0].gap.first if rows[0].gap else rows[0].seq
            assert told == self.kept[lane] and begins <= self.acked[lane] + 1
        else:
            assert self.acked[lane] == self.kept[lane]

    def check_gap(self, lane: str, gap) -> None:
        lost = range(gap.first, gap.last + 1)
        assert (lane, gap.cause) == ("data", "evicted")
        assert gap.samples == sum(self.made(lane, i).samples for i in lost)
        assert (gap.first_ns, gap.last_ns) == (gap.first, gap.last)

    def made(self, lane: str, i: int):
        return batch(i, lane=lane, size=self.size[lane, i], samples=i % 5)

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.folder)


SpoolMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestSpoolMachine = SpoolMachine.TestCase
