"""What was sent, and how far sources were behind, by the minute."""

from __future__ import annotations

from datetime import timedelta

from cdc.capture.probe import Backlog
from cdc.web.activity import KEPT, Activity
from support.manual_clock import START
from support.watching import Watch

MINUTE = timedelta(minutes=1)


def test_a_minute_has_the_longest_lag_of_each_source() -> None:
    activity = Activity()
    for seconds, source in ((1.0, "a"), (3.5, "a"), (2.0, "a"), (7.0, "b")):
        activity.lagged(source, seconds, START)
    activity.lagged("a", 0.0, START + 2 * MINUTE)
    assert [dict(each.lags) for each in activity.last(3, START + 2 * MINUTE)] == [{"a": 3.5, "b": 7.0}, {}, {"a": 0.0}]


def test_no_more_than_a_day_is_kept() -> None:
    activity = Activity()
    for number in range(2000):
        activity.lagged("a", 1.0, START + number * MINUTE)
    assert sum(bool(each.lags) for each in activity.last(3000, START + 1999 * MINUTE)) == KEPT // MINUTE


async def test_the_monitor_notes_each_answer() -> None:
    watch = Watch()
    for seconds in (4.0, 2.0):
        watch.probe.ahead = Backlog(seconds)
        await watch.monitor._question("main")()
    assert watch.reported.activity.last(1, watch.clock.now())[0].lags == {"main": 4.0}
    assert watch.monitor.server("main") == "PostgreSQL 18.4"
    assert watch.monitor.server("another") == ""
