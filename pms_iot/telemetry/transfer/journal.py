"""What of a transfer is done: a file of JSON lines that survives kill -9 at any moment."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from pms_iot.telemetry.transfer.errors import TransferError

_FLUSH_S = 0.5


class Journal:
    """First line: what was asked and the plan. Each further line: the state so far; the last counts.

    Raises TransferError if the file belongs to a transfer with other parameters, or to one that runs now.
    """

    def __init__(
        self,
        path: Path,
        asked: Mapping[str, Any],
        *,
        restart: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._waiting: Mapping[str, Any] | None = None
        self._flushed_s = monotonic()
        self.before_flush: Callable[[], None] = lambda: (
            None
        )  # makes durable what the state tells of
        self.plan: Any = None
        self.state: dict[str, Any] = {}
        self._asked = asked
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            self._file.close()
            raise TransferError(path, "this transfer is running already") from problem
        if restart:
            self._file.truncate(0)
        self._load()

    @property
    def resumed(self) -> bool:
        return self.plan is not None

    def _load(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]  # a line that kill -9 cut short does not count
        self._file.truncate(len(whole))
        lines = whole.splitlines()
        if not lines:
            return
        try:
            head, last = orjson.loads(lines[0]), orjson.loads(lines[-1])
            self.plan, earlier = head["plan"], head["asked"]
        except (ValueError, KeyError, TypeError) as problem:
            raise TransferError(
                self._path, "not the journal of a transfer; --restart begins anew"
            ) from problem
        asked = orjson.loads(orjson.dumps(self._asked))
        changed = [key for key in sorted({*asked, *earlier}) if asked.get(key) != earlier.get(key)]
        if changed:
            key = changed[0]
            raise TransferError(
                self._path,
                f"an unfinished transfer had other parameters: {', '.join(changed)} "
                f"({key} was {earlier.get(key)!r}, now {asked.get(key)!r}); "
                "repeat its command to finish it, or add --restart to begin anew",
            )
        self.state = last if len(lines) > 1 else {}

    def begin(self, plan: Any) -> None:
        self.plan = plan
        self._append({"asked": self._asked, "plan": plan})

    def note(self, state: Mapping[str, Any]) -> None:
        """Everything so far, in full; on the disk within half a second of work."""
        self._waiting = state
        if self._monotonic() - self._flushed_s >= _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        if self._waiting is not None:
            self.before_flush()
            self._append(self._waiting)
            self._waiting = None
        self._flushed_s = self._monotonic()

    def settle(self) -> None:
        """Keeps what was noted when the transfer ends early; on a full disk the state before it stays."""
        with contextlib.suppress(OSError):
            self.flush()
        self.before_flush = lambda: None

    def close(self, *, done: bool) -> None:
        """A finished transfer leaves no journal, nor does one that had not begun."""
        if done or self.plan is None:
            self._path.unlink(missing_ok=True)
        else:
            self.settle()
        self._file.close()

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
