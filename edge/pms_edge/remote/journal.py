"""Who asked for which write and what came of it: JSON lines that are only ever added to.

Also what tells a repeated command from a new one, after a restart as well.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pms_edge.logs import kv

log = logging.getLogger(__name__)

REMEMBERED = 1000  # commands; one that has not expired is never forgotten

Result = Mapping[str, Any]


class Journal:
    """One file. `begun` and `ended` raise OSError: what cannot be recorded must not be done."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, tuple[int, Result | None]] = {}  # id: when it expires, its result
        self._torn = False
        self._load()

    def knows(self, id: str) -> bool:
        return id in self._known

    def result(self, id: str) -> Result | None:
        """What was answered; None for a command that a restart cut off."""
        return self._known[id][1]

    def has_room(self, now_ns: int) -> bool:
        """Forgets the oldest commands that have expired; False when too many have not."""
        for id, (expires_ns, _) in list(self._known.items()):
            if len(self._known) < REMEMBERED:
                break
            if expires_ns <= now_ns:
                del self._known[id]
        return len(self._known) < REMEMBERED

    def begun(self, at_ns: int, command: Mapping[str, Any]) -> None:
        self._append({"at_ns": at_ns, "what": "received", **command})
        self._known[command["id"]] = (command["expires_ns"], None)

    def ended(self, result: Result) -> None:
        expires_ns, _ = self._known[result["id"]]
        self._known[result["id"]] = (expires_ns, result)
        self._append({"what": "result", **result})

    def refused(self, result: Result) -> None:
        """A command that is not remembered: unsigned, expired."""
        self._append({"what": "refused", **result})

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )
        with self._file.open("ab", buffering=0) as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write((b"\n" if self._torn else b"") + line + b"\n")
            os.fsync(stream.fileno())
        self._torn = False

    def _load(self) -> None:
        try:
            stream = self._file.open("rb")
        except FileNotFoundError:
            return
        with stream:
            for line in stream:
                self._torn = not line.endswith(b"\n")  # the power went in mid-line
                self._remember(line)
        if self._torn:
            log.warning("last line of the journal is torn", extra=kv(file=self._file))

    def _remember(self, line: bytes) -> None:
        try:
            entry: Any = json.loads(line)
            what, id = entry["what"], entry["id"]
            if what == "received":
                self._known[id] = (int(entry["expires_ns"]), None)
            elif what == "result" and id in self._known:
                del entry["what"]
                self._known[id] = (self._known[id][0], entry)
        except (ValueError, TypeError, KeyError):
            return
        if len(self._known) > 10 * REMEMBERED:
            self._known.pop(next(iter(self._known)))
