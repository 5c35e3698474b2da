"""Snapshots of state: bit by bit what was saved, all of one moment, and only what has changed written."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import col, delete, select

from pms_iot.kernel.db import reading, transaction
from pms_iot.kernel.snapshots import (
    AT_ONCE,
    PIECE,
    State,
    StateSnapshot,
    load_snapshot,
    save_snapshot,
    save_snapshots,
)

AT = datetime(2026, 3, 1, tzinfo=UTC)


def noise(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def save(core: Engine, minute: int = 0, **states: bytes) -> None:
    given = {name: State("v1", state) for name, state in states.items()}
    save_snapshots(core, AT + timedelta(minutes=minute), given)


def load(core: Engine, name: str) -> bytes | None:
    with reading(core) as session:
        return load_snapshot(session, name, "v1")


def rows(core: Engine) -> dict[str, datetime]:
    with reading(core) as session:
        return dict(session.exec(select(StateSnapshot.name, StateSnapshot.at)).all())


@pytest.mark.parametrize(
    "size", [0, 1, PIECE - 1, PIECE, PIECE + 1, (2 * AT_ONCE + 1) * PIECE, 9 * PIECE + 7]
)
def test_a_state_of_any_size_comes_back_bit_by_bit(core: Engine, size: int) -> None:
    save(core, rules=noise(size, 1), silence=b"[]")
    assert load(core, "rules") == noise(size, 1)
    save(core, rules=b"small again", silence=b"[1]")
    assert (load(core, "rules"), load(core, "silence")) == (b"small again", b"[1]")
    assert rows(core).keys() == {"rules", "silence"}, "no piece is left behind"


def test_only_what_has_changed_is_written(core: Engine) -> None:
    before = bytearray(noise(6 * PIECE, 2))
    save(core, rules=bytes(before))
    old = rows(core)
    save(core, 1, rules=bytes(before))
    assert rows(core) == old
    before[3 * PIECE] ^= 1
    save(core, 2, rules=bytes(before))
    assert load(core, "rules") == before
    new = rows(core)
    assert len(new) == len(old)
    assert len(new.items() - old.items()) == 2, "the list and one piece"


def test_equal_pieces_are_kept_once(core: Engine) -> None:
    save(core, rules=bytes(20 * PIECE) + b"end")
    assert load(core, "rules") == bytes(20 * PIECE) + b"end"
    assert len(rows(core)) == 3


def test_a_state_of_another_configuration_is_none(core: Engine) -> None:
    save(core, rules=noise(3 * PIECE, 3))
    with reading(core) as session:
        assert load_snapshot(session, "rules", "v2") is None


def test_a_state_saved_whole_by_an_older_version_is_read_and_replaced(core: Engine) -> None:
    with transaction(core) as session:
        save_snapshot(session, "rules", "v1", AT, noise(3 * PIECE, 4))
        save_snapshot(session, "disk", "1", AT, b"ok")
    assert load(core, "rules") == noise(3 * PIECE, 4)
    save(core, rules=noise(3 * PIECE, 5))
    assert load(core, "rules") == noise(3 * PIECE, 5)
    assert "disk" in rows(core)


def test_pieces_of_a_save_that_was_cut_short_are_cleaned_up(core: Engine) -> None:
    save(core, rules=noise(3 * PIECE, 6))
    with transaction(core) as session:
        save_snapshot(session, "rules#of-a-crash", "v1", AT, b"half")
    assert load(core, "rules") == noise(3 * PIECE, 6)
    save(core, rules=noise(3 * PIECE, 7))
    assert "rules#of-a-crash" not in rows(core)
    assert load(core, "rules") == noise(3 * PIECE, 7)


def test_a_state_that_lacks_a_piece_is_none_and_the_next_save_is_whole(core: Engine) -> None:
    save(core, rules=noise(3 * PIECE, 8))
    lost = next(name for name in rows(core) if "#" in name)
    with transaction(core) as session:
        session.exec(delete(StateSnapshot).where(col(StateSnapshot.name) == lost))
    assert load(core, "rules") is None
    save(core, rules=noise(3 * PIECE, 8))
    assert load(core, "rules") == noise(3 * PIECE, 8)
