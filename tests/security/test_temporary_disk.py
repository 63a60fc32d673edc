"""A full temporary disk is a failure of the one source that meets it: tried again, and no change is skipped for it."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import pytest
from structlog.testing import capture_logs

from cdc.capture import spool
from cdc.capture.base import NO_BACKFILLS, SourceBackfills
from cdc.capture.spool import RecordIndex, Spool
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.change import Batch, Operation, Position, RowChange, Transaction
from cdc.model.clock import SystemClock
from cdc.model.endpoint import Endpoint
from cdc.model.errors import SourceUnavailable, reportable_error
from cdc.relay import TRIES, Relay, nobody
from support.memory_outbox import MemoryOutbox

MOMENT = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
CHANGE = RowChange(
    Operation.CREATE, "clientes", {"codcliente": "1"}, None, {"codcliente": "1", "nombre": "A"}, MOMENT, 1
)
TRANSACTION = Transaction("t", (CHANGE,))


class SmallIndex(RecordIndex):
    """On a disk with room for a few records."""

    def __init__(self) -> None:
        super().__init__()
        self._database.execute("PRAGMA max_page_count = 8")


class QuickClock(SystemClock):
    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        await asyncio.sleep(0)
        return event.is_set()


@dataclass
class SpoolingSource:
    """Spools a huge transaction before it yields a change; the disk is full the first times."""

    full: int
    name: str = "main"
    failed: list[Exception] = field(default_factory=list)
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, position: Position | None) -> None:
        pass

    async def begin(self) -> Batch | None:
        return None

    async def batches(self, backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        assert backfills is NO_BACKFILLS
        if len(self.failed) < self.full:
            try:
                fill()
            except SourceUnavailable as error:
                self.failed.append(error)
                raise
        yield Batch((TRANSACTION,), Position("1"))
        await asyncio.Event().wait()

    async def site_url(self) -> str:
        return ""

    async def acknowledge(self, position: Position) -> None:
        assert position == "1"
        self.acknowledged.set()

    async def close(self) -> None:
        pass


def fill() -> None:
    with Spool() as spooled:
        for number in count():
            spooled.add(CHANGE._replace(key={"codcliente": f"{number}"}))


async def test_full_temporary_disk_skips_nothing_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "RecordIndex", SmallIndex)
    store, source, stop = MemoryOutbox(), SpoolingSource(full=TRIES + 2), asyncio.Event()
    await store.add_endpoint(
        Endpoint(id="ep_1", url="https://a.example.com/", events=("*",), secret="", created_at=MOMENT)
    )
    relay = Relay(source, Mapper(load_catalogue()), store, QuickClock(), nobody)  # type: ignore[arg-type]  # reads no rows
    with capture_logs() as logged:
        running = asyncio.create_task(relay.run(stop))
        async with asyncio.timeout(300):
            await source.acknowledged.wait()
        stop.set()
        await running
    assert [each["event"] for each in logged].count("source failed") == TRIES + 2
    assert {each.get("error") for each in logged if each["event"] == "source failed"} == {
        str(error) for error in source.failed
    }
    (said,) = {str(error) for error in source.failed}
    assert said.startswith("A large transaction cannot be stored in the temporary folder /")
    assert "no space left" in said
    assert "set TMPDIR to another folder" in said
    assert [event.record for event in await store.events(10)] == ["clientes:1"]
    assert await store.quarantined(10) == []


REASONS = {errno.ENOSPC: "Make room", errno.EDQUOT: "Make room", errno.EACCES: "Let this user", errno.EROFS: "Let this"}


class FullFile(io.BytesIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, _data: object) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", REASONS)
@pytest.mark.parametrize("begins", [True, False])
def test_spool_names_folder_cause_and_fix(number: int, monkeypatch: pytest.MonkeyPatch, *, begins: bool) -> None:
    def made(**_options: object) -> FullFile:
        if begins:
            raise OSError(number, os.strerror(number))
        return FullFile(number)

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", made)
    with pytest.raises(SourceUnavailable) as caught, Spool() as spooled:
        spooled.add(CHANGE)
    expected = f"A large transaction cannot be stored in the temporary folder {tempfile.gettempdir()}: "
    assert caught.value.message == f"{expected}{os.strerror(number)}."
    assert caught.value.hint.startswith(REASONS[number])


def test_no_folder_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> list[str]:
        return ["/nonexistent/one"]

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", none)
    monkeypatch.setenv("TMPDIR", "/nonexistent/one")
    with pytest.raises(SourceUnavailable, match="temporary folder /nonexistent/one: No usable temporary directory"):
        Spool()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("file", ["/var/lib/cdc/x", None])
def test_unexpected_failure_of_a_file_says_file_cause_and_fix(number: int, file: str | None) -> None:
    error = OSError(number, "a value of the row", *([file] if file else []))
    reported = reportable_error(error)
    assert reported.message == f"A file{f' ({file})' if file else ''} cannot be used: {os.strerror(number)}."
    assert reported.hint
