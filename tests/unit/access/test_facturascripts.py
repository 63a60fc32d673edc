"""PHP's password hashes."""

from __future__ import annotations

from unittest.mock import Mock

import bcrypt
import pytest
from argon2 import PasswordHasher

from cdc.access.password import FacturaScriptsUser, PhpPasswords, bounded

# The examples of password_verify in PHP's manual.
BY_PHP = "$2y$07$BCryptRequires22Chrcte/VlQH0piJtjXl.0t1XkA8pw9dMXTpOq"
BY_PHP_7 = "$2y$10$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a"
ARGON2 = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("rasmuslerdorf")


@pytest.fixture
def light_decoy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of a second for each password that fits nothing is for those who guess."""
    monkeypatch.setattr("cdc.access.password._DECOY", f"$2b$04${'.' * 53}")


def php_bcrypt(password: bytes, cost: int = 4) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode().replace("$2b$", "$2y$")


@pytest.mark.parametrize("stored", [BY_PHP, BY_PHP_7, ARGON2], ids=["bcrypt", "bcrypt of PHP 7", "argon2"])
def test_hashes_of_php_fit_their_password(stored: str) -> None:
    php = PhpPasswords()
    assert php.fits("rasmuslerdorf", stored)
    for other in ("", "Rasmuslerdorf", "rasmuslerdorf ", "rasmuslerdorf\0"):
        assert not php.fits(other, stored)


def test_bcrypt_looks_at_72_bytes_as_php_does() -> None:
    php, stored = PhpPasswords(), php_bcrypt(b"x" * 72)
    assert php.fits("x" * 72, stored)
    assert php.fits("x" * 80, stored)
    assert not php.fits("x" * 71, stored)
    assert php.fits("ñ" * 10, php_bcrypt("ñ".encode() * 10))


def test_no_hash_takes_as_long_as_phps_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Mock(return_value=True)
    monkeypatch.setattr(bcrypt, "checkpw", checked)
    assert not PhpPasswords().fits("secret", "")
    assert checked.call_args.args[1].startswith(b"$2b$12$")


@pytest.mark.usefixtures("light_decoy")
@pytest.mark.parametrize(
    "stored",
    [
        "", "secret", "$1$abc$def", "5ebe2294ecd0e0f08eab7690d2a6ee69", "$2y$10$short", "$2y$31$" + "." * 53,
        "$2y$99$" + "." * 53, "$argon2id$v=19$m=99999999,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAA",
        "$argon2id$v=19$nonsense$A$A", "$argon2id$", "$2y$15$" + "." * 53,
        "$argon2id$v=19$m=65536,t=4000000,p=1$AAAAAAAAAAA$AAAAAAAAAAA",
        "$argon2id$v=19$m=262144,t=5,p=1$AAAAAAAAAAA$AAAAAAAAAAA", "$argon2id$v=19$m=8,t=1,p=9$AAAAAAAAAAA$AAAAAAAAAAA",
    ],
)  # fmt: skip
def test_nothing_fits_what_is_no_hash_or_would_take_the_server_down(stored: str) -> None:
    assert not bounded(stored)
    php = PhpPasswords()
    for password in ("", "secret", stored):
        assert not php.fits(password, stored)


def test_heavy_hash_slows_nobody_else_down() -> None:
    """A planted one of four million passes: neither its user's sign-in nor that of others waits for it."""
    php, planted = PhpPasswords(), "$argon2id$v=19$m=65536,t=4000000,p=1$AAAAAAAAAAA$AAAAAAAAAAA"
    assert not php.fits("secret", planted)
    assert php.fits("rasmuslerdorf", BY_PHP)
    assert not php.fits("rasmuslerdorf", "")


def test_nothing_secret_is_shown() -> None:
    assert "planted" not in repr(FacturaScriptsUser("ann", True, True, "planted-1", "planted-2"))
