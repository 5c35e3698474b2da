from edge_rig import point
from hypothesis import given, settings
from hypothesis import strategies as st
from pms_edge.polling.planner import Refusals, halves, plan
from pms_edge.profiles.profile import ReadLimits

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


@settings(deadline=None)
@given(POINTS, LIMITS)
def test_every_point_is_covered_once_and_no_block_is_too_long(points, limits):
    blocks = plan(points, limits)
    assert sorted(p for block in blocks for p in block.points) == sorted(points)
    for block in blocks:
        assert block.count <= limits.max_words
        for p in block.points:
            assert p.kind == block.kind
            assert block.start <= p.address and p.end <= block.start + block.count


@settings(deadline=None)
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


@settings(deadline=None)
@given(POINTS)
def test_halving_ends_at_single_addresses_and_loses_no_point(points):
    todo, ends = plan(points, ReadLimits()), []
    while todo:
        block = todo.pop()
        parts = halves(block)
        (ends if len(parts) == 1 else todo).extend(parts)
    assert sorted(p for block in ends for p in block.points) == sorted(points)
    assert all(len({p.address for p in block.points}) == 1 for block in ends)


def coils(*addresses: int, kind: str = "coil"):
    return [point(f"c{at}", at, type="bit", bit=0, kind=kind) for at in addresses]


def test_bits_go_sixteen_to_a_word_and_two_thousand_at_most():
    many = coils(*range(3000))
    assert [b.count for b in plan(many, ReadLimits(125, 0))] == [2000, 1000]
    assert [b.count for b in plan(many, ReadLimits(10, 0))][:2] == [160, 160]
    assert len(plan(coils(*range(500), kind="discrete"), ReadLimits(125, 0))) == 1


@settings(deadline=None)
@given(POINTS, LIMITS, st.sets(st.integers(0, 400), max_size=10))
def test_what_was_refused_is_never_joined_with_anything(points, limits, bad):
    known = Refusals(bad={("holding", at, at + 1) for at in bad})
    blocks = plan(points, limits, known)
    assert sorted(p for block in blocks for p in block.points) == sorted(points)
    for block in blocks:
        inside = block.kind == "holding" and any(block.start <= at < block.end for at in bad)
        assert not inside or len(block.points) == 1


@settings(deadline=None)
@given(POINTS, LIMITS, st.integers(1, 400))
def test_no_block_goes_across_a_cut(points, limits, cut):
    for block in plan(points, limits, Refusals(cuts={("holding", cut)})):
        across = block.kind == "holding" and block.start < cut < block.end
        assert not across or len(block.points) == 1
