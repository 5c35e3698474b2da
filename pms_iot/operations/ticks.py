"""Jobs that the clock starts again and again: one that fails is tried at its next time."""

from collections.abc import Callable

import structlog

from pms_iot.telemetry.counters import Counters

log = structlog.get_logger(__name__)


class Supervisor:
    """Runs jobs; logs a failure when it begins and when it ends, and counts each.

    `away`: what is raised while a store does not answer, which is an outage and no defect. Counts
    `ticks_store_away` and `ticks_failed`.
    """

    def __init__(self, counters: Counters, away: tuple[type[Exception], ...]) -> None:
        self._counters, self._away = counters, away
        self._failing: set[str] = set()

    def __call__(self, job: Callable[[], object]) -> None:
        """Never raises an Exception of the job."""
        name = job.__name__.strip("_")
        try:
            job()
        except self._away as problem:
            self._counters.add("ticks_store_away")
            if name not in self._failing:
                log.warning("tick without its store", job=name, problem=str(problem))
            self._failing.add(name)
        except Exception:  # the clock goes on
            self._counters.add("ticks_failed")
            if name not in self._failing:
                log.exception("tick failed", job=name)
            self._failing.add(name)
        else:
            if name in self._failing:
                log.warning("tick works again", job=name)
            self._failing.discard(name)
