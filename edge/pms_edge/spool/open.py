"""Opening the spool whatever is in its place, and the disk space kept beside it."""

import contextlib
import time
from pathlib import Path

from pms_edge.spool.file import SpoolFile, SpoolUnreadableError
from pms_edge.spool.gap import Gap


class Reserve:
    """Disk space kept beside the spool: on a full disk even a delete needs room in the log."""

    SIZE = 1 << 20

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}.reserve")

    def hold(self) -> None:
        """Takes the space; on a full disk what there is of it."""
        with contextlib.suppress(OSError):
            if not self._path.exists() or self._path.stat().st_size < self.SIZE:
                self._path.write_bytes(bytes(self.SIZE))

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def open_or_replace(
    path: Path, sync: str, hard_bytes: int, unreadable: bool = False
) -> tuple[SpoolFile, str]:
    """The spool at `path`. An unreadable file is renamed and a new one begun: second value.

    The new one begins with a record of the gap, and is complete before the old one is put aside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    if new.exists() and not path.exists():  # we ended between the two renamings
        new.rename(path)
    try:
        # We never leave an empty file.
        if unreadable or (path.exists() and path.stat().st_size == 0):
            raise SpoolUnreadableError("empty")
        return SpoolFile(path, sync=sync, hard_bytes=hard_bytes), ""
    except SpoolUnreadableError:
        _remove_all(new)
        SpoolFile(new, sync=sync, hard_bytes=hard_bytes, gap=Gap("data", "corrupt")).close()
        quarantined = _put_aside(path)
        new.rename(path)
        return SpoolFile(path, sync=sync, hard_bytes=hard_bytes), quarantined


def _put_aside(path: Path) -> str:
    aside = f"{path}.corrupt-{time.time_ns() // 1_000_000}"
    for suffix in ("-wal", "-shm", ""):  # a log left behind would be taken for the new file's
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


def _remove_all(path: Path) -> None:
    for suffix in ("-wal", "-shm", ""):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
