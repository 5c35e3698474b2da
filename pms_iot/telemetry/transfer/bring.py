"""From files, or from another store, into a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pms_iot.kernel.clock import from_ns
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.store import SampleStore
from pms_iot.telemetry.transfer.compare import difference, sum_of
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.formats import Format
from pms_iot.telemetry.transfer.naming import Register
from pms_iot.telemetry.transfer.plan import DAY_NS, Plan, SliceReader, by_fifty_thousand
from pms_iot.telemetry.transfer.reading import Resolver
from pms_iot.telemetry.transfer.run import Run, Tally
from pms_iot.telemetry.transfer.source import Step, open_source


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of an import. `strict`: the first malformed row ends it."""

    files: Sequence[tuple[Path, Format]]
    renamed: dict[str, str]
    strict: bool


def import_files(store: SampleStore, register: Register, inputs: Inputs, run: Run) -> Tally:
    """Writes what the journal does not say is done. Raises TransferError naming the file and line."""
    saved = run.journal.state
    tally = Tally.from_json(saved.get("tally"))
    first, position, line = (saved.get(key, 0) for key in ("file", "position", "line"))
    sizes = [path.stat().st_size for path, _ in inputs.files]
    run.progress.begin(sum(sizes), sum(sizes[:first]) + int(saved.get("bytes", 0)))
    resolver = Resolver(register, inputs.renamed)
    for number, (path, form) in list(enumerate(inputs.files))[first:]:
        shown = int(saved.get("bytes", 0)) if number == first else 0
        with open_source(path, form, resolver) as source:
            for step in source.steps(position, line):
                _take_in(store, register, step, path, inputs.strict, tally, run)
                at = {"file": number, "position": step.position, "line": step.line}
                run.journal.note({**at, "bytes": step.bytes_read, "tally": tally.to_json()})
                run.progress.advance(step.bytes_read - shown, len(step.piece.batch))
                shown = step.bytes_read
        position, line = 0, 1
    run.journal.flush()
    return tally


def _take_in(
    store: SampleStore,
    register: Register,
    step: Step,
    path: Path,
    strict: bool,
    tally: Tally,
    run: Run,
) -> None:
    piece = step.piece
    for malformed in piece.malformed:
        if strict:
            raise TransferError(f"{path}:{malformed.line}", malformed.problem)
        tally.refuse(path, malformed)
    tally.unknown.update(piece.unknown)
    for part in by_fifty_thousand(piece.batch):
        store.write(part)
        run.pace.spend(len(part))
    tally.add(piece.batch)
    if run.verify:
        _compare_by_day(store, register, piece.batch.last_of_each(), path, tally)


def _compare_by_day(
    store: SampleStore, register: Register, wanted: Batch, path: Path, tally: Tally
) -> None:
    """The store may hold more than the file, but must hold this."""
    days = wanted.at // DAY_NS
    for day in np.unique(days):
        part = wanted.take(days == day)
        series = np.unique(part.series).tolist()
        found = store.read_many(series, int(part.at.min()), int(part.at.max()) + 1)
        differs = difference(part, found)
        if differs.missing or differs.changed:
            info = register.info(differs.series)
            tally.differ(
                f"{path}: {info.asset} {info.point}: of {len(part)} samples of "
                f"{from_ns(int(day) * DAY_NS):%Y-%m-%d} {differs.missing} are not in the store, "
                f"{differs.changed} have other values"
            )


@dataclass(frozen=True, slots=True)
class Side:
    """A store with the register that its series numbers belong to."""

    name: str
    store: SampleStore
    register: Register


def copy(source: Side, target: Side, plan: Plan, run: Run) -> Tally:
    """Writes what the journal does not say is done; every series of the plan has to be known to the target."""
    numbers = _numbers(source, target, plan)
    saved = run.journal.state
    tally = Tally.from_json(saved.get("tally"))
    chunks = plan.chunks()
    done = int(saved.get("chunks", 0))
    run.progress.begin(len(chunks), done)
    reader = SliceReader(source.store)
    for index, chunk in enumerate(chunks[done:], done + 1):
        before = tally.samples
        ours = numbers[list(chunk.series)].tolist()
        for start, end, found in reader.slices(chunk):
            batch = Batch.of(numbers[found.series], found.at, found.value, found.quality)
            for part in by_fifty_thousand(batch):
                target.store.write(part)
                run.pace.spend(len(part))
            tally.add(batch)
            if run.verify:
                _compare(batch, target.store.read_many(ours, start, end), source, target, tally)
        run.journal.note({"chunks": index, "tally": tally.to_json()})
        run.progress.advance(1, tally.samples - before)
    run.journal.flush()
    return tally


def _numbers(source: Side, target: Side, plan: Plan) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """The target's number of each series of the source."""
    series = [number for group in plan.groups for number in group.series]
    numbers = np.full(max(series, default=-1) + 1, -1, np.int32)
    for number in series:
        info = source.register.info(number)
        found = target.register.lookup(info.asset, info.point)
        if found is None:
            raise TransferError(
                f"{info.asset} {info.point}", f"not in the register of {target.name}"
            )
        numbers[number] = found
    return numbers


def _compare(wanted: Batch, found: Batch, source: Side, target: Side, tally: Tally) -> None:
    if sum_of(wanted) == sum_of(found):
        return
    differs = difference(wanted, found)
    info = target.register.info(differs.series)
    tally.differ(
        f"{info.asset} {info.point} from {from_ns(differs.at):%Y-%m-%d %H:%M:%S}Z: "
        f"{differs.missing} samples only in {source.name}, {differs.extra} only in {target.name}, "
        f"{differs.changed} with other values"
    )
