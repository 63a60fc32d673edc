"""A component that breaks off is begun again after a pause, and harms no other one."""

from __future__ import annotations

import asyncio

import pytest

from cdc.model.clock import SystemClock
from cdc.model.errors import CdcError, ConfigError, OutboxError, OutboxLost
from cdc.model.observer import Observer
from cdc.runtime.components import Components
from support.waiting import HANG_SECONDS


class QuickClock(SystemClock):
    """Pauses pass at once, and are noted."""

    def __init__(self) -> None:
        self.pauses: list[float | None] = []

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        self.pauses.append(seconds)
        await asyncio.sleep(0)
        return event.is_set()


class Told(Observer):
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.failed: list[tuple[str, CdcError]] = []

    def component_started(self, name: str) -> None:
        self.begun.append(name)

    def component_failed(self, name: str, error: CdcError) -> None:
        self.failed.append((name, error))


@pytest.fixture
def components() -> Components:
    return Components(QuickClock(), Told())


def told(components: Components) -> Told:
    assert isinstance(components.observer, Told)
    return components.observer


async def test_component_that_breaks_off_is_begun_again_and_others_go_on(components: Components) -> None:
    tries, stop, other_ran = 0, asyncio.Event(), asyncio.Event()

    async def broken(stop: asyncio.Event) -> None:
        nonlocal tries
        tries += 1
        if tries == 4:
            stop.set()
            return
        raise RecursionError("the row's secret")

    async def other(stop: asyncio.Event) -> None:
        await stop.wait()
        other_ran.set()

    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(components.keep("broken", broken, stop))
        group.create_task(components.keep("other", other, stop))
    assert other_ran.is_set()
    assert told(components).begun.count("broken") == 4
    assert told(components).begun.count("other") == 1
    assert [name for name, _ in told(components).failed] == ["broken"] * 3
    said = told(components).failed[0][1].message
    assert said.startswith("Unexpected RecursionError in test_components.py, line ")
    pauses = components.clock.pauses if isinstance(components.clock, QuickClock) else []
    assert sorted(pauses, key=lambda pause: pause or 0) == pauses, "they grow"


async def test_first_error_of_a_group_is_told(components: Components) -> None:
    stop = asyncio.Event()

    async def work(stop: asyncio.Event) -> None:
        stop.set()
        raise ExceptionGroup("several", [OutboxError("The disk is full."), ValueError("x")])

    await components.keep("dispatch", work, stop)
    assert [error.message for _, error in told(components).failed] == ["The disk is full."]


async def test_lost_outbox_ends_the_process(components: Components) -> None:
    async def work(_stop: asyncio.Event) -> None:
        raise OutboxLost("It was deleted.")

    with pytest.raises(OutboxLost):
        await components.keep("dispatch", work, asyncio.Event())


async def test_usage_error_ends_the_process_at_its_start_only(components: Components) -> None:
    stop = asyncio.Event()

    async def wrong(_stop: asyncio.Event) -> None:
        raise ConfigError("No such folder.")

    with pytest.raises(ConfigError):
        await components.keep("web", wrong, stop)

    async def still_wrong(stop: asyncio.Event) -> None:
        stop.set()
        raise ConfigError("No such folder.")

    await components.keep("web", still_wrong, stop)
    assert [error.message for _, error in told(components).failed] == ["No such folder."]


async def test_exception_without_a_traceback_is_reported_like_any_other(components: Components) -> None:
    """Exceptions of a group were perhaps never raised by themselves."""
    stop = asyncio.Event()

    async def broken(stop: asyncio.Event) -> None:
        if told(components).failed:
            stop.set()
            return
        raise ExceptionGroup("of tasks", [LookupError("a secret")])

    await components.keep("web", broken, stop)
    ((name, error),) = told(components).failed
    assert (name, str(error)) == ("web", "Unexpected LookupError.")


async def test_component_that_does_not_end_is_cancelled_after_the_stop(components: Components) -> None:
    stop, cancelled = asyncio.Event(), asyncio.Event()

    async def deaf(_stop: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with asyncio.timeout(HANG_SECONDS):
        running = asyncio.ensure_future(components.keep("deaf", deaf, stop, 0.01))
        assert not (await asyncio.wait([running], timeout=0.05))[0], "not before the stop"
        stop.set()
        await running
    assert cancelled.is_set()
    assert not told(components).failed


@pytest.mark.parametrize("ending", [None, HANG_SECONDS])
async def test_component_that_ends_by_itself_has_its_time_after_the_stop(
    components: Components, ending: float | None
) -> None:
    stop, finished = asyncio.Event(), asyncio.Event()

    async def slow(stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_soon(stop.set)
        await stop.wait()
        await asyncio.sleep(0.05)
        finished.set()

    await components.keep("slow", slow, stop, ending)
    assert finished.is_set()


async def test_timeout_of_the_work_itself_is_a_failure(components: Components) -> None:
    stop = asyncio.Event()

    async def late(stop: asyncio.Event) -> None:
        if not told(components).failed:
            raise TimeoutError
        stop.set()

    await components.keep("late", late, stop)
    assert [name for name, _ in told(components).failed] == ["late"]


async def test_component_that_ends_at_the_stop_at_once_causes_no_error(components: Components) -> None:
    stop, waits, errors = asyncio.Event(), asyncio.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))

    async def work(stop: asyncio.Event) -> None:
        await asyncio.sleep(0)  # until its limit waits for the stop
        waits.set()
        await stop.wait()

    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(components.keep("quick", work, stop))
        await waits.wait()
        stop.set()
    await asyncio.sleep(0)  # what the loop was to call next
    assert errors == []
