"""Passwords."""

from pms_iot.kernel.auth import hash_password, verify_password


def test_only_the_right_password_fits_its_hash() -> None:
    stored = hash_password("滨河-correct horse")
    assert stored.startswith("$argon2id$") and "horse" not in stored
    assert verify_password("滨河-correct horse", stored)
    assert not verify_password("滨河-correct horsf", stored)


def test_two_hashes_of_one_password_differ() -> None:
    assert hash_password("same") != hash_password("same")


def test_endless_password_is_refused_without_hashing() -> None:
    stored = hash_password("x" * 1025)
    assert not verify_password("x" * 1025, stored)
