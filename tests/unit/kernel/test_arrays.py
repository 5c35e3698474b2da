"""State as bytes: parts behind one another come out as they went in."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pms_iot.kernel.arrays import bundle, pack, parts_of, unpack


@given(
    st.dictionaries(
        st.text(),
        npst.arrays(
            npst.integer_dtypes() | npst.floating_dtypes(sizes=(32, 64)),
            npst.array_shapes(min_dims=0, min_side=0),
        ),
    )
)
def test_arrays_come_out_as_they_went_in(arrays: dict[str, np.ndarray]) -> None:
    state = pack({"so": 1}, arrays)
    meta, found = unpack(state)
    assert meta == {"so": 1}
    assert pack(meta, found) == state
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable


def test_damage_is_an_error_of_value() -> None:
    state = pack({}, {"noise": np.random.default_rng(1).normal(size=10_000)})
    for damaged in (
        b"",
        state[:5],
        state[:30],
        state[:-9000],
        state[:300] + bytes(9) + state[309:],
    ):
        with pytest.raises(ValueError):
            unpack(damaged)


@given(st.lists(st.tuples(st.text(), st.binary())))
def test_parts_come_out_in_order(parts: list[tuple[str, bytes]]) -> None:
    assert list(parts_of(bundle(parts))) == parts


def test_parts_made_on_the_way_are_not_all_there_twice() -> None:
    size, count = 1 << 20, 16

    def made() -> Iterator[tuple[str, bytes]]:
        for number in range(count):
            yield f"{number}", bytes(size)

    tracemalloc.start()
    try:
        whole = bundle(made())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(whole) > count * size
    assert most < 1.5 * count * size
