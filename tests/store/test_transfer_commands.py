"""`pms-iot telemetry` as an operator uses it: what it says, its exit codes, kill -9 and Ctrl-C."""

import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pms_iot.settings import InfluxSettings
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.influx import InfluxStore
from tests import servers
from tests.chaos.disk import disk_in
from tests.servers import environment_of, wait_for
from tests.store.history import DAY, T0, Installation, S, bits, content, history, same

Made = Callable[..., Installation]


@pytest.fixture
def made(tmp_path: Path, migrated_file: Path) -> Made:
    """An installation of this name in the test's directory."""
    return lambda name, **more: Installation.made(tmp_path / name, migrated_file, **more)


def lines_of(journal: Path | None) -> int:
    """The first is the plan, each further one a state."""
    return journal.read_bytes().count(b"\n") if journal and journal.exists() else 0


def ended(process: subprocess.Popen[str], by: int, journal: Callable[[], Path | None]) -> str:
    """Ends it once something of its work is noted; what it said."""
    earlier = lines_of(journal())

    def under_way() -> bool:
        assert process.poll() is None, process.communicate()
        return lines_of(journal()) > max(earlier, 1)

    wait_for(under_way, "a state in the journal", 60)
    process.send_signal(by)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (-by if by == signal.SIGKILL else 130), said
    return said


def transfers(place: Installation) -> Path | None:
    return next((place.directory / "transfers").glob("*.journal"), None)


# -- interrupted -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "by"),
    [
        (["h.csv.gz"], signal.SIGKILL),
        (["h.parquet"], signal.SIGKILL),
        (["days", "--per-day", "--format", "csv", "--compress", "zstd"], signal.SIGKILL),
        (["h.line"], signal.SIGINT),
    ],
    ids=["csv.gz", "parquet", "per day", "line, Ctrl-C"],
)
def test_an_interrupted_export_goes_on_and_ends_the_same(
    made: Made, words: list[str], by: signal.Signals
) -> None:
    here = made("here")
    here.write(history(here.series, 12_000, 40))
    target = here.directory / words[0]
    journal = target / "export.journal" if "--per-day" in words else Path(f"{target}.journal")
    for _ in range(2 if "--per-day" in words else 1):
        ended(here.process("export", *words, "--rate", 6000), by, lambda: journal)
        journal.write_bytes(journal.read_bytes() + b'{"chunks": 9')  # a line cut short
    assert not target.is_file()
    if "--per-day" in words:
        partly = sorted(target.glob("*.csv.zst"))
        assert 0 < len(partly) < 40
    code, said = here.command("export", *words, "--rate", 6000, "--verify")
    assert code == 1 and "verify was False, now True" in said
    code, said = here.command("export", *words)
    assert code == 0 and "going on" in said, said
    whole = here.directory / f"whole-{words[0]}"
    assert here.command("export", whole.name, *words[1:])[0] == 0
    assert tree(target) == tree(whole)
    assert not journal.exists() and not list(here.directory.rglob("*.part"))


def tree(path: Path) -> dict[str, bytes]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.name if path.is_dir() else "": file.read_bytes() for file in files}


def test_an_interrupted_import_goes_on_and_ends_the_same(made: Made) -> None:
    here, there = made("here"), made("there", others=3)
    here.write(history(here.series, 160_000, 10))
    here.command("export", "h.csv")
    file = here.directory / "h.csv"
    with file.open("a") as end:
        end.write("rubbish\n2023-11-14T22:13:20Z,5,riverside,EL-01,new,1.0,192\n")
    words = ["import", file]
    ended(there.process(*words, "--rate", 80_000), signal.SIGKILL, lambda: transfers(there))
    code, said = there.command(*words, "--map-asset", "EL-02=EL-01")
    assert code == 1 and "assets was {}" in said
    code, said = there.command(*words)
    assert code == 3 and "going on" in said
    assert f"{file}:160002: 1 cells instead of 7" in said and "riverside EL-01 new: 1" in said
    assert "160,000 samples" in said
    same(there.everything(), here.everything())
    assert transfers(there) is None


def test_an_interrupted_copy_to_influxdb_goes_on_and_ends_the_same(
    made: Made, influx: InfluxSettings
) -> None:
    here = made("here")
    here.write(history(here.series, 12_000, 40))
    words = ["copy", "--from", "embedded", "--to", "influx"]
    env = environment_of(influx)
    ended(here.process(*words, "--rate", 6000, **env), signal.SIGKILL, lambda: transfers(here))
    code, said = here.command(*words, "--verify", "--restart", **env)
    assert code == 0 and "verified" in said, said
    with closing(InfluxStore(influx, here.catalog)) as store:
        same(content(store, here.series), here.everything())
    back = made("back", others=5)
    env["PMS_DATA_DIR"] = str(back.directory)
    assert back.command("copy", "--from", "influx", "--to", "embedded", "--verify", **env)[0] == 0
    same(back.everything(), here.everything())


