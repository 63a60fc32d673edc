"""Users and tokens as they are made and changed, and the log of it; the first user."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pyotp
import pytest

from cdc.access import credential
from cdc.access.model import AuditFilter, Role, Scope
from cdc.model.errors import AccessRefused, NotFound, UsageError
from support.signing_in import ADDRESS, GOOD, Door


async def test_every_change_is_in_the_log_and_no_secret() -> None:
    door = Door()
    secret = credential.new_totp_secret(lambda size: bytes(range(size)))
    await door.add("Ann", Role.VIEWER)
    await door.accounts.change_role("user:eve", "ann", Role.MANAGER)
    await door.accounts.change_password("user:ann", "ann", "another good one")
    await door.accounts.switch_totp_on("user:ann", "ann", secret)
    await door.accounts.switch_totp_off("cli:root", "ann")
    made, text = await door.accounts.add_token("cli:root", "shop", Scope.READ, timedelta(days=1))
    await door.accounts.remove_token("cli:root", "SHOP")
    await door.accounts.remove_user("cli:root", "ANN")
    entries = [each.entry for each in reversed(await door.store.audit(AuditFilter(), 100))]
    expires = (door.clock.now() + timedelta(days=1)).isoformat()
    assert [(each.actor, each.action, each.subject, each.detail) for each in entries] == [
        ("cli:root", "user.add", "user:Ann", {"role": "viewer"}),
        ("user:eve", "user.role", "user:Ann", {"role": "manager", "former": "viewer"}),
        ("user:ann", "user.password", "user:Ann", {}),
        ("user:ann", "user.totp", "user:Ann", {"on": True}),
        ("cli:root", "user.totp", "user:Ann", {"on": False}),
        ("cli:root", "token.add", "token:shop", {"id": made.id, "scope": "read", "expires_at": expires}),
        ("cli:root", "token.remove", "token:shop", {"id": made.id}),
        ("cli:root", "user.remove", "user:Ann", {}),
    ]
    for planted in (GOOD, "another good one", secret, text, text.removeprefix("cdct_")):
        assert planted not in str(entries)


async def test_bad_names_and_passwords_change_nothing() -> None:
    door = Door()
    await door.add()
    before = await door.store.user("ann")
    for attempt in (
        door.accounts.add_user("a", "b b", Role.VIEWER, GOOD),
        door.accounts.add_user("a", "bob", Role.VIEWER, "short"),
        door.accounts.add_user("a", "ANN", Role.VIEWER, GOOD),
        door.accounts.change_password("a", "ann", "annannannann"),
        door.accounts.add_token("a", "cdct_x", Scope.READ),
    ):
        with pytest.raises(UsageError):
            await attempt
    for attempt in (
        door.accounts.change_password("a", "bob", GOOD),
        door.accounts.change_role("a", "bob", Role.VIEWER),
        door.accounts.switch_totp_off("a", "bob"),
        door.accounts.remove_user("a", "bob"),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await door.store.users() == [before]
    assert len(await door.store.audit(AuditFilter(), 100)) == 1


async def test_an_app_proves_that_it_knows_the_secret() -> None:
    door = Door()
    await door.add()
    secret = credential.new_totp_secret(lambda size: bytes(range(size)))
    code = pyotp.TOTP(secret).at(door.clock.now())
    with pytest.raises(UsageError, match="code"):
        await door.accounts.switch_totp_on("a", "ann", secret, "12345")
    user = await door.store.user("ann")
    assert user is not None
    assert user.totp_secret == ""
    await door.accounts.switch_totp_on("a", "ann", secret, code)
    with pytest.raises(AccessRefused):
        await door.enter(code=code)


async def test_a_token_expires() -> None:
    door = Door()
    _, text = await door.accounts.add_token("a", "shop", Scope.MANAGE, timedelta(days=1))
    door.clock.advance(86_399)
    assert await door.sign_in.token(text, address=ADDRESS) is not None
    door.clock.advance(1)
    assert await door.sign_in.token(text, address=ADDRESS) is None


# -- the first user -------------------------------------------------------------------------------------------------


async def test_the_set_up_link_makes_a_manager_once() -> None:
    door = Door()
    secret = await door.accounts.offer_setup()
    assert secret is not None
    assert secret not in str(vars(door.store))
    with pytest.raises(UsageError):
        await door.accounts.set_up(secret, "ann", "short")
    user = await door.accounts.set_up(secret, "ann", GOOD)
    assert user.role is Role.MANAGER
    with pytest.raises(AccessRefused, match="does not work"):
        await door.accounts.set_up(secret, "eve", GOOD)
    assert await door.accounts.offer_setup() is None
    (entry,) = await door.store.audit(AuditFilter(), 10)
    assert (entry.entry.actor, entry.entry.action) == ("setup", "user.add")
    await door.enter()


async def test_one_link_and_many_at_once() -> None:
    door = Door()
    secret = await door.accounts.offer_setup() or ""
    tries = [door.accounts.set_up(secret, f"user-{number}", GOOD) for number in range(5)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, AccessRefused) for result in results) == 4
    assert len(await door.store.users()) == 1


@pytest.mark.parametrize("what", ["another", "no secret", "expired", "replaced", "somebody"])
async def test_links_that_do_not_work(what: str) -> None:
    door = Door()
    secret = await door.accounts.offer_setup() or ""
    if what == "another":
        secret = secret[:-1] + ("A" if secret[-1] != "A" else "E")
    elif what == "no secret":
        secret = ""
    elif what == "expired":
        door.clock.advance(3600)
    elif what == "replaced":
        assert await door.accounts.offer_setup() != secret
    else:
        await door.add()
    before = await door.store.users()
    with pytest.raises(AccessRefused, match="does not work"):
        await door.accounts.set_up(secret, "eve", GOOD)
    assert await door.store.users() == before
