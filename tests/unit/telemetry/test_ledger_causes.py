"""From evidence to the causes of a gap."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms_iot.telemetry.ledger.causes import ORDER, Evidence, Gap, name_causes, outside

GAP = Gap(1000, 2000)
SPANS = st.tuples(st.integers(0, 3000), st.integers(0, 1500))
EVIDENCE = st.lists(
    st.builds(
        lambda cause, span: Evidence(cause, span[0], span[0] + span[1]),
        st.sampled_from(ORDER),
        SPANS,
    ),
    max_size=8,
)
UNDATED = st.lists(st.sampled_from(["evicted", "disk_full", "corrupt"]), max_size=2)


@pytest.mark.parametrize(
    ("evidence", "undated", "causes"),
    [
        ([], [], ("unknown",)),
        ([Evidence("gateway", 900, 2100)], [], ("gateway",)),
        ([Evidence("gateway", 2000, 3000), Evidence("engine", 0, 1000)], [], ("unknown",)),
        # A gateway out of reach goes on reading; what it then had to give up is what is missing.
        ([Evidence("gateway", 900, 2100), Evidence("evicted", 1000, 1900)], [], ("evicted", "gateway")),
        # A loss at the edge of a long gap does not explain it.
        ([Evidence("gateway", 900, 2100), Evidence("evicted", 900, 1100)], [], ("gateway", "evicted")),
        ([Evidence("device", 1000, 1200), Evidence("engine", 1200, 1600)], [], ("engine", "device")),
        ([Evidence("device", 1000, 1400)], ["corrupt"], ("corrupt", "device")),
        ([], ["corrupt"], ("corrupt",)),
        # Two halves of one cause make a whole; what overlaps is not counted twice.
        ([Evidence("device", 1000, 1300), Evidence("device", 1700, 2000), Evidence("gateway", 0, 9000)], [], ("device", "gateway")),
        ([Evidence("device", 1000, 1300), Evidence("device", 1000, 1300), Evidence("gateway", 0, 9000)], [], ("gateway", "device")),
    ],
)  # fmt: skip
def test_the_main_cause_is_the_most_telling_that_explains_the_gap(
    evidence: list[Evidence], undated: list[str], causes: tuple[str, ...]
) -> None:
    assert name_causes(GAP, evidence, undated) == causes


@given(EVIDENCE, UNDATED, st.integers(-(10**6), 10**6), st.randoms(use_true_random=False))
def test_neither_order_nor_origin_of_time_matters(evidence, undated, shift, random) -> None:
    expected = name_causes(GAP, evidence, undated)
    moved = [replace(e, start_ns=e.start_ns + shift, end_ns=e.end_ns + shift) for e in evidence]
    random.shuffle(moved)
    gap = Gap(GAP.start_ns + shift, GAP.end_ns + shift)
    assert name_causes(gap, moved, undated[::-1]) == expected


@given(EVIDENCE, UNDATED)
def test_every_cause_that_touches_is_named_once_and_no_other(evidence, undated) -> None:
    causes = name_causes(GAP, evidence, undated)
    touching = {e.cause for e in evidence if max(e.start_ns, 1000) < min(e.end_ns, 2000)}
    assert len(set(causes)) == len(causes)
    assert set(causes) - {"unknown", *undated} <= touching
    assert touching <= set(causes)
    assert ("unknown" in causes) == (not touching and not undated)


@given(EVIDENCE, st.sampled_from(ORDER))
def test_what_lies_elsewhere_changes_nothing(evidence, cause) -> None:
    elsewhere = [Evidence(cause, 0, 1000), Evidence(cause, 2000, 5000)]
    assert name_causes(GAP, [*evidence, *elsewhere]) == name_causes(GAP, evidence)


@given(SPANS, st.lists(SPANS, max_size=6))
def test_what_is_left_outside_is_every_instant_of_it_and_no_other(span, cut) -> None:
    item = Evidence("gateway", span[0], span[0] + span[1], "silent")
    spans = [(start, start + length) for start, length in cut]
    left = outside(item, spans)
    instants = [t for part in left for t in range(part.start_ns, part.end_ns)]
    assert instants == [
        t
        for t in range(item.start_ns, item.end_ns)
        if not any(start <= t < end for start, end in spans)
    ]
    assert all(part.why == "silent" and part.start_ns < part.end_ns for part in left)
