"""Configurations pushed to the gateway, on disk: which one is active, and whether it is on trial.

Beside `gateway.yaml` lies the folder `gateway.d` with one folder per pushed configuration and
`state.json`, which names the active one. A configuration is complete on disk before the state names
it, and the state is replaced by a rename, so a power cut leaves the old or the new one. Delete the
folder to go back to the gateway file.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pms_edge.logs import kv

log = logging.getLogger(__name__)


class State(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    active: str = ""  # folder of the configuration in use; nothing: the gateway file itself
    previous: str = ""
    # pending: to be tried at the next start; running: tried now. A start that finds `running` knows
    # that the trial ended without a confirmation.
    trial: Literal["", "pending", "running"] = ""
    issued_ns: int = 0  # of the newest message that was dealt with
    id: str = ""  # its id
    reported: dict[str, Any] = {}


class Generations:
    """Owned by one agent process. Methods that write raise OSError."""

    def __init__(self, gateway_file: Path) -> None:
        self.gateway_file = gateway_file
        self._folder = gateway_file.with_suffix(".d")
        self._file = self._folder / "state.json"
        self.state = self._load()

    def start(self) -> Path | None:
        """Folder of the configuration to run; None for the gateway file. Ends an unconfirmed trial."""
        try:
            self._settle()
        except OSError as error:  # a full disk must not keep the agent from running
            log.error("configuration state not written", extra=kv(error=error))
            if self.state.trial:
                changes = {"active": self.state.previous, "trial": ""}
                self.state = self.state.model_copy(update=changes)
        return self.active()

    def _settle(self) -> None:
        if self.state.trial == "running":
            self.roll_back("the agent ended before the uplink was confirmed")
        elif self.state.trial == "pending":
            self._save(trial="running")
        if self.state.active and not self._pushed(self.state.active).is_dir():
            log.error("pushed configuration is gone", extra=kv(folder=self.state.active))
            self._save(active="", trial="")

    def active(self) -> Path | None:
        return self._pushed(self.state.active) if self.state.active else None

    @property
    def on_trial(self) -> bool:
        return self.state.trial == "running"

    def stage(self, name: str, files: Mapping[str, str]) -> Path:
        """Writes a configuration to the disk, whole or not at all; nothing uses it yet."""
        staged, place = self._folder / "staging", self._pushed(name)
        for old in (staged, place):
            shutil.rmtree(old, ignore_errors=True)
        (staged / "profiles").mkdir(parents=True, mode=0o700)
        for file, text in files.items():
            _write(staged / file, text)
        _sync(staged / "profiles")
        _sync(staged)
        staged.replace(place)
        _sync(self._folder)
        return place

    def discard(self, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)

    def dealt_with(self, id: str, issued_ns: int, report: Mapping[str, Any]) -> None:
        """A message that changes nothing; never looked at again."""
        self._save(id=id, issued_ns=issued_ns, reported=dict(report))

    def try_next(self, place: Path, id: str, issued_ns: int) -> None:
        """From the next start on, `place` is on trial."""
        report = {"id": id, "status": "trial"}
        proven = self.state.previous if self.state.trial else self.state.active
        self._save(
            id=id,
            issued_ns=issued_ns,
            reported=report,
            active=place.name,
            previous=proven,
            trial="pending",
        )

    def confirm(self, report: Mapping[str, Any]) -> None:
        self._save(trial="", reported=dict(report))
        kept = {self.state.active, self.state.previous}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def roll_back(self, reason: str) -> None:
        """To the configuration before the one on trial."""
        log.error("configuration rolled back", extra=kv(id=self.state.id, reason=reason))
        report = {"id": self.state.id, "status": "rolled_back", "reason": reason}
        self._save(active=self.state.previous, previous="", trial="", reported=report)

    def give_up(self, reason: str) -> Path | None:
        """What to run instead of the active configuration, which cannot even be started."""
        if self.on_trial:
            self.roll_back(reason)
            return self.active()
        log.error("pushed configuration unusable, gateway file used", extra=kv(reason=reason))
        report = {"id": self.state.id, "status": "unusable", "reason": reason}
        self.state = self.state.model_copy(update={"reported": report})  # until the next start
        return None

    def _pushed(self, name: str) -> Path:
        return self._folder / name

    def _load(self) -> State:
        try:
            return State.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return State()
        except (ValidationError, OSError) as error:
            log.error("configuration state unreadable", extra=kv(file=self._file, error=error))
            return State()

    def _save(self, **changes: Any) -> None:
        state = self.state.model_copy(update=changes)
        self._folder.mkdir(exist_ok=True, mode=0o700)
        new = self._file.with_suffix(".new")
        _write(new, state.model_dump_json())
        new.replace(self._file)
        _sync(self._folder)
        self.state = state


def _write(file: Path, text: str) -> None:
    with file.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    """Makes the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
