"""Failed sign-ins are in the audit log: bounded, with their address, and without anything that was typed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import pyotp
import pytest

from cdc.access.credential import new_secret, new_token
from cdc.access.failures import MOST_NETWORKS, WINDOW
from cdc.access.model import AuditFilter, Role, Scope
from cdc.admin.accounts import Accounts
from cdc.model.audit import RecordedEntry
from cdc.model.errors import AccessRefused, OutboxUnavailable, TooManyAttempts
from support.browsing import visiting
from support.managing import managing
from support.memory_outbox import MemoryAccess, MemoryOutbox
from support.signing_in import GOOD, Door, Theirs

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
TYPED = "Tr0ub4dor&3 typed"
REFUSED = AuditFilter(action="session.refused")


async def refused(store: MemoryAccess) -> list[RecordedEntry]:
    return list(reversed(await store.audit(REFUSED, 1000)))


def same(size: int) -> bytes:
    return b"x" * size


Attempt = Callable[[Door, str], Awaitable[object]]
#: Attempt → how it was tried, and the account that is named.
ATTEMPTS: dict[str, tuple[Attempt, str, str]] = {
    "wrong password": (lambda d, a: d.enter("Ann", TYPED, address=a), "password", "user:ann"),
    "password typed as the name": (lambda d, a: d.enter(TYPED, "", address=a), "password", "sign-in"),
    "wrong code": (lambda d, a: d.enter("totp", GOOD, "000000", address=a), "code", "user:totp"),
    "no code": (lambda d, a: d.enter("totp", GOOD, address=a), "code", "user:totp"),
    "administrator of FacturaScripts": (lambda d, a: d.enter("admin", TYPED, address=a), "password", "user:admin"),
    "clerk of FacturaScripts": (lambda d, a: d.enter("clerk", GOOD, address=a), "password", "user:clerk"),
    "no user of FacturaScripts": (lambda d, a: d.enter("admin ' OR 1", GOOD, address=a), "password", "sign-in"),
    "own password": (lambda d, a: d.sign_in.check_password("ann", TYPED, address=a), "password", "user:ann"),
    "proxy": (lambda d, a: d.sign_in.with_header(TYPED, address=a), "header", "sign-in"),
    "portal link": (lambda d, a: d.sign_in.with_portal_link(new_secret(bytes), address=a), "portal", "sign-in"),
    "expired token": (lambda d, a: d.sign_in.token(new_token(same), address=a), "token", "token:shop"),
    "unknown token": (lambda d, a: d.sign_in.token(new_token(bytes), address=a), "token", "sign-in"),
}


async def door_with_everybody() -> Door:
    theirs = Theirs()
    theirs.add("admin", GOOD)
    theirs.add("clerk", GOOD, admin=False)
    door = Door(theirs)
    await door.add()
    await door.add("totp")
    await door.accounts.switch_totp_on("cli:root", "totp", SECRET)
    await Accounts(door.store, door.clock, random=same).add_token("cli:root", "shop", Scope.READ, timedelta(days=1))
    door.clock.advance(86_400)
    return door


@pytest.mark.parametrize("attempt", ATTEMPTS)
async def test_each_failure_is_recorded_without_what_was_typed(attempt: str) -> None:
    try_, by, account = ATTEMPTS[attempt]
    door = await door_with_everybody()
    for address in ("::ffff:192.0.2.9", "192.0.2.9", "192.0.2.9"):
        with suppress(AccessRefused):
            assert await try_(door, address) is None
    door.clock.advance(WINDOW)
    stop = asyncio.Event()
    stop.set()
    await door.sign_in.failures.run(stop)
    first, more = await refused(door.store)
    assert (first.entry.actor, first.entry.subject) == ("stranger", account)
    assert first.entry.detail == {"by": by, "address": "192.0.2.9"}
    assert more.entry.subject == account
    assert (more.entry.detail["count"], more.entry.detail["by"], more.entry.detail["address"]) == (2, by, "192.0.2.9")
    written = json.dumps([each.entry.detail for each in await door.store.audit(AuditFilter(), 100)])
    assert TYPED not in written
    assert GOOD not in written


async def test_no_success_is_recorded_as_a_failure() -> None:
    door = await door_with_everybody()
    await door.enter()
    await door.enter("totp", GOOD, pyotp.TOTP(SECRET).at(door.clock.now()))
    await door.enter("admin")
    _, text = await door.accounts.add_token("cli:root", "other", Scope.READ)
    assert await door.sign_in.token(text, address="192.0.2.1") is not None
    assert await refused(door.store) == []


@pytest.mark.parametrize(
    ("addresses", "most"),
    [
        (["192.0.2.1"] * 5000, 2),
        ([f"2001:db8::{number:x}" for number in range(5000)], 2),  # one customer's network
        ([f"2001:db8:{number:x}::1" for number in range(5000)], 2 * MOST_NETWORKS + 1),
        ([f"10.{number // 250}.{number % 250}.1" for number in range(5000)], 2 * MOST_NETWORKS + 1),
        ([f"fe80::1%{'x' * number}" for number in range(2000)], 2),
        (["\x1b[31m" * number for number in range(100)], 2 * MOST_NETWORKS + 1),
    ],
    ids=["one address", "one IPv6 network", "many IPv6 networks", "many addresses", "scopes", "no addresses"],
)
async def test_no_attack_floods_the_log(addresses: list[str], most: int) -> None:
    door = Door()
    for number, address in enumerate(addresses):
        await door.sign_in.failures.record("password", address, f"user:{number}")
    stop = asyncio.Event()
    stop.set()
    await door.sign_in.failures.run(stop)
    entries = await refused(door.store)
    assert len(entries) <= most
    assert sum(each.entry.detail.get("count", 1) for each in entries) == len(addresses)


async def test_attempts_within_a_pause_are_counted() -> None:
    door = Door()
    await door.add()
    for _ in range(30):
        with suppress(AccessRefused, TooManyAttempts):
            await door.enter("ann", "wrong")
    door.clock.advance(WINDOW)
    with pytest.raises(AccessRefused):
        await door.enter("ann", "wrong")
    assert [each.entry.detail.get("count", 1) for each in await refused(door.store)] == [1, 29, 1]


async def test_an_outbox_that_is_away_loses_no_count() -> None:
    door = Door()
    append = door.store.append

    async def away(*_: object) -> int:
        raise OutboxUnavailable("It does not answer.")

    door.store.append = away  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(AccessRefused):
            await door.enter("ann", "wrong")
    door.clock.advance(WINDOW)
    await door.sign_in.failures.record("token", "192.0.2.1")
    door.store.append = append  # type: ignore[method-assign]
    stop = asyncio.Event()
    stop.set()
    await door.sign_in.failures.run(stop)
    assert [each.entry.detail["count"] for each in await refused(door.store)] == [4]


async def test_page_and_api_record_the_client_behind_a_trusted_proxy_only() -> None:
    for proxies, address in ((["127.0.0.0/8"], "203.0.113.7"), ([], "127.0.0.1")):
        async with managing(MemoryOutbox(), web={"trusted_proxies": proxies}) as managed:
            forged = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
            bearer = {"Authorization": f"Bearer {new_token(bytes)}"}
            async with visiting(managed) as nobody:
                assert (await nobody.sign_in("ann", TYPED, headers=forged)).status == 401
            assert (await managed.ask("GET", "/endpoints", None, headers=forged | bearer)).status == 401
            assert await managed.access.user("ann") is not None
            entries = await managed.access.audit(REFUSED, 10)
            assert [(each.entry.subject, each.entry.detail["address"]) for each in entries] == [("user:ann", address)]
            async with visiting(managed, "ann") as ann:
                shown = (await ann.get("/audit")).text
                assert "Sign-in refused" in shown
                assert TYPED not in shown
            assert Role.MANAGER in {each.role for each in await managed.access.users()}
