"""`doctor bus`: how busy each line is, how its units answer, how long the spool lasts."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pms_edge.config.gateway_file import Endpoint
from pms_edge.config.load import load_config
from pms_edge.doctor.ask import ask_health
from pms_edge.doctor.line import explain
from pms_edge.doctor.load import Planned, planned, spool_bytes_per_s, utilisation
from pms_edge.doctor.reserves import spool_line
from pms_edge.modbus import NoReplyError, RefusedError
from pms_edge.modbus.endpoint import reader_of

TIMEOUT_S = 2.0
HEAD = "线路 endpoint     planned/s  负载 load  rtt p50 ms  p99 ms  超时 timeouts  其他 other  拒绝 refused"


class Measured(NamedTuple):
    """Round trips in seconds by place in the plan, and what went wrong."""

    rtt_s: list[tuple[int, float]]
    timeouts: int = 0
    other: int = 0
    refused: int = 0
    stopped: str = ""


def report(gateway: Path, *, seconds: float, ask_agent: bool, say: Callable[[str], None]) -> bool:
    """Says line by line what it finds; False when a line could not be looked at.

    Raises ConfigError for a mistake in the file, OSError when no agent can be asked.
    """
    config = load_config(gateway)
    health = ask_health(config) if ask_agent else {}
    reads = {name: planned(config, name) for name, e in config.endpoints.items() if e.is_modbus}
    say(f"网关 gateway {config.gateway}" + ("，来自代理 as its agent says" if ask_agent else ""))
    say(HEAD)
    seen = True
    for name, its_reads in reads.items():
        if its_reads and ask_agent:
            say(_told(name, its_reads, health.get("endpoints", {}).get(name, {})))
        elif its_reads:
            seen &= _measure(name, config.endpoints[name], its_reads, seconds, say)
    rate = spool_bytes_per_s([read for each in reads.values() for read in each])
    say(spool_line(config, rate, health.get("spool", {}).get("hours_left")))
    return seen


def _measure(
    name: str, endpoint: Endpoint, reads: list[Planned], seconds: float, say: Callable[[str], None]
) -> bool:
    found = asyncio.run(poll(endpoint, reads, seconds))
    if found.stopped:
        say(f"{name:<16} {found.stopped}")
        return False
    trips = sorted(rtt for _, rtt in found.rtt_s)
    load = utilisation(endpoint, reads, _means(found.rtt_s), endpoint.timeout or TIMEOUT_S)
    p50, p99 = (_quantile(trips, q) for q in (0.5, 0.99))
    say(_row(name, reads, load, p50, p99, (found.timeouts, found.other, found.refused)))
    if load > 1:
        say("  超负荷，读取会被跳过 · more than the line can do: polls will be skipped")
    return True


def _means(rtt_s: list[tuple[int, float]]) -> dict[int, float]:
    by_place: dict[int, list[float]] = {}
    for place, rtt in rtt_s:
        by_place.setdefault(place, []).append(rtt)
    return {place: sum(own) / len(own) for place, own in by_place.items()}


def _told(name: str, reads: list[Planned], said: Mapping[str, Any]) -> str:
    if not said:
        return f"{name:<16} 代理未报告 the agent says nothing of it"
    other = said.get("crc_errors", 0) + sum(said.get("other_failures", {}).values())
    counts = (said.get("timeouts", 0), other, said.get("refused", 0))
    p50, p99 = said.get("rtt_p50_ms"), said.get("rtt_p99_ms")
    return _row(name, reads, said.get("utilisation", 0.0), p50, p99, counts)


def _row(
    name: str,
    reads: list[Planned],
    load: float,
    p50_ms: float | None,
    p99_ms: float | None,
    counts: tuple[int, int, int],
) -> str:
    rate = sum(1 / read.period_s for read in reads)
    p50, p99 = ("-" if ms is None else f"{ms:.1f}" for ms in (p50_ms, p99_ms))
    timeouts, other, refused = counts
    return (
        f"{name:<16} {rate:>10.2f}  {load:>9.1%}  {p50:>10}  {p99:>6}"
        f"  {timeouts:>13}  {other:>10}  {refused:>12}"
    )


async def poll(endpoint: Endpoint, reads: list[Planned], seconds: float) -> Measured:
    """Reads the planned blocks in turn, each at least once, for `seconds`."""
    reader, found = reader_of(endpoint), Measured([])
    timeout_s, end = endpoint.timeout or TIMEOUT_S, time.monotonic() + seconds
    try:
        for place in _round_and_round(len(reads), end):
            read = reads[place]
            block, unit = read.block, read.device.unit
            try:
                await reader.read(unit, block.kind, block.start, block.count, timeout_s)
                found.rtt_s.append((place, reader.traffic.rtt_s))
            except RefusedError:
                found = found._replace(refused=found.refused + 1)
            except NoReplyError as error:
                if error.cause in ("connect", "busy"):
                    return found._replace(stopped=_busy(endpoint, error))
                key = "timeouts" if error.cause == "timeout" else "other"
                found = found._replace(**{key: getattr(found, key) + 1})
    finally:
        reader.close()
    return found


def _busy(endpoint: Endpoint, error: NoReplyError) -> str:
    more = (
        " (--agent asks the agent that holds it 询问占用它的代理)" if error.cause == "busy" else ""
    )
    return explain(endpoint, error) + more


def _round_and_round(count: int, end: float) -> Iterator[int]:
    place = 0
    while place < count or time.monotonic() < end:
        yield place % count
        place += 1


def _quantile(trips: list[float], share: float) -> float | None:
    """In ms; None of nothing."""
    return 1000 * trips[min(int(share * len(trips)), len(trips) - 1)] if trips else None
