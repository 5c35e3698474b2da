"""Columns of names, as pyarrow has them, to numbers."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pms_iot.telemetry.transfer.reading import Name

Codes = tuple[list[str], NDArray[np.int64]]  # the words, and which of them each row has


def dictionary_codes(column: Any) -> Codes:
    """Of a column of text or of a dictionary of text; null is an empty word."""
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # several chunks, or none
        whole = pa.concat_arrays(whole.unify_dictionaries().chunks) if whole.num_chunks else None
    if whole is None:
        return [], np.empty(0, np.int64)
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    words = [str(word) for word in whole.dictionary.to_pylist()]
    if not whole.null_count:
        return words, whole.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    codes = whole.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    return [*words, ""], codes.astype(np.int64)


def joined_names(
    site: Codes | None, asset: Codes | None, point: Codes | None
) -> tuple[list[Name], NDArray[np.int32]]:
    """The names that occur, and which of them each row has."""
    assert asset is not None and point is not None
    rows = len(asset[1])
    sites, site_code = site if site is not None else ([""], np.zeros(rows, np.int64))
    key = (site_code * len(asset[0]) + asset[1]) * len(point[0]) + point[1]
    size = len(sites) * len(asset[0]) * len(point[0])
    if size > 4_000_000:  # rather sort the rows than hold such a table
        found, name = np.unique(key, return_inverse=True)
    else:
        found = np.flatnonzero(np.bincount(key, minlength=size))
        table = np.zeros(size, np.int32)
        table[found] = np.arange(len(found))
        name = table[key]
    names = [
        (
            sites[k // (len(asset[0]) * len(point[0]))],
            asset[0][k // len(point[0]) % len(asset[0])],
            point[0][k % len(point[0])],
        )
        for k in found.tolist()
    ]
    return names, name.astype(np.int32)
