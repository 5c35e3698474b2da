"""What third parties send, as it was recorded, and the file that says what it means."""

import gzip
import math
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.ingestfile import IngestFileError, load_sources
from pms_iot.kernel.db import open_engine
from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.foreign import Foreign, merge
from pms_iot.telemetry.jsonpath import ABSENT, leaves, parse_path, pick
from pms_iot.telemetry.sources import Topic
from pms_iot.telemetry.wire import WireMessage
from tests.register import register

HERE = Path(__file__).parent / "third_party"
S = 10**9
NOW = 1_795_420_800 * S  # 2026-11-23 08:00
PLUG = "shellies/FAN-1/status/switch:0"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> SeriesCatalog:
    file = tmp_path_factory.mktemp("register") / "core.db"
    points = {
        "pump:FAN-1": ["power_kw", "running"],
        "pump:pump-room-pi": ["cpu.usage_idle", "system.n_cpus"],
        "pump:V-1": ["position"],
    }
    return register(open_engine(f"sqlite:///{file}"), {"riverside": points, "hill": {"pump:X": []}})


@pytest.fixture(scope="module")
def foreign(catalog: SeriesCatalog) -> Foreign:
    return Foreign(load_sources(HERE / "ingest.yaml"), catalog)


Sample = tuple[str, str, float, int, int]


