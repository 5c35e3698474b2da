"""Errors of the simulators. Each carries the place of the mistake, not only a sentence."""

from __future__ import annotations

from pathlib import Path


class SimulatorError(Exception):
    """Root of every error that pms-sim reports without a traceback."""


class InputFileError(SimulatorError):
    """A mistake in a file that the user wrote: `file:line: key: message`."""

    def __init__(self, file: Path, line: int, key: str, message: str) -> None:
        super().__init__(f"{file}:{line}: {key}: {message}")
        self.file = file
        self.line = line
        self.key = key


class ScenarioError(InputFileError):
    """A scenario that cannot be run."""


class RecordingError(InputFileError):
    """A recorded CSV that cannot be served."""


class SettingError(SimulatorError):
    """An environment variable or command-line value that cannot be used."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"{name}={value!r}: expected {expected}")
        self.name = name


class ListenError(SimulatorError):
    """A Modbus address that cannot be listened on."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"cannot listen on {host}:{port}")
        self.host = host
        self.port = port
