"""Who may use the API, how often, and once however often they ask."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest

from cdc.access.model import AuditFilter, Scope
from cdc.api.application import OPERATIONS
from cdc.api.operation import ApiOperation
from cdc.api.token_auth import ADDRESS_BURST, TOKEN_BURST, TOKEN_RATE
from cdc.model.audit import Note
from support.managing import Managed
from support.memory_outbox import MemoryOutbox

NEW = {"url": "https://shop.example.com/webhooks", "events": ["*"]}
KEY = {"Idempotency-Key": "order-1"}
EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def path_of(operation: ApiOperation) -> str:
    return re.sub(r"\{\w+\}", "x", operation.path)


@EACH
async def test_every_operation_needs_a_token(api: Managed, operation: Any) -> None:
    answer = await api.ask(operation.method, path_of(operation), None)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "cdc token add" in answer.json["hint"]


@EACH
async def test_a_reader_changes_nothing(api: Managed, operation: Any) -> None:
    if operation.scope is Scope.READ:
        return
    answer = await api.ask(operation.method, path_of(operation), Scope.READ)
    assert answer.status == 403
    assert await api.access.audit(AuditFilter(actor="token:read"), 10) == []


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer x", "Bearer cdct_" + "A" * 43, "Basic YTpi", "cdct_" + "A" * 43, "Bearer \u00e9"]
)
async def test_what_is_no_token_of_ours(api: Managed, given: str) -> None:
    assert (await api.ask("GET", "/endpoints", None, headers={"Authorization": given})).status == 401


async def test_a_token_ends(api: Managed) -> None:
    made, text = await api.accounts.add_token("cli:root", "short", Scope.READ, timedelta(hours=1))
    headers = {"Authorization": f"bearer {text}"}
    assert (await api.ask("GET", "/endpoints", None, headers=headers)).status == 200
    api.clock.advance(3601)
    assert (await api.ask("GET", "/endpoints", None, headers=headers)).status == 401
    assert made.name == "short"
    await api.accounts.remove_token("cli:root", "read")
    assert (await api.ask("GET", "/endpoints", Scope.READ)).status == 401


async def test_a_token_asks_at_a_rate(api: Managed) -> None:
    for _ in range(int(TOKEN_BURST)):
        assert (await api.ask("GET", "/sources", Scope.READ)).status == 200
    refused = await api.ask("GET", "/sources", Scope.READ)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    assert (await api.ask("GET", "/sources", Scope.MANAGE)).status == 200  # the others go on
    api.clock.advance(1)
    answers = [(await api.ask("GET", "/sources", Scope.READ)).status for _ in range(int(TOKEN_RATE) + 1)]
    assert answers == [200] * int(TOKEN_RATE) + [429]


async def test_guessing_is_slowed_down_and_does_not_shut_out_who_has_a_token(api: Managed) -> None:
    answers = [(await api.ask("GET", "/sources", None)).status for _ in range(int(ADDRESS_BURST) + 2)]
    assert answers == [401] * int(ADDRESS_BURST) + [429] * 2
    assert (await api.ask("GET", "/sources", Scope.READ)).status == 200


# -- idempotency ------------------------------------------------------------------------------------------------------


async def test_the_same_request_with_the_same_key_is_made_once(api: Managed) -> None:
    first = await api.ask("POST", "/endpoints", json=NEW, headers=KEY)
    again = await api.ask("POST", "/endpoints", json=NEW, headers=KEY)
    assert (again.status, again.json) == (first.status, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    assert first.json["secret"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len(await api.store.endpoints()) == 1
    assert len(await api.access.audit(AuditFilter(action="endpoint.add"), 10)) == 1


async def test_another_request_with_the_same_key_is_refused(api: Managed) -> None:
    await api.ask("POST", "/endpoints", json=NEW, headers=KEY)
    for path, body in (("/endpoints", NEW | {"rate": 1}), ("/replays", {"events": ["*"]})):
        answer = await api.ask("POST", path, json=body, headers=KEY)
        assert (answer.status, "another request" in answer.json["detail"]) == (409, True)


async def test_keys_of_different_tokens_are_different(api: Managed) -> None:
    token = await api.token("other", Scope.MANAGE)
    first = await api.ask("POST", "/endpoints", json=NEW, headers=KEY)
    headers = KEY | {"Authorization": f"Bearer {token}"}
    second = await api.ask("POST", "/endpoints", None, json=NEW, headers=headers)
    assert first.json["id"] != second.json["id"]


async def test_a_token_that_takes_a_removed_ones_name_does_not_get_its_answers(api: Managed) -> None:
    first = await api.ask("POST", "/endpoints", json=NEW, headers=KEY)
    await api.accounts.remove_token("cli:root", "manage")
    api.tokens[Scope.MANAGE] = await api.token("manage", Scope.MANAGE)
    second = await api.ask("POST", "/endpoints", json=NEW, headers=KEY)
    assert second.status == 201
    assert first.json["secret"] not in second.text


async def test_what_was_refused_may_be_asked_again_with_the_same_key(api: Managed) -> None:
    assert (await api.ask("POST", "/endpoints", json=NEW | {"timeout": -1}, headers=KEY)).status == 422
    assert (await api.ask("POST", "/endpoints", json=NEW, headers=KEY)).status == 201


async def test_while_it_is_being_made_the_second_one_is_told_to_wait(
    api: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    add = MemoryOutbox.add_endpoint

    async def slowly(store: MemoryOutbox, endpoint: Any, note: Note) -> None:
        begun.set()
        await may_end.wait()
        await add(store, endpoint, note)

    monkeypatch.setattr(MemoryOutbox, "add_endpoint", slowly)
    first = asyncio.create_task(api.ask("POST", "/endpoints", json=NEW, headers=KEY))
    await begun.wait()
    second = await api.ask("POST", "/endpoints", json=NEW, headers=KEY)
    may_end.set()
    assert (second.status, "being made" in second.json["detail"]) == (409, True)
    assert (await first).status == 201
    assert len(await api.store.endpoints()) == 1


async def test_after_a_day_a_key_is_free(api: Managed) -> None:
    await api.ask("POST", "/endpoints", json=NEW, headers=KEY)
    api.clock.advance(24 * 3600 + 1)
    assert (await api.ask("POST", "/endpoints", json=NEW, headers=KEY)).status == 201
    assert len(await api.store.endpoints()) == 2


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00e9"])
async def test_what_is_no_key(api: Managed, key: str) -> None:
    answer = await api.ask("POST", "/endpoints", json=NEW, headers={"Idempotency-Key": key})
    assert answer.status == 400
    assert await api.store.endpoints() == []