def samples(message: WireMessage, catalog: SeriesCatalog) -> set[Sample]:
    """Asset, point, value, quality, seconds before now; known and unknown ones."""
    batch = message.batch
    found: set[Sample] = set()
    columns = batch.series.tolist(), batch.value.tolist(), batch.quality.tolist(), batch.at.tolist()
    for series, value, quality, at in zip(*columns, strict=True):
        info = catalog.info(series)
        found.add((info.asset, info.point, value, quality, (NOW - at) // S))
    for one in message.unknown:
        for value, quality, at in zip(one.value, one.quality, one.at, strict=True):
            found.add((one.asset, one.field, float(value), int(quality), (NOW - int(at)) // S))
    return found


def test_telegraf(foreign: Foreign, catalog: SeriesCatalog) -> None:
    body = (HERE / "telegraf.lp").read_bytes()
    (message,) = foreign.decode("telegraf/east/cpu", body, NOW)
    assert (message.site, message.header, message.refused) == ("riverside", None, {"text": 1})
    assert samples(message, catalog) == {
        ("pump-room-pi", point, value, 192, 0)
        for point, value in {
            "cpu.usage_idle": 97.21813031161473,
            "cpu.usage_iowait": 0.07082152974504249,
            "cpu.usage_user": 1.4872521246458923,
            "mem.available": 2310434816.0,
            "mem.total": 3981795328.0,
            "mem.used_percent": 41.97504901,
            "disk.free": 21474836480.0,
            "disk.used_percent": 27.5,
            "system.load1": 0.15,
            "system.n_cpus": 4.0,
            "system.uptime": 1209600.0,
            "modbus.running": 1.0,
            "modbus.speed": 1450.0,
        }.items()
    }
    assert len(message.batch) == 2


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress, bytes])
def test_a_shelly_plug_packed_or_not(foreign: Foreign, catalog: SeriesCatalog, pack) -> None:
    body = pack((HERE / "shelly_plus_plug.json").read_bytes())
    (message,) = foreign.decode(PLUG, body, NOW)
    assert samples(message, catalog) == {
        ("FAN-1", "power_kw", 0.0089, 192, 21),
        ("FAN-1", "running", 1.0, 192, 21),
        ("FAN-1", "energy_kwh", 6.532 * 0.001, 192, 21),
        ("FAN-1", "last_minute", 45.199, 192, 21),
    }
    assert not message.refused


def test_a_zigbee2mqtt_device_without_a_mapping_gives_all_that_it_says(
    foreign: Foreign, catalog: SeriesCatalog
) -> None:
    body = (HERE / "zigbee2mqtt_leak.json").read_bytes()
    (message,) = foreign.decode("zigbee2mqtt/LEAK-1", body, NOW + 60 * S)
    said = {"battery": 100, "battery_low": 0, "linkquality": 120, "tamper": 0, "voltage": 3005}
    said["water_leak"] = 1
    expected = {("LEAK-1", point, float(value), 192, 0) for point, value in said.items()}
    assert samples(message, catalog) == expected
    assert message.refused == {"text": 1}


@pytest.mark.parametrize(
    ("topic", "body", "point", "value"),
    [
        ("stat/FAN-1/POWER", b"ON", "running", 1.0),
        ("stat/FAN-1/POWER", b" off\n", "running", 0.0),
        ("stat/FAN-1/POWER", b"?", "running", math.nan),
        ("valves/V-1", b'{"state": "OPEN"}', "position", 1.0),
        ("valves/V-1", b'{"state": true}', "position", 1.0),
        ("valves/V-1", b'{"state": "AJAR"}', "position", math.nan),
        (PLUG, b'{"apower": "8.5", "aenergy": {"minute_ts": 1795420779}}', "power_kw", 0.0085),
        (PLUG, b'{"apower": null, "aenergy": {"minute_ts": 1795420779}}', "power_kw", math.nan),
        (PLUG, b'{"apower": "1e999", "aenergy": {"minute_ts": 1795420779}}', "power_kw", math.nan),
    ],
)
def test_values_of_every_type(
    foreign: Foreign, catalog: SeriesCatalog, topic: str, body: bytes, point: str, value: float
) -> None:
    (message,) = foreign.decode(topic, body, NOW)
    ((_, found, number, quality, _),) = samples(message, catalog)
    assert found == point
    assert number == pytest.approx(value, nan_ok=True)
    assert quality == (0 if math.isnan(value) else 192)
    assert message.refused == ({"unreadable": 1} if math.isnan(value) else {})


@pytest.mark.parametrize(
    "at", [b"0", b'"noon"', b"null", b"true", b"1e300", b"1795421200", b"9" * 30]
)
def test_a_time_that_cannot_be_true_makes_the_value_uncertain_at_arrival(
    foreign: Foreign, catalog: SeriesCatalog, at: bytes
) -> None:
    body = b'{"apower": 1000, "aenergy": {"minute_ts": %s}}' % at
    (message,) = foreign.decode(PLUG, body, NOW)
    assert samples(message, catalog) == {("FAN-1", "power_kw", 1.0, 64, 0)}
    assert message.refused == {"implausible_time": 1}


def test_retained_values_count_only_with_a_time_of_their_own(
    foreign: Foreign, catalog: SeriesCatalog
) -> None:
    (message,) = foreign.decode("stat/FAN-1/POWER", b"ON", NOW, retained=True)
    assert (samples(message, catalog), message.refused) == (set(), {"retained": 1})
    body = (HERE / "shelly_plus_plug.json").read_bytes()
    (message,) = foreign.decode(PLUG, body, NOW, retained=True)
    assert len(message.batch) == 2


def test_a_field_named_q_is_a_field_as_any_other(foreign: Foreign, catalog: SeriesCatalog) -> None:
    body = b"power,host=pump-room-pi p=1,q=64i 1795420800000000000\npower,host=pump-room-pi q=-3.5,bad=t 1795420790000000000"
    (message,) = foreign.decode("telegraf/x", body, NOW)
    found = {(point, value, quality) for _, point, value, quality, _ in samples(message, catalog)}
    assert found == {
        ("power.p", 1.0, 192),
        ("power.q", 64.0, 192),
        ("power.q", -3.5, 192),
        ("power.bad", 1.0, 192),
    }


def test_another_sites_asset_is_unknown_and_strange_topics_are_nobodys(foreign: Foreign) -> None:
    (message,) = foreign.decode("zigbee2mqtt/X", b'{"a": 1}', NOW)
    assert [one.asset for one in message.unknown] == ["X"]
    assert foreign.decode("zigbee2mqtt/X/availability", b"online", NOW) == []


@pytest.mark.parametrize(
    ("topic", "body", "reason"),
    [
        (PLUG, b"{", "not_json"),
        (PLUG, b"", "not_json"),
        (PLUG, b"\xff{}", "not_utf8"),
        (PLUG, b"\x1f\x8bgarbage", "encoding"),
        (PLUG, gzip.compress(b" " * (9 << 20)), "too_large"),
        ("telegraf/x", b"cpu,host=pi usage=1", "malformed_line"),
        ("telegraf/x", b"cpu,host=pi usage=1 1795420800000000000\nnonsense", "malformed_line"),
        ("telegraf/x", b"cpu usage=1 1795420800000000000", "malformed_line"),
        ("telegraf/x", b"# nothing\n", "empty"),
    ],
)
def test_poison_is_named(foreign: Foreign, topic: str, body: bytes, reason: str) -> None:
    with pytest.raises(BadPayloadError) as caught:
        foreign.decode(topic, body, NOW)
    assert caught.value.reason == reason


def test_messages_of_a_site_become_one(foreign: Foreign, catalog: SeriesCatalog) -> None:
    bodies = [b'{"apower": %d, "aenergy": {"minute_ts": 1795420779}}' % i for i in (1000, 2000)]
    parts = [foreign.decode(PLUG, body, NOW)[0] for body in [*bodies, b'{"apower": 3000}']]
    merged = merge(parts)
    assert merged.batch.value.tolist() == [1.0, 2.0, 3.0]
    assert merged.refused == {"implausible_time": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:.[", max_size=2), inner)
    ),
    max_leaves=8,
)


@given(
    json_values,
    st.binary(max_size=30) | json_values.map(orjson.dumps),
    st.sampled_from(["a", "a.b", "[0]", 'a["b:"][-1]']),
)
def test_no_message_breaks_the_decoder(
    foreign: Foreign, document: object, body: bytes, path: str
) -> None:
    pick(document, parse_path(path))
    assert all(not isinstance(value, (dict, list)) for value in leaves(document).values())
    for topic in (PLUG, "zigbee2mqtt/Z", "stat/FAN-1/POWER", "valves/V-1", "telegraf/x"):
        try:
            messages = foreign.decode(topic, body, NOW)
        except BadPayloadError as error:
            assert error.reason
        else:
            assert len(messages) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b[0]", 1),
        ("a.b[-1].c", 2),
        ("switch:0.apower", 3),
        ('["odd key"].x', 4),
        ("1.value", 5),
        ("a.nothing", ABSENT),
        ("a.b[7]", ABSENT),
        ("a[0]", ABSENT),
    ],
)
def test_paths(path: str, value: object) -> None:
    document = {
        "a": {"b": [1, {"c": 2}]},
        "switch:0": {"apower": 3},
        "odd key": {"x": 4},
        "1": {"value": 5},
    }
    assert pick(document, parse_path(path)) == value


