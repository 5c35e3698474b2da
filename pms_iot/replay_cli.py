"""`pms-iot replay`: what any rule pack would have said of the stored history."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import typer

from pms_iot import bootstrap
from pms_iot.arguments import instant
from pms_iot.assets.catalog import SeriesCatalog, SeriesInfo
from pms_iot.assets.register import zones_of
from pms_iot.kernel.db import reading
from pms_iot.kernel.errors import ConfigError
from pms_iot.replay.compare import asset_months, compare
from pms_iot.replay.packs import choose_packs
from pms_iot.replay.run import Window, groups, replay
from pms_iot.replay.truth import alerts_on_record, orders_with_outcome
from pms_iot.replay.words import Report, as_csv, as_json, as_text
from pms_iot.rulepacks import rules_root
from pms_iot.rulepacks.models import seconds
from pms_iot.telemetry.transfer.patience import PatientStore
from pms_iot.telemetry.transfer.progress import watcher

_S = 1_000_000_000


def _duration(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None


def replay_rules(
    start: Annotated[
        int, typer.Option("--from", parser=instant, metavar="ISO", help="First instant; UTC.")
    ],
    end: Annotated[
        int, typer.Option("--to", parser=instant, metavar="ISO", help="Behind the last.")
    ],
    rules: Annotated[
        Path | None,
        typer.Option(
            help="A folder of packs, one kind's folder, or an alerts.yaml or detectors.yaml of a kind that "
            "replaces the present one. Default: the packs in use."
        ),
    ] = None,
    asset: Annotated[
        list[str] | None, typer.Option("--asset", help="Only these; * and ? work.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only assets of this kind.")] = None,
    warmup: Annotated[
        float, typer.Option(parser=_duration, metavar="14d", help="What is learned from before.")
    ] = "14d",  # pyright: ignore[reportArgumentType]  parsed as what a person types
    store: Annotated[
        str, typer.Option(help="engine (the one in use), influx, embedded or embedded:PATH.")
    ] = "engine",
    lang: Annotated[Literal["zh", "en"], typer.Option(help="Of the report.")] = "en",
    json_: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also write every alert into this file.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a store that is away.")
    ] = 600.0,
) -> None:
    """Says what rules would have fired over stored history. Reads only; an engine may be serving."""
    if end <= start:
        raise typer.BadParameter("must be after --from", param_hint="--to")
    settings = bootstrap.read_settings()
    packs = choose_packs(rules, kind, rules_root(settings.rules_dir))
    core = bootstrap.open_core_for_reading(settings)
    place = bootstrap.open_place(settings, SeriesCatalog(core), store, exists=True, reading=True)
    with reading(core) as session:
        zones = zones_of(session)
    watch = watcher("replay", quiet=quiet)
    try:
        infos = _chosen(list(place.register.all()), list(packs), asset or [])
        window = Window(start - int(warmup * _S), start, end)
        watch.begin(len(groups(packs, infos)) * (end - window.learn_ns) // _S, 0)
        history = PatientStore(place.store, place.name, patience, watch.say)
        done = replay(
            history,
            packs,
            infos,
            window,
            zones=zones,
            advance=lambda ns, samples: watch.advance(ns // _S, samples),
        )
    finally:
        watch.end()
        place.store.close()
    with reading(core) as session:
        actual = alerts_on_record(session, done.assets, start, end)
        judged = orders_with_outcome(session, done.assets, start, end)
    core.dispose()
    kinds = {info.asset: info.kind for info in infos}
    counts = {name: sum(kinds[code] == name for code in done.assets) for name in packs}
    found = compare(done.fired, actual, judged, asset_months=asset_months(counts, start, end))
    labels = {rule.id: rule.label for pack in packs.values() for rule in pack.rules}
    report = Report(window, done, found, labels)
    if csv is not None:
        csv.write_text(as_csv(report), "utf-8")
    typer.echo(as_json(report) if json_ else as_text(report, lang))


def _chosen(infos: list[SeriesInfo], kinds: list[str], patterns: list[str]) -> list[SeriesInfo]:
    """The series of the assets asked for. Raises ConfigError where there are none."""
    known = [info for info in infos if info.kind in kinds]
    for pattern in patterns:
        if not any(fnmatchcase(info.asset, pattern) for info in known):
            raise ConfigError("--asset", f"no asset {pattern!r} of kind {', '.join(kinds)}")
    found = [i for i in known if not patterns or any(fnmatchcase(i.asset, p) for p in patterns)]
    if not found:
        raise ConfigError("--kind", f"the register has no asset of kind {', '.join(kinds)}")
    return found
