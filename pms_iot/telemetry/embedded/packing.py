"""Samples of one series as bytes: about 1 to 5 bytes each instead of 17.

Times are kept as differences; a constant step costs nothing. Values that are decimals of few digits, as
sensors send them, become whole numbers and their differences; others are XORed with their predecessor, as
in Gorilla (Pelkonen et al., VLDB 2015). Bytes of equal weight stand together, then zstd. Every float64 and
every instant comes back to the bit; a NaN comes back as a NaN. A checksum tells of damage.
"""

import struct
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

_HEAD = struct.Struct("<BIq")  # version, n, first instant
_VERSION, _RAW = 1, 0
_XORED = 255  # in the place of the number of decimals
_STEADY, _UNSTEADY = b"\1", b"\0"
_ONE, _MANY = b"\1", b"\0"
_EXACT = 2.0**53  # whole numbers beyond it have gaps
_WIDTHS = (np.dtype("u1"), np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))
_POWERS: NDArray[np.float64] = np.power(10.0, np.arange(7))
_zstd = threading.local()

Index = slice | NDArray[np.intp] | NDArray[np.bool_]


class Columns(NamedTuple):
    """Samples of one series: at int64 ns, value float64 (NaN = missing), quality uint8."""

    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    def take(self, index: Index) -> "Columns":
        return Columns(self.at[index], self.value[index], self.quality[index])

    @classmethod
    def concat(cls, parts: "Sequence[Columns]") -> "Columns":
        """The samples of all parts, in the order given."""
        return cls(
            np.concatenate([part.at for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.quality for part in parts]),
        )


def pack(columns: Columns) -> bytes:
    """`columns` must not be empty; any order of time."""
    at, value, quality = columns
    return framed(at, (steps(at), values(value), qualities(quality)))


def lay_down(columns: Columns) -> bytes:
    """As `pack`, for what is packed with others soon: the columns as they are, a tenth of the work."""
    at, value, quality = columns
    head = _HEAD.pack(_RAW, len(at), int(at[0]))
    return b"".join((head, at.tobytes(), value.tobytes(), quality.tobytes()))


def unpack(packed: bytes) -> Columns:
    """Raises ValueError for what `pack` or `lay_down` did not make."""
    if packed[:1] == b"\0":
        return _taken_up(packed)
    reader = Reader(packed)
    return Columns(reader.instants(), reader.values(), reader.qualities())


def _taken_up(raw: bytes) -> Columns:
    _, n, _ = _HEAD.unpack_from(raw)
    if len(raw) != _HEAD.size + 17 * n:
        raise ValueError("samples are cut short")
    at = np.frombuffer(raw, np.int64, n, _HEAD.size)
    value = np.frombuffer(raw, np.float64, n, _HEAD.size + 8 * n)
    return Columns(at, value, np.frombuffer(raw, np.uint8, n, _HEAD.size + 16 * n))


def framed(at: NDArray[np.int64], parts: Iterable[bytes]) -> bytes:
    """The parts, compressed together, behind the number of rows and the first instant."""
    return _HEAD.pack(_VERSION, len(at), int(at[0])) + _compressor().compress(b"".join(parts))


def steps(at: NDArray[np.int64]) -> bytes:
    """Instants as their differences; the first stands in the head."""
    apart = np.diff(at)
    if len(apart) and (apart == apart[0]).all():
        return _STEADY + struct.pack("<q", int(apart[0]))
    return _UNSTEADY + whole_numbers(apart)


def values(value: NDArray[np.float64]) -> bytes:
    """Floats, with a mask of those that are NaN."""
    missing = np.isnan(value)
    if missing.any():
        return _MANY + np.packbits(missing).tobytes() + _floats(value[~missing])
    return _ONE + _floats(value)


def qualities(quality: NDArray[np.uint8]) -> bytes:
    """One byte if all are the same."""
    same = (quality == quality[0]).all()
    return _ONE + quality[:1].tobytes() if same else _MANY + quality.tobytes()


def whole_numbers(whole: NDArray[np.int64]) -> bytes:
    """A byte that tells the width, then the numbers, small ones of either sign small (zigzag)."""
    zigzag = ((whole << 1) ^ (whole >> 63)).view(np.uint64)
    most = int(zigzag.max()) if len(zigzag) else 0
    width = next(i for i, kind in enumerate(_WIDTHS) if most < 256**kind.itemsize)
    return bytes([width]) + _shuffled(zigzag.astype(_WIDTHS[width]))