def test_a_store_that_goes_away_is_waited_for(made: Made, tmp_path: Path) -> None:
    here = made("here")
    here.write(history(here.series, 12_000, 40))
    with servers.influx(tmp_path / "influx") as server, server.bucket() as bucket:
        if server.backend is None:
            pytest.skip("a server of others is not stopped")
        settings = server.settings(bucket)
        env = environment_of(settings)
        words = ["copy", "--from", "embedded", "--to", "influx"]
        process = here.process(*words, "--rate", 6000, **env)
        wait_for(lambda: lines_of(transfers(here)) > 1, "its first state", 60)
        server.backend.kill()
        assert process.stderr is not None
        assert "is away, waiting up to 600 s" in process.stderr.readline()
        server.backend.start()
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0 and "is back" in said and "12,000 samples" in said
        with closing(InfluxStore(settings, here.catalog)) as store:
            same(content(store, here.series), here.everything())
        server.backend.kill()
        code, said = here.command(*words, "--patience", 0.3, **env)
        assert code == 1 and "waiting up to 0.3 s" in said and "Traceback" not in said
        server.backend.start()


def test_a_full_disk_ends_an_export_that_can_go_on(made: Made) -> None:
    here = made("here")
    here.write(history(here.series, 20_000, 10))
    with disk_in(here.directory / "disk", megabytes=2) as disk:
        if not disk.mounted:
            pytest.skip("no file system of our own without root")
        ballast, file = disk.folder / "ballast", disk.folder / "h.csv"
        ballast.write_bytes(bytes(1_500_000))
        code, said = here.command("export", file)
        assert code == 1 and "No space left" in said and "goes on" in said, said
        assert not file.exists()
        ballast.unlink()
        assert here.command("export", file)[0] == 0
        assert here.command("export", "whole.csv")[0] == 0
        assert file.read_bytes() == (here.directory / "whole.csv").read_bytes()


# -- what is left out, refused, and found to differ ----------------------------------------------


def test_unknown_points_are_listed_and_cost_the_exit_code(made: Made) -> None:
    here = made("here")
    file = here.directory / "h.csv"
    rows = [
        "time,asset,point,value",
        *(f"2026-01-0{d}T00:00:00Z,EL-0{d},p0,{d}" for d in (1, 2, 3)),
    ]
    file.write_text("\n".join([*rows, "2026-01-01T00:00:00Z,EL-02,p0,7"]) + "\n")
    code, said = here.command("import", file)
    assert code == 3 and "1 samples to" in said
    assert said.index("- EL-02 p0: 2 samples left out") < said.index("- EL-03 p0: 1 samples")
    code, said = here.command("import", file, "--skip-unknown")
    assert code == 0 and "EL-02 p0: 2 samples left out" in said
    code, said = here.command("import", file, "--map-asset", "EL-02=EL-99", "-q")
    assert code == 3 and "EL-02 p0" in said  # EL-99 has no p0
    assert (
        here.command("import", file, "--map-asset", "EL-02=EL-01", "-q", "--skip-unknown")[0] == 0
    )
    assert here.everything().value.tolist() == [7.0, 2.0]


def test_an_asset_of_another_site_is_not_taken_for_ours_unless_mapped(made: Made) -> None:
    here = made("here")
    file = here.directory / "h.line"
    file.write_text(f"elevator,site=faraway,asset=EL-99 motor_temp=50 {T0}\n")
    code, said = here.command("import", file)
    assert code == 3 and "faraway EL-99 motor_temp: 1 samples" in said
    assert here.command("import", file, "--map-asset", "EL-99=EL-99")[0] == 0
    assert here.everything().value.tolist() == [50.0]


def test_malformed_rows_are_named_and_strict_ends_at_the_first(made: Made) -> None:
    here = made("here")
    file = here.directory / "h.csv"
    good = "1700000000000000000,EL-01,p0,1.5\n"
    file.write_text("time_ns,asset,point,value\n" + good + "x,EL-01,p0,1\n" * 30 + good)
    code, said = here.command("import", file)
    assert code == 3 and f"malformed: {file}:3: time_ns 'x'" in said
    assert "malformed: 30 in all" in said and said.count("malformed: ") == 21
    code, said = here.command("import", file, "--strict")
    assert code == 1 and said.strip().endswith(f"{file}:3: time_ns 'x'")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("h.csv", b"", "h.csv:1: no column asset, point, value"),
        ("h.csv", b"time,asset,value\n", "h.csv:1: no column point"),
        ("h.csv.gz", b"plain", "not gzip"),
        ("h.csv.zst", b"plain", "not zstd"),
        ("h.parquet", b"PAR1", "not Parquet"),
        ("h.xlsx", b"", "say --format"),
        ("none.csv", None, "no such file"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    made: Made, name: str, content: bytes | None, said: str
) -> None:
    here = made("here")
    if content is not None:
        (here.directory / name).write_bytes(content)
    code, told = here.command("import", name)
    assert code == 1 and said in told and name in told and "Traceback" not in told


