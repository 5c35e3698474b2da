"""`pms-iot telemetry export|import|copy`: history between the stores and files.

Exit codes: 0 done; 1 not finished, the same command goes on; 2 a wrong command; 3 finished, but something
was left out or differs; 130 interrupted, the same command goes on.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.telemetry.transfer import bring, export
from pms_iot.telemetry.transfer.compression import compression_of
from pms_iot.telemetry.transfer.errors import TransferError
from pms_iot.telemetry.transfer.formats import Format, format_of
from pms_iot.telemetry.transfer.journal import Journal
from pms_iot.telemetry.transfer.naming import Register, Selection, select
from pms_iot.telemetry.transfer.plan import Plan, make_plan
from pms_iot.telemetry.transfer.run import LISTED
from pms_iot.telemetry_cli.job import finish, job_of, journal_at, told, warn_of_pruning
from pms_iot.telemetry_cli.options import (
    STORES,
    Assets,
    End,
    FormatOption,
    Patience,
    Points,
    QuietOption,
    Rate,
    Restart,
    Sites,
    SkipUnknown,
    Start,
    Store,
    Verify,
    pair,
)

telemetry = typer.Typer(no_args_is_help=True, help="Moves history between stores and files.")


@telemetry.command("export")
def export_(
    target: Annotated[Path, typer.Argument(help="FILE.csv, .parquet or .line, also .gz or .zst.")],
    form: FormatOption = None,
    per_day: Annotated[
        bool, typer.Option("--per-day", help="TARGET is a folder; one file per day.")
    ] = False,
    compress: Annotated[
        Literal["gzip", "zstd"] | None, typer.Option(help="Of the files of a folder.")
    ] = None,
    store: Store = "engine",
    site: Sites = None,
    asset: Assets = None,
    point: Points = None,
    start: Start = None,
    end: End = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    verify: Verify = False,
    restart: Restart = False,
    quiet: QuietOption = False,
    patience: Patience = 600.0,
    rate: Rate = 0.0,
) -> None:
    """Writes history into a file, or into a folder with a file per day."""
    job = job_of("export", quiet, patience, rate, verify, restart)
    per_day = per_day or target.is_dir()
    to = _target(target.resolve(), form, compress, per_day)
    asked = {
        "target": str(to.path),
        "format": f"{to.form} {to.compression}".strip(),
        "per day": per_day,
        "sites": site,
        "assets": asset,
        "points": point,
        "start": start,
        "end": end,
        "verify": verify,
    }
    with told(job):
        source = job.open(store, exists=True)
        to.journal.parent.mkdir(parents=True, exist_ok=True)
        with journal_at(to.journal, asked | {"store": source.name}, job) as journal:
            if not journal.resumed:
                _refuse_existing(to, overwrite=overwrite)
            infos = select(source.register, Selection(site or (), asset or (), point or ()))
            plan = _plan(journal, source, infos, start, end)
            run = job.run(journal)
            began = time.monotonic()
            tally = export.export(source.store, source.register, plan, to, run)
            if verify:
                export.verify_export(source.store, source.register, plan, to, run, tally)
    finish(job, f"{to.path}", tally, began)


def _target(
    path: Path, form: Format | None, compress: Literal["gzip", "zstd"] | None, per_day: bool
) -> export.Target:
    if not per_day:
        if compress:
            raise typer.BadParameter(
                "--compress is for folders; end the file's name in .gz or .zst"
            )
        return export.Target(path, format_of(path, form), compression_of(path), per_day)
    if form is None:
        raise typer.BadParameter("a folder needs --format")
    if form == "parquet" and compress:
        raise typer.BadParameter("Parquet is compressed inside; leave out --compress")
    return export.Target(path, form, compress or "", per_day)


def _refuse_existing(target: export.Target, *, overwrite: bool) -> None:
    taken = list(target.path.glob(f"*.{target.form}*")) if target.per_day else [target.path]
    if any(path.exists() for path in taken) and not overwrite:
        raise TransferError(taken[0], "exists already; --overwrite replaces it")


@telemetry.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    form: FormatOption = None,
    store: Store = "engine",
    map_asset: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="An asset's code here.")
    ] = None,
    skip_unknown: SkipUnknown = False,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first bad row.")] = False,
    verify: Verify = False,
    restart: Restart = False,
    quiet: QuietOption = False,
    patience: Patience = 600.0,
    rate: Rate = 0.0,
) -> None:
    """Reads files into a store. What is there already is written again, so a repeat changes nothing."""
    job = job_of("import", quiet, patience, rate, verify, restart)
    renamed = dict(map(pair, map_asset or ()))
    inputs: list[tuple[Path, Format]] = [(path.resolve(), format_of(path, form)) for path in files]
    with told(job):
        side = job.open(store, exists=False)
        asked = {
            "files": [_identity(path) for path, _ in inputs],
            "formats": [form for _, form in inputs],
            "assets": renamed,
            "strict": strict,
            "verify": verify,
        }
        names = [str(path) for path, _ in inputs]
        with journal_at(job.journal_of(side.name, *names), asked, job) as journal:
            if not journal.resumed:
                journal.begin([])
            began = time.monotonic()
            what = bring.Inputs(inputs, renamed, strict)
            tally = bring.import_files(side.store, side.register, what, job.run(journal))
    warn_of_pruning(job, side.name, tally)
    finish(job, side.name, tally, began, skip_unknown=skip_unknown)


def _identity(path: Path) -> list[Any]:
    """A file that has changed is not gone on with. Raises TransferError if it is not there."""
    if not path.is_file():
        raise TransferError(path, "no such file")
    return [str(path), path.stat().st_size, path.stat().st_mtime_ns]


@telemetry.command("copy")
def copy(
    source: Annotated[str, typer.Option("--from", help=f"The store: {STORES}.")],
    target: Annotated[str, typer.Option("--to", help=f"The store: {STORES}.")],
    site: Sites = None,
    asset: Assets = None,
    point: Points = None,
    start: Start = None,
    end: End = None,
    skip_unknown: SkipUnknown = False,
    verify: Verify = False,
    restart: Restart = False,
    quiet: QuietOption = False,
    patience: Patience = 600.0,
    rate: Rate = 0.0,
) -> None:
    """Copies history from one store into another; what the other has besides stays."""
    job = job_of("copy", quiet, patience, rate, verify, restart)
    asked = {
        "sites": site,
        "assets": asset,
        "points": point,
        "start": start,
        "end": end,
        "skip unknown": skip_unknown,
        "verify": verify,
    }
    with told(job):
        ours, theirs = job.open(source, exists=True), job.open(target, exists=False)
        if ours.name == theirs.name:
            raise TransferError(ours.name, "is both sides")
        with journal_at(job.journal_of(ours.name, theirs.name), asked, job) as journal:
            infos = select(ours.register, Selection(site or (), asset or (), point or ()))
            known = [i for i in infos if theirs.register.lookup(i.asset, i.point) is not None]
            _refuse_unknown(infos, theirs, journal, skip_unknown=skip_unknown)
            plan = _plan(journal, ours, known, start, end)
            began = time.monotonic()
            tally = bring.copy(ours, theirs, plan, job.run(journal))
    warn_of_pruning(job, theirs.name, tally)
    finish(job, theirs.name, tally, began)


def _refuse_unknown(
    infos: Sequence[SeriesInfo], target: bring.Side, journal: Journal, *, skip_unknown: bool
) -> None:
    unknown = [i for i in infos if target.register.lookup(i.asset, i.point) is None]
    if unknown and not skip_unknown and not journal.resumed:
        names = [f"  {info.asset} {info.point}" for info in unknown[:LISTED]]
        more = [f"  and {len(unknown) - LISTED} more"] if len(unknown) > LISTED else []
        said = f"its register lacks {len(unknown)} points; --skip-unknown leaves them out"
        raise TransferError(target.name, "\n".join([said, *names, *more]))


def _plan(
    journal: Journal,
    side: bring.Side,
    infos: Sequence[SeriesInfo],
    start: int | None,
    end: int | None,
) -> Plan:
    """The plan of the unfinished run, or a new one."""
    register: Register = side.register
    if journal.resumed:
        return Plan.from_json(journal.plan, register)
    plan = make_plan(side.store, infos, start, end)
    journal.begin(plan.to_json(register))
    return plan
