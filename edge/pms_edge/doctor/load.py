"""What a gateway file asks of its Modbus lines: requests, time on the wire, bytes for the spool."""

from collections.abc import Mapping
from typing import NamedTuple

from pms_edge.config.gateway_file import Endpoint
from pms_edge.config.load import Config, Device
from pms_edge.line import series_head
from pms_edge.modbus.serial_port import BITS_PER_CHARACTER, shortest_gap_s
from pms_edge.polling.planner import Block, plan

REQUEST_CHARACTERS = 8  # unit, function, address, count, CRC
REPLY_CHARACTERS = 5  # unit, function, byte count, CRC; then the registers
VALUE_BYTES = 9  # of one number in line protocol with its equals sign and comma
LINE_BYTES = 28  # quality, instant and separators of one line


class Planned(NamedTuple):
    """One block that is read every `period_s`."""

    device: Device
    block: Block
    period_s: float


def planned(config: Config, endpoint: str) -> list[Planned]:
    return [
        Planned(device, block, config.classes[name])
        for device in config.devices_of(endpoint)
        for name in sorted(device.profile.classes)
        for block in plan(
            [p for p in device.profile.points if p.poll_class == name], device.profile.limits
        )
    ]


def wire_s(endpoint: Endpoint, block: Block) -> float:
    """Seconds that one request and its reply take on a serial line, with the silence around them.

    Serial line guide 1.02, 2.5.1; 0 on Ethernet, and where the baud rate behind a server is unknown.
    """
    if not endpoint.rtu:
        return 0.0
    data = (block.count + 7) // 8 if block.kind in ("coil", "discrete") else 2 * block.count
    characters = REQUEST_CHARACTERS + REPLY_CHARACTERS + data
    return characters * BITS_PER_CHARACTER / endpoint.baud + 2 * shortest_gap_s(endpoint.baud)


def utilisation(
    endpoint: Endpoint, reads: list[Planned], rtt_s: Mapping[int, float], default_s: float
) -> float:
    """Share of the line's time that the plan needs; above 1 it cannot be kept.

    A request takes what it was measured to take (`rtt_s` by place in `reads`), at least its time on
    the wire.
    """
    return sum(
        max(rtt_s.get(place, default_s), wire_s(endpoint, read.block)) / read.period_s
        for place, read in enumerate(reads)
    )


def spool_bytes_per_s(reads: list[Planned]) -> float:
    """About what the reads add to the spool, before packing."""
    return sum(_line_bytes(read) / read.period_s for read in reads)


def _line_bytes(read: Planned) -> int:
    device = read.device
    head = series_head(device.profile.kind, site=device.site, asset=device.id)
    return LINE_BYTES + len(head) + sum(len(p.name) + VALUE_BYTES for p in read.block.points)
