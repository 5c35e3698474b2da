"""A job of the clock that fails: counted each time, logged when it begins and when it ends."""

from structlog.testing import capture_logs

from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.operations.ticks import Supervisor
from pms_iot.telemetry.counters import Counters


class Job:
    """Raises what it is told to."""

    def __init__(self, name: str) -> None:
        self.__name__, self.problem = name, None

    problem: Exception | None

    def __call__(self) -> None:
        if self.problem is not None:
            raise self.problem


def test_an_outage_is_logged_once_for_each_job_and_ends():
    counters = Counters()
    supervise = Supervisor(counters, (StoreUnavailableError,))
    save, tick = Job("_save"), Job("_tick")
    with capture_logs() as logs:
        for problem in (None, StoreUnavailableError("away"), StoreUnavailableError("away"), None, None):  # fmt: skip
            save.problem = problem
            supervise(save)
            supervise(tick)
    assert [(entry["event"], entry["job"]) for entry in logs] == [
        ("tick without its store", "save"),
        ("tick works again", "save"),
    ]
    assert counters.snapshot() == {"ticks_store_away": 2}


def test_a_defect_is_told_with_its_traceback_once():
    counters = Counters()
    supervise = Supervisor(counters, (StoreUnavailableError,))
    job = Job("_tick")
    job.problem = ValueError("broken")
    with capture_logs() as logs:
        for _ in range(3):
            supervise(job)
    assert [(entry["event"], entry["log_level"], entry.get("exc_info")) for entry in logs] == [
        ("tick failed", "error", True)
    ]
    assert counters["ticks_failed"] == 3
