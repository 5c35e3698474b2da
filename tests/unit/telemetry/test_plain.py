"""Reading whole messages at once: the same answers as an independent parser, and nothing taken that is not plain."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from line_protocol_parser import parse_line as parse_by_library

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.telemetry.line import parse_line
from pms_iot.telemetry.plain import is_plain, read_plain
from pms_iot.telemetry.wire import OLDEST_NS, decode
from tests.register import small_register

NOW = 1_700_000_000_000_000_000
TOPIC = "pms/v1/riverside/gw-01/data"
PLACES = [
    ("EL-01", ["p0", "p1", "p2", "motor_temp", "car_vib"]),
    ("B S=1,α", ["flow", "in,let p=1", "temp.anomaly"]),
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> SeriesCatalog:
    return small_register(Path(tmp_path_factory.mktemp("register")))


def escaped(text: str) -> str:
    return re.sub(r"([,= ])", r"\\\1", text)


floats = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).map(
    repr
) | st.sampled_from(["-0", "-0.0", "00", "123456789012345678901", "1E5", "12", "-3"])
integers = st.integers(-(2**63) + 1, 2**63 - 1).map(lambda n: f"{n}i")
booleans = st.sampled_from(["t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"])
texts = st.text('ab\\" ,=é#', max_size=6).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)


@st.composite
def line(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    asset, points = draw(st.sampled_from(PLACES))
    names = draw(st.lists(st.sampled_from(points), min_size=1, max_size=4, unique=True))
    fields = [f"{escaped(name)}={draw(values)}" for name in names]
    quality = draw(st.sampled_from(["", "q=192i", "q=64i", "q=0i", "q=195i", "q=1i"]))
    if quality:
        fields.insert(draw(st.sampled_from([0, len(fields)])), quality)
    at = draw(st.integers(OLDEST_NS, NOW))
    return f"elevator,site=riverside,asset={escaped(asset)} {','.join(fields)} {at}"


messages = st.one_of(
    st.lists(line(floats), min_size=1, max_size=8),
    st.lists(line(floats | integers), min_size=1, max_size=8),
    st.lists(line(floats) | line(booleans | texts | integers), min_size=1, max_size=8),
)


def by_library(text: str) -> list[tuple[str, str, float, int, int]]:
    parsed = parse_by_library(text)
    fields = dict(parsed["fields"])
    quality = {192: 192, 64: 64}.get(int(fields.pop("q", 192)) & 192, 0)
    return [
        (parsed["tags"]["asset"], name, float(value), quality, parsed["time"])
        for name, value in fields.items()
        if not isinstance(value, str)
    ]


@settings(max_examples=300, deadline=None)
@given(messages)
def test_a_message_reads_as_an_independent_parser_reads_it(
    catalog: SeriesCatalog, lines: list[str]
) -> None:
    lines = [*lines, f"elevator,asset=EL-01 p0=1 {NOW}"]
    batch = decode(TOPIC, "\n".join(lines).encode(), catalog, NOW).batch
    places = [(catalog.info(s).asset, catalog.info(s).point) for s in batch.series.tolist()]
    columns = batch.value.tolist(), batch.quality.tolist(), batch.at.tolist()
    got = [
        (*place, value, math.copysign(1, value), *rest)
        for place, value, *rest in zip(places, *columns, strict=True)
    ]
    expected = [
        [(a, name, value, math.copysign(1, value), q, at) for a, name, value, q, at in of_line]
        for of_line in map(by_library, lines)
    ]
    # The library does not keep the order of fields within a line.
    assert sorted(got) == sorted(sample for of_line in expected for sample in of_line)
    assert [at for *_, at in got] == [at for of_line in expected for *_, at in of_line]


ACCEPTED = st.from_regex(
    r"\Am,asset=EL-01 ([a-c]=(-?(0|[1-9][0-9]{0,2})(\.[0-9]{1,2}|i)?),){0,2}d=[0-9](,q=192i)? 1[0-9]{18}\Z"
)
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(list(' ,=\n"\\iq-.e1#m\r'))), max_size=3
)


@settings(max_examples=400, deadline=None)
@given(st.lists(ACCEPTED, min_size=1, max_size=4), EDITS, st.booleans())
def test_what_is_read_at_once_is_what_the_lines_say_one_by_one(
    lines: list[str], edits: list[tuple[int, str]], replace: bool
) -> None:
    text = "\n".join(lines) + "\n"
    for place, letter in edits:
        cut = place % len(text)
        text = text[:cut] + letter + text[cut + replace :]
    text = text.removesuffix("\n") + "\n"
    plain = read_plain(text.encode())
    each = text.split("\n")[:-1]
    if all(is_plain(line.encode()) for line in each):
        assert plain is not None
    if plain is None:
        return
    names = plain.names.decode().split("\n")[:-1]
    assert len(names) == len(plain.at) == len(each)
    heads = [name.split(" ")[0] for name in names]
    if any(not re.fullmatch(r"[^#,=]+(,[^,=]+=[^,=]+)*", head) for head in heads):
        return  # not of a plain head: refused by whoever looks the names up
    value = iter(plain.value.tolist())
    for text, name, at, quality, count in zip(
        each, names, plain.at.tolist(), plain.quality.tolist(), plain.counts.tolist(), strict=True
    ):
        if "" in (given := name.split(" ")[1].split("=")[:-1]) or "q" in given[:-1]:
            return  # likewise
        exact = parse_line(text)
        fields = [field for field in exact.fields if field[0] != "q"]
        assert (at, quality, count) == (exact.at, dict(exact.fields).get("q", 192), len(fields))
        assert fields == [(field, next(value)) for field in given if field != "q"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"m,asset=A p0=1 1700000000000000000",  # without its line break
        b"m,asset=A p0=1 9300000000000000000\n",
        b"m,asset=A p0=1 170000000000000000\n",
        b"m,asset=A p0=1 -700000000000000000\n",
        b"m,asset=A p0=1.5i 1700000000000000000\n",
        b"m,asset=A p0=1e5i 1700000000000000000\n",
        b"m,asset=A p0=i 1700000000000000000\n",
        b"m,asset=A p0=1u 1700000000000000000\n",
        b"m,asset=A p0=-0,q=192i 1700000000000000000\n",
        b"m,asset=A p0=1,q=192 1700000000000000000\n",
        b"m,asset=A p0=1,q=193i 1700000000000000000\n",
        b"m,asset=A p0=1,p1 1700000000000000000\n",
        b"m,asset=A p0=1=2,p1 1700000000000000000\n",
        b"m,asset=A p0=,p1=2 1700000000000000000\n",
        b"m,asset=A p0=[1] 1700000000000000000\n",
        b"m,asset=A p0=1e999 1700000000000000000\n",
        b"# a comment\nm,asset=A p0=1 1700000000000000000\n",
    ],
)
def test_what_is_not_plain_is_left_to_the_exact_reading(text: bytes) -> None:
    assert read_plain(text) is None


def test_one_odd_line_leaves_the_order_of_the_others(catalog: SeriesCatalog) -> None:
    lift = "elevator,asset=EL-01"
    lines = [f"{lift} p{i}={i}.5,q=192i {NOW}" for i in range(6)]
    lines[2] = f'{lift} bad="p9",q=0i {NOW}'
    lines[4] = f"{lift} p4=t {NOW - 1}"
    batch = decode(TOPIC, "\n".join(["# by others", *lines, ""]).encode(), catalog, NOW).batch
    points = [catalog.info(series).point for series in batch.series.tolist()]
    assert points == ["p0", "p1", "p9", "p3", "p4", "p5"]
    np.testing.assert_array_equal(batch.value, [0.5, 1.5, math.nan, 3.5, 1.0, 5.5])
    assert batch.at.tolist() == [NOW] * 4 + [NOW - 1, NOW]
