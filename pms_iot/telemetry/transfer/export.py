"""From a store into one file, or into a file per day."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from pms_iot.kernel.clock import from_ns
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.transfer.compare import NOTHING, Sum, sum_of
from pms_iot.telemetry.transfer.compression import Compression
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.formats import Format
from pms_iot.telemetry.transfer.naming import Ranks, Register, Rows
from pms_iot.telemetry.transfer.output import Output, part_of
from pms_iot.telemetry.transfer.plan import DAY_NS, Chunk, Plan, SliceReader
from pms_iot.telemetry.transfer.reading import Resolver
from pms_iot.telemetry.transfer.run import Run, Tally
from pms_iot.telemetry.transfer.source import open_source

_ENDING = {"": "", "gzip": ".gz", "zstd": ".zst"}


@dataclass(frozen=True, slots=True)
class Target:
    """A file; or, where `per_day`, a folder of files named by their day."""

    path: Path
    form: Format
    compression: Compression
    per_day: bool

    @property
    def journal(self) -> Path:
        beside = self.path / "export" if self.per_day else self.path
        return beside.with_name(beside.name + ".journal")

    def files(self, chunks: Sequence[Chunk]) -> list[tuple[Path, list[Chunk]]]:
        """The files and their chunks, in order."""
        if not self.per_day:
            return [(self.path, list(chunks))]
        return [
            (self._of_day(day), list(members))
            for day, members in groupby(chunks, lambda chunk: chunk.day)
        ]

    def _of_day(self, day: int) -> Path:
        name = f"{from_ns(day * DAY_NS):%Y-%m-%d}.{self.form}{_ENDING[self.compression]}"
        return self.path / name


def export(store: SampleStore, register: Register, plan: Plan, target: Target, run: Run) -> Tally:
    """Writes what the journal does not say is done. Raises TransferError, OSError for a full disk."""
    ranks = Ranks([register.info(series) for group in plan.groups for series in group.series])
    chunks = plan.chunks()
    saved = run.journal.state
    tally = Tally.from_json(saved.get("tally"))
    done = int(saved.get("chunks", 0))
    run.progress.begin(len(chunks), done)
    reader = SliceReader(store)
    first = 0
    for path, members in target.files(chunks):
        here = min(max(done - first, 0), len(members))
        first += len(members)
        if here == len(members) and members and _is_finished(path, saved.get("file")):
            continue
        end = int(saved["end"]) if here else 0
        output = Output(path, target.form, target.compression, ranks, end)
        run.journal.before_flush = output.sync
        try:
            for index, chunk in enumerate(members[here:], first - len(members) + here + 1):
                before = tally.samples
                _write_chunk(reader, chunk, ranks, output, tally, run)
                state = {"chunks": index, "file": path.name, "end": output.end_chunk()}
                run.journal.note({**state, "tally": tally.to_json()})
                run.progress.advance(1, tally.samples - before)
            run.journal.flush()
            output.finish()
        finally:
            run.journal.settle()
            output.close()
    return tally


def _is_finished(path: Path, last_file: object) -> bool:
    """All chunks of this file are done; only the last file noted may still have to be renamed."""
    if path.name == last_file and part_of(path).exists():
        return False
    if not path.exists():
        raise TransferError(path, "gone since the beginning; --restart begins anew")
    return True


def _write_chunk(
    reader: SliceReader, chunk: Chunk, ranks: Ranks, output: Output, tally: Tally, run: Run
) -> None:
    for _, _, batch in reader.slices(chunk):
        output.add(Rows.of(batch, ranks))
        tally.add(batch)
        run.pace.spend(len(batch))


def verify_export(
    store: SampleStore, register: Register, plan: Plan, target: Target, run: Run, tally: Tally
) -> None:
    """Reads the files and the store anew; each chunk that differs is counted and named in the tally."""
    chunks = plan.chunks()
    group_of = {s: n for n, group in enumerate(plan.groups) for s in group.series}
    run.progress.begin(len(chunks), 0)
    reader = SliceReader(store)
    for path, members in target.files(chunks):
        found = _sums_of_file(path, target.form, register, group_of)
        for chunk in members:
            wanted = NOTHING
            for _, _, batch in reader.slices(chunk):
                wanted += sum_of(batch)
            written = found.pop((chunk.day, chunk.group), NOTHING)
            if written != wanted:
                tally.differ(_said(register, chunk, path, written, wanted))
            run.progress.advance(1, wanted.count)
        for (day, _), extra in found.items():
            tally.differ(f"{path}: {extra.count} samples of day {day} that were not asked for")


def _said(register: Register, chunk: Chunk, path: Path, written: Sum, wanted: Sum) -> str:
    first, last = register.info(chunk.series[0]), register.info(chunk.series[-1])
    assets = first.asset if first.asset == last.asset else f"{first.asset} to {last.asset}"
    day = f"{from_ns(chunk.start_ns):%Y-%m-%d}"
    if written.count == wanted.count:
        return f"{day}, {assets}: other values in {path} than in the store"
    return f"{day}, {assets}: {written.count} samples in {path}, {wanted.count} in the store"


def _sums_of_file(
    path: Path, form: Format, register: Register, group_of: dict[int, int]
) -> dict[tuple[int, int], Sum]:
    groups = np.full(max(group_of, default=-1) + 1, -1, np.int64)
    groups[list(group_of)] = list(group_of.values())
    sums: dict[tuple[int, int], Sum] = {}
    with open_source(path, form, Resolver(register, {})) as source:
        for step in source.steps(0, 1):
            batch = step.piece.batch
            key = (batch.at // DAY_NS) * (len(group_of) + 1) + groups[batch.series]
            for each in np.unique(key).tolist():
                day, group = divmod(each, len(group_of) + 1)
                part = sum_of(batch.take(key == each))
                sums[day, group] = sums.get((day, group), NOTHING) + part
    return sums
