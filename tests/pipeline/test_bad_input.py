"""Bad input through the real thing: each is counted and visible, and what is sent behind it arrives."""

import json
import time
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from tests.pipeline.serving import Engine, Gateway, temp
from tests.servers import mosquitto

YEAR_NS = 365 * 86_400 * 10**9
DATA = "pms/v1/riverside/gw-01/data"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    directory: Path = tmp_path_factory.mktemp("bad-input")
    with (
        mosquitto(directory / "broker") as broker,
        Engine(directory / "engine", {"PMS_MQTT__PORT": broker.port}) as engine,
    ):
        yield engine


@pytest.fixture(scope="module")
def gateway(engine: Engine) -> Generator[Gateway]:
    gateway = Gateway(int(str(engine.env["PMS_MQTT__PORT"])))
    gateway.wait_acked(gateway.send(temp(20)))
    yield gateway
    gateway.close()


def next_is_processed(gateway: Gateway) -> None:
    gateway.wait_acked(gateway.send(temp(21)))


def header(gateway: Gateway, n: int = 1) -> bytes:
    gateway.seq += 1
    return f"#pms1 gw=gw-01 epoch=9f3a1c2b seq={gateway.seq} n={n} base={gateway.seq}\n".encode()


BAD_BODIES = {  # behind a good header: set aside, and its place in the stream counts as done
    "not a line": (b"what is this\n", "malformed_line", "line 2"),
    "not UTF-8": (b"pump,asset=PU-01 temp=\xff\xfe 1\n", "not_utf8", "line 2"),
    "more samples than n": ((temp(1) + "\n" + temp(2)).encode(), "count", "n=1, but 2"),
    "no sample at all": (b"", "count", "n=1, but 0"),
    "no time": (b"pump,site=riverside,asset=PU-01 temp=1\n", "malformed_line", "line 2"),
    "another site": (temp(1).replace("riverside", "hill").encode(), "malformed_line", "hill"),
    "five megabytes": (b"\x01garbage" * 650_000, "malformed_line", "line 2"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_bad_body_is_set_aside_and_does_not_hold_up_the_stream(
    engine: Engine, gateway: Gateway, case: str
) -> None:
    body, reason, detail = BAD_BODIES[case]
    gateway.publish(header(gateway) + body)
    gateway.wait_acked(gateway.seq)  # the gateway may free it, and sends what comes after it
    next_is_processed(gateway)
    assert_quarantined(engine, DATA, reason, detail)


BAD_HEADERS = {  # nobody can tell whose turn it is: set aside
    "another version": (b"#pms9 gw=gw-01\n", "version", "line 1"),
    "no epoch": (b"#pms1 gw=gw-01 seq=1 n=1 base=1\n", "header", "epoch"),
    "another gateway": (b"#pms1 gw=gw-07 epoch=9f3a1c2b seq=1 n=0 base=1\n", "gateway", "gw-07"),
    "a huge seq": (
        b"#pms1 gw=gw-01 epoch=9f3a1c2b seq=99999999999999999999999 n=0 base=1\n",
        "header",
        "seq",
    ),
    "nothing": (b"", "empty", "neither"),
    "only garbage": (bytes(range(256)) * 20_000, "not_utf8", "line"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_a_bad_header_is_set_aside(engine: Engine, gateway: Gateway, case: str) -> None:
    body, reason, detail = BAD_HEADERS[case]
    gateway.publish(body)
    next_is_processed(gateway)
    assert_quarantined(engine, DATA, reason, detail)


BAD_REPORTS = {
    "health is not JSON": ("health", b"{", "not_json", "line 1"),
    "health is a list": ("health", b"[]", "not_an_object", "health"),
    "health is not UTF-8": ("health", b'{"a":"\xff"}', "not_json", ""),
    "devices are a number": ("health", b'{"devices":5}', "shape", "devices: '5' is not an object"),
    "a device is a number": ("health", b'{"devices":{"PU-01":5}}', "shape", "PU-01"),
    "no spool": ("health", b'{"spool":null}', "shape", "spool"),
    "a text as time": ("birth", b'{"epoch":"9f3a1c2b","started_ns":"x"}', "shape", "started_ns"),
    "true as time": ("birth", b'{"started_ns":true}', "shape", "started_ns"),
    "a number as epoch": ("birth", b'{"epoch":7}', "shape", "epoch: '7' is not text"),
    "an unknown state": ("state", b"asleep", "unknown_state", "asleep"),
}


@pytest.mark.parametrize("case", BAD_REPORTS)
def test_a_bad_report_is_set_aside(engine: Engine, gateway: Gateway, case: str) -> None:
    lane, body, reason, detail = BAD_REPORTS[case]
    gateway.publish(body, lane)
    next_is_processed(gateway)
    assert_quarantined(engine, f"pms/v1/riverside/gw-01/{lane}", reason, detail)


def assert_quarantined(engine: Engine, topic: str, reason: str, detail: str) -> None:
    """The newest bad message is this one, with its reason and place."""
    query = "select topic, reason, detail from quarantined_message order by id desc limit 1"
    ((found_topic, found_reason, found_detail),) = engine.rows(query)
    assert (found_topic, found_reason) == (topic, reason), found_detail
    assert detail in found_detail


def test_unknown_devices_and_fields_are_listed_and_the_rest_is_used(
    engine: Engine, gateway: Gateway
) -> None:
    good = temp(33.5).replace("temp=33.5", "temp=33.5,colour=7")
    gateway.wait_acked(gateway.send(good + "\n" + temp(1, asset="PU-77"), n=3))
    assert set(engine.rows("select site, asset, field, count, last_value from unknown_point")) >= {
        ("riverside", "PU-01", "colour", 1, 7.0),
        ("riverside", "PU-77", "temp", 1, 1.0),
    }


def test_a_message_full_of_unknown_fields_is_no_poison(engine: Engine, gateway: Gateway) -> None:
    """More values than a database takes in one statement, and a name longer than an index takes."""
    names = [f"f{i}" for i in range(40_000)] + ["x" * 9000]
    fields = ",".join(f"{name}=1" for name in names)
    line = temp(1).replace("temp=1", fields)
    gateway.wait_acked(gateway.send(line, n=len(names)), 60)
    ((count, longest),) = engine.rows("select count(*), max(length(field)) from unknown_point")
    assert count >= 40_001 and longest == 200
    next_is_processed(gateway)


def test_values_and_times_that_cannot_be_true_are_counted(engine: Engine, gateway: Gateway) -> None:
    now = time.time_ns()
    bad = [
        temp("NaN", now),
        temp("+Inf", now + 1),
        temp("-Inf", now + 2),
        temp(1, 1_000_000_000),  # 1970
        temp(2, now + YEAR_NS),
        temp('"words"', now + 3),
    ]
    gateway.wait_acked(gateway.send("\n".join(bad), n=len(bad)))
    page = admin_page(engine)
    for counter in ("not_a_number", "too_old", "in_future", "text"):
        assert f"refused_{counter}" in page
    next_is_processed(gateway)


def test_reports_of_strangers_and_far_future_births_stop_nothing(
    engine: Engine, gateway: Gateway
) -> None:
    gateway.publish(b"{}", topic="pms/v1/riverside/gw-99/health")
    gateway.publish(b"{}", topic="pms/v1/nowhere/gw-01/birth")
    gateway.publish(json.dumps({"started_ns": 2**63 - 1}).encode(), "birth")
    gateway.publish(b"{}", topic="pms/v1/riverside/gw-01/other")  # a lane that nobody subscribes to
    next_is_processed(gateway)
    assert "reports_of_unknown_gateways" in admin_page(engine)


def admin_page(engine: Engine) -> str:
    """What a manager sees of all this."""
    with httpx2.Client(base_url=engine.url, follow_redirects=True, timeout=30) as browser:
        answer = browser.post("/login", data={"username": "manager", "password": "correct horse"})
        assert answer.is_success, answer.text[:500]
        page = browser.get("/admin")
        assert page.status_code == 200, page.text[:500]
        return page.text
