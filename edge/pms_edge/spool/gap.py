"""Gap records: what the gateway had to give up, said in the stream at the place where it is missing."""

from typing import Literal, NamedTuple, cast

Cause = Literal["evicted", "disk_full", "corrupt"]
_KEYS = {"from": "first", "to": "last", "n": "samples", "t0": "first_ns", "t1": "last_ns"}


class Gap(NamedTuple):
    """Batches `first` to `last` of `lane` that are gone; None where a figure is not known.

    evicted: the oldest, over the spool's cap. disk_full: given up before they had a number.
    corrupt: a spool file that could not be read, of unknown extent.
    """

    lane: str
    cause: Cause
    samples: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    first: int | None = None
    last: int | None = None

    def and_then(self, other: "Gap") -> "Gap":
        """This gap extended by one that follows it."""
        return Gap(
            self.lane,
            self.cause,
            None if None in (self.samples, other.samples) else _sum(self, other),
            min((t for t in (self.first_ns, other.first_ns) if t is not None), default=None),
            max((t for t in (self.last_ns, other.last_ns) if t is not None), default=None),
            self.first,
            other.last,
        )

    def line(self) -> bytes:
        """The comment line of wire v1."""
        figures = self._asdict()
        known = [
            f"{key}={figures[name]}" for key, name in _KEYS.items() if figures[name] is not None
        ]
        return f"#gap {' '.join([f'lane={self.lane}', *known, f'cause={self.cause}'])}\n".encode()


def parse_gap(line: bytes) -> Gap:
    """The gap of a line that `Gap.line` wrote."""
    given = dict(part.split("=") for part in line.decode().split()[1:])
    figures = {name: int(given[key]) for key, name in _KEYS.items() if key in given}
    return Gap(given["lane"], cast(Cause, given["cause"]), **figures)


def _sum(one: Gap, other: Gap) -> int:
    return (one.samples or 0) + (other.samples or 0)
