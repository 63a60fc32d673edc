"""Promises of every store of access: sessions, tokens, requests with an idempotency key."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from cdc.access import model
from cdc.access.base import AccessStore
from cdc.access.model import Allowance, ClaimState, IdempotentResponse, Origin, Role, Scope, UserChange
from cdc.model.errors import NotFound, UsageError
from support.accesses import IDLE, actions, entry, session, token, user
from support.outboxes import NOW, at

CREATED = IdempotentResponse(201, "application/json", '{"id":"ep_1","secret":"whsec_x"}', "/api/v1/endpoints/ep_1")


async def test_a_session_has_the_present_role_of_its_user(access: AccessStore) -> None:
    await access.add_user(user(), entry())
    await access.add_session(session(role=Role.MANAGER))
    assert await access.use_session("d1", at(1), IDLE) == session(role=Role.MANAGER)
    await access.change_user("ann", UserChange(role=Role.VIEWER), entry())
    found = await access.use_session("d1", at(2), IDLE)
    assert found is not None
    assert found.role is Role.VIEWER


async def test_use_is_noted_once_a_minute(access: AccessStore) -> None:
    await access.add_user(user(), entry())
    await access.add_session(session())
    seen = [await access.use_session("d1", at(seconds), IDLE) for seconds in (1, 59, 60, 61, 119, 120)]
    assert [each and (each.last_used_at - NOW).total_seconds() for each in seen] == [0, 0, 60, 60, 60, 120]


async def test_sessions_expire(access: AccessStore) -> None:
    await access.add_user(user(), entry())
    await access.add_session(session("idle"))
    assert await access.use_session("idle", NOW + IDLE - timedelta(seconds=1), IDLE) is not None
    assert await access.use_session("idle", NOW + 2 * IDLE, IDLE) is None
    await access.add_session(session("old", expires_at=at(100)))
    assert await access.use_session("old", at(99), IDLE) is not None
    assert await access.use_session("old", at(100), IDLE) is None


async def test_expired_sessions_are_removed_when_somebody_signs_in(access: AccessStore) -> None:
    await access.add_user(user(), entry())
    await access.add_session(session("old", expires_at=at(100)))
    await access.add_session(session("new", created_at=at(100)))
    assert await access.end_sessions("Ann") == 1


@pytest.mark.parametrize("change", [UserChange(password_hash="h", stamp="s2"), UserChange(totp_secret="t", stamp="s2")])
async def test_sessions_end_with_the_password_or_the_second_factor(access: AccessStore, change: UserChange) -> None:
    await access.add_user(user(), entry())
    await access.add_session(session())
    await access.change_user("ann", change, entry())
    assert await access.use_session("d1", at(1), IDLE) is None
    await access.add_session(session("late", stamp="s1"))
    assert await access.use_session("late", at(1), IDLE) is None, "it was checked against the former password"
    await access.add_session(session("good", stamp="s2"))
    assert await access.use_session("good", at(1), IDLE) is not None


async def test_sessions_end_one_by_one_and_all(access: AccessStore) -> None:
    await access.add_user(user(), entry())
    await access.add_user(user("bob"), entry())
    for digest, name in (("a1", "ann"), ("a2", "Ann"), ("a3", "ann"), ("b1", "bob")):
        await access.add_session(session(digest, name))
    await access.end_session("a1")
    assert await access.use_session("a1", at(1), IDLE) is None
    assert await access.open_sessions("ANN ", at(1)) == 2
    assert await access.open_sessions("ann", at(1_000_000)) == 0
    assert await access.end_sessions(" ANN") == 2
    assert await access.use_session("a2", at(1), IDLE) is None
    assert await access.use_session("b1", at(1), IDLE) is not None
    await access.remove_user("bob", entry())
    assert await access.use_session("b1", at(1), IDLE) is None


async def test_a_session_of_facturascripts_lasts_while_we_have_nobody_of_that_name(access: AccessStore) -> None:
    theirs = session("f1", "Admin", stamp="", origin=Origin.FACTURASCRIPTS, role=Role.MANAGER)
    await access.add_session(theirs)
    assert await access.use_session("f1", at(1), IDLE) == theirs
    await access.add_user(user("admin", Role.VIEWER, stamp=""), entry())
    assert await access.use_session("f1", at(2), IDLE) is None
    await access.add_session(theirs)
    assert await access.use_session("f1", at(3), IDLE) is None


async def test_session_of_a_provider_is_of_nobody_of_ours_and_keeps_its_groups(access: AccessStore) -> None:
    groups = json.dumps({"groups": ["ñ", 'a "b"', *map(str, range(1_000))]})
    theirs = session("o1", "oidc:ann", stamp=groups, origin=Origin.OIDC)
    await access.add_session(theirs)
    await access.add_user(user(), entry())
    await access.remove_user("ann", entry())
    assert await access.use_session("o1", at(1), IDLE) == theirs
    assert await access.use_session("o1", NOW + IDLE, IDLE) is None


async def test_session_says_whether_its_user_has_a_second_factor(access: AccessStore) -> None:
    await access.add_user(user(), entry())
    for secret in ("", "JBSWY3DPEHPK3PXP", ""):
        await access.change_user("ann", UserChange(totp_secret=secret, stamp="s1"), entry())
        await access.add_session(session(stamp="s1"))
        found = await access.use_session("d1", at(1), IDLE)
        assert found is not None
        assert found.second_factor is bool(secret)


async def test_a_session_without_its_user_is_none(access: AccessStore) -> None:
    for origin in (Origin.PASSWORD, Origin.HEADER):
        await access.add_session(session(origin.value, "nobody", origin=origin, stamp=""))
        assert await access.use_session(origin.value, at(1), IDLE) is None


# -- tokens ---------------------------------------------------------------------------------------------------------


async def test_a_token_is_known_by_its_digest_only(access: AccessStore) -> None:
    limits = {"sources": ("main", "shop"), "allowed": (Allowance.MAIL, Allowance.CREDENTIALS)}
    made = token(scope=Scope.MANAGE, expires_at=at(100), **limits)
    await access.add_token(made, "d1", entry("token.add"))
    for other in ("d2", "tok_1", "shop-1", "", "D1"):
        assert await access.use_token(other, at(1)) is None
    assert await access.use_token("d1", at(1)) == replace(made, last_used_at=at(1))
    assert await access.use_token("d1", at(99)) is not None
    assert await access.use_token("d1", at(100)) is None
    assert await actions(access) == ["token.add"]


async def test_the_use_of_a_token_is_noted_once_a_minute(access: AccessStore) -> None:
    await access.add_token(token(), "d1", entry())
    seen = []
    for seconds in (5, 6, 64, 65, 66):
        await access.use_token("d1", at(seconds))
        ((listed),) = await access.tokens()
        seen.append(listed.last_used_at)
    assert seen == [at(5), at(5), at(5), at(65), at(65)]


async def test_tokens_are_listed_oldest_first_and_removed_by_id_or_name(access: AccessStore) -> None:
    for number in (3, 1, 2):
        await access.add_token(token(number, created_at=at(-number)), f"d{number}", entry())
    assert [each.id for each in await access.tokens()] == ["tok_3", "tok_2", "tok_1"]
    assert (await access.remove_token("tok_2", entry("token.remove"))).name == "shop-2"
    assert (await access.remove_token("SHOP-3", entry("token.remove"))).id == "tok_3"
    assert await access.use_token("d2", NOW) is await access.use_token("d3", NOW) is None
    assert await access.use_token("d1", NOW) is not None
    for gone in ("tok_2", "shop-3", "", "\0", "\ud800"):
        with pytest.raises(NotFound):
            await access.remove_token(gone, entry("no"))
    assert (await actions(access))[-2:] == ["token.remove"] * 2


async def test_a_name_is_one_token(access: AccessStore) -> None:
    await access.add_token(token(1, name="shop"), "d1", entry())
    with pytest.raises(UsageError, match="already"):
        await access.add_token(token(2, name="Shop"), "d2", entry())
    assert await access.use_token("d2", NOW) is None


async def test_an_error_does_not_repeat_a_token_that_was_given_as_a_name(access: AccessStore) -> None:
    with pytest.raises(NotFound) as refused:
        await access.remove_token("cdct_hunter2", entry())
    assert "hunter2" not in str(refused.value)


# -- idempotency ----------------------------------------------------------------------------------------------------


async def test_a_request_is_made_once_and_its_answer_kept(access: AccessStore) -> None:
    first = await access.claim("token:shop", "k1", "f1", NOW)
    assert (first.state, first.started_at) == (ClaimState.NEW, NOW)
    assert (await access.claim("token:shop", "k1", "f1", at(1))).state is ClaimState.RUNNING
    await access.answer("token:shop", "k1", first, CREATED)
    again = await access.claim("token:shop", "k1", "f1", at(2))
    assert (again.state, again.answer) == (ClaimState.ANSWERED, CREATED)
    assert (await access.claim("token:shop", "k1", "f2", at(2))).state is ClaimState.OTHER
    assert (await access.claim("token:till", "k1", "f2", at(2))).state is ClaimState.NEW
    assert (await access.claim("token:shop", "K1", "f1", at(2))).state is ClaimState.NEW


@pytest.mark.parametrize("limit", ["MOST_REQUESTS", "MOST_ANSWERED"])
async def test_actor_has_limited_requests_and_answers(
    access: AccessStore, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(model, limit, 3 if limit == "MOST_REQUESTS" else 3 * len(CREATED.body))
    for number in range(3):
        claim = await access.claim("a", f"k{number}", "f", at(number))
        assert claim.state is ClaimState.NEW
        await access.answer("a", f"k{number}", claim, CREATED)
    full = await access.claim("a", "k3", "f", at(4))
    assert (full.state, full.started_at) == (ClaimState.FULL, NOW)
    assert (await access.claim("a", "k2", "f", at(5))).state is ClaimState.ANSWERED
    assert (await access.claim("b", "k3", "f", at(5))).state is ClaimState.NEW
    assert (await access.claim("a", "k3", "f", NOW + timedelta(hours=24))).state is ClaimState.NEW


async def test_answers_are_kept_for_a_day(access: AccessStore) -> None:
    await access.answer("a", "k", await access.claim("a", "k", "f1", NOW), CREATED)
    day = timedelta(hours=24)
    assert (await access.claim("a", "k", "f1", NOW + day - timedelta(seconds=1))).state is ClaimState.ANSWERED
    assert (await access.claim("a", "k", "f2", NOW + day)).state is ClaimState.NEW


async def test_a_request_that_was_not_made_may_be_made(access: AccessStore) -> None:
    await access.answer("a", "k", await access.claim("a", "k", "f1", NOW), None)
    assert (await access.claim("a", "k", "f2", at(1))).state is ClaimState.NEW


async def test_who_died_is_followed_and_does_not_answer_any_more(access: AccessStore) -> None:
    died = await access.claim("a", "k", "f1", NOW)
    assert (await access.claim("a", "k", "f2", at(59))).state is ClaimState.OTHER
    follower = await access.claim("a", "k", "f2", at(60))
    assert follower.state is ClaimState.NEW
    await access.answer("a", "k", died, IdempotentResponse(500, "text/plain", "late"))
    await access.answer("a", "k", died, None)
    assert (await access.claim("a", "k", "f2", at(61))).state is ClaimState.RUNNING
    await access.answer("a", "k", follower, CREATED)
    await access.answer("a", "k", follower, None)
    assert (await access.claim("a", "k", "f2", at(62))).answer == CREATED


async def test_of_many_at_once_one_makes_the_request(access: AccessStore) -> None:
    claims = await asyncio.gather(*(access.claim("a", "k", "f", at(number / 1000)) for number in range(8)))
    assert sorted(claim.state for claim in claims) == [ClaimState.NEW, *[ClaimState.RUNNING] * 7]


async def test_a_token_is_given_to_its_networks_only_and_its_use_noted(access: AccessStore) -> None:
    await access.add_token(token(networks=("192.0.2.0/24", "2001:db8::/32")), "d1", entry())
    for address in ("198.51.100.1", "", "x"):
        assert await access.use_token("d1", at(1), address) is None
    assert (await access.tokens())[0].last_used_at is None, "a refused use is none"
    found = await access.use_token("d1", at(2), "2001:db8::1")
    assert found is not None
    assert await access.tokens() == [found]
    assert (found.last_used_from, found.networks) == ("2001:db8::1", ("192.0.2.0/24", "2001:db8::/32"))
    refused = await access.token("d1")
    assert refused == found
