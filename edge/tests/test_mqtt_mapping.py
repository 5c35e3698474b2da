import json
import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_rig import NOW, Rig
from pms_edge.clock import NS
from pms_edge.mqtt_in.filters import covers, fewest, matches
from pms_edge.mqtt_in.messages import Message
from pms_edge.mqtt_in.paths import ABSENT, parse_path, pick
from pms_edge.mqtt_in.stamps import instant_ns
from pms_edge.mqtt_in.values import boolean, number, reader

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)

CLIMATE = """\
  - topic: "{topic}/+/state"
    expire: 5m
    points:
      - {name: temperature, path: "env.t[0]", unit: "°C", range: [-40, 80]}
      - {name: power, path: meter.power, scale: 0.001, unit: kW, event: true}
      - {name: door, path: contact, type: enum, values: {OPEN: 1, CLOSED: 0}}
      - {name: fan, path: '["fan on"]', type: bool}
"""


def test_paths_types_scales_and_words_make_one_line():
    message = {"env": {"t": [21.5]}, "meter": {"power": "453"}, "contact": "Open", "fan on": "OFF"}
    lines = Rig(CLIMATE).take(message, "dev/1/a/state")
    assert lines == ["temperature=21.5,power=0.453,door=1,fan=0,q=192i"]


def test_a_message_with_some_of_its_points_feeds_those():
    rig = Rig(CLIMATE)
    assert rig.take({"contact": "CLOSED"}, "dev/1/x/state") == ["door=0,q=192i"]
    assert rig.counters.all() == {}


def test_what_cannot_be_read_is_bad_and_what_is_out_of_range_uncertain():
    rig = Rig(CLIMATE)
    message = {"env": {"t": [99]}, "meter": {"power": None}, "contact": "ajar", "fan on": 2}
    assert rig.take(message, "dev/1/x/state") == [
        "temperature=99,q=64i",
        'bad="power,door,fan",q=0i',
    ]
    assert rig.counters.all() == {"mqtt_not_a_number": 1, "mqtt_unknown_word": 2}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "malformed_json"),
        (b"\xff", "malformed_json"),
        (b"[" * 90_000, "malformed_json"),
        (b"{}", "no_values"),
        (b"[]", "no_values"),
        (b"7", "no_values"),
        (b'{"env": {"t": []}}', "no_values"),
        (b'{"env": {"t": {"0": 1}}}', "no_values"),
    ],
)
def test_garbage_is_counted_and_costs_nothing_else(body, kind):
    rig = Rig(CLIMATE)
    assert rig.take(body, "dev/1/x/state") == []
    assert rig.counters.all() == {f"mqtt_{kind}": 1}
    assert rig.take({"contact": "OPEN"}, "dev/1/x/state") == ["door=1,q=192i"]


def test_a_device_may_have_several_topics_and_is_named_by_topic_or_id():
    rig = Rig("""\
  - {topic: "{topic}/t", format: plain, points: [{name: temperature, unit: "°C"}]}
  - {topic: "site/{id}/door", format: plain, points: [{name: door, type: bool}]}
""")
    assert rig.device.filters() == ["dev/1/t", "site/R1/door"]
    assert rig.take(b" 21.5 \n", "dev/1/t") == ["temperature=21.5,q=192i"]
    assert rig.take(b"ON", "site/R1/door") == ["door=1,q=192i"]
    assert rig.take(b"ON", "site/R2/door") == [] and rig.known == [False, False]


@pytest.mark.parametrize("body", [b"nan", b"1_000", b"0x10", b"1,5", b"", b"21.5 C", "٣".encode()])
def test_a_plain_value_is_a_whole_number_or_bad(body):
    rig = Rig("  - {format: plain, points: [{name: temperature}]}\n")
    assert rig.take(body) == ['bad="temperature",q=0i']
    assert rig.counters.get("mqtt_not_a_number") == 1


def test_retained_values_are_of_unknown_age():
    rig = Rig(CLIMATE)
    assert rig.take({"contact": "OPEN"}, "dev/1/x/state", retained=True) == []
    assert rig.counters.all() == {"mqtt_retained_ignored": 1}


