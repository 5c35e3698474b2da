"""Whether the wall clock is believed; time is made here."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pms_edge.batch import Batcher
from pms_edge.clock import NS, Clock
from pms_edge.config.load import load_config
from pms_edge.config.located import ConfigError
from pms_edge.decode.decoder import Decoded
from pms_edge.line import LineTemplate, bad_line, uncertain, values_line
from pms_edge.wall import RELEASED_NS, WallWatch, kernel_synchronised, recorded_ns

NOW = 1_800_000_000 * NS


class Machine:
    """A wall clock, a monotonic counter and a kernel that says whether it is synchronised."""

    def __init__(self, wall_ns: int = NOW) -> None:
        self.wall_ns, self.counter_ns, self.synchronised = wall_ns, 5, None

    def passes(self, seconds: float) -> None:
        self.wall_ns += int(seconds * NS)
        self.counter_ns += int(seconds * NS)

    def clock(self, **more) -> Clock:
        return Clock(self.wall_ns, monotonic_ns=lambda: self.counter_ns, **more)

    def watch(self, clock: Clock, *, floor_ns: int = 0, **more) -> WallWatch:
        return WallWatch(
            clock,
            floor_ns=floor_ns,
            wall_ns=lambda: self.wall_ns,
            kernel=lambda: self.synchronised,
            **more,
        )


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 0.6, -0.6])
def test_a_step_moves_what_is_stamped_afterwards_and_no_schedule(step_s):
    machine = Machine()
    clock = machine.clock()
    watch = machine.watch(clock)
    machine.passes(10)
    assert watch.check() is None and clock.now_ns() == NOW + 10 * NS
    machine.wall_ns += int(step_s * NS)
    assert clock.now_ns() == NOW + 10 * NS, "not before it was seen"
    assert watch.check() == step_s
    assert clock.now_ns() == machine.wall_ns
    assert clock.steady_ns() == NOW + 10 * NS
    assert watch.check() is None
    assert watch.report() == {
        "synchronised": None,
        "uncertain": False,
        "steps": 1,
        "last_step_s": step_s,
    }


def test_a_small_correction_is_no_step():
    machine = Machine()
    watch = machine.watch(machine.clock())
    machine.wall_ns += NS // 3
    assert watch.check() is None and watch.steps == 0


def test_a_clock_that_was_never_set_goes_on_from_what_was_recorded_until_it_is_set():
    machine = Machine(wall_ns=86_400 * NS)  # 1970-01-02
    clock = machine.clock()
    watch = machine.watch(clock, floor_ns=NOW)
    assert clock.now_ns() == NOW and watch.uncertain
    machine.passes(30)
    assert watch.check() is None and clock.now_ns() == NOW + 30 * NS
    machine.wall_ns = NOW - 3600 * NS  # set, but to before what was recorded
    assert watch.check() is None and watch.uncertain and watch.steps == 0
    machine.wall_ns = NOW + 7200 * NS
    assert watch.check() == 7170.0 and not watch.uncertain
    assert clock.now_ns() == NOW + 7200 * NS


def test_a_kernel_that_is_synchronised_is_believed_even_before_what_was_recorded():
    machine = Machine()
    machine.synchronised = True  # the record was written while the clock was ahead
    clock = machine.clock()
    watch = machine.watch(clock, floor_ns=NOW + 900 * NS)
    assert clock.now_ns() == NOW and not watch.uncertain
    machine.synchronised = False
    late = machine.watch(machine.clock(), floor_ns=NOW + 900 * NS)
    assert late.uncertain
    machine.synchronised = True
    assert late.check() == -900.0 and not late.uncertain


def test_samples_wait_for_the_kernel_only_where_that_is_asked_for():
    machine = Machine()
    machine.synchronised = False
    assert not machine.watch(machine.clock()).uncertain
    strict = machine.watch(machine.clock(), require_sync=True)
    assert strict.uncertain
    machine.synchronised = True
    assert strict.check() is None and not strict.uncertain
    machine.synchronised = None
    strict.check()
    assert not strict.uncertain, "where the kernel cannot say, it is not asked"


def test_a_simulated_clock_is_never_uncertain_and_never_moved():
    machine = Machine()
    machine.synchronised = False
    clock = machine.clock(factor=20.0, simulated=True)
    watch = machine.watch(clock, floor_ns=2 * NOW, require_sync=True)
    machine.wall_ns += 3600 * NS
    assert watch.check() is None and not watch.uncertain
    assert clock.now_ns() == NOW
    machine.passes(1)
    assert clock.now_ns() == NOW + 20 * NS


def test_the_kernel_gives_an_answer_or_none():
    assert kernel_synchronised() in (True, False, None)


def spool(folder: Path, *instants: int) -> Path:
    path = folder / "spool.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE batch (lane TEXT, seq INTEGER, t1 INTEGER)")
        rows = [("data", seq, at) for seq, at in enumerate(instants)]
        db.executemany("INSERT INTO batch VALUES (?, ?, ?)", rows)
        db.commit()
    return path


def test_what_was_recorded_is_the_newest_of_the_samples_and_the_files(tmp_path):
    assert recorded_ns(tmp_path / "none.db") == RELEASED_NS
    path = spool(tmp_path, NOW + NS, NOW + 2 * NS)
    os.utime(path, ns=(NOW, NOW))
    assert recorded_ns(path) == NOW + 2 * NS
    os.utime(path, ns=(NOW + 5 * NS, NOW + 5 * NS))
    assert recorded_ns(path) == NOW + 5 * NS


def test_a_spool_that_cannot_be_read_still_has_an_age(tmp_path):
    path = tmp_path / "spool.db"
    path.write_bytes(b"not a database" * 1000)
    os.utime(path, ns=(NOW, NOW))
    assert recorded_ns(path) == NOW


def test_no_quality_is_above_uncertain_while_the_time_is():
    good = values_line("lift,asset=a", {"x": 1, "y": 2.5}, 7)
    assert uncertain(good).text == "lift,asset=a x=1,y=2.5,q=64i 7\n"
    bad = bad_line("lift,asset=a", ["x"], 7)
    assert uncertain(bad) == bad
    mixed = LineTemplate("lift,asset=a", ["x", "y", "z"]).render(
        Decoded([1, 2, float("nan")], [192, 64, 0]), 7
    )
    assert "q=192i" not in uncertain(mixed).text and uncertain(mixed).text.count("q=64i") == 2
    assert uncertain(mixed).text.count('bad="z",q=0i 7\n') == 1


def test_a_text_that_looks_like_a_quality_is_left_alone():
    line = values_line("lift,asset=a", {"x": 1}, 7)._replace(
        text='lift note=",q=192i 7",q=192i 8\n'
    )
    assert uncertain(line).text == 'lift note=",q=192i 7",q=64i 8\n'


def test_everything_that_goes_through_the_batcher_is_marked_until_the_time_is_certain():
    batches = []
    batcher = Batcher(batches.append)
    batcher.uncertain_time = True
    batcher.add(values_line("lift,asset=a", {"x": 1}, 7))
    batcher.add_event(values_line("lift,asset=a", {"x": 2}, 8))
    batcher.uncertain_time = False
    batcher.add(values_line("lift,asset=a", {"x": 3}, 9))
    batcher.flush()
    bodies = [batch.body.decode() for batch in batches]
    assert [body.split("q=")[1].split(" ")[0] for body in bodies] == ["64i", "64i", "192i"]


def test_a_mistake_in_the_clock_section_is_named(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "gateway: {id: gw-01, site: s}\nuplink: {host: h}\nendpoints: {}\ndevices: []\n"
        "clock: {require_sync: perhaps}\n"
    )
    with pytest.raises(ConfigError, match=r"gateway.yaml:5: clock.require_sync"):
        load_config(file, {})
