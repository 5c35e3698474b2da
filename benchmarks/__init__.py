"""What `make bench` measures; each module has `run() -> list[Row]`."""

from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table: what was measured, of which contender, the median and its unit."""

    what: str
    who: str
    median: float
    unit: str
