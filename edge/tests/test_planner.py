from edge_rig import point
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.planner import halves, plan
from pms_edge.profiles import ReadLimits

KINDS = st.sampled_from(["holding", "input"])
POINTS = st.lists(
    st.builds(
        lambda address, type, kind: point(f"p{address}", address, type=type, kind=kind),
        st.integers(0, 400),
        st.sampled_from(["u16", "u32", "f64"]),
        KINDS,
    ),
    min_size=1,
    max_size=40,
)
LIMITS = st.builds(ReadLimits, st.integers(4, 125), st.integers(0, 30))


@given(POINTS, LIMITS)
def test_every_point_is_covered_once_and_no_block_is_too_long(points, limits):
    blocks = plan(points, limits)
    assert sorted(p for block in blocks for p in block.points) == sorted(points)
    for block in blocks:
        assert block.count <= limits.max_words
        for p in block.points:
            assert p.kind == block.kind
            assert block.start <= p.address and p.end <= block.start + block.count


@given(POINTS, LIMITS, st.integers(0, 400), st.integers(0, 50))
def test_no_block_touches_a_forbidden_register(points, limits, first, length):
    forbidden = set(range(first, first + length + 1))
    points = [p for p in points if not forbidden & set(range(p.address, p.end))]
    limits = limits._replace(no_read=((first, first + length),))
    for block in plan(points, limits):
        assert not forbidden & set(range(block.start, block.start + block.count))


def test_small_holes_are_read_over_and_large_ones_not():
    points = [point("a", 0), point("b", 17), point("c", 35)]
    blocks = plan(points, ReadLimits(120, 16))
    assert [(block.start, block.count) for block in blocks] == [(0, 18), (35, 1)]


@given(POINTS)
def test_halving_ends_at_single_addresses_and_loses_no_point(points):
    todo, ends = plan(points, ReadLimits()), []
    while todo:
        block = todo.pop()
        parts = halves(block)
        (ends if len(parts) == 1 else todo).extend(parts)
    assert sorted(p for block in ends for p in block.points) == sorted(points)
    assert all(len({p.address for p in block.points}) == 1 for block in ends)