def test_what_would_be_overwritten_or_leads_nowhere_is_refused(made: Made) -> None:
    here = made("here")
    assert "no file" in here.command("export", "h.csv")[1]  # no history yet
    here.write(history(here.series, 100, 1))
    assert here.command("export", "h.csv")[0] == 0
    for words, said in [
        (["export", "h.csv"], "exists already"),
        (["export", "x.csv", "--asset", "EL-7*"], "the register has none such"),
        (["export", "x.parquet.gz"], "compressed inside"),
        (["copy", "--from", "embedded", "--to", "embedded"], "is both sides"),
        (["copy", "--from", "embedded", "--to", "influx"], "PMS_INFLUX__URL is not set"),
        (["copy", "--from", "nowhere", "--to", "embedded"], "no such store"),
    ]:
        code, told = here.command(*words)
        assert code == 1 and said in told, told
    assert here.command("export", "h.csv", "--overwrite", "--point", "p0")[0] == 0
    assert here.command("export", "y.csv", "--start", "yesterday")[0] == 2
    assert sorted(p.name for p in here.directory.glob("*.journal")) == []


def test_a_selection_is_exported(made: Made) -> None:
    here = made("here")
    here.write(history(here.series, 4000, 4))
    words = [
        "--site",
        "river*",
        "--point",
        "p?",
        "--start",
        "2023-11-16",
        "--end",
        "2023-11-17T08:00",
    ]
    assert here.command("export", "h.csv", *words)[0] == 0
    rows = (here.directory / "h.csv").read_text().splitlines()[1:]
    everything = here.everything()
    start = 1_700_092_800 * S
    wanted = (everything.at >= start) & (everything.at < start + 32 * 3600 * S)
    wanted &= np.isin(everything.series, [6, 7])
    assert [int(row.split(",")[1]) for row in rows] == everything.at[wanted].tolist()
    assert {tuple(row.split(",")[2:5]) for row in rows} == {
        ("riverside", "EL-01", "p0"),
        ("riverside", "EL-01", "p1"),
    }


def test_a_copy_between_registers_refuses_unknown_points_first(made: Made) -> None:
    here, there = made("here"), made("there", others=4)
    extra = there.catalog.of_asset("gw")["x1"]
    there.write(Batch.of([*there.series, extra], [T0] * 9, range(9)))
    words = ["copy", "--from", f"embedded:{there.directory}", "--to", "engine"]
    code, said = here.command(*words)
    assert code == 1 and "lacks 4 points" in said and "gw x1" in said
    code, said = here.command(*words, "--skip-unknown", "--verify")
    assert code == 0 and "8 samples" in said
    found = here.everything()
    assert (found.series.tolist(), found.value.tolist()) == (list(range(8)), list(range(8)))


def test_verify_names_what_differs(made: Made) -> None:
    here, there = made("here"), made("there")
    here.write(history(here.series, 500, 2))
    there.write(Batch.of([there.series[5]], [T0 + 1], [7.0]))
    code, said = there.command(
        "copy", "--from", f"embedded:{here.directory}", "--to", "embedded", "--verify"
    )
    assert code == 3 and "EL-01 motor_temp from 2023-11-14 22:13:20Z" in said
    assert "0 samples only in" in said and "1 only in" in said


def test_samples_that_the_engine_would_delete_are_announced(made: Made) -> None:
    here = made("here")
    here.write(history(here.series, 100, 1))
    here.command("export", "h.csv")
    code, said = here.command("import", "h.csv", PMS_RAW_DAYS=30)
    assert code == 0 and "samples from 2023-11-14 on" in said and "PMS_RAW_DAYS=30" in said


# -- beside others -----------------------------------------------------------------------------


def test_others_write_while_an_import_runs(made: Made) -> None:
    here, there = made("here"), made("there")
    here.write(history(here.series, 150_000, 10))
    here.command("export", "h.csv")
    store, done, rounds = there.store(), threading.Event(), [0]

    def engine() -> None:
        while not done.is_set():
            at = T0 + 100 * DAY + rounds[0]
            store.write(Batch.of(there.series, [at] * 8, [rounds[0]] * 8))
            rounds[0] += 1
            done.wait(0.01)

    thread = threading.Thread(target=engine)
    thread.start()
    code, said = there.command("import", here.directory / "h.csv", "--verify")
    done.set()
    thread.join(60)
    store.close()
    assert code == 0 and "verified" in said, said
    found = there.everything()
    same(found.take(found.at < T0 + 50 * DAY), here.everything())
    assert rounds[0] > 5 and len(found) == 150_000 + 8 * rounds[0]


def test_a_terminal_sees_a_bar_with_rate_and_a_quiet_one_nothing(made: Made) -> None:
    here = made("here")
    here.write(history(here.series, 5000, 5))
    ours, theirs = pty.openpty()
    process = here.process("export", "h.csv", "--rate", 5000, stderr=theirs)
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other side has ended
            break
    os.close(ours)
    assert process.wait(60) == 0
    assert b"100%" in shown and b"/s" in shown and b"5,000 samples" in shown
    assert here.command("export", "q.csv", "-q") == (0, "")


def test_bits_tells_floats_apart() -> None:
    assert bits(np.array([0.0])) != bits(np.array([-0.0]))
    assert bits(np.array([np.nan])) == bits(-np.array([np.nan]))
