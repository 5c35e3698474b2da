"""State as bytes: a JSON header, then the raw arrays. The same state always gives the same bytes."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from io import BytesIO
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
_ALIGN = 4096  # a header that grows a little does not move the arrays behind it


def pack(meta: Any, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """`meta` is anything JSON; the arrays are of any shape and any numeric type."""
    columns = {name: [a.dtype.str, list(a.shape)] for name, a in arrays.items()}
    header = orjson.dumps([meta, columns])
    header += b" " * (-(8 + len(header)) % _ALIGN)
    blobs = [
        np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in arrays.values()
    ]
    return b"".join([len(header).to_bytes(8, "little"), header, *blobs])


def unpack(state: bytes) -> tuple[Any, Arrays]:
    """What `pack` was given; the arrays are new and writable. Raises ValueError for other bytes."""
    start = 8 + int.from_bytes(state[:8], "little")
    meta, columns = orjson.loads(state[8:start])
    arrays: Arrays = {}
    for name, (dtype, shape) in columns.items():
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(state, dtype, count, start)
        arrays[name] = flat.reshape(shape).copy()
        start += flat.nbytes
    return meta, arrays


def bundle(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """Named parts, one behind the other. Each is taken when the one before is in, so parts that are made
    on the way are never all there twice."""
    whole = BytesIO()
    for name, part in parts:
        for content in (name.encode(), part):
            whole.write(len(content).to_bytes(8, "little"))
            whole.write(content)
    return whole.getvalue()


def parts_of(state: bytes) -> Iterator[tuple[str, bytes]]:
    """What `bundle` was given."""
    rest = BytesIO(state)
    while size := rest.read(8):
        name = rest.read(int.from_bytes(size, "little")).decode()
        yield name, rest.read(int.from_bytes(rest.read(8), "little"))


def sealed(content: bytes) -> bytes:
    """The content with its digest before it, so that damage shows."""
    return blake2b(content, digest_size=16).digest() + content


def opened(content: bytes) -> bytes:
    """What `sealed` was given. Raises ValueError if a bit of it has changed."""
    digest, content = content[:16], content[16:]
    if blake2b(content, digest_size=16).digest() != digest:
        raise ValueError("digest does not match")
    return content
