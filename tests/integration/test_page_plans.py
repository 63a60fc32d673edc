"""No page of the site and no listing of the API reads the log from end to end: each statement's plan is looked at.

The statements are those that come when the pages are asked for, not a list: a new page, and a new statement, are looked
at without being named here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import psycopg
import pytest

from cdc.access.base import AccessStore
from cdc.access.model import Role, Scope
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.admin.accounts import Accounts
from cdc.database.postgres_connection import conninfo
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.outbox.database import postgres_statements, sqlite_statements
from cdc.outbox.postgres import search as postgres_search
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite import search as sqlite_search
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from cdc.pages.application import routes
from support.browsing import visiting
from support.database import Database
from support.log_paths import LISTINGS, PAGES, TIMED
from support.managing import PASSWORD, Managed, managing
from support.manual_clock import START
from support.outboxes import NOW, at, endpoint, event, finish, lease, outcome, store
from support.statements_seen import SeenStatements, plan_steps, postgres_seen, sqlite_seen

SECRET = "whsec_" + "c2VjcmV0" * 4
LOG = {"event", "delivery", "attempt"}
#: Indexes that hold unfinished rows only, tests only, or those that are asked for.
NARROW = {"event_test", "delivery_lane", "delivery_due", "delivery_worker", "delivery_dead", "delivery_cancelled"}
#: Statements that read the ends of the log.
ENDS = {"events_newest", "log_ends", "event_names", "durations"}
#: PostgreSQL plans by the size of its tables: so many copies of the seed, which has so many events.
COPIES, SEED = 29, 100
FILL = f"""
INSERT INTO cdc_outbox.event (sequence, id, name, source, record, "time", payload, label_code, label_name)
SELECT sequence + {SEED} * n, 'evt_' || (sequence + {SEED} * n), name, source,
       'facturascli:' || (sequence + {SEED} * n), "time" + n * interval '1 hour', payload,
       'fac' || (sequence + {SEED} * n), label_name
