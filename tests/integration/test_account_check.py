"""`cdc doctor` warns of accounts that can read the databases of several sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cdc.config import SourceConfig
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole
from cdc.model.finding import Severity
from cdc.runtime.capture import installer_of
from cdc.runtime.doctor import account_findings
from support.consumer import database_url
from support.database import Database
from support.grants import PrintedGrants

PASSWORD = "p4ssw0rd"
Accounts = Callable[..., dict[str, str]]


class Site:
    """Two sources on one server, ``acme`` and ``shop``, each with an account that is called like a shared one."""

    def __init__(self, databases: list[Database]) -> None:
        self.databases = databases
        self.postgres = databases[0].flavour == "postgresql"
        self.users = [f"cdc_all_{each.name}"[:32] for each in databases]
        for database, user in zip(databases, self.users, strict=True):
            database.execute("CREATE TABLE item (id INT PRIMARY KEY)")
            create = "CREATE ROLE {} LOGIN PASSWORD '{}'" if self.postgres else "CREATE USER '{}' IDENTIFIED BY '{}'"
            database.execute(create.format(user, PASSWORD))
            self.may_read(database, user)

    def may_read(self, database: Database, user: str) -> None:
        table = "item" if self.postgres else f"{database.name}.item"
        database.execute(f"GRANT SELECT (id) ON {table} TO {user}")

    def findings(self, *users: str, **options: str) -> dict[str, tuple[Severity, str, str]]:
        infos = (each.info.as_user(user, PASSWORD) for each, user in zip(self.databases, users, strict=False))
        sources = []
        for name, info in zip(("acme", "shop"), infos, strict=False):
            sources.append(SourceConfig.model_validate({"url": database_url(info), **options}))
            sources[-1].call(name)
        return {each.check: (each.severity, each.detail, each.fix) for each in account_findings(sources)}


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    second = f"{database.name}_b"
    database.execute(f"CREATE DATABASE {second}")
    other = Database(database.server, second)
    there: Any = None
    try:
        there = Site([database, other])
        yield there
    finally:
        other.close()
        database.execute(f"DROP DATABASE {second}")
        for user in there.users if there else ():
            database.execute(f"DROP OWNED BY {user}; DROP ROLE {user}" if there.postgres else f"DROP USER '{user}'")


def test_an_account_for_each_source_is_fine(site: Site) -> None:
    assert site.findings(*site.users) == {"accounts": (Severity.OK, "2 of 2 read one source's database at most", "")}
    assert site.findings(site.users[0]) == {}, "one source: nothing to tell apart"


def test_a_shared_account_is_one_finding(site: Site) -> None:
    first, other = site.databases
    site.may_read(other, site.users[0])
    ((check, (severity, detail, fix)),) = site.findings(site.users[0], site.users[0]).items()
    assert (check, severity) == (f"account {site.users[0]}", Severity.WARNING)
    assert "databases of 2 sources (acme, shop): one stolen account reads them all" in detail
    assert "cdc grants" in fix
    found = site.findings(*site.users)
    assert set(found) == {f"account {site.users[0]}", "accounts"}, "also where its own source does not use it so"
    assert first.execute("SELECT * FROM item") == []


def test_accounts_in_use_keep_names_and_passwords_and_the_risk_is_named(site: Site) -> None:
    first, other = site.databases
    configured = {AccountRole.CONSUMER: first.info.as_user(site.users[0], PASSWORD)}
    alone = installer_of(first.info).grants([Capture("item")], AccountChoice("acme", configured))
    site.may_read(other, site.users[0])
    shared = installer_of(first.info).grants([Capture("item")], AccountChoice("acme", configured))
    for text in (alone, shared):
        assert f"-- {site.users[0]} exists: its password stays." in text
        assert PASSWORD not in text
        assert list(PrintedGrants.read(text).passwords) == ["cdc_acme_installer"]
    assert f"WARNING: {site.users[0]}, in use already" in shared
    assert "WARNING" not in alone


def test_rights_by_a_pattern_a_role_or_everybody_count(site: Site) -> None:
    first, other = site.databases
    if site.postgres:
        other.execute("GRANT SELECT ON item TO PUBLIC")
        assert set(site.findings(*site.users)) == {f"account {site.users[0]}", "accounts"}
        other.execute(f"REVOKE CONNECT ON DATABASE {other.name} FROM PUBLIC")
        assert set(site.findings(*site.users)) == {"accounts"}, "it cannot connect"
        other.execute(
            f"GRANT {site.users[1]} TO {site.users[0]}; GRANT CONNECT ON DATABASE {other.name} TO {site.users[1]}"
        )
    else:
        first.execute(f"GRANT SELECT ON `{first.name}%%`.* TO {site.users[0]}", ())
    assert set(site.findings(*site.users)) == {f"account {site.users[0]}", "accounts"}


def test_an_account_that_reads_the_log_is_named(site: Site) -> None:
    user = site.users[0]
    site.databases[0].execute(
        f"ALTER ROLE {user} REPLICATION" if site.postgres else f"GRANT REPLICATION SLAVE ON *.* TO {user}"
    )
    severity, detail, fix = site.findings(*site.users)[f"account {user}"]
    assert severity is Severity.WARNING
    assert "the server's log, with the rows of 2 sources" in detail
    assert 'capture = "triggers"' in fix
