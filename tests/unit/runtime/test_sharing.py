"""What many sources share: the pace of looks, turns to be opened, threads in which installers work."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from cdc.config import Config, SourceConfig, load_config
from cdc.model.observer import SILENT
from cdc.relay import nobody
from cdc.runtime.consumer import _watched, relay_of
from cdc.runtime.sharing import OPENED_AT_ONCE, PROBES_APART, THREADS, Share, Sharing, SourcePace, alone
from support.memory_outbox import MemoryOutbox
from support.waiting import HANG_SECONDS

URL = "postgresql://cdc:x@{host}/erp_{number}"


def _shares(folder: Path, hosts: list[str], *, leased: bool = False) -> dict[str, Share]:
    tables = [f'[source.s{n}]\nurl = "{URL.format(host=host, number=n)}"\n' for n, host in enumerate(hosts)]
    tables.append('[source.wrong]\nfacturascripts = "nowhere/config.php"\n')
    (folder / "cdc.toml").write_text("\n".join(tables), encoding="utf-8")
    return Sharing(leased=leased).shares(load_config(folder / "cdc.toml").source.values())


def test_a_few_sources_are_looked_at_as_one_is() -> None:
    assert SourcePace.among(1, 1) == SourcePace.among(20, 10) == SourcePace()
    assert not SourcePace().together


def test_all_together_are_looked_at_no_more_often() -> None:
    """Looks a second, of all sources together, stay bounded however many there are."""
    many = [SourcePace.among(number, number) for number in (300, 1000, 3000)]
    assert all(number / pace.probe <= 5 for number, pace in zip((300, 1000, 3000), many, strict=True))
    assert all(number / pace.look <= 1000 for number, pace in zip((300, 1000, 3000), many, strict=True))
    assert all(100 / pace.quick <= 3400 for pace in many), "of a hundred busy ones"
    assert all(pace.together for pace in many), "one connection looks at the journals of one account"
    assert not any(pace.keep for pace in many)
    assert all(pace.round <= 2 for pace in many), "an end must be noticed"


async def test_opening_is_released_once_where_its_timer_fires_in_the_same_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop may run a timer a little before its time."""
    share, loop = alone(), asyncio.get_running_loop()
    share._server.seconds = 0.01
    openings = share._server.openings
    async with share.opening():
        async with asyncio.timeout(HANG_SECONDS):
            while openings._value < OPENED_AT_ONCE:  # noqa: ASYNC110 - a semaphore gives no sign
                await asyncio.sleep(0.005)
        monkeypatch.setattr(loop, "time", lambda: 0.0)
    monkeypatch.undo()
    assert openings._value == OPENED_AT_ONCE


async def test_sources_of_one_server_are_opened_some_at_a_time(tmp_path: Path) -> None:
    shares = _shares(tmp_path, ["one"] * (OPENED_AT_ONCE + 3) + ["two"])
    *ones, two, wrong = shares.values()
    free, inside = asyncio.Event(), 0

    async def open_(share: Share) -> None:
        nonlocal inside
        async with share.opening():
            inside += 1
            await free.wait()

    opening = [asyncio.create_task(open_(share)) for share in ones]
    for _ in range(5):
        await asyncio.sleep(0)
    assert inside == OPENED_AT_ONCE
    async with two.opening(), wrong.opening():
        pass  # another server's turn comes at once
    free.set()
    await asyncio.gather(*opening)
    assert inside == len(ones)


async def test_worker_opens_no_more_sources_of_a_server_that_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.runtime.sharing.OPENING_SECONDS", 0.0)
    shares = list(_shares(tmp_path, ["one"] * (2 * OPENED_AT_ONCE), leased=True).values())[:-1]
    never, inside = asyncio.Event(), 0

    async def open_(share: Share) -> None:
        nonlocal inside
        async with share.opening():
            inside += 1
            await never.wait()

    opening = [asyncio.create_task(open_(share)) for share in shares]
    for _ in range(50):
        await asyncio.sleep(0)  # timers of no time have run
    assert inside == OPENED_AT_ONCE
    for task in opening:
        task.cancel()
    await asyncio.gather(*opening, return_exceptions=True)


async def test_who_waits_as_a_standby_lets_others_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.runtime.sharing.OPENING_SECONDS", 0.01)
    shares = list(_shares(tmp_path, ["one"] * (2 * OPENED_AT_ONCE)).values())[:-1]
    never, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def stand_by(share: Share) -> None:
        async with share.opening():
            entered.release()
            await never.wait()

    waiting = [asyncio.create_task(stand_by(share)) for share in shares]
    async with asyncio.timeout(HANG_SECONDS):
        for _ in shares:
            await entered.acquire()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(HANG_SECONDS), shares[0].opening():  # no turn was given back twice, none was lost
        pass


async def test_a_server_that_hangs_uses_up_its_own_threads_only(tmp_path: Path) -> None:
    shares = _shares(tmp_path, ["hangs"] * (THREADS + 2) + ["well"])
    *hanging, well, _wrong = shares.values()
    release = threading.Event()
    stuck = [asyncio.create_task(share.in_thread(release.wait)) for share in hanging]
    assert await asyncio.wait_for(well.in_thread(lambda: "done"), HANG_SECONDS) == "done"
    release.set()
    assert await asyncio.gather(*stuck) == [True] * len(hanging)


async def test_errors_come_to_who_asked_and_cancelling_does_not_wait() -> None:
    share, release = alone(), threading.Event()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await share.in_thread(fail)
    stuck = asyncio.create_task(share.in_thread(release.wait))
    await asyncio.sleep(0)
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(stuck, HANG_SECONDS)
    release.set()


@pytest.mark.parametrize("number", [2, 20, 100])
def test_sources_are_looked_at_from_outside_one_after_the_other(number: int) -> None:
    sources = {f"s{n}": SourceConfig(url=URL.format(host="db", number=n)) for n in range(number)}
    relays = {name: relay_of(source, MemoryOutbox(), nobody, SILENT, alone()) for name, source in sources.items()}
    pace = SourcePace.among(number, number)
    watched = _watched(Config(source=sources), relays, dict.fromkeys(sources, pace))
    delays = [each.delay for each in watched.values()]
    assert all(later - sooner >= PROBES_APART * 0.99 for sooner, later in pairwise(delays))
    assert delays[-1] < pace.probe, "each is asked within the first round"
