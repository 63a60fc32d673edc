"""Events by time on real databases, by every way to capture: once a day, also after restarts and in another mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc.config.load import load_config
from cdc.model.change import Batch
from cdc.model.clock import SystemClock
from cdc.model.event import Event
from cdc.model.observer import Observer
from cdc.relay import Relay, nobody
from cdc.runtime import consumer as consumer_module
from cdc.runtime.sharing import alone
from support.consumer import Consumer
from support.database import Database
from support.memory_outbox import MemoryOutbox
from support.waiting import HANG_SECONDS

RULES = """
[due]
timezone = "Europe/Madrid"

[[event]]
table = "cuotas"
name = "due"
date = "vence"
days = [-7, 0]
where = { pagada = { not = true } }
"""
TABLE = "CREATE TABLE cuotas (id integer PRIMARY KEY, vence {moment}, pagada boolean, nota varchar(40))"
ROUTES = [
    ("postgres_db", "triggers"),
    ("postgres_log_db", "logical"),
    ("mariadb_db", "triggers"),
    ("mariadb_binlog_db", "binlog"),
    ("mysql_db", "triggers"),
    ("mysql_binlog_db", "binlog"),
]


class SetClock(SystemClock):
    """The machine's clock, but for the time of day."""

    moment = datetime(2026, 11, 29, 5, tzinfo=UTC)  # 06:00 in Madrid

    def now(self) -> datetime:
        return self.moment


