"""What the commands have in common: their stores, their journal, what they say at the end."""

import hashlib
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pms_iot import bootstrap
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.kernel.clock import from_ns
from pms_iot.settings import Settings
from pms_iot.telemetry.transfer.bring import Side
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.journal import Journal
from pms_iot.telemetry.transfer.patience import PatientStore
from pms_iot.telemetry.transfer.progress import Quiet, rate_text, watcher
from pms_iot.telemetry.transfer.run import LISTED, Pace, Run, Tally


@dataclass(frozen=True, slots=True)
class Job:
    """What the three commands share."""

    name: str
    settings: Settings
    register: SeriesCatalog
    watch: Quiet
    quiet: bool
    patience_s: float
    rate: float
    verify: bool
    restart: bool

    def open(self, name: str, *, exists: bool) -> Side:
        place = bootstrap.open_place(self.settings, self.register, name, exists=exists)
        store = PatientStore(place.store, place.name, self.patience_s, self.watch.say)
        return Side(place.name, store, place.register)

    def run(self, journal: Journal) -> Run:
        return Run(journal, self.watch, Pace(self.rate), self.verify)

    def journal_of(self, *identity: str) -> Path:
        """The journal of a transfer into a store."""
        short = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:12]
        return self.settings.data_dir / "transfers" / f"{self.name}-{short}.journal"

    def say(self, words: str) -> None:
        if not self.quiet:
            say(words)


def job_of(
    name: str, quiet: bool, patience: float, rate: float, verify: bool, restart: bool
) -> Job:
    settings = bootstrap.read_settings()
    register = SeriesCatalog(bootstrap.open_core(settings))
    watch = watcher(name, quiet=quiet)
    return Job(name, settings, register, watch, quiet, patience, rate, verify, restart)


@contextmanager
def journal_at(path: Path, asked: dict[str, Any], job: Job) -> Generator[Journal]:
    journal = Journal(path, asked, restart=job.restart)
    if journal.resumed:
        job.say(f"going on where the last run ended ({path})")
    done = False
    try:
        yield journal
        done = True
    finally:
        journal.close(done=done)


@contextmanager
def told(job: Job) -> Generator[None]:
    """Says how a run ended early."""
    try:
        yield
    except KeyboardInterrupt:
        job.watch.end()
        say("interrupted; the same command goes on from here")
        raise typer.Exit(130) from None
    except OSError as problem:
        job.watch.end()
        raise TransferError(
            problem.filename or job.name, f"{problem.strerror}; the same command goes on from here"
        ) from problem
    finally:
        job.watch.end()


def warn_of_pruning(job: Job, name: str, tally: Tally) -> None:
    days = job.settings.raw_days
    kept_from = bootstrap.read_clock().now_ns() - int(days * 86_400e9)
    if name.startswith("embedded:") and tally.oldest_ns is not None and tally.oldest_ns < kept_from:
        say(
            f"samples from {from_ns(tally.oldest_ns):%Y-%m-%d} on were written, but the engine "
            f"deletes what is older than PMS_RAW_DAYS={days:g} days"
        )


def finish(job: Job, where: str, tally: Tally, began: float, *, skip_unknown: bool = False) -> None:
    """The summary; ends with 3 where something was left out or differs."""
    seconds = time.monotonic() - began
    rate = rate_text(tally.samples, seconds)
    job.say(f"{job.name}: {tally.samples:,} samples to {where} in {seconds:.1f} s ({rate})")
    for (site, asset, point), count in tally.unknown.most_common(LISTED):
        say(f"unknown point: {site or '-'} {asset} {point}: {count} samples left out")
    if len(tally.unknown) > LISTED:
        say(f"unknown points: {len(tally.unknown)}, {tally.unknown.total()} samples left out")
    _list("malformed", tally.malformed, tally.malformed_listed)
    _list("differs", tally.differing, tally.differing_listed)
    if job.verify and not tally.differing:
        job.say("verified: both sides are the same")
    left_out = tally.unknown and not skip_unknown
    if left_out or tally.malformed or tally.differing:
        raise typer.Exit(3)


def _list(what: str, count: int, listed: Sequence[str]) -> None:
    for each in listed:
        say(f"{what}: {each}")
    if count > len(listed):
        say(f"{what}: {count} in all")


def say(words: str) -> None:
    typer.echo(words, err=True)
