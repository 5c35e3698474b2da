"""The options of `pms-iot telemetry`, which its commands share."""

from typing import Annotated

import typer

from pms_iot.arguments import instant
from pms_iot.telemetry.transfer.formats import Format


def pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise typer.BadParameter(f"{text!r} is not OLD=NEW")
    return old, new


STORES = "engine (the one in use), influx, embedded or embedded:PATH"
Store = Annotated[str, typer.Option(help=f"The store: {STORES}.")]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Where the file's ending does not say it.")
]
Sites = Annotated[list[str] | None, typer.Option("--site", help="Only these; * and ? work.")]
Assets = Annotated[list[str] | None, typer.Option("--asset", help="Only these; * and ? work.")]
Points = Annotated[list[str] | None, typer.Option("--point", help="Only these; * and ? work.")]
Start = Annotated[
    int | None, typer.Option("--start", parser=instant, metavar="ISO", help="First instant; UTC.")
]
End = Annotated[
    int | None, typer.Option("--end", parser=instant, metavar="ISO", help="Behind the last.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Compare both sides, and say what differs.")]
Restart = Annotated[bool, typer.Option("--restart", help="Forget an unfinished run.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")]
Patience = Annotated[float, typer.Option(min=0, help="Seconds to wait for a store that is away.")]
Rate = Annotated[float, typer.Option(min=0, help="Samples per second at most; 0 = no limit.")]
SkipUnknown = Annotated[
    bool, typer.Option("--skip-unknown", help="Points that the register lacks are left out.")
]