FROM cdc_outbox.event, generate_series(1, {COPIES}) AS n;
INSERT INTO cdc_outbox.delivery (id, event, endpoint, lane, state, due, attempts, created_at, finished_at)
SELECT id + {SEED} * n, event + {SEED} * n, endpoint, lane + n, state, due, attempts, created_at, finished_at
FROM cdc_outbox.delivery, generate_series(1, {COPIES}) AS n;
INSERT INTO cdc_outbox.attempt (delivery, number, url, status, started_at, duration, error, answer)
SELECT delivery + {SEED} * n, number, url, status, started_at, duration, error, answer
FROM cdc_outbox.attempt, generate_series(1, {COPIES}) AS n;
ANALYZE"""


def sqlite_walks(text: str, steps: list[Any]) -> list[str]:
    """The steps that read a table of the log without an index that narrows it, or sort what they found there."""
    if re.search(r"\bAND 0\b", text):  # nothing can be found: it is not run
        return []
    tables = [step for step in steps if re.match(rf"(SCAN|SEARCH) ({'|'.join(LOG)})\b", step)]
    scans = [step for step in tables if step.startswith("SCAN") and not any(f" {index}" in step for index in NARROW)]
    few = "delivery.id IN (SELECT" in text or any(step.startswith("SCAN endpoint") for step in steps)
    return scans + [step for step in steps if tables and not few and step == "USE TEMP B-TREE FOR ORDER BY"]


def postgres_walks(_text: str, steps: list[Any]) -> list[str]:
    return [str(step) for step in steps if step["Node Type"].endswith("Scan") and _walks(step)]


def _walks(step: Mapping[str, Any]) -> bool:
    if step["Node Type"] == "Seq Scan":
        return step["Relation Name"] in LOG
    index = step.get("Index Name", "")
    of_log = step.get("Relation Name", index.partition("_")[0]) in LOG
    end = step["Above"] == "Limit" and "Filter" not in step
    return of_log and bool(index) and "Index Cond" not in step and index not in NARROW and not end


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(kind: str, request: pytest.FixtureRequest) -> Iterator[SeenStatements]:
    """PostgreSQL walks small tables, whatever indexes there are; the planner here does so only when it must."""
    seen = SeenStatements()
    if kind == "sqlite":
        with sqlite_seen(seen):
            yield seen
        return
    info = request.getfixturevalue("postgres_db").info
    with psycopg.connect(conninfo(info, "plans"), autocommit=True) as planner, postgres_seen(seen, planner):
        planner.execute(Template(postgres_statements()["session"]).substitute(commit="on", plain="off").encode())
        yield seen


@pytest.fixture
async def managed(
    kind: str, seen: SeenStatements, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Managed]:
    outbox: OutboxStore
    access: AccessStore
    if kind == "sqlite":
        outbox, access = SqliteOutbox(tmp_path / "outbox.db"), SqliteAccess(tmp_path / "outbox.db")
        await fill(outbox)
    else:
        database: Database = request.getfixturevalue("postgres_db")
        outbox, access = PostgresOutbox(database.info), PostgresAccess(database.info)
        await fill(outbox)
        database.script(FILL)
    await access.open()
    async with managing(outbox, access=access) as managed:
        yield managed
    await access.close()
    await outbox.close()


async def fill(outbox: OutboxStore) -> None:
    """A log in which there is something of every state."""
    await outbox.open()
    for name in ("ep_1", "ep_down", "ep_gone"):
        await outbox.add_endpoint(
            endpoint(name, secret=SECRET, events=(f"{name}.*",) if name == "ep_gone" else ("*",), sources=("main",))
        )
    names = ("stock.created", "stock.updated", "invoice.paid", "receipt.paid")
    events = [event(n, name=names[n % 4], labels=(f"fac2026a{n}", "talleres")) for n in range(1, SEED // 2 + 1)]
    await store(outbox, *events)
    leased = await lease(outbox, limit=80)
    await finish(outbox, *leased[1:60])
    await outbox.finish("w", [outcome(each, DeliveryState.DEAD) for each in leased[60:]], NOW)
    await outbox.remove_endpoint("ep_gone", NOW)


@pytest.mark.parametrize("much", [False, True], ids=["little", "much"])
async def test_no_page_and_no_listing_reads_the_whole_log(
    kind: str, managed: Managed, seen: SeenStatements, *, much: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if much:  # as if every name, every time and every text had many events
        for module in (sqlite_search, postgres_search):
            monkeypatch.setattr(module, "FEW", -1)
            monkeypatch.setattr(module, "MANY", -1)
    seen.explained = True
    await look_at_all(managed, some=not much)
    known = {text: name for name, text in (sqlite_statements() if kind == "sqlite" else postgres_statements()).items()}
    walks = sqlite_walks if kind == "sqlite" else postgres_walks
    found = {known.get(text, text): walks(text, steps) for text, steps in seen.plans.items()}
    wrong = {name: steps for name, steps in found.items() if steps and name not in ENDS}
    assert len(found) > 30
    assert not wrong, "\n\n".join(f"{name}\n{steps}" for name, steps in wrong.items())


async def test_the_overview_reads_what_was_counted_since_it_was_shown(postgres_db: Database) -> None:
    """There are more sources than the page lists, with attempts in each hour of a day."""
    outbox, access, seen = PostgresOutbox(postgres_db.info), PostgresAccess(postgres_db.info), SeenStatements()
    await outbox.open()
    await access.open()
    await outbox.add_endpoint(endpoint("ep_1", secret=SECRET))
    postgres_db.execute(
        "INSERT INTO cdc_outbox.activity SELECT %s - ago * interval '1 hour', 1, 'tenant' || n, 0, 1, 0, 0.1 "
        "FROM generate_series(1, 600) AS n, generate_series(1, 23) AS ago",
        [START.replace(minute=0, second=0)],
    )
    read: list[int] = []
    with postgres_seen(seen):
        async with managing(outbox, access=access) as managed, visiting(managed, "ann") as visitor:
            for attempts in (13_800, 13_801):
                seen.asked.clear()
                shown = (await visitor.get("/")).text
                assert f"Attempts delivered {attempts:,}<" in shown
                read.append(activity_rows(postgres_db, seen))
                await store(outbox, event(1), now=START)
                await finish(outbox, *await lease(outbox, START), now=START)
    await access.close()
    await outbox.close()
    assert read[0] > 13_800
    assert read[1] < 100


def activity_rows(database: Database, seen: SeenStatements) -> int:
    """The rows of statistics that the statements read."""
    rows = 0
    for text, given in seen.asked:
        if "cdc_outbox.activity" in text:
            with psycopg.connect(conninfo(database.info, "plans")) as planner:
                row = planner.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}".encode(), given).fetchone()
            assert row is not None
            scans = [step for step in plan_steps(row[0][0]["Plan"]) if step.get("Relation Name") == "activity"]
            rows += sum(step["Actual Rows"] * step["Actual Loops"] for step in scans)
    return rows


async def look_at_all(managed: Managed, *, some: bool) -> None:
    """As a manager and as a program, of all sources and, if ``some``, of one."""
    (newest,) = await managed.store.events(1)
    (sent,) = await managed.store.deliveries(DeliveryFilter(event_id="evt_1", endpoint_id="ep_1"), 1)
    values = {"delivery": sent.id, "event": newest.id, "record": newest.record, "sequence": str(newest.sequence)}
    values |= {f"t{number}": at(number).isoformat().replace("+00:00", "Z") for number in TIMED}
    users, tokens = ["ann"], [managed.tokens[Scope.READ]]
    if some:
        accounts = Accounts(managed.access, managed.clock)
        await accounts.add_user("cli:root", "sue", Role.MANAGER, PASSWORD, ("main",))
        users.append("sue")
        tokens.append((await accounts.add_token("cli:root", "one", Scope.READ, None, ("main",)))[1])
    for name in users:
        async with visiting(managed, name) as visitor:
            for path in PAGES:
                status = (await visitor.get(path.format(**values))).status
                assert status in (200, 303) or name == "sue", path
            assert (await visitor.send("/endpoints/ep_1/retry")).status == 303
    for token in tokens:
        for path in LISTINGS:
            headers = {"Authorization": f"Bearer {token}"}
            answer = await managed.ask("GET", path.format(**values), None, headers=headers)
            assert answer.status == 200 or token != tokens[0], path


def test_every_page_is_looked_at() -> None:
    shown = [path.partition("?")[0] for path in PAGES]
    pages = [
        each.path for each in routes() if each.method == "GET" and each.role and not each.path.startswith("/live/")
    ]
    missing = [path for path in pages if not any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), one) for one in shown)]
    assert not missing
