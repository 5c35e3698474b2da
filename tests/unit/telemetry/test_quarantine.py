"""Bad messages and unknown points are kept, bounded and counted; on both databases."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import SQLModel

from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.columns import Unresolved
from pms_iot.telemetry.quarantine import (
    KEPT_BYTES,
    KEPT_MESSAGES,
    quarantine,
    quarantined,
    quarantined_ever,
    record_unknown,
    unknown_points,
)

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def engine(core_url: str) -> Engine:
    engine = open_engine(core_url)
    SQLModel.metadata.create_all(engine)
    return engine


def test_a_bad_message_is_kept_with_its_reason(engine: Engine) -> None:
    with transaction(engine) as session:
        assert quarantined_ever(session) == 0
        quarantine(
            session, "pms/v1/a/b/data", b"\xff\x00", BadPayloadError("not_utf8", "line 1"), AT
        )
    with transaction(engine) as session:
        (row,) = quarantined(session)
        assert (row.topic, row.reason, row.payload, row.received_at) == (
            "pms/v1/a/b/data",
            "not_utf8",
            b"\xff\x00",
            AT,
        )
        assert "line 1" in row.detail


def test_of_a_huge_message_the_beginning_is_kept(engine: Engine) -> None:
    with transaction(engine) as session:
        quarantine(session, "t", b"x" * 10**6, BadPayloadError("header", "line 1"), AT)
        (row,) = quarantined(session)
        assert len(row.payload) == KEPT_BYTES
        assert "1000000 bytes" in row.detail


def test_only_the_newest_are_kept_but_all_are_counted(engine: Engine) -> None:
    total = KEPT_MESSAGES + 7
    with transaction(engine) as session:
        for i in range(total):
            error = BadPayloadError("count", str(i))
            quarantine(session, "t", b"", error, AT + timedelta(seconds=i))
    with transaction(engine) as session:
        rows = quarantined(session, limit=10 * KEPT_MESSAGES)
        assert len(rows) == KEPT_MESSAGES
        assert rows[0].detail.startswith(str(total - 1)) and rows[-1].detail.startswith("7")
        assert quarantined_ever(session) == total


def unresolved(field: str, *values: float) -> Unresolved:
    n = len(values)
    return Unresolved("A", field, np.arange(n), np.array(values), np.full(n, 192, np.uint8))


def test_unknown_points_are_added_up(engine: Engine) -> None:
    later = AT + timedelta(hours=1)
    with transaction(engine) as session:
        record_unknown(session, "s", [unresolved("x", 7.0, 1.5), unresolved("y", math.nan)], AT)
    with transaction(engine) as session:
        record_unknown(session, "s", [unresolved("x", 1.0, 2.0, 2.5)], later)
        record_unknown(session, "s", [], later)
    with transaction(engine) as session:
        x, y = unknown_points(session)
        assert (x.field, x.count, x.last_value, x.first_seen_at, x.last_seen_at) == (
            "x",
            5,
            2.5,
            AT,
            later,
        )
        assert (y.field, y.count, y.last_value) == ("y", 1, None)
