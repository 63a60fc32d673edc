"""Required second factor: a user without one sets it up or signs out, and reaches nothing else by any page or form."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pyotp
import pytest

from cdc.access.model import Origin, Role, Scope
from cdc.access.sign_in import SignIn
from cdc.model.errors import AccessRefused
from cdc.pages.application import routes
from cdc.pages.page import Route
from support.browsing import Visitor, visiting
from support.managing import API, PASSWORD, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.signing_in import ADDRESS, GOOD, Door, Theirs

ALL = {"require_2fa": "all"}
#: All that is open: the form, its answer, and the way out.
OPEN = {("GET", "/account"), ("POST", "/account/totp-on"), ("POST", "/sign-out")}
CLOSED = [each for each in routes() if each.role is not None and (each.method, each.path) not in OPEN]


def path_of(route: Route) -> str:
    """Return an address of the page: for a parameter the first of its values, if they are listed."""
    return re.sub(r"\{\w+(?::\(?(\w+)[^}]*)?\}", lambda found: found[1] or "1", route.path)


async def signed_in(visitor: Visitor, name: str = "ann", code: str = "") -> None:
    assert (await visitor.post("/sign-in", {"name": name, "password": PASSWORD, "code": code})).status == 303


async def enrol(managed: Managed, visitor: Visitor) -> str:
    match = re.search(r'name="secret" value="([A-Z2-7]+)"', (await visitor.get("/account")).text)
    assert match
    code = pyotp.TOTP(match[1]).at(managed.clock.now())
    assert (await visitor.send("/account/totp-on", {"secret": match[1], "code": code})).status == 303
    managed.clock.advance(60)
    return match[1]


async def test_every_page_and_form_is_closed_until_the_second_factor_is_set_up() -> None:
    async with managing(MemoryOutbox(), web=ALL) as managed, visiting(managed, "ann") as visitor:
        assert len(CLOSED) > 40
        csrf = await visitor.csrf()
        for route in CLOSED:
            path = path_of(route)
            for spelt in (path, f"{path}?to=/account", f"{path}?notice=saved&x=/account/totp-on"):
                if route.method == "GET":
                    shown = await visitor.get(spelt)
                    assert (shown.status, shown.headers.get("Location")) == (303, "/account"), spelt
                else:
                    assert (await visitor.post(spelt, {"csrf": csrf})).status == 403, spelt
        shown = await visitor.get("/account")
        assert "/account/password" not in shown.text
        assert 'href="/people"' not in shown.text
        assert "Two-step verification is required" in shown.text
        secret = await enrol(managed, visitor)
        assert (await visitor.get("/")).headers["Location"].startswith("/sign-in"), "the former session has ended"
        await signed_in(visitor, code=pyotp.TOTP(secret).at(managed.clock.now()))
        assert (await visitor.get("/people")).status == 200


async def test_second_factor_stays_on_and_is_not_replaced_by_a_session() -> None:
    async with managing(MemoryOutbox(), web=ALL) as managed, visiting(managed, "ann") as visitor:
        secret = await enrol(managed, visitor)
        await signed_in(visitor, code=pyotp.TOTP(secret).at(managed.clock.now()))
        managed.clock.advance(60)
        other = pyotp.random_base32()
        replaced = {"secret": other, "code": pyotp.TOTP(other).at(managed.clock.now())}
        for path, form in (
            ("/account/totp-off", {"present": PASSWORD}),
            ("/account/totp-off", {}),
            ("/account/totp-on", replaced),
            ("/account/totp-on", {"secret": "", "code": ""}),
            ("/account/totp-on", {"secret": other, "code": "000000"}),
        ):
            assert (await visitor.send(path, form)).status == 422, (path, form)
        user = await managed.access.user("ann")
        assert user is not None
        assert user.totp_secret == secret


async def test_rule_follows_the_role_and_an_administrators_command_recovers() -> None:
    async with managing(MemoryOutbox(), web={"require_2fa": "managers"}) as managed:
        async with visiting(managed, "bob") as bob:
            assert (await bob.get("/endpoints")).status == 200
            await managed.accounts.change_role("cli:root", "bob", Role.MANAGER)
            assert (await bob.get("/endpoints")).headers["Location"] == "/account"
        async with visiting(managed, "ann") as ann:
            secret = await enrol(managed, ann)
            await signed_in(ann, code=pyotp.TOTP(secret).at(managed.clock.now()))
            await managed.accounts.switch_totp_off("cli:root", "ann")
            assert (await ann.get("/endpoints")).headers["Location"].startswith("/sign-in")
            await signed_in(ann)
            assert (await ann.get("/endpoints")).headers["Location"] == "/account"


async def test_open_stream_ends_when_a_second_factor_becomes_necessary() -> None:
    async with (
        managing(MemoryOutbox(), web={"require_2fa": "managers"}) as managed,
        visiting(managed, "bob") as bob,
        bob.session.get(f"{bob.root}/live/events") as stream,
    ):
        assert stream.status == 200
        await managed.accounts.change_role("cli:root", "bob", Role.MANAGER)
        await managed.clock.begun.wait()
        managed.clock.advance(1)
        await stream.content.read()  # to its end


async def test_tokens_work_and_a_session_is_none_at_the_api() -> None:
    async with managing(MemoryOutbox(), web=ALL) as managed, visiting(managed, "ann") as visitor:
        assert (await managed.ask("GET", "/endpoints", Scope.READ)).status == 200
        for headers in (
            {},
            {"Authorization": f"Bearer {visitor.cookie}"},
            {"Authorization": f"Bearer cdct_{visitor.cookie}"},
        ):
            assert (await visitor.get(f"{API}/endpoints", headers=headers)).status == 401


@pytest.mark.parametrize(("web", "status"), [(ALL, 303), ({"require_2fa": "none"}, 200)])
async def test_first_user_sets_it_up_too(web: dict[str, Any], status: int) -> None:
    async with managing(MemoryOutbox(), web=web) as managed, visiting(managed) as visitor:
        for name in ("ann", "bob"):
            await managed.accounts.remove_user("cli:root", name)
        link = await managed.accounts.offer_setup()
        form = {"name": "eva", "password": PASSWORD, "again": PASSWORD}
        assert (await visitor.post(f"/set-up/{link}", form)).status == 303
        assert (await visitor.get("/people")).status == status


async def test_administrator_of_facturascripts_needs_a_second_factor_there() -> None:
    theirs = Theirs()
    theirs.add("root", GOOD)
    door = Door(theirs)
    before = await door.enter("root")
    strict = SignIn(door.store, door.clock, theirs=theirs, second_factor_for=[Role.MANAGER], passwords=door.passwords)
    door.clock.advance(60)
    assert await strict.session(before.cookie) is None, "begun before it was required"
    with pytest.raises(AccessRefused, match="FacturaScripts"):
        await strict.with_password("root", GOOD, address=ADDRESS)
    secret = pyotp.random_base32()
    theirs.add("root", GOOD, totp_secret=secret)
    code = pyotp.TOTP(secret).at(datetime.fromtimestamp(door.clock.now().timestamp(), UTC))
    entered = await strict.with_password("root", GOOD, code, address=ADDRESS)
    assert entered.session.origin is Origin.FACTURASCRIPTS
    assert await strict.session(entered.cookie) is not None
