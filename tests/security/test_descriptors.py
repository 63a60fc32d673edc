"""A stranger who opens connections and sends nothing takes no file descriptor that others need, and running out of
descriptors for a while ends nothing."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from cdc.runtime.process import raise_limit
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.health import Health, is_ready
from support.ports import free_port

#: As many as ended the process of former versions.
HALF_SENT = 1_224
BOUND = 40
#: The soft limit of most shells.
USUAL = 1_024
HEAD = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nX-Slow: a"


@contextmanager
def soft_limit(files: int) -> Iterator[None]:
    """A process that is started inside inherits it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def hold(port: int, number: int) -> list[asyncio.StreamWriter]:
    """Open connections with half a request each."""
    writers: list[asyncio.StreamWriter] = []
    for _ in range(number):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        writers.append(writer)
    return writers


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set on Linux only")
async def test_half_sent_requests_leave_descriptors_to_others(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path / "cdc", postgres_db)
    health = Health.of(consumer, port := free_port(), f"connections = {BOUND}\nrequest_seconds = 300\n")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        consumer.as_installed = True  # a process of its own inherits our limit
        async with AsyncExitStack() as stack:
            with soft_limit(USUAL):
                await stack.enter_async_context(consumer.running())
            await health.until(is_ready, seconds=120)
            assert consumer.process is not None
            process = psutil.Process(consumer.process.pid)
            assert process.rlimit(psutil.RLIMIT_NOFILE)[0] >= HALF_SENT, "raised at the start"
            process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 3 * BOUND,) * 2)
            held = await hold(port, HALF_SENT)
            postgres_db.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
            await inbox.until_count(1)
            assert (await health.ready())[0] == 200
            here = [each for each in process.net_connections("tcp") if each.laddr.port == port and each.raddr]
            assert len([each for each in here if each.status == psutil.CONN_ESTABLISHED]) <= BOUND
            for writer in held:
                writer.transport.abort()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set on Linux only")
async def test_no_descriptor_for_a_while_ends_nothing(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path / "cdc", postgres_db)
    health = Health.of(consumer, port := free_port())
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            await health.until(is_ready, seconds=120)
            assert consumer.process is not None
            process = psutil.Process(consumer.process.pid)
            before = process.rlimit(psutil.RLIMIT_NOFILE)
            process.rlimit(psutil.RLIMIT_NOFILE, (3, before[1]))
            waiting = await hold(port, 1)
            postgres_db.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
            postgres_db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await consumer.logged("source failed")
            await consumer.logged("connections cannot be accepted")
            process.rlimit(psutil.RLIMIT_NOFILE, before)
            await inbox.until_count(1)
            await health.until(is_ready, seconds=120)
            postgres_db.execute("INSERT INTO contadores VALUES (2, 0, NULL)")
            await inbox.until(lambda inbox: any(event["key"] == {"id": 2} for event in inbox.events))
            waiting[0].transport.abort()
    assert [each["message"] for each in consumer.messages()].count("reading") >= 2


def test_the_soft_limit_is_raised_within_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = 512
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        raise_limit(most=low - 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (low, hard), "never lowered"
        raise_limit(most=low + 100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (low + 100, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
