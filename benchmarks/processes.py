"""What several benchmarks start and look at: the engine as a process, CPU time and memory of processes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.servers import free_port, wait_for

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def engine(
    folder: Path, broker: int, site: str, more: dict[str, str] | None = None
) -> Generator["subprocess.Popen[bytes]"]:
    """`pms-iot serve` on a new folder, ready; `more` settings than the embedded stores."""
    folder.mkdir()
    (folder / "site.yaml").write_text(site)
    web = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("PMS_")}
    env |= {"PMS_DATA_DIR": str(folder), "PMS_MQTT__PORT": str(broker), "PMS_WEB__PORT": str(web)}
    env |= {"PMS_LOG_LEVEL": "warning", "PMS_ADMIN_PASSWORD": "correct horse"}
    env |= {"PMS_MQTT__CLIENT_ID": f"bench-{web}", **(more or {})}
    program = str(Path(sys.executable).with_name("pms-iot"))
    subprocess.run([program, "migrate"], cwd=folder, env=env, check=True)
    command = [program, "serve", "--site", "site.yaml"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        wait_for(lambda: _is_ready(web), "the engine", 120, 0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _is_ready(web: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{web}/readyz", timeout=5).is_success
    except httpx2.TransportError:
        return False


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its system time included."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def watched_mb(pid: int) -> Generator[list[float]]:
    """What is resident, four times a second."""
    seen, done = [resident_mb(pid)], threading.Event()

    def watch() -> None:
        while not done.wait(0.25):
            seen.append(resident_mb(pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
