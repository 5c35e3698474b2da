"""A disk that can be filled and emptied while the agent runs.

As root it is a tmpfs of its own, filled with a ballast file: the kernel answers ENOSPC. Where that cannot be
mounted, RLIMIT_FSIZE of the running agent is lowered instead: the kernel answers EFBIG to every write past it.
"""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import Server


@dataclass
class Disk:
    folder: Path
    mounted: bool

    def full(self, agent: Server) -> contextlib.AbstractContextManager[None]:
        return _ballast(self.folder) if self.mounted else _short_files(agent)


@contextmanager
def disk_in(folder: Path, *, megabytes: int) -> Iterator[Disk]:
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield Disk(folder, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _ballast(folder: Path) -> Iterator[None]:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def _short_files(agent: Server) -> Iterator[None]:
    assert agent.process
    room = (agent.directory / "log").stat().st_size + 8192  # it may still say what happens
    _, hard = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
