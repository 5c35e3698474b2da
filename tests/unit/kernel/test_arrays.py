"""State as bytes: parts behind one another come out as they went in."""

import tracemalloc
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from pms_iot.kernel.arrays import bundle, parts_of


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
