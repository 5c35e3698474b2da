"""How far a transfer is, on standard error: a bar at a terminal, elsewhere a line every ten seconds."""

import sys
import time
from collections.abc import Callable
from typing import Any

import typer

_LINE_EVERY_S = 10.0


def rate_text(samples: int, seconds: float) -> str:
    rate = samples / max(seconds, 1e-6)
    return f"{rate / 1000:.0f}k/s" if rate >= 10_000 else f"{rate:.0f}/s"


class Quiet:
    """Nobody watches."""

    def begin(self, total: int, done: int) -> None: ...

    def advance(self, units: int, samples: int) -> None: ...

    def say(self, words: str) -> None:
        """Outages are told even then."""
        typer.echo(words, err=True)

    def end(self) -> None: ...


class Lines(Quiet):
    """For logs: a line now and then."""

    def __init__(self, title: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._monotonic = monotonic

    def begin(self, total: int, done: int) -> None:
        self._total, self._done, self._resumed = total, done, done
        self._samples = 0
        self._began_s = self._told_s = self._monotonic()

    def advance(self, units: int, samples: int) -> None:
        self._done += units
        self._samples += samples
        now = self._monotonic()
        if now - self._told_s >= _LINE_EVERY_S:
            self._told_s = now
            self.say(self._line(now - self._began_s))

    def _line(self, seconds: float) -> str:
        moved = max(self._done - self._resumed, 1)
        left_s = seconds / moved * (self._total - self._done)
        share = self._done / max(self._total, 1)
        return (
            f"{self._title}: {share:.0%}, {self._samples:,} samples, "
            f"{rate_text(self._samples, seconds)}, {left_s:.0f} s left"
        )


class Bar(Quiet):
    """typer's bar, with the rate behind it."""

    def __init__(self, title: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._monotonic = monotonic
        self._bar: Any = None

    def begin(self, total: int, done: int) -> None:
        self.end()
        self._samples, self._began_s = 0, self._monotonic()
        self._bar = typer.progressbar(
            length=max(total, 1),
            label=self._title,
            show_eta=True,
            show_percent=True,
            file=sys.stderr,
        )
        self._bar.__enter__()
        self._bar.update(done)

    def advance(self, units: int, samples: int) -> None:
        self._samples += samples
        rate = rate_text(self._samples, self._monotonic() - self._began_s)
        self._bar.label = f"{self._title} {rate:>8}"
        self._bar.update(units)

    def say(self, words: str) -> None:
        typer.echo(f"\n{words}", err=True)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def watcher(title: str, *, quiet: bool) -> Quiet:
    """What fits where standard error goes."""
    if quiet:
        return Quiet()
    return Bar(title) if sys.stderr.isatty() else Lines(title)
