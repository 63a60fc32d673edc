"""Promises of every store of access: users, the set-up link, TOTP steps, the audit log."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cdc.access.base import AccessStore
from cdc.access.model import AuditFilter, Role, UserChange
from cdc.admin.audit_log import verify
from cdc.model.audit import AuditEntry
from cdc.model.errors import NotFound, UsageError
from support.accesses import EVERYTHING, IDLE, actions, entry, recorded, session, user
from support.outboxes import NOW, at


async def test_a_new_store_is_empty(access: AccessStore) -> None:
    assert await access.users() == []
    assert await access.user("ann") is None
    assert await access.tokens() == []
    assert await access.use_token("d", NOW) is None
    assert await access.use_session("d", NOW, IDLE) is None
    assert await access.audit(EVERYTHING, 10) == []
    assert await access.end_sessions("ann") == 0
    await access.end_session("d")


async def test_users_are_kept_as_given(access: AccessStore) -> None:
    ann = user(password_hash="$argon2id$…", totp_secret="JBSWY3DPEHPK3PXP")
    await access.add_user(user("Zoë", Role.VIEWER), entry())
    await access.add_user(ann, entry())
    assert await access.user("ann") == ann
    assert [each.name for each in await access.users()] == ["ann", "Zoë"]


@pytest.mark.parametrize("other", ["ann", "ANN", " Ann ", "\uff41nn"])
async def test_names_that_look_alike_are_one_user(access: AccessStore, other: str) -> None:
    await access.add_user(user("Ann"), entry())
    assert await access.user(other) == user("Ann")
    with pytest.raises(UsageError, match="already"):
        await access.add_user(user(other), entry("user.twice"))
    assert (await access.change_user(other, UserChange(role=Role.VIEWER), entry())).role is Role.VIEWER
    await access.remove_user(other, entry())
    assert await access.users() == []
    assert await actions(access) == ["user.add"] * 3


@pytest.mark.parametrize("name", ["a\0nn", "nobody", "\ud800", "", "x" * 3000])
async def test_a_user_who_is_not_there(access: AccessStore, name: str) -> None:
    await access.add_user(user(), entry())
    assert await access.user(name) is None
    assert not await access.replace_hash(name, "", "new")
    with pytest.raises(NotFound):
        await access.change_user(name, UserChange(role=Role.VIEWER), entry("no"))
    with pytest.raises(NotFound):
        await access.remove_user(name, entry("no"))
    assert await actions(access) == ["user.add"]


async def test_a_change_leaves_the_rest(access: AccessStore) -> None:
    await access.add_user(user(password_hash="h1", totp_secret="t1"), entry())
    await access.change_user("ann", UserChange(password_hash="h2", stamp="s2"), entry())
    assert await access.user("ann") == user(password_hash="h2", totp_secret="t1", stamp="s2")
    await access.change_user("ann", UserChange(totp_secret="", stamp="s3"), entry())
    changed = await access.change_user("ann", UserChange(role=Role.VIEWER), entry())
    assert changed == await access.user("ann") == user("ann", Role.VIEWER, "s3", password_hash="h2")


async def test_a_hash_is_replaced_only_while_it_is_the_same(access: AccessStore) -> None:
    """A sign-in with the former password, still being checked, must not bring it back."""
    await access.add_user(user(password_hash="h1"), entry())
    assert await access.replace_hash("Ann", "h1", "h1 better")
    assert not await access.replace_hash("ann", "h1", "h1 again")
    assert await access.user("ann") == user(password_hash="h1 better")


async def test_a_totp_step_is_taken_once_and_only_forward(access: AccessStore) -> None:
    assert await access.take_totp_step("password:ann", 100)
    assert not await access.take_totp_step("password:ann", 100)
    assert not await access.take_totp_step("password:ann", 99)
    assert await access.take_totp_step("password:bob", 100)
    assert await access.take_totp_step("password:ann", 101)
    taken = await asyncio.gather(*(access.take_totp_step("password:ann", 200) for _ in range(8)))
    assert sum(taken) == 1


# -- the first user -------------------------------------------------------------------------------------------------


async def test_the_set_up_link_makes_the_first_user_once(access: AccessStore) -> None:
    assert await access.offer_setup("link", at(60))
    assert not await access.take_setup("guess", user(), entry(), at(1))
    assert await access.take_setup("link", user(), entry("setup"), at(1))
    assert not await access.take_setup("link", user("eve"), entry(), at(2))
    assert await access.users() == [user()]
    assert await actions(access) == ["setup"]


async def test_only_the_newest_set_up_link_works_and_not_for_ever(access: AccessStore) -> None:
    await access.offer_setup("old", at(60))
    await access.offer_setup("new", at(60))
    assert not await access.take_setup("old", user(), entry(), NOW)
    assert not await access.take_setup("new", user(), entry(), at(60))
    assert await access.users() == []


async def test_no_set_up_where_somebody_is(access: AccessStore) -> None:
    await access.offer_setup("link", at(60))
    await access.add_user(user(), entry())
    assert not await access.take_setup("link", user("eve"), entry(), NOW)
    assert not await access.offer_setup("link", at(60))
    await access.remove_user("ann", entry())
    assert not await access.take_setup("link", user("eve"), entry(), NOW), "the refused offer left nothing"


async def test_one_set_up_link_used_by_many_at_once_makes_one_user(access: AccessStore) -> None:
    await access.offer_setup("link", at(60))
    names = [f"user-{number}" for number in range(8)]
    taken = await asyncio.gather(*(access.take_setup("link", user(name), entry(), NOW) for name in names))
    assert sum(taken) == 1
    assert [each.name for each in await access.users()] == [names[taken.index(True)]]


# -- the audit log --------------------------------------------------------------------------------------------------


async def test_entries_are_listed_newest_first_in_pages(access: AccessStore) -> None:
    for number in range(5):
        assert await access.append(entry("endpoint.update", f"endpoint:ep_{number}", at(number), field="url")) > 0
    first = await access.audit(EVERYTHING, 2)
    assert [each.entry.subject for each in first] == ["endpoint:ep_4", "endpoint:ep_3"]
    second = await access.audit(EVERYTHING, 2, first[-1].number)
    assert [each.entry.subject for each in second] == ["endpoint:ep_2", "endpoint:ep_1"]
    (last,) = await access.audit(EVERYTHING, 2, second[-1].number)
    assert last.entry == AuditEntry(at(0), "cli:root", "endpoint.update", "endpoint:ep_0", {"field": "url"})


async def test_entries_are_found_by_who_what_and_which(access: AccessStore) -> None:
    await access.append(entry("a", "x", actor="user:ann"))
    await access.append(entry("b", "x", actor="user:ann"))
    await access.append(entry("b", "y", actor="token:shop"))

    async def found(which: AuditFilter) -> list[str]:
        return [each.entry.action + each.entry.subject for each in await access.audit(which, 10)]

    assert await found(AuditFilter(actor="user:ann")) == ["bx", "ax"]
    assert await found(AuditFilter(action="b")) == ["by", "bx"]
    assert await found(AuditFilter(actor="user:ann", action="b", subject="x")) == ["bx"]
    assert await found(AuditFilter(subject="z")) == []


async def test_entries_are_read_oldest_first_and_by_time(access: AccessStore) -> None:
    for number in range(5):
        await access.append(entry(subject=f"s{number}", at=at(number), text="ñ\u2028\0", count=1.5))
    within = AuditFilter(since=at(1), until=at(4))
    assert [each.entry.subject for each in await access.audit(within, 2)] == ["s3", "s2"]
    first = await access.audit_after(within, 2)
    assert [each.entry.subject for each in first] == ["s1", "s2"]
    (last,) = await access.audit_after(within, 2, first[-1].number)
    assert (last.entry.subject, last.former) == ("s3", first[-1].hash)
    assert (await verify(access)).broken == ""


async def test_the_log_is_cut_at_its_old_end_only(access: AccessStore) -> None:
    for seconds in (0, 1, 50, 2, 3):  # the clock jumped ahead, and back
        await access.append(entry(subject=f"s{seconds}", at=at(seconds)))
    assert await access.forget_audit(at(10), 1) == 1
    assert await access.forget_audit(at(10), 10) == 1
    assert await access.forget_audit(at(10), 10) == 0
    assert [each.entry.subject for each in await recorded(access)] == ["s50", "s2", "s3"]
    numbers = [each.number for each in await recorded(access)]
    assert await access.append(entry()) == numbers[-1] + 1
    assert (await verify(access)).broken == ""
    assert await access.forget_audit(at(100), 10) == 4
    assert (await verify(access)).broken == ""


async def test_many_write_to_the_log_at_once(access: AccessStore) -> None:
    numbers = await asyncio.gather(*(access.append(entry(subject=str(n))) for n in range(20)))
    assert len(set(numbers)) == 20
    assert [each.number for each in await recorded(access)] == sorted(numbers)


async def test_a_change_that_fails_is_not_in_the_log(access: AccessStore) -> None:
    await access.add_user(user(), entry())
    for attempt in (access.add_user(user(), entry("no")), access.remove_token("tok_9", entry("no"))):
        with pytest.raises(UsageError):
            await attempt
    assert await actions(access) == ["user.add"]


async def test_a_user_who_comes_back_does_not_come_back_into_a_session(access: AccessStore) -> None:
    await access.add_user(user(), entry())
    await access.add_session(session())
    await access.remove_user("ann", entry())
    await access.add_user(user(), entry())
    assert await access.use_session("d1", at(1), IDLE) is None
    assert await access.use_session("d1", NOW + timedelta(seconds=2), IDLE) is None
