"""How far sources were behind, by the minute."""

from __future__ import annotations

from datetime import timedelta

from cdc.capture.probe import Backlog
from cdc.web.monitor import KEPT, LagHistory
from support.manual_clock import START
from support.watching import Watch

MINUTE = timedelta(minutes=1)


def test_a_minute_has_the_longest_lag_of_each_source() -> None:
    history = LagHistory()
    for seconds, source in ((1.0, "a"), (3.5, "a"), (2.0, "a"), (7.0, "b")):
        history.lagged(source, seconds, START)
    history.lagged("a", 0.0, START + 2 * MINUTE)
    assert list(history.last("a", START + 2 * MINUTE))[-3:] == [3.5, None, 0.0]
    assert list(history.last("b", START + 2 * MINUTE))[-3:] == [7.0, None, None]
    assert set(history.last("c", START)) == {None}


def test_no_more_than_an_hour_is_kept() -> None:
    history = LagHistory()
    for number in range(200):
        history.lagged("a", 1.0, START + number * MINUTE)
    assert list(history.last("a", START + 199 * MINUTE)) == [1.0] * KEPT
    assert len(history._minutes["a"]) == KEPT


async def test_the_monitor_notes_each_answer() -> None:
    watch = Watch()
    for seconds in (4.0, 2.0):
        watch.probe.ahead = Backlog(seconds)
        await watch.monitor._question("main")()
    assert watch.reported.lags.last("main", watch.clock.now())[-1] == 4.0
    assert watch.monitor.server("main") == "PostgreSQL 18.4"
    assert watch.monitor.server("another") == ""
