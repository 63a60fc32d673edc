"""Passwords of our users: hashes, and what may be a password."""

from __future__ import annotations

import pytest
from argon2 import extract_parameters

from cdc.access.password import Passwords, check_strength
from cdc.model.errors import UsageError

GOOD = "correct horse battery"
QUICK = Passwords(passes=1, kibibytes=64)


def test_a_hash_fits_its_password_only() -> None:
    stored = QUICK.hash(GOOD)
    assert stored.startswith("$argon2id$")
    assert QUICK.hash(GOOD) != stored
    assert QUICK.fits(GOOD, stored)
    for other in ("", GOOD.upper(), f"{GOOD} ", GOOD[:-1], f"{GOOD}\0"):
        assert not QUICK.fits(other, stored)


def test_the_same_password_however_it_is_typed() -> None:
    assert QUICK.fits("contrasen\u0303a larga", QUICK.hash("contraseña larga"))
    assert not QUICK.fits("contrasena larga", QUICK.hash("contraseña larga"))


@pytest.mark.parametrize("stored", ["", "x", "$2y$10$abc", "$argon2id$v=19$m=64,t=1,p=1$AAAA"])
def test_nothing_fits_what_is_no_hash(stored: str) -> None:
    assert not QUICK.fits(GOOD, stored)
    assert not QUICK.fits("", stored)


def test_nobody_fits_where_there_is_no_hash_not_even_by_the_decoys_password() -> None:
    passwords = Passwords(passes=1, kibibytes=64)
    passwords._decoy = passwords.hash(GOOD)
    assert not passwords.fits(GOOD, "")


def test_long_passwords_are_refused_before_they_are_hashed() -> None:
    longest = "abcdefgh" * 32
    stored = QUICK.hash(longest)
    assert QUICK.fits(longest, stored)
    assert not QUICK.fits(longest + "x", stored), "it is not cut"
    assert not QUICK.fits("\ud800" * 300, stored)


def test_hashes_of_other_parameters_count_and_are_outdated() -> None:
    stored = QUICK.hash(GOOD)
    assert not QUICK.outdated(stored)
    stronger = Passwords(passes=2, kibibytes=64)
    assert stronger.outdated(stored)
    assert stronger.fits(GOOD, stored)


def test_an_unknown_user_costs_as_much_as_a_known_one() -> None:
    """The same parameters are the same work."""
    passwords = Passwords()
    assert extract_parameters(passwords._decoy) == extract_parameters(passwords.hash(GOOD))


@pytest.mark.parametrize("password", [GOOD, "qué-lluvia-más-rara", "10 chars..", "x7" + "k" * 20 + "abc"])
def test_good_passwords(password: str) -> None:
    check_strength(password, "ann")


@pytest.mark.parametrize(
    ("password", "name"),
    [
        ("short", "ann"),
        ("nine char", "ann"),
        ("x" * 257, "ann"),
        ("aaaaaaaaaaaa", "ann"),
        ("1212121212121212", "ann"),
        ("josephine.w", "josephine.w"),
        ("JosephineJosephine", "josephine"),
        ("josephine123", "Josephine"),
        ("\uff4aosephine12", "josephine"),
    ],
)
def test_passwords_that_would_be_guessed(password: str, name: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_strength(password, name)
    assert password not in str(refused.value)
