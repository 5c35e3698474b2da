"""Counters add up, from any thread."""

from concurrent.futures import ThreadPoolExecutor

from pms_iot.telemetry.counters import Counters


def test_counts_from_many_threads_add_up() -> None:
    counters = Counters()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(lambda: [counters.add("a") for _ in range(2000)])
    counters.add_all({"too_old": 2, "text": 1}, prefix="refused_")
    assert counters["a"] == 16000
    assert counters["never"] == 0
    assert counters.snapshot() == {"a": 16000, "refused_text": 1, "refused_too_old": 2}
