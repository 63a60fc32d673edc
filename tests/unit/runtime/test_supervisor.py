"""What the service manager is told, over a real socket."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from pathlib import Path

import pytest

from cdc.runtime.process import Supervisor, keep_alive
from support.manual_clock import ManualClock
from support.notify_socket import notify_socket


@pytest.mark.parametrize("abstract", [False, True])
def test_each_state_as_sd_notify_writes_it(tmp_path: Path, abstract: bool) -> None:
    clock, name = ManualClock(), f"@cdc-test-{os.getpid()}" if abstract else "notify"
    clock.advance(2.5)
    with notify_socket(tmp_path, name) as listening:
        supervisor = Supervisor.from_environment({"NOTIFY_SOCKET": listening.address})
        supervisor.waiting("Waiting for the outbox.", 1.5)
        supervisor.ready("All is well.")
        supervisor.reloading(clock)
        supervisor.alive("Two\nlines")
        supervisor.stopping()
        assert listening.told() == [
            {"EXTEND_TIMEOUT_USEC": "1500000", "STATUS": "Waiting for the outbox."},
            {"READY": "1", "STATUS": "All is well."},
            {"RELOADING": "1", "MONOTONIC_USEC": "2500000"},
            {"WATCHDOG": "1", "STATUS": "Two lines"},
            {"STOPPING": "1", "STATUS": "Stopping."},
        ]


def test_without_a_service_manager_nothing_is_told() -> None:
    supervisor = Supervisor.from_environment({"WATCHDOG_USEC": "1000000"})
    supervisor.ready("All is well.")
    assert supervisor.silence_limit is None


@pytest.mark.parametrize(
    ("variables", "patience"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "{pid}"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_for_this_process(variables: dict[str, str], patience: float | None) -> None:
    given = {name: value.format(pid=os.getpid()) for name, value in variables.items()}
    assert Supervisor.from_environment({"NOTIFY_SOCKET": "/x"} | given).silence_limit == patience


def test_a_socket_that_nobody_reads_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Supervisor(str(tmp_path / "gone")).ready("All is well.")
    assert "service manager not notified" in capsys.readouterr().out


async def _turn() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_whoever_hangs_is_not_alive(tmp_path: Path) -> None:
    clock, stop, why = ManualClock(), asyncio.Event(), ["The outbox hangs."]

    def hangs(_now: datetime) -> list[str]:
        return why

    with notify_socket(tmp_path) as listening:
        supervisor = Supervisor(listening.address, silence_limit=30)
        keeping = asyncio.create_task(keep_alive(supervisor, hangs, lambda now: f"{now:%S}", clock, stop))
        told = []
        for _ in range(3):
            await _turn()
            told.append(listening.told())
            why = []
            clock.advance(10)
        stop.set()
        await keeping
    alive = [{"WATCHDOG": "1", "STATUS": second} for second in ("10", "20")]
    assert [each for message in told for each in message] == alive
