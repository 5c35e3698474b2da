"""The wire contract: known input gives exactly the bytes of golden/*.pms1.

The engine's tests read copies of the same files, so a change here is a change of wire v1.
"""

import gzip
import struct
from pathlib import Path

import pytest
import zstandard
from edge_rig import point
from pms_edge.batch import Batch, Batcher, payload
from pms_edge.config.load import Device
from pms_edge.decode.decoder import Decoder
from pms_edge.feed import DeviceFeed
from pms_edge.line import escape
from pms_edge.profiles.profile import Profile, ReadLimits
from pms_edge.spool.file import gap_row
from pms_edge.spool.gap import Gap

GOLDEN = Path(__file__).parent / "golden"
AT_NS = 1_700_000_000_000_000_000
POINTS = (
    point("motor_temp", 0, type="i16", scale=0.1, range=(-20.0, 150.0)),
    point("run", 1, type="bit", bit=0, event=True),
    point("mode", 2, enum=(0, 1), not_a_value=(0xFFFF,)),
    point("car_vib", 3, type="f32"),
    point("runs", 5, type="u32"),
)
GOOD = [452, 0b1, 1, 0x3FC0, 0, 1, 0xE240]
OFF = [452, 0b0, 1, 0x3FC0, 0, 1, 0xE240]
HOT = [1600, 0b1, 7, 0x3FC0, 0, 1, 0xE240]
GONE = [1600, 0b1, 0xFFFF, 0x7FC0, 0, 1, 0xE240]


class Wire:
    """One device read several times; its batches as they would be published."""

    def __init__(self, *, asset: str = "EL-01", site: str = "riverside") -> None:
        self.batches = []
        self.batcher = Batcher(self.batches.append)
        profile = Profile("lift.v1", 1, "elevator", POINTS, ReadLimits(), (), "")
        device = Device(asset, site, profile, "plc", 1, "", (), None)
        self.feed = DeviceFeed(device, self.batcher)

    def read(self, *rows: list[int]) -> "Wire":
        decoder, template = Decoder(POINTS, start=0), self.feed.template(POINTS)
        for i, registers in enumerate(rows):
            self.feed.send(
                POINTS,
                template,
                decoder.decode(struct.pack(f">{len(registers)}H", *registers)),
                AT_NS + i * 10**9,
            )
        self.batcher.flush()
        return self

    def silent(self) -> "Wire":
        self.feed.send_bad([p.name for p in POINTS], AT_NS)
        self.batcher.flush()
        return self

    def message(self, lane: str, *, seq: int, base: int, encoding="none") -> bytes:
        [batch] = [batch for batch in self.batches if batch.lane == lane]
        return sent(batch, seq=seq, base=base, encoding=encoding)


def sent(batch: Batch, **more) -> bytes:
    return payload(batch, gateway="gw-01", epoch="9f3a1c2b", **more)


def lost(gap: Gap, *, seq: int) -> bytes:
    return sent(gap_row(seq, gap).batch, seq=seq, base=seq)


CASES = {
    "good": lambda: Wire().read(GOOD, OFF).message("data", seq=1, base=1),
    "uncertain": lambda: Wire().read(HOT).message("data", seq=57, base=41),
    "bad": lambda: Wire().read(GONE).message("data", seq=58, base=41),
    "silent": lambda: Wire().silent().message("data", seq=59, base=59),
    "event": lambda: Wire().read(GOOD, OFF).message("event", seq=1, base=1),
    "escaped": lambda: (
        Wire(asset="电梯 1=A,B", site="river side").read(GOOD).message("data", seq=2, base=1)
    ),
    "gap": lambda: lost(Gap("data", "evicted", 79_000, AT_NS, AT_NS + 79 * 10**9, 12, 90), seq=90),
    "gap_full_disk": lambda: lost(Gap("data", "disk_full", 10, AT_NS, AT_NS + 10**9), seq=91),
    "gap_unknown": lambda: lost(Gap("data", "corrupt"), seq=1),
    "gzip": lambda: Wire().read(GOOD, OFF).message("data", seq=1, base=1, encoding="gzip"),
    "zstd": lambda: Wire().read(GOOD, OFF).message("data", seq=1, base=1, encoding="zstd"),
}
EXPAND = {"gzip": gzip.decompress, "zstd": zstandard.ZstdDecompressor().decompress}


@pytest.mark.parametrize("name", CASES)
def test_known_input_gives_the_golden_bytes(name):
    assert plain(name, CASES[name]()) == plain(name, (GOLDEN / f"{name}.pms1").read_bytes())


def plain(name: str, message: bytes) -> tuple[bytes, bytes]:
    """Header and expanded body: each version of a compressor may find other bytes."""
    head, _, body = message.partition(b"\n")
    return head, EXPAND[name](body) if name in EXPAND else body


def test_every_golden_file_is_checked():
    assert {file.stem for file in GOLDEN.glob("*.pms1")} == set(CASES)


def test_n_counts_the_samples_of_all_lines():
    wire = Wire().read(GOOD, HOT, GONE)
    assert wire.batches[0].samples == 3 * len(POINTS)
    assert b" n=15 " in wire.message("data", seq=1, base=1)


def test_tag_values_are_escaped():
    assert escape("a b,c=d") == "a\\ b\\,c\\=d"
