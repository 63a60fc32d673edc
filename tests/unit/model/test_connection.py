"""Names of database accounts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.model.connection import (
    LONGEST,
    AccountChoice,
    AccountRole,
    ConnectionInfo,
    Engine,
    KnownAccount,
    Standing,
    own_name,
)
from cdc.model.errors import InstallError

INFO = ConnectionInfo(Engine.MYSQL, "shop", "root")
SOURCES = st.text("ab_-2z", min_size=1, max_size=70) | st.text(min_size=1, max_size=70)


@given(st.lists(SOURCES, min_size=2, unique=True), st.sampled_from(Engine))
def test_names_are_short_enough_and_no_two_sources_share_one(sources: list[str], engine: Engine) -> None:
    digested = own_name("x" * 70, AccountRole.CONSUMER, LONGEST[engine])
    sources.append(digested.removeprefix("cdc_").removesuffix("_consumer"))  # a source that is called like one
    names = [own_name(source, role, LONGEST[engine]) for source in {*sources, "x" * 70} for role in AccountRole]
    assert len({*names}) == len(names)
    assert max(len(name.encode()) for name in names) <= LONGEST[engine]
    assert all(name.isascii() and name.isprintable() and not {*"'\"\\`;"} & {*name} for name in names)


def test_plain_names_are_those_of_the_sources() -> None:
    assert own_name("acme-shop_2", AccountRole.INSTALLER, 32) == "cdc_acme-shop_2_installer"


@pytest.mark.parametrize(
    ("standings", "installed", "expected"),
    [
        ({}, "", ("cdc_acme_installer", True)),
        ({"cdc_acme_installer": Standing.OWN}, "", ("cdc_acme_installer", False)),
        ({"cdc_installer": Standing.SHARED}, "cdc_installer", ("cdc_installer", False)),
        ({"root": Standing.FOREIGN}, "root", ("cdc_acme_installer", True)),
        ({"dba": Standing.OWN}, "cdc_installer", ("dba", False)),
        ({"dba": Standing.ABSENT}, "", ("dba", True)),
        ({"dba": Standing.FOREIGN}, "", ("cdc_acme_installer", True)),
        ({"cdc_acme_installer": Standing.SHARED}, "", (own_name("acme", AccountRole.INSTALLER, 32, "shop"), True)),
    ],
)
def test_accounts_in_use_keep_their_names(
    standings: dict[str, Standing], installed: str, expected: tuple[str, bool]
) -> None:
    configured = {AccountRole.INSTALLER: replace(INFO, user="dba", password="of dba")} if "dba" in standings else {}
    choice = AccountChoice("acme", configured)

    def known(name: str) -> KnownAccount:
        return KnownAccount(standings.get(name, Standing.ABSENT))

    account = choice.account(AccountRole.INSTALLER, INFO, known, installed)
    assert (account.name, bool(account.password)) == expected
    assert account.name != "dba" or account.password in ("", "of dba")


def test_a_shared_account_is_created_once_a_server() -> None:
    choice = AccountChoice("acme", shared=True)
    servers = [INFO, replace(INFO, database="b"), replace(INFO, host="other")]
    absent = KnownAccount(Standing.ABSENT)
    accounts = [choice.account(AccountRole.CONSUMER, each, lambda _: absent) for each in servers]
    assert [each.name for each in accounts] == ["cdc_consumer"] * 3
    assert [bool(each.password) for each in accounts] == [True, False, True]


def test_names_of_other_sources_are_not_taken() -> None:
    with pytest.raises(InstallError, match="rights on other databases than shop"):
        AccountChoice("acme").account(AccountRole.CONSUMER, INFO, lambda _: KnownAccount(Standing.SHARED))