class Days(Observer):
    """Notes the events that are stored and the days that are complete.  ``clock``: of the relay."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.events: list[Event] = []
        self.read = 0
        self.complete: list[date] = []
        self.struck: list[date] = []
        self._stored = asyncio.Condition()

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:
        self.events += events[:new]
        self.read += len(events)
        if batch.step is not None and batch.step.due is not None and batch.step.finished:
            (self.complete if batch.step.due.days else self.struck).append(batch.step.due.day)
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._stored:
            self._stored.notify_all()

    async def until(self, day: date, *, struck: bool = False) -> None:
        days = self.struck if struck else self.complete
        async with asyncio.timeout(HANG_SECONDS), self._stored:
            await self._stored.wait_for(lambda: day in days)


def prepare(database: Database, folder: Path, capture: str, moment: str = "date") -> Consumer:
    database.execute(TABLE.format(moment=moment))
    consumer = Consumer.configure(folder, database.info, f'rules = "rules.toml"\ncapture = "{capture}"')
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    if capture != "binlog":
        consumer.run("install-triggers" if capture == "triggers" else "install-slot")
    return consumer


def fill(database: Database, rows: Sequence[tuple[int, str | None, bool]]) -> None:
    for number, due, paid in rows:
        database.execute("INSERT INTO cuotas (id, vence, pagada) VALUES (%s, %s, %s)", [number, due, paid])


@asynccontextmanager
async def reading(consumer: Consumer, store: MemoryOutbox, moment: datetime, monkeypatch: Any) -> AsyncIterator[Days]:
    """Read the source, at this time of day."""
    clock, stop = SetClock(), asyncio.Event()
    clock.moment, days = moment, Days(clock)
    monkeypatch.setattr(consumer_module, "SystemClock", lambda: clock)
    source = load_config(consumer.folder / "cdc.toml").source["main"]
    relay: Relay = consumer_module.relay_of(source, store, nobody, days, alone())
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run(stop))
        try:
            yield days
        finally:
            stop.set()


def due(days: Days) -> list[tuple[int, int | None]]:
    return [(event.data["id"], event.days) for event in days.events if event.name == "cuotas.due"]


@pytest.mark.parametrize(("fixture", "capture"), ROUTES)
async def test_each_record_is_due_once_a_day_in_every_mode(
    fixture: str, capture: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database: Database = request.getfixturevalue(fixture)
    consumer = await asyncio.to_thread(prepare, database, tmp_path, capture)
    fill(
        database,
        [
            (1, "2026-12-06", False),
            (2, "2026-12-06", True),
            (3, "2026-11-29", False),
            (4, "2026-12-05", False),
            (5, None, False),
            (6, "2026-12-07", False),
        ],
    )
    store = MemoryOutbox()
    async with reading(consumer, store, SetClock.moment, monkeypatch) as first:
        await first.until(date(2026, 11, 29))
    assert due(first) == [(1, -7), (3, 0)]
    assert (
        next(event.id for event in first.events if event.days == -7) == "evt_e1091ae42f849a59e7b41d3b1acd40ed"
    )  # by all modes
    # Started again on the same day, and on the next: only what is new.
    fill(database, [(7, "2026-11-30", False)])
    tomorrow = datetime(2026, 11, 30, 5, tzinfo=UTC)
    async with reading(consumer, store, tomorrow, monkeypatch) as second:
        await second.until(date(2026, 11, 30))
    assert due(second) == [(6, -7), (7, 0)]
    assert second.complete == [date(2026, 11, 30)]
    # Read again, as after an older copy of the outbox was put in place: the same ids, so nothing new.
    position = await store.position("main")
    assert position is not None
    await store.store("main", position, [], {"due:cuotas.due": None}, tomorrow)
    async with reading(consumer, store, tomorrow, monkeypatch) as again:
        await again.until(date(2026, 11, 30))
    assert (again.read, due(again)) == (2, [])


@pytest.mark.parametrize(("fixture", "modes"), [("mariadb_binlog_db", ("triggers", "binlog"))])
async def test_another_mode_continues_where_the_former_was(
    fixture: str, modes: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    database: Database = request.getfixturevalue(fixture)
    consumer = await asyncio.to_thread(prepare, database, tmp_path, modes[0])
    fill(database, [(1, "2026-12-06", False), (2, "2026-11-30", False)])
    store = MemoryOutbox()
    async with reading(consumer, store, SetClock.moment, monkeypatch) as first:
        await first.until(date(2026, 11, 29))
    assert due(first) == [(1, -7)]
    configuration = consumer.folder / "cdc.toml"
    text = configuration.read_text(encoding="utf-8").replace(f'"{modes[0]}"', f'"{modes[1]}"')
    configuration.write_text(text, encoding="utf-8")
    async with reading(consumer, store, datetime(2026, 11, 30, 5, tzinfo=UTC), monkeypatch) as second:
        await second.until(date(2026, 11, 30))
    assert due(second) == [(2, 0)]


@pytest.mark.parametrize(("fixture", "capture"), [("postgres_db", "triggers"), ("mariadb_binlog_db", "binlog")])
async def test_days_come_in_their_turn_after_a_wrong_clock(
    fixture: str, capture: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database: Database = request.getfixturevalue(fixture)
    consumer = await asyncio.to_thread(prepare, database, tmp_path, capture)
    fill(database, [(day, f"2026-12-{day:02}", False) for day in (1, 2, 3, 16, 20, 21)])
    store, begin = MemoryOutbox(), datetime(2026, 12, 1, 5, tzinfo=UTC)
    async with reading(consumer, store, begin, monkeypatch) as days:
        await days.until(date(2026, 12, 1))
        days.clock.moment = begin + timedelta(days=20)
        await days.until(date(2026, 12, 21))
        assert due(days) == [(1, 0), (16, 0), (20, 0), (21, 0)]
        days.clock.moment = begin
        await days.until(date(2026, 12, 1), struck=True)
        for day in (2, 3):
            days.clock.moment = begin + timedelta(days=day - 1)
            await days.until(date(2026, 12, day))
    assert due(days)[4:] == [(2, 0), (3, 0)]
    # The days that were read too early come, too: for records that were added since.
    fill(database, [(4, "2026-12-16", False)])
    async with reading(consumer, store, begin + timedelta(days=15), monkeypatch) as later:
        await later.until(date(2026, 12, 16))
    assert due(later) == [(20, -7), (21, -7), (4, 0)]
    assert [day.day for day in later.complete] == [10, 11, 12, 13, 14, 15, 16]


async def test_dates_with_a_time_of_day_belong_to_their_day(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = "datetime" if database.flavour != "postgresql" else "timestamp"
    consumer = await asyncio.to_thread(prepare, database, tmp_path, "triggers", moment)
    fill(database, [(1, "2026-12-06 00:00:00", False), (2, "2026-12-06 23:59:59", False)])
    fill(database, [(3, "2026-12-07 00:00:00", False), (4, "2026-12-05 23:59:59", False)])
    async with reading(consumer, MemoryOutbox(), SetClock.moment, monkeypatch) as days:
        await days.until(date(2026, 11, 29))
    assert due(days) == [(1, -7), (2, -7)]


def test_the_command_lists_rules_and_shows_a_day(database: Database, tmp_path: Path) -> None:
    consumer = prepare(database, tmp_path, "triggers")
    fill(database, [(1, "2026-12-06", False), (2, "2026-12-06", True), (3, "2026-11-29", False), (4, None, False)])
    consumer.create_outbox()
    (rule,) = json.loads(consumer.run("due", "--json"))["rules"]
    assert (rule["event"], rule["column"], rule["days"]) == ("cuotas.due", "cuotas.vence", [-7, 0])
    assert (rule["complete"], rule["problem"]) == ("", "")
    shown = json.loads(consumer.run("due", "--day", "2026-11-29", "--json"))["events"]
    assert [(each["record"], each["days"]) for each in shown] == [("cuotas:1", -7), ("cuotas:3", 0)]
    assert "Nothing is due on that day." in consumer.talk("due", "--day", "2026-11-28")
    assert "cuotas.due: each day at 06:00, Europe/Madrid" in consumer.run("doctor")
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES.replace('"vence"', '"vense"'), encoding="utf-8")
    assert "The table cuotas has no column vense" in consumer.run("doctor", expect=1)
    rules.write_text("", encoding="utf-8")
    assert "No rule by time is on" in consumer.talk("due")
