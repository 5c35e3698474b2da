"""Child processes that are waited for, logged to files, and never outlive this one."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pms_iot.kernel.errors import PmsError

PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None)


class ChildFailedError(PmsError):
    """A program of the demo stopped by itself, or did not become ready in time."""

    def __init__(self, name: str, problem: str, log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        super().__init__(f"{name} {problem}; the end of {log}:\n{tail}")


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Processes:
    """Starts programs in order and stops them in the reverse order."""

    log_dir: Path
    env: Mapping[str, str]
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        """Runs `command` with its output in `<name>.log`; in a session of its own, so Ctrl-C is ours."""
        with self._log(name).open("wb") as log:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env, **(env or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def wait_for(self, name: str, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Returns when `ready`; raises ChildFailedError if the program ends or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ChildFailedError(
                    name, f"was not ready after {timeout_s:g} s", self._log(name)
                )
            time.sleep(0.05)

    def check(self) -> None:
        """Raises ChildFailedError if any program has ended."""
        for name, child in self._children.items():
            if child.poll() is not None:
                raise ChildFailedError(name, f"ended with {child.returncode}", self._log(name))

    def stop(self, timeout_s: float = 3.0) -> None:
        """Asks all programs to end, newest first, and kills what has not after `timeout_s` in all."""
        deadline = time.monotonic() + timeout_s
        for child in reversed(self._children.values()):
            child.terminate()
        for child in reversed(self._children.values()):
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()

    def _log(self, name: str) -> Path:
        return self.log_dir / f"{name}.log"
