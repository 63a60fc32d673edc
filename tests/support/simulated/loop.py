"""An event loop without a clock and without input or output: time passes only when nothing can run now.

Everything that it does follows from what was scheduled, so two runs of the same program are the same run.  Tasks belong
to a simulated `Process`, which can be paused as by SIGSTOP, or killed at any await.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, ContextVar
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

#: Callbacks that may run without time passing: more of them are an endless loop of the program.
_MOST_AT_ONCE = 50_000


class Endless(Exception):
    """The program runs for ever without letting time pass."""


class Process:
    """The tasks of one simulated process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self._paused = False
        self._held: list[asyncio.Handle] = []
        self.tasks: dict[OrderedTask[Any], None] = {}

    @property
    def paused(self) -> bool:
        return self._paused

    def pause(self) -> None:
        """Run nothing of it until `resume`; what becomes due until then runs then."""
        self._paused = True

    def hold(self, handle: asyncio.Handle) -> None:
        self._held.append(handle)

    def resume(self) -> list[asyncio.Handle]:
        """Return what became due in the pause."""
        self._paused = False
        held, self._held = self._held, []
        return held


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class OrderedTask(asyncio.Task[T]):
    """A task whose place in a set depends on when it was created, not on its address in memory."""

    def __init__(self, serial: int, coroutine: Coroutine[Any, Any, T], **options: Any) -> None:
        self._serial = serial
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._serial


class OrderedFuture(asyncio.Future[T]):
    """A future whose place in a set depends on when it was created, not on its address in memory."""

    def __init__(self, serial: int, loop: asyncio.AbstractEventLoop) -> None:
        self._serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class VirtualLoop(asyncio.BaseEventLoop):
    """``steps``: callbacks that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.defects: list[dict[str, Any]] = []
        self._now = 0.0
        self._serials = count(1)
        self._soon: deque[tuple[asyncio.Handle, Process | None]] = deque()
        self._later: list[tuple[float, int, asyncio.TimerHandle, Process | None]] = []
        self.set_exception_handler(lambda _, context: self.defects.append(context))

    # -- what asyncio asks of a loop --------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]  # typeshed wants the types of the arguments
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append((handle, PROCESS.get() if context is None else context.get(PROCESS)))
        return handle

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        heapq.heappush(self._later, (when, next(self._serials), handle, process))
        return handle

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return OrderedFuture(next(self._serials), self)

    def create_task(  # type: ignore[override]  # typeshed knows a coroutine by another name
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = OrderedTask(next(self._serials), coro, loop=self, name=name or "task", context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(process.tasks.pop)
        return task

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run until the coroutine has ended; raises `Endless`, and RuntimeError when nothing is scheduled any more."""
        asyncio._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._close_generator)
        try:
            task = self.create_task(coroutine)
            while not task.done():
                self._advance()
                self._run_now()
            return task.result()
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(None)

    def _close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self.is_closed():
            self.call_soon(self.create_task, generator.aclose())

    def _advance(self) -> None:
        """Let time pass until the next callback is due, unless one is now."""
        if self._soon:
            return
        later = self._later
        while later and later[0][2].cancelled():
            heapq.heappop(later)
        if not later:
            raise RuntimeError("Nothing will ever happen again.")
        self._now = max(self._now, later[0][0])
        while later and later[0][0] <= self._now:
            _, _, handle, process = heapq.heappop(later)
            self._soon.append((handle, process))

    def _run_now(self) -> None:
        soon = self._soon
        for _ in range(_MOST_AT_ONCE):
            if not soon:
                return
            handle, process = soon.popleft()
            if handle.cancelled():
                continue
            if process is not None and process.paused:
                process.hold(handle)
                continue
            self.steps += 1
            handle._run()
        raise Endless(str(handle))

    def resume(self, process: Process) -> None:
        self._soon.extend((handle, process) for handle in process.resume())

    def kill(self, process: Process) -> None:
        """End the tasks of a process.  They are cancelled, because Python runs their `finally` blocks in any case: all
        that a process can reach refuses it once it is dead."""
        process.dead = True
        self.resume(process)
        for task in list(process.tasks):
            task.cancel()
