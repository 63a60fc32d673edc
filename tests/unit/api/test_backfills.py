"""Backfills over the API: begun, seen going on, resting, ended.  What the database says is in tests/integration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from cdc.access.model import AuditFilter, Scope
from cdc.capture import estimate
from cdc.model.backfill import BackfillState
from cdc.model.change import BackfillStep, Batch, Position
from cdc.model.connection import ConnectionInfo
from support.managing import API, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint

ROWS = 1000
WANTED = {"source": "main", "table": "invoice"}


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Managed]:
    """A database that has every table but one, and another source that has none."""

    async def about(_info: ConnectionInfo, table: str, _where: str) -> int | None:
        return None if table == "agentes" else ROWS

    monkeypatch.setattr(estimate, "estimate", about)
    sources = {
        "main": {"url": "postgresql://cdc@db.example.com/erp", "tables": ["agentes"]},
        "shop": {"capture": "rest", "rest": {"url": "https://shop.example.com", "token": "t"}},
    }
    async with managing(MemoryOutbox(), source=sources) as managed:
        yield managed


async def begun(api: Managed, **more: Any) -> dict[str, Any]:
    answer = await api.ask("POST", "/backfills", json=WANTED | more)
    assert answer.status == 202, answer.text
    return dict(answer.json)


async def told(api: Managed, shown: dict[str, Any], rows: int) -> None:
    """So many rows are stored, a second later."""
    api.clock.advance(1)
    step = BackfillStep(shown["id"], rows, {"idfactura": rows}, finished=False)
    await api.store.store("main", Position("p"), [], {}, api.clock.now(), step=step)
    api.watch.reported.stored("main", Batch((), Position("p"), step=step), [], 0)


async def test_it_is_begun_and_told_of(api: Managed) -> None:
    await api.store.add_endpoint(endpoint("ep_a"))
    where = "fecha >= '2026-01-01' AND pagada"
    answer = await api.ask("POST", "/backfills", json=WANTED | {"where": where, "endpoint": "ep_a", "rate": 50})
    shown = answer.json
    assert (answer.status, answer.headers["Location"]) == (202, f"{API}/backfills/{shown['id']}")
    assert shown == {
        "id": shown["id"],
        "state": "running",
        "source": "main",
        "table": "facturascli",
        "where": where,
        "endpoint": "ep_a",
        "rate": 50.0,
        "rows": 0,
        "estimate": ROWS,
        "rows_per_second": None,
        "seconds_left": None,
        "requested_by": "token:manage",
        "created_at": shown["created_at"],
        "finished_at": None,
        "error": None,
    }
    assert (await api.ask("GET", f"/backfills/{shown['id']}", Scope.READ)).json == shown
    kept = await api.store.find_backfill(shown["id"])
    assert kept is not None
    assert kept == await api.store.next_backfill("main")


async def test_how_fast_it_goes_is_told_while_it_does(api: Managed) -> None:
    shown = await begun(api)
    path = f"/backfills/{shown['id']}"
    for rows in (30, 100, 60):
        await told(api, shown, rows)
    now = (await api.ask("GET", path)).json
    assert (now["rows"], now["rows_per_second"], now["seconds_left"]) == (190, 80.0, (ROWS - 190) / 80)
    api.clock.advance(8)
    assert (await api.ask("GET", path)).json["rows_per_second"] == 16.0  # none since
    paused = (await api.ask("POST", f"{path}/pause")).json
    assert (paused["rows_per_second"], paused["seconds_left"]) == (None, None)
    await api.ask("POST", f"{path}/resume")
    api.clock.advance(30)
    assert (await api.ask("GET", path)).json["rows_per_second"] is None
    other = await begun(api)
    await told(api, other, 500)
    assert (await api.ask("GET", f"/backfills/{other['id']}")).json["rows_per_second"] is None  # not known yet
    await told(api, other, 600)
    late = (await api.ask("GET", f"/backfills/{other['id']}")).json
    assert (late["rows_per_second"], late["seconds_left"]) == (600.0, 0.0)  # more than there were about


async def test_it_rests_goes_on_and_ends(api: Managed) -> None:
    shown = await begun(api)
    path = f"/backfills/{shown['id']}"
    for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled"), ("resume", "cancelled")):
        answer = await api.ask("POST", f"{path}/{action}")
        assert (answer.status, answer.json["state"]) == (200, state)
    assert answer.json["finished_at"] is not None
    audit = [entry.entry for entry in await api.access.audit(AuditFilter(subject=shown["id"]), 9)]
    assert [each.action for each in audit][::-1] == [
        "backfill.begin",
        "backfill.pause",
        "backfill.resume",
        "backfill.cancel",
        "backfill.resume",
    ]
    assert {each.actor for each in audit} == {"token:manage"}


async def test_who_reads_begins_and_ends_nothing(api: Managed) -> None:
    shown = await begun(api)
    asked = [("/backfills", WANTED), *((f"/backfills/{shown['id']}/{each}", None) for each in ("pause", "cancel"))]
    for path, body in asked:
        assert (await api.ask("POST", path, Scope.READ, json=body)).status == 403
    (kept,) = await api.store.backfills(10)
    assert kept.state is BackfillState.RUNNING


async def test_sent_twice_with_one_key_it_is_begun_once(api: Managed) -> None:
    key = {"Idempotency-Key": "a-b-c"}
    first, second = [await api.ask("POST", "/backfills", json=WANTED, headers=key) for _ in range(2)]
    assert (first.status, second.status, second.json) == (202, 202, first.json)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await api.store.backfills(10)) == 1


async def test_they_are_listed_in_pages(api: Managed) -> None:
    made = []
    for _ in range(5):
        made.append((await begun(api))["id"])
        api.clock.advance(1)
    failed = await api.store.set_backfill(made[0], BackfillState.FAILED, "The table is gone.", api.clock.now())
    first = (await api.ask("GET", "/backfills?limit=3", Scope.READ)).json
    second = (await api.ask("GET", f"/backfills?limit=3&cursor={first['next']}", Scope.READ)).json
    assert [each["id"] for each in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None
    assert (second["items"][-1]["state"], second["items"][-1]["error"]) == ("failed", failed.error)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"source": "other"}, "no source 'other'"),
        ({"source": "shop"}, "cannot do"),
        ({"table": "facturas"}, "No event reports existing rows of facturas"),
        ({"table": "agentes"}, "no table agentes"),
        ({"endpoint": "ep_none"}, "no endpoint ep_none"),
        ({"where": "TRUE; DROP TABLE clientes"}, "semicolon"),
        ({"where": "codcliente IN (SELECT nick FROM users)"}, "the word select"),
        ({"table": "user", "where": "password LIKE 'a%'"}, "secret"),
        ({"where": "pg_sleep(10) IS NULL"}, "calls pg_sleep"),
        ({"where": "x" * 2001}, "not what is expected"),
        ({"rate": -1}, "not what is expected"),
        ({"all": True}, "not what is expected"),
    ],
)
async def test_what_cannot_be_read(api: Managed, body: dict[str, Any], told: str) -> None:
    answer = await api.ask("POST", "/backfills", json=WANTED | body)
    assert answer.status == 422
    assert told in answer.json["detail"]
    assert await api.store.backfills(10) == []


async def test_one_that_is_not_there(api: Managed) -> None:
    paths = [("GET", "/backfills/bf_none"), *(("POST", f"/backfills/bf_none/{each}") for each in ("pause", "cancel"))]
    for method, path in paths:
        assert (await api.ask(method, path)).status == 404


async def test_an_older_one_is_shown_as_it_was_asked_for(api: Managed) -> None:
    shown = await begun(api)
    kept = await api.store.find_backfill(shown["id"])
    assert kept is not None
    await api.store.add_backfill(replace(kept, id="bf_cli", actor="cli:root", estimate=None))
    older = (await api.ask("GET", "/backfills/bf_cli")).json
    assert (older["requested_by"], older["estimate"], older["seconds_left"]) == ("cli:root", None, None)
