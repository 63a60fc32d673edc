"""Since when a log has been longer than what is stored of it; trials of another connection."""

from __future__ import annotations

import asyncio
from operator import ge

import pytest

from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.source import holds
from cdc.capture.probe import Backlog, Ends, LateProbe
from cdc.model.change import Position
from cdc.model.errors import SourceUnavailable
from support.waiting import HANG_SECONDS


class Seconds:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_lag_is_the_age_of_the_oldest_end_that_is_not_stored() -> None:
    clock = Seconds()
    ends: Ends[int] = Ends(ge, clock)
    assert ends.ahead(10, 10).seconds == 0
    assert ends.ahead(20, 10).seconds == 0  # seen for the first time
    clock.now += 5
    assert ends.ahead(20, 10).seconds == 5
    assert ends.ahead(30, 19).seconds == 5
    clock.now += 5
    assert ends.ahead(40, 20).seconds == 5  # since 30 was seen
    assert ends.ahead(40, 40).seconds == 0
    clock.now += 100
    assert ends.ahead(41, 40).seconds == 0


def test_a_consumer_that_never_catches_up_is_told_its_lag_in_bounded_memory() -> None:
    clock = Seconds()
    ends: Ends[int] = Ends(ge, clock)
    for second in range(10_000):
        clock.now += 1
        ahead = ends.ahead(second, second - 3000)
    assert ahead.seconds == pytest.approx(3000, rel=0.02)
    assert len(ends._seen) <= 2001


def test_ends_of_another_server_are_forgotten_with_the_first_that_is_held() -> None:
    ends: Ends[LogPosition] = Ends(holds, Seconds())
    ends.ahead(LogPosition("old.000900", 5, "0-1-8"), LogPosition("old.000800", 5, "0-1-7"))
    ends.ahead(LogPosition("new.000001", 700, "0-2-9"), LogPosition("new.000001", 700, "0-2-9"))
    assert not ends._seen


@pytest.mark.parametrize(
    ("stored", "end", "expected"),
    [
        (("b.000001", 500, "0-1-5"), ("b.000001", 500, "0-1-5"), True),
        (("b.000001", 500, "0-1-5"), ("b.000001", 600, "0-1-6"), False),
        (("b.000001", 500, "0-1-5,1-1-9"), ("b.000002", 379, "1-1-9,0-1-5"), True),  # a new file, nothing in it
        (("b.000001", 500, ""), ("b.000002", 157, ""), False),
        (("b.000002", 157, ""), ("b.000002", 157, ""), True),
        (("b.000010", 4, "A-B:1-3"), ("b.000010", 198, "a-b:1-3"), True),
    ],
)
def test_what_a_position_of_the_binlog_holds(
    stored: tuple[str, int, str], end: tuple[str, int, str], *, expected: bool
) -> None:
    assert holds(LogPosition(*stored), LogPosition(*end)) is expected


class FakeProbe:
    """Answers while its password is the server's; an open connection goes on to answer."""

    server = "fake"

    def __init__(self, password: str, accepted: list[str]) -> None:
        self.password, self.accepted = password, accepted
        self.open = self.closed = False

    async def ask(self, _position: Position | None, /) -> Backlog:
        if not self.open and self.password not in self.accepted:
            raise SourceUnavailable("The server refuses the user.")
        self.open = True
        return Backlog(0.0, 0)

    async def close(self) -> None:
        self.open, self.closed = False, True


async def test_new_password_takes_the_place_of_the_former_one() -> None:
    accepted, configured, made = ["old"], ["old"], list[FakeProbe]()

    def make() -> FakeProbe:
        made.append(FakeProbe(configured[0], accepted))
        return made[-1]

    probe = LateProbe(make, keep=True, trying=asyncio.Lock(), try_every=0.0)
    assert await probe.ask(None) == Backlog(0.0, 0)
    accepted[:] = ["new"]
    await asyncio.sleep(0)  # the trial runs
    await probe.ask(None)
    await asyncio.sleep(0)
    answer = await probe.ask(None)
    assert answer is not None
    assert answer.refused == "The server refuses the user."
    made[0].open = False  # the server ends it
    configured[0] = "new"
    with pytest.raises(SourceUnavailable):
        await probe.ask(None)
    for _ in range(3):
        await asyncio.sleep(0)
    assert await probe.ask(None) == Backlog(0.0, 0)
    assert made[0].closed
    await probe.close()
    assert sum(each.open for each in made) == 0


async def test_trials_of_one_server_take_turns() -> None:
    trying, begun = asyncio.Lock(), asyncio.Event()

    class Slow(FakeProbe):
        async def ask(self, position: Position | None, /) -> Backlog:
            begun.set()
            return await super().ask(position)

    probes = [LateProbe(lambda: Slow("old", ["old"]), keep=True, trying=trying, try_every=0.0) for _ in range(2)]
    async with trying:
        for each in probes:
            await each.ask(None)
        begun.clear()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not begun.is_set()
    await asyncio.wait_for(begun.wait(), HANG_SECONDS)
    for each in probes:
        await each.close()
