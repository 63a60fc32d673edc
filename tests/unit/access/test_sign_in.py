"""Signing in: by password and code, by proxy, by FacturaScripts; what ends a session; attacks on each."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime

import pyotp
import pytest
from structlog.testing import capture_logs

from cdc.access.model import AuditFilter, Origin, Role, Scope
from cdc.access.password import Passwords
from cdc.access.sign_in import SignIn
from cdc.model.errors import AccessRefused, SourceUnavailable, TooManyAttempts
from support.manual_clock import ManualClock
from support.signing_in import ADDRESS, GOOD, Door, Theirs

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


async def test_a_password_opens_a_session() -> None:
    door = Door()
    await door.add()
    entered = await door.enter(" ANN ")
    assert (entered.session.user, entered.session.role, entered.session.origin) == (
        "ann",
        Role.MANAGER,
        Origin.PASSWORD,
    )
    assert await door.sign_in.session(entered.cookie) == entered.session
    assert entered.cookie not in repr(entered)
    assert entered.cookie not in str(vars(door.store))
    (begun, _) = await door.store.audit(AuditFilter(subject="user:ann"), 10)
    assert (begun.entry.action, begun.entry.detail) == ("session.begin", {"by": "password", "address": ADDRESS})
    await door.sign_in.sign_out(entered.cookie)
    assert await door.sign_in.session(entered.cookie) is None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "wrong"),
        ("ann", ""),
        ("bob", GOOD),
        ("", ""),
        ("a\0nn", GOOD),
        ("\ud800", GOOD),
        ("x" * 10_000, GOOD),
        ("proxied", ""),
    ],
)
async def test_every_refusal_reads_the_same(name: str, password: str) -> None:
    door = Door()
    await door.add()
    await door.add("proxied", password=None)
    with capture_logs() as logs, pytest.raises(AccessRefused) as refused:
        await door.enter(name, password)
    assert str(refused.value).startswith("Name, password or code is wrong.")
    assert logs == [{"log_level": "warning", "event": "sign-in refused", "address": ADDRESS, "user": None}]


async def test_every_attempt_is_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: known and unknown, ours and theirs, allowed and not."""
    theirs = Theirs()
    theirs.add("admin", GOOD)
    theirs.add("clerk", GOOD, admin=False)
    theirs.add("gone", GOOD, enabled=False)
    door = Door(theirs)
    await door.add()
    work: list[str] = []
    ours, php = Passwords.fits, type(door.sign_in._php)._check
    monkeypatch.setattr(Passwords, "fits", lambda *args: work.append("ours") or ours(*args))
    monkeypatch.setattr(type(door.sign_in._php), "_check", lambda *args: work.append("theirs") or php(*args))
    for number, name in enumerate(["ann", "bob", "admin", "clerk", "gone", "", "a\0"]):
        with pytest.raises(AccessRefused):
            await door.enter(name, "wrong password", address=f"192.0.2.{number}")
    assert work == ["ours", "theirs"] * 7
    assert len(theirs.asked) == 7


