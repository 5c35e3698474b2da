"""`doctor read`: one block of one unit, shown in every way that it can be read."""

import argparse
from collections.abc import Iterator

from pms_edge.config.gateway_file import Endpoint
from pms_edge.doctor import table
from pms_edge.doctor.line import name_of
from pms_edge.modbus import NoReplyError, RefusedError, RegisterReader
from pms_edge.modbus.endpoint import reader_of


async def read(endpoint: Endpoint, options: argparse.Namespace) -> list[str]:
    """The lines to print. Raises NoReplyError or RefusedError."""
    reader = reader_of(endpoint)
    try:
        wire = await _block(reader, options, options.at, options.count)
        before = await _before(reader, options)
    finally:
        reader.close()
    place = f"{options.kind} {options.at}+{options.count}"
    head = f"{name_of(endpoint)} 站号 unit {options.unit} · {place} · {reader.traffic.rtt_s * 1000:.1f} ms"
    return [head, "", *_shown(options, wire, before)]


async def _block(reader: RegisterReader, options: argparse.Namespace, at: int, count: int) -> bytes:
    return await reader.read(options.unit, options.kind, at, count, options.timeout)


async def _before(reader: RegisterReader, options: argparse.Namespace) -> bytes:
    """The register one lower, for maps that count from 1; nothing where there is none."""
    if options.at == 0:
        return b""
    try:
        return await _block(reader, options, options.at - 1, 1)
    except (NoReplyError, RefusedError):
        return b""


def _shown(options: argparse.Namespace, wire: bytes, before: bytes) -> Iterator[str]:
    if options.kind in ("coil", "discrete"):
        yield from table.bits(options.kind, options.at - len(before), before + wire)
        return
    start, whole = options.at - len(before) // 2, before + wire
    if before:
        yield f"含前一个地址 {start} · with the address before, {start}: a map may count from 1"
    yield from table.registers(options.kind, start, whole)
    if len(whole) >= 4:
        yield ""
        yield from table.pairs(start, whole)
    if len(whole) >= 8:
        yield ""
        yield from table.quads(start, whole, every=options.all)
    yield ""
    yield from table.hints(start, whole, options.at)
