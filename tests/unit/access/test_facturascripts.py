"""PHP's password hashes."""

from __future__ import annotations

import re

import bcrypt
import pytest
from argon2 import PasswordHasher

from cdc.access.facturascripts import FacturaScriptsUser, PhpPasswords, bounded, decoy_of

# The examples of password_verify in PHP's manual.
BY_PHP = "$2y$07$BCryptRequires22Chrcte/VlQH0piJtjXl.0t1XkA8pw9dMXTpOq"
BY_PHP_7 = "$2y$10$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a"
ARGON2 = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("rasmuslerdorf")


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


@pytest.mark.parametrize(
    "stored",
    [
        "", "secret", "$1$abc$def", "5ebe2294ecd0e0f08eab7690d2a6ee69", "$2y$10$short", "$2y$31$" + "." * 53,
        "$2y$99$" + "." * 53, "$argon2id$v=19$m=99999999,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAA",
        "$argon2id$v=19$nonsense$A$A", "$argon2id$",
    ],
)  # fmt: skip
def test_nothing_fits_what_is_no_hash_or_would_take_the_server_down(stored: str) -> None:
    assert not bounded(stored)
    php = PhpPasswords()
    php._decoy = php_bcrypt(b"other")
    for password in ("", "secret", stored):
        assert not php.fits(password, stored)


@pytest.mark.parametrize("stored", [BY_PHP, ARGON2], ids=["bcrypt", "argon2"])
def test_a_decoy_is_as_much_work_and_fits_nothing(stored: str) -> None:
    """Whoever is not there takes as long as the last who was."""
    decoy = decoy_of(stored)
    assert decoy != stored
    assert len(decoy) == len(stored)
    assert re.findall(r"\$07\$|m=\d+,t=\d+,p=\d+", decoy) == re.findall(r"\$07\$|m=\d+,t=\d+,p=\d+", stored)
    php = PhpPasswords()
    assert php.fits("rasmuslerdorf", stored)
    assert php._decoy == decoy
    assert not php.fits("rasmuslerdorf", "")
    assert not php.fits("rasmuslerdorf", decoy)


def test_nothing_secret_is_shown() -> None:
    assert "planted" not in repr(FacturaScriptsUser("ann", True, True, "planted-1", "planted-2"))