@pytest.mark.parametrize("path", ["", ".a", "a..b", "a.", "a[", "a[x]", "a b", "a" * 300, "[0]b"])
def test_bad_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(path)


levels = st.lists(st.sampled_from(["a", "b", "pms", "v1", "", "a:0"]), min_size=1, max_size=5)
patterns = st.lists(
    st.sampled_from(["a", "b", "+", "{x}", "{y}", "pms", "v1"]), min_size=1, max_size=4
)


@given(patterns, st.booleans(), levels)
def test_topics_match_as_the_broker_matches_them(
    pattern: list[str], open_ended: bool, topic: list[str]
) -> None:
    mine = Topic("/".join([*pattern, *(["#"] if open_ended else [])]))
    found = mine.match("/".join(topic))
    by_broker = topic_matches_sub(mine.filter, "/".join(topic))
    empty_name = any(p.startswith("{") and t == "" for p, t in zip(pattern, topic, strict=False))
    assert (found is not None) == (by_broker and not empty_name)
    if mine.problem() is None:
        for ours in ("pms/v1/s/g/data", "pms/v1/s/g/ack/data", "pms/v1/s/g/cmd"):
            assert not topic_matches_sub(mine.filter, ours)


GOOD = "sources:\n  - topic: a/{asset}\n    site: s\n"
BROKEN = [
    ("sources: []\n", "ingest.yaml:1: sources: is empty"),
    ("", "ingest.yaml:1: sources: is missing"),
    ("sorces: []\n", "ingest.yaml:1: sorces: unknown key; did you mean 'sources'?"),
    ("sources: [\n", "ingest.yaml:2: "),
    (GOOD + "    sites: s\n", "ingest.yaml:4: sources.0.sites: unknown key"),
    (GOOD + "    format: xml\n", "ingest.yaml:4: sources.0.format: 'xml' is not one of"),
    (GOOD + "    asset: '{room}'\n", "ingest.yaml:4: sources.0.asset: the topic has no {room}"),
    (GOOD + "    asset: '{tag:host}'\n", "ingest.yaml:4: sources.0.asset: the topic has no"),
    (GOOD + "    field: '{field}'\n", "ingest.yaml:4: sources.0.field: has no meaning"),
    (GOOD + "    format: line\n    field: x\n", "ingest.yaml:5: sources.0.field: without {field}"),
    (GOOD + "    format: line\n    time: {path: t, unit: s}\n", "ingest.yaml:5: sources.0.time: has"),
    (GOOD + "    format: plain\n", "ingest.yaml:2: sources.0.points: a plain message has exactly"),
    (GOOD + "    time: {path: t, unit: h}\n", "ingest.yaml:4: sources.0.time.unit: 'h' is not one of"),
    (GOOD + "    points:\n      - {name: x}\n", "ingest.yaml:5: sources.0.points.0.path: json needs"),
    (GOOD + "    points:\n      - {name: x, path: 'a..b'}\n", "ingest.yaml:5: sources.0.points.0.path: 'a..b'"),
    (GOOD + "    points:\n      - {name: x, path: a, type: enum}\n", "ingest.yaml:5: sources.0.points.0.values"),
    (GOOD + "    points:\n      - {name: x, path: a}\n      - {name: x, path: b}\n", "ingest.yaml:6: sources.0.points.1.name: 'x' stands here twice"),
    ("sources:\n  - {topic: 'a/#/b', site: s, asset: x}\n", "ingest.yaml:2: sources.0.topic: # stands"),
    ("sources:\n  - {topic: 'a/x{b}', site: s, asset: x}\n", "ingest.yaml:2: sources.0.topic: the level"),
    ("sources:\n  - {topic: '#', site: s, asset: x}\n", "ingest.yaml:2: sources.0.topic: would take in"),
    ("sources:\n  - {topic: '{asset}/+/#', site: s}\n", "ingest.yaml:2: sources.0.topic: would take in"),
    ("sources:\n  - {topic: 'a/{x}/{x}', site: s, asset: y}\n", "ingest.yaml:2: sources.0.topic: a {name}"),
    ("sources:\n  - {topic: 'a/b', site: s}\n", "ingest.yaml:2: sources.0.asset: the topic has no {asset}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "ingest.yaml"
    file.write_text(text)
    with pytest.raises(IngestFileError) as caught:
        load_sources(file)
    assert any(problem.startswith(said) for problem in caught.value.problems), caught.value.problems


def test_all_mistakes_are_named_at_once_and_a_missing_file_too(tmp_path: Path) -> None:
    file = tmp_path / "ingest.yaml"
    file.write_text(GOOD + "    time: {path: 'a..b', unit: s}\n    points: [{name: x}]\n")
    with pytest.raises(IngestFileError) as caught:
        load_sources(file)
    assert len(caught.value.problems) == 2
    with pytest.raises(IngestFileError, match="cannot be read"):
        load_sources(tmp_path / "none.yaml")
