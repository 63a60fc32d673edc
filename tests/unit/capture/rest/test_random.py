"""Random histories: an ERP that writes while pages are read, an API that fails and refuses, a consumer that is killed.

CDC_TEST_REST=10000 for so many steps.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cdc.capture.rest.reader import ALL
from support.facturascripts_api import TOKEN, Api, serving
from support.memory_outbox import MemoryOutbox
from support.polling import PassingClock, Polling, polling
from support.selection import examples

STEPS, STEPS_EACH = int(os.environ.get("CDC_TEST_REST", "300")), 30
TABLES = {"facturascli": "invoice", "clientes": "customer"}
KEYS = {"facturascli": "idfactura", "clientes": "codcliente"}
COMPARE, INTERVAL, PER_MINUTE = 120.0, 20.0, 300
#: What a comparison of a few pages may take, and whatever else waits for its turn.
SLACK = 30.0
#: After errors: the longest pause, and until the guard lets the API be asked again.
RECOVERY = 3600.0 + 660.0

tables = st.sampled_from(sorted(TABLES))
texts = st.sampled_from(["", "a", "B", "b&amp;c"])
codes = st.sampled_from([f"{letter}{number}" for letter in "aBcD" for number in range(9)])


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.api = Api(data={table: {} for table in TABLES})
        self.serving = serving(self.api)
        self.run(self.serving.__aenter__())
        self.polling: Polling = self.run(self._polling())
        self.mirror: dict[str, dict[Any, Any]] = {}
        self.mirrored = 0
        self.numbers = 0
        self.disturbed = False
        self.emptied_at = -1e9
        self.meanwhile: list[tuple[str, Any, str | None]] = []
        self.api.before_answer = self._write_meanwhile

    async def _polling(self) -> Polling:
        return polling(
            self.api,
            MemoryOutbox(),
            PassingClock(),
            tuple(TABLES),
            per_minute=PER_MINUTE,
            page_size=5,
            interval_seconds=INTERVAL,
            compare_seconds=COMPARE,
        )

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        self.check()
        self.run(self.polling.die())
        self.run(self.serving.__aexit__(None, None, None))
        self.loop.close()

    # -- what the ERP does ------------------------------------------------------------------------------------------

    @initialize(number=st.integers(0, 30), customers=st.lists(codes, max_size=20))
    def first_sight(self, number: int, customers: list[str]) -> None:
        for _ in range(number):
            self._write("facturascli", None, "there")
        for code in customers:
            self._write("clientes", code, "there")
        self.run(self.polling.run(SLACK))
        assert not self.polling.emitted
        self.mirror = {table: {key: dict(row) for key, row in self.api.data[table].items()} for table in TABLES}

    def _write(self, table: str, key: Any, text: str | None) -> None:
        """Insert, change, or with None delete; a key of an invoice that is not there is a new one."""
        if table == "facturascli" and key not in self.api.data[table]:
            self.numbers += 1
            key = self.numbers
        existing = {str(each).casefold(): each for each in self.api.data[table]}
        key = existing.get(str(key).casefold(), key)  # one key, whatever the case, as the database has it
        if text is not None:
            column = "observaciones" if table == "facturascli" else "nombre"
            self.api.put(table, {KEYS[table]: key, column: text})
        elif key in self.api.data[table]:
            self.api.delete(table, key)

    def _drawn_key(self, data: st.DataObject, table: str) -> Any:
        there = sorted(self.api.data[table])
        return data.draw(codes if table == "clientes" else st.sampled_from([0, *there]))

    @rule(table=tables, data=st.data(), text=texts)
    def write(self, table: str, data: st.DataObject, text: str) -> None:
        self._write(table, self._drawn_key(data, table), text)

    @rule(table=tables, data=st.data())
    def delete(self, table: str, data: st.DataObject) -> None:
        self._write(table, self._drawn_key(data, table), None)

    @rule(table=tables, data=st.data(), text=st.none() | texts)
    def write_while_pages_are_read(self, table: str, data: st.DataObject, text: str | None) -> None:
        self.meanwhile.append((table, self._drawn_key(data, table), text))

    def _write_meanwhile(self, _table: str) -> None:
        if self.meanwhile:
            self._write(*self.meanwhile.pop())

    @rule()
    def empty(self) -> None:
        for table in TABLES:
            for key in list(self.api.data[table]):
                self.api.delete(table, key)

    # -- what goes wrong --------------------------------------------------------------------------------------------

    @rule(statuses=st.lists(st.sampled_from([0, 500, 503]), min_size=1, max_size=3))
    def fail(self, statuses: list[int]) -> None:
        self.api.failing = statuses
        self.disturbed = True

    @precondition(lambda self: self.polling.clock.monotonic() > self.emptied_at + 20)
    @rule()
    def lose_rows_of_one_answer(self) -> None:
        """FacturaScripts gives no rows, and no error, when its database fails."""
        self.api.empty = 1
        self.emptied_at = self.polling.clock.monotonic()

    @rule(rights=st.sampled_from([None, {"clientes"}, set()]))
    def change_rights(self, rights: set[str] | None) -> None:
        self.api.rights = rights
        self.disturbed = True

    @rule(token=st.sampled_from([TOKEN, "another"]))
    def change_token(self, token: str) -> None:
        self.api.token = token
        self.disturbed = True

    @rule()
    def kill(self) -> None:
        self.run(self.polling.die())

    @rule(seconds=st.sampled_from([0.3, 3.0, 50.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(self.polling.run(seconds))

    # -- what must hold ---------------------------------------------------------------------------------------------

    @rule()
    def check(self) -> None:
        """Nothing is missing that is older than an interval, once the API answers."""
        self.api.rights, self.api.token, self.api.failing = None, TOKEN, []
        if self.disturbed:
            self.run(self.polling.run(RECOVERY))
            self.disturbed = False
        while self.meanwhile:
            self._write(*self.meanwhile.pop())
        self.run(self.polling.run(COMPARE + SLACK))
        self.each_event_follows_from_those_before()
        held = {table: rows.keys() - self.api.data[table].keys() for table, rows in self.mirror.items()}
        for table in TABLES:
            there = {key: row for key, row in self.mirror[table].items() if key not in held[table]}
            assert self._shown(table, there) == self._shown(table, self.api.data[table])
        if any(held.values()):  # not only a few are deleted: minutes must confirm it
            self.run(self.polling.run(ALL + 3 * COMPARE + SLACK))
            self.each_event_follows_from_those_before()
        assert all(self.mirror[table].keys() == self.api.data[table].keys() for table in TABLES)

    def _shown(self, table: str, rows: dict[Any, Any]) -> dict[Any, Any]:
        column = "observaciones" if table == "facturascli" else "nombre"
        return {key: row[column].replace("&amp;", "&") for key, row in rows.items()}

    @invariant()
    def each_event_follows_from_those_before(self) -> None:
        for event in self.polling.emitted[self.mirrored :]:
            table, what = event.table, event.name.rpartition(".")[2]
            (key,) = event.key.values()
            rows = self.mirror[table]
            column = "observaciones" if table == "facturascli" else "nombre"
            assert event.observed
            match what:
                case "created":
                    assert key not in rows
                case "updated":
                    assert event.previous is not None
                    former = rows[key][column].replace("&amp;", "&")
                    assert event.previous == {column: former}
                    assert event.data[column] != former
                case "deleted":
                    assert event.data[column] == rows[key][column].replace("&amp;", "&")
            if what == "deleted":
                del rows[key]
            else:
                rows[key] = dict(event.data)
        self.mirrored = len(self.polling.emitted)
        assert len({event.id for event in self.polling.emitted}) == len(self.polling.emitted)

    @invariant()
    def the_api_is_not_asked_too_often_nor_wrongly(self) -> None:
        times = [time for time, _ in self.api.requests]
        for first, last in zip(times, times[PER_MINUTE:], strict=False):
            assert last - first >= 60
        bad = self.api.incidents
        for first, fourth in zip(bad, bad[3:], strict=False):
            assert fourth - first > 600, "never more than three of the five that ban"
        assert not self.api.banned


class TestHistories(Histories.TestCase):
    settings: ClassVar[settings] = settings(
        max_examples=examples(STEPS // STEPS_EACH),
        stateful_step_count=STEPS_EACH,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
