"""Decoding wire v1: what is understood, what is refused and named, and that the fast path changes nothing."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.tables import Point
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.wire import AHEAD_NS, OLDEST_NS, Header, WireMessage, decode
from tests.register import small_register

NOW = 1_700_000_000_000_000_000
TOPIC = "pms/v1/riverside/gw-01/data"
LIFT = "elevator,site=riverside,asset=EL-01"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> SeriesCatalog:
    return small_register(Path(tmp_path_factory.mktemp("register")))


def message(*lines: str, n: int, seq: int = 57, base: int = 41) -> bytes:
    head = f"#pms1 gw=gw-01 epoch=9f3a1c2b seq={seq} n={n} base={base}"
    return ("\n".join([head, *lines]) + "\n").encode()


def samples(message: WireMessage, catalog: SeriesCatalog) -> list[tuple[str, float, int, int]]:
    batch = message.batch
    columns = (
        batch.series.tolist(),
        batch.value.tolist(),
        batch.quality.tolist(),
        batch.at.tolist(),
    )
    return [(catalog.info(s).point, v, q, t) for s, v, q, t in zip(*columns, strict=True)]


def test_a_message_becomes_a_header_and_samples_in_order(catalog: SeriesCatalog) -> None:
    payload = message(
        f"{LIFT} motor_temp=45.2,run=1.0,q=192i {NOW}",
        f"{LIFT} car_vib=-0.5,q=64i {NOW + 1}",
        n=3,
    )
    decoded = decode(TOPIC, payload, catalog, NOW)
    assert (decoded.site, decoded.gateway, decoded.lane) == ("riverside", "gw-01", "data")
    assert decoded.header == Header("gw-01", "9f3a1c2b", seq=57, n=3, base=41)
    assert samples(decoded, catalog) == [
        ("motor_temp", 45.2, 192, NOW),
        ("run", 1.0, 192, NOW),
        ("car_vib", -0.5, 64, NOW + 1),
    ]
    assert decoded.unknown == () and decoded.refused == {}


def test_bad_points_are_missing_samples_of_quality_zero(catalog: SeriesCatalog) -> None:
    payload = message(
        f'{LIFT} bad="motor_temp,car_vib",q=0i {NOW}', f"{LIFT} run=1,q=192i {NOW}", n=3
    )
    decoded = decode(TOPIC, payload, catalog, NOW)
    points = [(point, quality) for point, _, quality, _ in samples(decoded, catalog)]
    assert points == [("motor_temp", 0), ("car_vib", 0), ("run", 192)]
    assert np.isnan(decoded.batch.value).tolist() == [True, True, False]
    assert decoded.refused == {}


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "NaN", "1e999", "-1e999"])
def test_what_is_not_a_number_is_missing_and_counted(catalog: SeriesCatalog, text: str) -> None:
    payload = message(f"{LIFT} motor_temp={text},run=1.0,q=192i {NOW}", n=2)
    decoded = decode(TOPIC, payload, catalog, NOW)
    assert decoded.batch.quality.tolist() == [0, 192]
    assert np.isnan(decoded.batch.value).tolist() == [True, False]
    assert decoded.refused == {"not_a_number": 1}


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (0, "too_old"),
        (-1, "too_old"),
        (OLDEST_NS - 1, "too_old"),
        (NOW + AHEAD_NS + 1, "in_future"),
    ],
)
def test_wrong_times_are_refused_and_the_rest_goes_on(
    catalog: SeriesCatalog, at: int, reason: str
) -> None:
    payload = message(f"{LIFT} p0=1,p1=2,q=192i {at}", f"{LIFT} p0=3,q=192i {NOW}", n=3)
    decoded = decode(TOPIC, payload, catalog, NOW)
    assert decoded.refused == {reason: 2}
    assert decoded.batch.value.tolist() == [3.0]


@pytest.mark.parametrize("at", [OLDEST_NS, NOW + AHEAD_NS])
def test_times_on_the_bounds_are_taken(catalog: SeriesCatalog, at: int) -> None:
    decoded = decode(TOPIC, message(f"{LIFT} p0=1,q=192i {at}", n=1), catalog, NOW)
    assert decoded.batch.at.tolist() == [at]


def test_unknown_assets_and_fields_are_listed_and_the_rest_goes_on(catalog: SeriesCatalog) -> None:
    payload = message(
        f"{LIFT} p0=1,colour=7,q=192i {NOW}",
        f"{LIFT} p0=2,colour=8,q=192i {NOW + 1}",
        f'elevator,site=riverside,asset=EL-07 bad="p0",q=0i {NOW}',
        f"elevator,site=riverside,asset=EL-99 motor_temp=4,q=192i {NOW}",  # of another site
        n=6,
    )
    decoded = decode(TOPIC, payload, catalog, NOW)
    assert decoded.batch.value.tolist() == [1.0, 2.0]
    assert {(u.asset, u.field): (u.count, u.last_value) for u in decoded.unknown} == {
        ("EL-01", "colour"): (2, 8.0),
        ("EL-07", "p0"): (1, None),
        ("EL-99", "motor_temp"): (1, 4.0),
    }


def test_a_point_is_known_once_the_register_has_it(tmp_path: Path) -> None:
    catalog = small_register(tmp_path)
    payload = message(f"{LIFT} colour=7,q=192i {NOW}", n=1)
    assert len(decode(TOPIC, payload, catalog, NOW).unknown) == 1
    asset_id = next(info.asset_id for info in catalog.all() if info.asset == "EL-01")
    with transaction(open_engine(f"sqlite:///{tmp_path / 'register.db'}")) as session:
        session.add(Point(asset_id=asset_id, key="colour", label_zh="颜色", label_en="colour"))
    catalog.refresh()
    decoded = decode(TOPIC, payload, catalog, NOW)
    assert samples(decoded, catalog) == [("colour", 7.0, 192, NOW)]


def test_line_protocol_of_others_needs_no_header(catalog: SeriesCatalog) -> None:
    payload = f'# comment\nelevator,asset=EL-01,host=pi p0=1i,p1=t,note="ok" {NOW}\r\n'.encode()
    decoded = decode(TOPIC, payload, catalog, NOW)
    assert decoded.header is None
    assert samples(decoded, catalog) == [("p0", 1.0, 192, NOW), ("p1", 1.0, 192, NOW)]
    assert decoded.refused == {"text": 1}


GOOD_LINE = f"{LIFT} p0=1,q=192i {NOW}"


@pytest.mark.parametrize(
    ("payload", "reason", "place"),
    [
        (b"\xff\xfe", "not_utf8", "line 1"),
        (message(GOOD_LINE, n=1) + b"\xc3(", "not_utf8", "line 3"),
        (b"", "empty", ""),
        (b"#pms2 gw=gw-01\n", "version", "line 1"),
        (message(n=0).replace(b" base", b" encoding=zstd base"), "encoding", "line 1"),
        (message(n=0).replace(b"gw-01", b"gw-02"), "gateway", "line 1"),
        (message(n=0).replace(b"gw=gw-01 ", b""), "gateway", "line 1"),
        (message(n=0).replace(b"epoch=9f3a1c2b", b"epoch=xyz"), "header", "epoch"),
        (message(n=0).replace(b"epoch=9f3a1c2b ", b""), "header", "epoch"),
        (message(n=0).replace(b"seq=57", b"seq=-1"), "header", "seq"),
        (message(n=0).replace(b"seq=57", b"seq=1.5"), "header", "seq"),
        (message(n=0).replace(b"n=0", b"n=many"), "header", "n="),
        (message(n=0).replace(b" base=41", b""), "header", "base"),
        (message(n=0, seq=3, base=4), "header", "base"),
        (message(n=0, seq=3, base=0), "header", "base"),
        (message(GOOD_LINE, n=2), "count", "n=2"),
        (message(n=1), "count", "n=1"),
        (message(GOOD_LINE, "garbage", n=2), "malformed_line", "line 3"),
        (message(GOOD_LINE, f"{LIFT} p0=one,q=192i {NOW}", n=2), "malformed_line", "line 3"),
        (message(f"{LIFT} p0=1,q=192i", n=1), "malformed_line", "line 2"),
        (message(f"{LIFT} p0=1,q=192i 99999999999999999999", n=1), "malformed_line", "line 2"),
        (message(f"{LIFT} p0=1,q=192i 9999999999999999999", n=1), "malformed_line", "line 2"),
        (message(f"{LIFT} p0=1,q=999i {NOW}", n=1), "malformed_line", "quality"),
        (message(f'{LIFT} p0=1,q="x" {NOW}', n=1), "malformed_line", "quality"),
        (message(f"{LIFT} p0=,q=192i {NOW}", n=1), "malformed_line", "line 2"),
        (message(f"{LIFT} p0= {NOW}", n=1), "malformed_line", "line 2"),
        (message(f"{LIFT} p0=null,q=192i {NOW}", n=1), "malformed_line", "line 2"),
        (message(f"{LIFT} p0=[1],q=192i {NOW}", n=1), "malformed_line", "line 2"),
        (message(f"{LIFT} p0,1=p1=2 {NOW}", n=2), "malformed_line", "line 2"),
        (message(f"{LIFT} p0=1=2,p1 {NOW}", n=2), "malformed_line", "line 2"),
        (message(f"{LIFT} =1 {NOW}", n=1), "malformed_line", "line 2"),
        (message(f"elevator,site=riverside p0=1,q=192i {NOW}", n=1), "malformed_line", "asset"),
        (
            message(f"elevator,site=hill,asset=EL-01 p0=1,q=192i {NOW}", n=1),
            "malformed_line",
            "hill",
        ),
        (message(f'{LIFT} bad="p0,q=0i {NOW}', n=1), "malformed_line", "line 2"),
    ],
)
def test_a_bad_message_is_refused_whole_naming_the_place(
    catalog: SeriesCatalog, payload: bytes, reason: str, place: str
) -> None:
    with pytest.raises(BadPayloadError) as caught:
        decode(TOPIC, payload, catalog, NOW)
    assert caught.value.reason == reason
    assert place in caught.value.detail


@pytest.mark.parametrize(
    "topic", ["pms/v1/riverside/gw-01/state", "pms/v2/a/b/data", "pms/v1/a/data"]
)
def test_other_topics_are_refused(catalog: SeriesCatalog, topic: str) -> None:
    with pytest.raises(BadPayloadError, match="topic"):
        decode(topic, message(n=0), catalog, NOW)


# --- the fast path against a plain parser, written letter by letter -------------------------------


def plain_parse(line: str) -> tuple[dict[str, str], list[tuple[str, float | str]], int]:
    """Line protocol as its reference describes it, one letter after the other."""
    parts, words, word, i, quoted = [], [], "", 0, False
    while i < len(line):
        letter, after = line[i], line[i + 1 : i + 2]
        if quoted:
            if letter == "\\" and after in ('"', "\\"):
                word += after
                i += 1
            else:
                quoted = letter != '"'
                word += letter if quoted else ""
        elif letter == "\\" and after in (",", "=", " ") and after:
            word += after
            i += 1
        elif letter == '"':
            quoted, word = True, word + "\0"  # marks a text
        elif letter in ",= ":
            words.append((word, letter))
            word = ""
            if letter == " ":
                parts.append(words)
                words = []
        else:
            word += letter
        i += 1
    head, fields = parts
    tags = {head[k][0]: head[k + 1][0] for k in range(1, len(head), 2)}
    found = [(fields[k][0], plain_value(fields[k + 1][0])) for k in range(0, len(fields), 2)]
    return tags, found, int(word)


def plain_value(text: str) -> float | str:
    if text.startswith("\0"):
        return text[1:]
    if text.lower() in ("t", "true", "f", "false"):
        return float(text.lower() in ("t", "true"))
    return float(text[:-1] if re.fullmatch(r"-?\d+i", text) else text)


def plain_samples(lines: list[str]) -> list[tuple[str, str, float, int, int]]:
    found: list[tuple[str, str, float, int, int]] = []
    for line in lines:
        tags, fields, at = plain_parse(line)
        quality = next((int(v) for name, v in fields if name == "q"), 192)
        bad: list[str] = []
        for name, value in fields:
            if name == "bad" and isinstance(value, str):
                bad += value.split(",")
            elif name != "q" and not isinstance(value, str):
                missing = not math.isfinite(value)
                found.append(
                    (
                        tags["asset"],
                        name,
                        math.nan if missing else value,
                        0 if missing else quality,
                        at,
                    )
                )
        found += [(tags["asset"], name, math.nan, 0, at) for name in bad]
    return found


def escaped(text: str) -> str:
    return re.sub(r"([,= ])", r"\\\1", text)


PLACES = [
    ("EL-01", [f"p{i}" for i in range(6)]),
    ("B S=1,α", ["flow", "in,let p=1", "temp.anomaly"]),
]
numbers = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(
        ["0.0", "-0.0", "-0", "00", "1.", ".5", "+1", "1e5", "5e-324", "123456789012345678901"]
    ),
)
odd = st.one_of(
    st.floats().map(repr),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: f"{n}i"),
    st.sampled_from(["t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=8).map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ),
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    asset, points = draw(st.sampled_from(PLACES))
    names = draw(st.lists(st.sampled_from(points), min_size=1, max_size=5))
    values = numbers if draw(st.booleans()) else numbers | odd
    fields = [f"{escaped(name)}={draw(values)}" for name in names]
    if draw(st.booleans()):
        fields.append(f"q={draw(st.sampled_from([192, 64, 0]))}i")
    if draw(st.booleans()) and draw(st.booleans()):
        fields = [
            f'bad="{",".join(draw(st.lists(st.sampled_from(PLACES[0][1]), min_size=1)))}"',
            "q=0i",
        ]
        asset = PLACES[0][0]
    if draw(st.booleans()):
        fields.reverse()
    at = draw(st.integers(OLDEST_NS, NOW + AHEAD_NS))
    return f"elevator,site=riverside,asset={escaped(asset)} {','.join(fields)} {at}"


@settings(max_examples=200, deadline=None)
@given(st.lists(lines(), min_size=1, max_size=12))
def test_fast_and_exact_reading_agree_with_a_plain_parser(
    catalog: SeriesCatalog, text: list[str]
) -> None:
    batch = decode(TOPIC, "\n".join(["# by others", *text, GOOD_LINE]).encode(), catalog, NOW).batch
    places = [(catalog.info(s).asset, catalog.info(s).point) for s in batch.series.tolist()]
    expected = plain_samples([*text, GOOD_LINE])
    assert places == [(asset, point) for asset, point, *_ in expected]
    assert batch.at.tolist() == [at for *_, at in expected]
    assert batch.quality.tolist() == [quality for *_, quality, _ in expected]
    value = np.array([value for _, _, value, _, _ in expected])
    np.testing.assert_array_equal(batch.value, value)
    np.testing.assert_array_equal(np.signbit(batch.value), np.signbit(value))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_payload_breaks_the_decoder(catalog: SeriesCatalog, payload: bytes) -> None:
    for body in (payload, b"#pms1 gw=gw-01 epoch=9f3a1c2b seq=57 n=1 base=41\n" + payload):
        try:
            decode(TOPIC, body, catalog, NOW)
        except BadPayloadError as error:
            assert error.reason