async def test_checks_are_made_in_threads_and_few_at_once() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    class Counting(Passwords):
        def fits(self, password: str, stored: str) -> bool:
            nonlocal running, most
            assert threading.current_thread() is not threading.main_thread()
            with lock:
                running += 1
                most = max(most, running)
            found = super().fits(password, stored)
            with lock:
                running -= 1
            return found

    door = Door(passwords=Counting(passes=1, kibibytes=8192))
    tries = [door.enter(f"user-{number}", address=f"192.0.2.{number}") for number in range(12)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert all(type(result) is AccessRefused for result in results)
    assert 1 <= most <= 2


async def test_too_many_attempts_are_not_even_looked_at() -> None:
    door = Door()
    await door.add()
    for name in ("ann", "Ann", " ann", "ANN "):
        with pytest.raises(AccessRefused, match="wrong"):
            await door.enter(name, "wrong")
    with pytest.raises(TooManyAttempts) as refused:
        await door.enter("ann", GOOD)
    assert refused.value.seconds == 1
    door.clock.advance(1)
    await door.enter("ann", GOOD)
    await door.enter("ann", GOOD)


async def test_an_office_that_signs_in_does_not_wait() -> None:
    door = Door()
    names = [f"user-{number}" for number in range(20)]
    for name in names:
        await door.add(name)
    for name in names:
        assert (await door.enter(name)).session.user == name


async def test_a_burst_of_guesses_at_once_gets_few_looked_at() -> None:
    door = Door()
    await door.add()
    guesses = [door.enter("ann", f"guess {number}", address=f"192.0.2.{number}") for number in range(30)]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(type(result) is AccessRefused for result in results) == 4
    assert sum(type(result) is TooManyAttempts for result in results) == 26


# -- the second factor ----------------------------------------------------------------------------------------------


async def test_a_code_is_asked_for_and_taken_once() -> None:
    door = Door()
    await door.add()
    await door.accounts.switch_totp_on("cli:root", "ann", SECRET)
    code = pyotp.TOTP(SECRET).at(door.clock.now())
    for wrong in ("", "000000" if code != "000000" else "111111"):
        with pytest.raises(AccessRefused, match="Name, password or code is wrong"):
            await door.enter(code=wrong)
    await door.enter(code=code)
    for address in ("192.0.2.7", "192.0.2.8"):
        with pytest.raises(AccessRefused):
            await door.enter(code=code, address=address)
    door.clock.advance(30)
    await door.enter(code=pyotp.TOTP(SECRET).at(door.clock.now()))


async def test_a_code_that_two_use_at_once_lets_one_in() -> None:
    door = Door()
    await door.add()
    await door.accounts.switch_totp_on("cli:root", "ann", SECRET)
    code = pyotp.TOTP(SECRET).at(door.clock.now())
    results = await asyncio.gather(*(door.enter(code=code) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(result, AccessRefused) for result in results) == 2


async def test_a_wrong_password_does_not_use_up_the_code() -> None:
    door = Door()
    await door.add()
    await door.accounts.switch_totp_on("cli:root", "ann", SECRET)
    code = pyotp.TOTP(SECRET).at(door.clock.now())
    with pytest.raises(AccessRefused):
        await door.enter(password="wrong", code=code)
    await door.enter(code=code)


# -- sessions -------------------------------------------------------------------------------------------------------


async def test_a_cookie_that_was_planted_is_worth_nothing() -> None:
    """Session fixation: whoever knows the cookie from before the sign-in does not know the one from after it."""
    door = Door()
    await door.add()
    await door.add("eve")
    planted = (await door.enter("eve")).cookie
    entered = await door.enter("ann", former_cookie=planted)
    assert entered.cookie != planted
    assert await door.sign_in.session(planted) is None
    never_made = "A" * 43
    assert (await door.enter("ann", former_cookie=never_made)).cookie != never_made
    assert await door.sign_in.session(never_made) is None


async def test_a_session_ends_idle_and_in_any_case() -> None:
    door = Door()
    await door.add()
    idle = await door.enter()
    door.clock.advance(2 * 3600)
    assert await door.sign_in.session(idle.cookie) is None
    used = await door.enter()
    for _ in range(11):
        door.clock.advance(3600)
        assert await door.sign_in.session(used.cookie) is not None
    door.clock.advance(3600)
    assert await door.sign_in.session(used.cookie) is None


async def test_a_session_ends_with_the_password_the_second_factor_and_the_user() -> None:
    door = Door()
    await door.add()
    changes = [
        lambda: door.accounts.change_password("cli:root", "ann", "another good one"),
        lambda: door.accounts.switch_totp_on("cli:root", "ann", SECRET),
        lambda: door.accounts.switch_totp_off("cli:root", "ann"),
        lambda: door.accounts.remove_user("cli:root", "ann"),
    ]
    password = GOOD
    for change in changes:
        code = pyotp.TOTP(SECRET).at(door.clock.now())
        entered = await door.enter(password=password, code=code)
        await change()
        password = "another good one"
        assert await door.sign_in.session(entered.cookie) is None
        door.clock.advance(60)


async def test_a_role_that_was_taken_away_is_gone_at_once() -> None:
    door = Door()
    await door.add()
    entered = await door.enter()
    await door.accounts.change_role("cli:root", "ann", Role.VIEWER)
    found = await door.sign_in.session(entered.cookie)
    assert found is not None
    assert found.role is Role.VIEWER


async def test_a_sign_in_that_overlaps_a_change_of_password_opens_nothing() -> None:
    """The former password was right when it was checked; the session is made after the change."""
    door = Door()
    await door.add()
    candidate, _ = await door.sign_in._candidate("ann", GOOD)
    assert candidate is not None
    await door.accounts.change_password("cli:root", "ann", "another good one")
    entered = await door.sign_in._start_session(candidate, ADDRESS, "")
    assert await door.sign_in.session(entered.cookie) is None


async def test_an_outdated_hash_is_made_anew_and_ends_nothing() -> None:
    door = Door()
    await door.add()
    before = await door.enter()
    stronger = SignIn(door.store, door.clock, passwords=Passwords(passes=2, kibibytes=64))
    await stronger.with_password("ann", GOOD, address=ADDRESS)
    user = await door.store.user("ann")
    assert user is not None
    assert "t=2" in user.password_hash
    assert await door.sign_in.session(before.cookie) is not None
    await stronger.with_password("ann", GOOD, address=ADDRESS)


@pytest.mark.parametrize("cookie", ["", "x", "A" * 43, "A" * 44, "cdct_" + "A" * 43, "ä" * 43, "\ud800" * 43])
async def test_what_is_no_cookie(cookie: str) -> None:
    door = Door()
    assert await door.sign_in.session(cookie) is None
    await door.sign_in.sign_out(cookie)
    assert await door.sign_in.token(cookie, address=ADDRESS) is None


# -- tokens ---------------------------------------------------------------------------------------------------------


async def test_a_token_opens_and_its_other_forms_do_not() -> None:
    door = Door()
    await door.add()
    made, text = await door.accounts.add_token("cli:root", "shop", Scope.READ)
    found = await door.sign_in.token(text, address=ADDRESS)
    assert found is not None
    assert (found.id, found.scope) == (made.id, Scope.READ)
    cookie = (await door.enter()).cookie
    for other in (text.removeprefix("cdct_"), text.upper(), f"{text} ", made.id, "shop", cookie, f"cdct_{cookie}"):
        assert await door.sign_in.token(other, address=ADDRESS) is None
    assert await door.sign_in.session(text) is await door.sign_in.session(text.removeprefix("cdct_")) is None
    await door.accounts.remove_token("cli:root", made.id)
    assert await door.sign_in.token(text, address=ADDRESS) is None


# -- a proxy --------------------------------------------------------------------------------------------------------


async def test_a_proxy_vouches_for_users_of_ours_only() -> None:
    door = Door()
    await door.add("ann", Role.VIEWER, None)
    entered = await door.sign_in.with_header("Ann", address=ADDRESS)
    assert (entered.session.origin, entered.session.role) == (Origin.HEADER, Role.VIEWER)
    again = await door.sign_in.with_header("ann", address=ADDRESS, cookie=entered.cookie)
    assert again == entered
    assert await door.sign_in.session(entered.cookie) is None, "not without the proxy"
    with pytest.raises(AccessRefused, match="does not exist here"):
        await door.sign_in.with_header("nobody", address=ADDRESS)


async def test_a_session_of_another_user_is_not_gone_on_with() -> None:
    door = Door()
    await door.add()
    await door.add("bob")
    for former in (
        await door.sign_in.with_header("bob", address=ADDRESS),
        await door.enter("bob"),
        await door.enter("ann"),
    ):
        entered = await door.sign_in.with_header("ann", address=ADDRESS, cookie=former.cookie)
        assert entered.session.user == "ann"
        assert entered.session.origin is Origin.HEADER
        assert await door.sign_in.session(former.cookie) is None


# -- FacturaScripts -------------------------------------------------------------------------------------------------


async def test_administrators_of_facturascripts_manage() -> None:
    theirs = Theirs()
    theirs.add("admin", "their password")
    door = Door(theirs)
    entered = await door.enter("admin ", "their password")
    assert (entered.session.origin, entered.session.role) == (Origin.FACTURASCRIPTS, Role.MANAGER)
    assert await door.sign_in.session(entered.cookie) == entered.session
    assert await door.store.users() == []
    with pytest.raises(AccessRefused):
        await Door().enter("admin", "their password")


@pytest.mark.parametrize("kind", [{"admin": False}, {"enabled": False}])
async def test_nobody_else_of_facturascripts_enters(kind: dict[str, bool]) -> None:
    theirs = Theirs()
    theirs.add("clerk", "their password", **kind)  # type: ignore[arg-type]  # mypy takes each name for any field
    with pytest.raises(AccessRefused):
        await Door(theirs).enter("clerk", "their password")


async def test_a_user_of_ours_takes_precedence() -> None:
    theirs = Theirs()
    theirs.add("Ann", "their password")
    door = Door(theirs)
    await door.add("ann", Role.VIEWER)
    for name in ("Ann", "ann"):
        with pytest.raises(AccessRefused):
            await door.enter(name, "their password")
        assert (await door.enter(name)).session.role is Role.VIEWER


async def test_a_name_that_their_database_only_takes_for_equal_does_not_enter() -> None:
    theirs = Theirs()
    theirs.add("admin", "their password")
    with pytest.raises(AccessRefused):
        await Door(theirs).enter("ADMIN", "their password")


async def test_their_second_factor_is_asked_for() -> None:
    theirs = Theirs()
    theirs.add("admin", "their password", totp_secret=SECRET)
    door = Door(theirs)
    code = pyotp.TOTP(SECRET).at(door.clock.now())
    for wrong in ("", "12345"):
        with pytest.raises(AccessRefused):
            await door.enter("admin", "their password", wrong)
    await door.enter("admin", "their password", code)
    with pytest.raises(AccessRefused):
        await door.enter("admin", "their password", code)
    theirs.add("admin", "their password", totp_secret="no base32")
    with pytest.raises(AccessRefused):
        await door.enter("admin", "their password", address="192.0.2.9")


async def test_their_database_away_is_said_to_whoever_is_not_ours() -> None:
    theirs = Theirs(away=True)
    door = Door(theirs)
    await door.add()
    assert (await door.enter()).session.user == "ann"
    for name in ("ann", "admin"):
        with pytest.raises(SourceUnavailable):
            await door.enter(name, "wrong password")


async def test_a_session_of_theirs_ends_when_they_are_no_administrator_any_more() -> None:
    theirs = Theirs()
    theirs.add("admin", "their password")
    door = Door(theirs)
    entered = await door.enter("admin", "their password")
    theirs.add("admin", "their password", admin=False)
    door.clock.advance(59)
    assert await door.sign_in.session(entered.cookie) is not None, "they are looked up once a minute"
    door.clock.advance(1)
    assert await door.sign_in.session(entered.cookie) is None
    theirs.add("admin", "their password")
    assert await door.sign_in.session(entered.cookie) is None, "it has ended for good"


async def test_they_are_looked_up_whatever_the_clock_does_meanwhile() -> None:
    """A real clock never says the same twice."""
    theirs = Theirs()
    theirs.add("admin", "their password")
    door = Door(theirs)
    entered = await door.enter("admin", "their password")

    class Ticking(ManualClock):
        def now(self) -> datetime:
            self.advance(0.001)
            return super().now()

    clock = Ticking(door.clock.now())
    sign_in = SignIn(door.store, clock, theirs=theirs)
    asked = len(theirs.asked)
    for _ in range(3):
        assert await sign_in.session(entered.cookie) is not None
    assert len(theirs.asked) == asked
    clock.advance(60)
    for _ in range(3):
        assert await sign_in.session(entered.cookie) is not None
    assert len(theirs.asked) == asked + 1


async def test_a_session_of_theirs_goes_on_while_their_database_is_away_and_ends_when_the_way_is_closed() -> None:
    theirs = Theirs()
    theirs.add("admin", "their password")
    door = Door(theirs)
    entered = await door.enter("admin", "their password")
    theirs.away = True
    door.clock.advance(60)
    with capture_logs() as logs:
        assert await door.sign_in.session(entered.cookie) is not None
    assert [each["event"] for each in logs] == ["a session's user cannot be looked up"]
    assert await SignIn(door.store, door.clock, theirs=None).session(entered.cookie) is None


async def test_nothing_of_a_password_is_logged_or_kept() -> None:
    theirs = Theirs()
    theirs.add("admin", "planted-theirs")
    door = Door(theirs)
    await door.add(password="planted-ours")
    with capture_logs() as logs:
        await door.enter(password="planted-ours")
        await door.enter("admin", "planted-theirs")
        with pytest.raises(AccessRefused) as refused:
            await door.enter("planted-name", "planted-wrong")
    kept = str(vars(door.store)) + str(await door.store.audit(AuditFilter(), 100))
    assert "planted" not in kept + str(logs) + str(refused.value)
    assert theirs.users["admin"].password_hash not in kept