def decimals_of(value: NDArray[np.float64]) -> int | None:
    """The fewest decimals, six at most, that say every value to the bit; None if none do."""
    # A look at a few rules out most powers of ten, nearly always all wrong ones.
    for decimals in np.flatnonzero(_are_decimals(value[:8, None], _POWERS)).tolist():
        if _are_decimals(value[:, None], _POWERS[decimals : decimals + 1])[0]:
            return decimals
    return None


def _are_decimals(value: NDArray[np.float64], power: NDArray[np.float64]) -> NDArray[np.bool_]:
    """For each power whether every value is a whole number of its parts; value is (n, 1)."""
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.rint(value * power)
        same = (whole / power).view(np.int64) == value.view(np.int64)
    return (same & (np.abs(whole) < _EXACT)).all(axis=0)


def _floats(value: NDArray[np.float64]) -> bytes:
    decimals = decimals_of(value)
    if decimals is None:
        bits = value.view(np.uint64)
        before = np.concatenate((np.zeros(1, np.uint64), bits[:-1]))
        return bytes([_XORED]) + _shuffled(bits ^ before)
    whole = np.rint(value * _POWERS[decimals]).astype(np.int64)
    return bytes([decimals]) + whole_numbers(np.diff(whole, prepend=0))


def _shuffled(numbers: NDArray[np.unsignedinteger[Any]]) -> bytes:
    size = numbers.dtype.itemsize
    return numbers.view(np.uint8).reshape(-1, size).T.tobytes() if size > 1 else numbers.tobytes()


class Reader:
    """Takes the parts out of a frame, in the order in which they went in; n rows in each.

    All methods raise ValueError for what was not packed here.
    """

    def __init__(self, packed: bytes) -> None:
        try:
            version, self.n, self._first = _HEAD.unpack_from(packed)
            if version != _VERSION:
                raise ValueError(f"packed samples of version {version}")
            self._data = _decompressor().decompress(packed[_HEAD.size :])
        except (struct.error, zstandard.ZstdError) as error:
            raise ValueError(f"not packed samples: {error}") from error
        self._at = 0

    def instants(self) -> NDArray[np.int64]:
        at = np.empty(self.n, np.int64)
        at[0] = self._first
        if self._take(1) == _STEADY:
            at[1:] = struct.unpack("<q", self._take(8))[0]
        else:
            at[1:] = self.whole_numbers(self.n - 1)
        return np.cumsum(at, out=at)

    def values(self) -> NDArray[np.float64]:
        if self._take(1) == _ONE:
            return self._floats(self.n)
        packed = np.frombuffer(self._take(-(-self.n // 8)), np.uint8)
        there = ~np.unpackbits(packed, count=self.n).astype(np.bool_)
        value = np.full(self.n, np.nan)
        value[there] = self._floats(int(there.sum()))
        return value

    def qualities(self) -> NDArray[np.uint8]:
        if self._take(1) == _ONE:
            return np.full(self.n, self._take(1)[0], np.uint8)
        return np.frombuffer(self._take(self.n), np.uint8)

    def whole_numbers(self, n: int) -> NDArray[np.int64]:
        width = self._take(1)[0]
        if width >= len(_WIDTHS):
            raise ValueError(f"packed numbers of width {width}")
        zigzag = self._unshuffled(_WIDTHS[width], n).astype(np.uint64)
        return (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)

    def _floats(self, n: int) -> NDArray[np.float64]:
        decimals = self._take(1)[0]
        if decimals == _XORED:
            bits = self._unshuffled(_WIDTHS[3], n)
            return np.bitwise_xor.accumulate(bits).view(np.float64) if n else bits.view(np.float64)
        if decimals >= len(_POWERS):
            raise ValueError(f"packed values of {decimals} decimals")
        return np.cumsum(self.whole_numbers(n)) / _POWERS[decimals]

    def _unshuffled(self, kind: "np.dtype[Any]", n: int) -> NDArray[Any]:
        raw = np.frombuffer(self._take(kind.itemsize * n), np.uint8)
        if kind.itemsize == 1:
            return raw
        return np.ascontiguousarray(raw.reshape(kind.itemsize, n).T).view(kind).reshape(n)

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise ValueError("packed samples are cut short")
        self._at += size
        return taken


def _compressor() -> zstandard.ZstdCompressor:
    """Contexts are costly to make, and serve one thread."""
    if not hasattr(_zstd, "compressor"):
        _zstd.compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    return _zstd.compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_zstd, "decompressor"):
        _zstd.decompressor = zstandard.ZstdDecompressor()
    return _zstd.decompressor