TIMED = """\
  - time: {path: at, unit: %s}
    expire: 60s
    points: [{name: level, path: level}]
"""


@pytest.mark.parametrize(
    ("unit", "at", "ns"),
    [
        ("s", 1_699_999_990, NOW - 10 * NS),
        ("s", 1_699_999_990.25, NOW - 10 * NS + NS // 4),
        ("ms", 1_699_999_990_001, NOW - 10 * NS + 1_000_000),
        ("ns", 1_699_999_990_000_000_001, NOW - 10 * NS + 1),
        ("iso", "2023-11-14T22:13:10Z", NOW - 10 * NS),
        ("iso", "2023-11-15T06:13:10.5+08:00", NOW - 10 * NS + NS // 2),
    ],
)
def test_a_plausible_device_timestamp_is_taken(unit, at, ns):
    assert Rig(TIMED % unit).take({"at": at, "level": 1}) == [f"level=1,q=192i @{ns}"]


@pytest.mark.parametrize(
    ("unit", "at"),
    [
        ("s", 0),
        ("s", 1_262_304_000),
        ("s", 1_700_000_301),
        ("s", None),
        ("s", True),
        ("s", math.inf),
        ("ms", 1_699_999_990),
        ("iso", "2023-11-14T22:13:10"),
        ("iso", "yesterday"),
        ("iso", 1_699_999_990),
    ],
)
def test_an_implausible_one_makes_the_arrival_uncertain(unit, at):
    rig = Rig(TIMED % unit)
    assert rig.take({"at": at, "level": 1}) == ["level=1,q=64i"]
    assert rig.counters.all() == {"mqtt_implausible_time": 1}


def test_a_clock_that_goes_back_or_stands_still_is_not_believed():
    rig = Rig(TIMED % "s")
    rig.take({"at": 1_699_999_990, "level": 1})
    assert rig.take({"at": 1_699_999_980, "level": 2}) == ["level=2,q=64i"]
    assert rig.take({"at": 1_699_999_990, "level": 3}) == ["level=3,q=64i"]
    assert rig.take({"at": 1_699_999_991, "level": 4}) == [f"level=4,q=192i @{NOW - 9 * NS}"]


def test_a_retained_value_that_says_when_it_was_measured_is_taken_once():
    rig = Rig(TIMED % "s")
    body = {"at": 1_699_999_990, "level": 1}
    assert rig.take(body, retained=True) == [f"level=1,q=192i @{NOW - 10 * NS}"]
    assert rig.take(body, retained=True) == []
    assert rig.expire(49) == []
    assert rig.expire(2) == ['bad="level",q=0i'], "60 s from the measurement, not from now"


def test_a_value_expires_once_and_is_good_again_when_heard():
    rig = Rig(CLIMATE)
    rig.expire(299)
    rig.take({"contact": "OPEN", "fan on": True}, "dev/1/x/state")
    assert rig.expire(2) == ['bad="temperature,power",q=0i'], "never heard since the start"
    assert rig.expire(290) == []
    assert rig.expire(10) == ['bad="door,fan",q=0i']
    assert rig.expire(1000) == []
    assert not rig.feed.health.report(NOW, None)["ok"]
    assert rig.take({"contact": "OPEN"}, "dev/1/x/state") == ["door=1,q=192i"]
    assert rig.feed.health.report(NOW, None)["ok"]
    assert rig.counters.get("mqtt_expired") == 4


def test_without_expire_stale_after_counts_and_without_both_a_value_stands():
    plain = "  - {format: plain, points: [{name: level}]}\n"
    assert Rig(plain, stale=30).expire(31) == ['bad="level",q=0i']
    assert Rig(plain).expire(1e6) == []


def test_a_change_of_an_event_point_goes_out_at_once():
    rig = Rig(CLIMATE)
    rig.take({"meter": {"power": 1}}, "dev/1/x/state")
    lines = rig.take({"meter": {"power": 2}}, "dev/1/x/state")
    assert sorted(lines) == ["power=0.002,q=192i"] * 2, "in the data and as an event"


def test_a_deadband_compares_with_what_any_message_sent_last():
    rig = Rig("""\
  - points:
      - {name: level, path: level, deadband: 1}
      - {name: flow, path: flow}
""")
    rig.take({"level": 10, "flow": 1})
    rig.take({"level": 20})
    assert rig.take({"level": 10, "flow": 1}) == ["flow=1,q=192i", "level=10,q=192i"]
    assert rig.take({"level": 10.5}) == []


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_upset_a_device(body, retained):
    rig = Rig(CLIMATE + TIMED % "iso")
    for topic in ("dev/1", "dev/1/x/state"):
        rig.device.take(Message(topic, body, retained, NOW))


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("env", "meter", "contact", "at", "level"), JSON)
    )
)
def test_no_json_upsets_a_device_and_every_value_is_finite(body):
    rig = Rig(CLIMATE + TIMED % "s")
    for topic in ("dev/1", "dev/1/x/state"):
        for line in rig.take(body, topic):
            assert "nan" not in line.split("bad=")[0] and "inf" not in line


