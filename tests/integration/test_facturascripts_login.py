"""FacturaScripts' administrators sign in with what is in their table, on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import bcrypt
import pyotp
import pytest

from cdc.access.model import Origin
from cdc.access.sign_in import SignIn
from cdc.config import SourceConfig
from cdc.model.errors import AccessRefused, SourceError, SourceUnavailable
from cdc.runtime.access import SourceUsers
from support.consumer import database_url
from support.database import Database
from support.manual_clock import ManualClock
from support.memory_outbox import MemoryAccess

PASSWORD, SECRET = "una contraseña", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
INSERT = "INSERT INTO users (nick, password, admin, enabled) VALUES (%s, %s, %s, %s)"


@pytest.fixture(autouse=True)
def light_decoy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of a second for each password that fits nothing is for those who guess."""
    monkeypatch.setattr("cdc.access.password._DECOY", f"$2b$04${'.' * 53}")


def source(database: Database) -> SourceConfig:
    return SourceConfig(url=database_url(database.info))


@pytest.fixture
async def users(erp: Database) -> AsyncIterator[SourceUsers]:
    for nick, admin, enabled in (("jefa", True, True), ("clerk", False, True), ("gone", True, False)):
        erp.execute(INSERT, (nick, HASH, admin, enabled))
    found = SourceUsers(source(erp))
    yield found
    await found.close()


async def test_who_is_found(users: SourceUsers) -> None:
    found = await users.find("jefa")
    assert found is not None
    assert (found.nick, found.admin, found.enabled) == ("jefa", True, True)
    assert (found.password_hash, found.totp_secret) == (HASH, "")
    for nick, flags in (("clerk", (False, True)), ("gone", (True, False))):
        other = await users.find(nick)
        assert other is not None
        assert (other.admin, other.enabled) == flags
    for nobody in ("nobody", "", "x" * 500, "'; DROP TABLE users; --", "jefa'#", "\\", "%"):
        assert await users.find(nobody) is None


async def test_an_administrator_signs_in_and_nobody_else(users: SourceUsers) -> None:
    door = SignIn(MemoryAccess(), ManualClock(), theirs=users)
    entered = await door.with_password("jefa", PASSWORD, address="192.0.2.1")
    assert (entered.session.user, entered.session.origin) == ("jefa", Origin.FACTURASCRIPTS)
    refused = [
        ("jefa", "wrong"),
        ("clerk", PASSWORD),
        ("gone", PASSWORD),
        ("admin", "*"),
        ("JEFA", PASSWORD),
        ("jefá", PASSWORD),
    ]
    for number, (name, password) in enumerate(refused):
        with pytest.raises(AccessRefused):
            await door.with_password(name, password, address=f"198.51.100.{number}")


async def test_the_second_factor_of_facturascripts(erp: Database, users: SourceUsers) -> None:
    on = "UPDATE users SET two_factor_enabled = true, two_factor_secret_key = %s WHERE nick = 'jefa'"
    clock = ManualClock()
    door = SignIn(MemoryAccess(), clock, theirs=users)
    for secret in (SECRET, None):
        erp.execute(on, (secret,))
        with pytest.raises(AccessRefused):
            await door.with_password("jefa", PASSWORD, address="192.0.2.1")
    erp.execute(on, (SECRET,))
    code = pyotp.TOTP(SECRET).at(clock.now())
    assert (await door.with_password("jefa", PASSWORD, code, address="192.0.2.1")).session.user == "jefa"


async def test_a_facturascripts_without_second_factors(erp: Database, users: SourceUsers) -> None:
    for column in ("two_factor_enabled", "two_factor_secret_key"):
        erp.execute(f"ALTER TABLE users DROP COLUMN {column}")
    found = await users.find("jefa")
    assert found is not None
    assert (found.password_hash, found.totp_secret) == (HASH, "")


async def test_a_connection_that_was_lost_is_made_again(erp: Database, users: SourceUsers) -> None:
    assert await users.find("jefa") is not None
    others = {
        "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    }.get(erp.flavour, "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
    kill = "SELECT pg_terminate_backend(%s)" if erp.flavour == "postgresql" else "KILL %s"
    killed = [erp.execute(kill, (number,)) for (number,) in erp.execute(others)]
    assert killed
    assert await users.find("jefa") is not None


@contextmanager
def account(erp: Database, columns: str) -> Iterator[SourceConfig]:
    """Of a source whose account may read these columns of the table only."""
    name = f"{erp.name}_app"
    postgres = erp.flavour == "postgresql"
    erp.execute(
        f"CREATE ROLE {name} LOGIN PASSWORD 'hunter2!'"
        if postgres
        else f"CREATE USER '{name}'@'%%' IDENTIFIED BY 'hunter2!'",
        (),
    )
    table, to = ("users", name) if postgres else (f"{erp.name}.users", f"'{name}'@'%%'")
    erp.execute(f"GRANT SELECT ({columns}) ON {table} TO {to}", ())
    try:
        yield SourceConfig(url=database_url(erp.info.as_user(name, "hunter2!")))
    finally:
        erp.execute(f"DROP OWNED BY {name}" if postgres else f"DROP USER {to}", ())
        if postgres:
            erp.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("columns", ["nick, admin, enabled", "nick, admin, enabled, password, two_factor_enabled"])
async def test_an_account_that_may_not_read_it_gets_a_sentence(columns: str, erp: Database) -> None:
    """Also where only the second factor is hidden: it must not be taken for absent."""
    erp.execute(INSERT, ("jefa", HASH, True, True))
    with account(erp, columns) as restricted:
        users = SourceUsers(restricted)
        with pytest.raises(SourceError, match="cannot be read") as refused:
            await users.find("jefa")
        await users.close()
    assert "SELECT from the table users" in refused.value.hint
    assert "hunter2" not in str(refused.value)


async def test_a_database_that_does_not_answer() -> None:
    for scheme in ("mysql", "postgresql"):
        users = SourceUsers(SourceConfig(url=f"{scheme}://a:hunter2@127.0.0.1:1/fs"))
        with pytest.raises(SourceUnavailable) as refused:
            await users.find("jefa")
        assert "hunter2" not in str(refused.value)
        await users.close()