KEYS = st.text(string.ascii_letters + "_", min_size=1)


@given(st.lists(KEYS | st.integers(-5, 5), max_size=6), JSON)
def test_a_path_finds_what_was_put_there(parts, leaf):
    document = leaf
    for part in reversed(parts):
        document = [document] * (abs(part) + 1) if isinstance(part, int) else {part: document}
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).removeprefix(".")
    found = pick(document, parse_path(text))
    assert found is leaf


@given(st.text(max_size=30), JSON)
def test_any_text_is_a_path_or_refused(text, document):
    try:
        path = parse_path(text)
    except ValueError:
        return
    pick(document, path)


@pytest.mark.parametrize("text", [".a", "a..b", "a.", "a[", "a[x]", "a b", "a[0]b", "[", "a" * 300])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match="path"):
        parse_path(text)


def test_odd_keys_have_their_spelling():
    document = {"switch:0": {"1": {"a b": [1, 2]}}}
    assert pick(document, parse_path('switch:0.1["a b"][-1]')) == 2
    assert pick(document, parse_path("switch:0.2")) is ABSENT


@given(JSON)
def test_values_are_finite_or_nan(value):
    for read in (number, boolean, reader("enum", {"ON": 1})):
        found = read(value)
        assert math.isnan(found) or abs(found) < 1e300


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200))
def test_a_number_is_the_same_as_json_or_as_text(value):
    assert number(value) == number(str(value)) == number(json.loads(json.dumps(value)))


@given(JSON, st.sampled_from(["s", "ms", "ns", "iso"]))
def test_an_instant_is_a_whole_number_of_ns_or_none(value, unit):
    found = instant_ns(value, unit)
    assert found is None or 0 < found < 1 << 63


LEVELS = st.lists(st.sampled_from(["a", "b", "", "$s"]), min_size=1, max_size=4)
FILTERS = st.lists(st.sampled_from(["a", "b", "+", ""]), min_size=1, max_size=4)


@given(FILTERS, FILTERS, st.booleans(), st.booleans(), LEVELS)
def test_a_filter_that_covers_another_matches_all_its_topics(wide, narrow, more, some, levels):
    first, second = "/".join(wide + ["#"] * more), "/".join(narrow + ["#"] * some)
    topic = "/".join(levels)
    if covers(first, second) and matches(second, topic):
        assert matches(first, topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "hit"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/c/d", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("+", "a/b", False),
        ("#", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("a/+", "a/", True),
    ],
)
def test_filters_match_as_the_standard_says(topic_filter, topic, hit):
    assert matches(topic_filter, topic) is hit


def test_covered_filters_are_not_subscribed_twice():
    assert fewest(["a/b", "a/+", "a/b", "c/#", "c/d/+", "x"]) == ["a/+", "c/#", "x"]
