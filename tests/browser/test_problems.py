"""Three problems that a manager finds and sees repaired by the page alone, in Spanish: a receiver that is down, an
outbox whose disk is full, and a changed password of the source's account."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from support.browser import Tab
from support.consumer import Consumer, Inbox, answering
from support.health import Health
from support.ports import free_port
from support.site import MANAGER, PASSWORD, Site

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]  # the browser's loop

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
#: Milliseconds until the page shows a problem, or that it is gone: the password is tried once a minute.
SEEN = 120_000
#: Bytes of the outbox' file system, and those that a full one has left.
ROOM, SPARE = 2 << 30, 8192


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(folder)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"A disk that fills needs an account that may mount one: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(disk: Path) -> None:
    _resize(disk, sum(path.stat().st_blocks for path in disk.iterdir()) * 512 + SPARE)


def _resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


async def test_three_problems_are_found_and_repaired_from_the_page(
    own_server: Any, browser: Browser, disk: Path
) -> None:
    database, inbox, status = own_server("postgresql"), Inbox(), HTTPStatus.SERVICE_UNAVAILABLE

    async def answer(_event: dict[str, Any]) -> int:
        return status

    consumer = Consumer.of_one_table(disk, database)
    consumer.log_name = "../consumer.log"
    Health.of(consumer, port := free_port())
    async with answering(answer, inbox) as url:
        consumer.add_endpoint(url, "*", "--name", "Tienda")
        Site(consumer, base := f"http://127.0.0.1:{port}", "").user(MANAGER, "manager")
        async with consumer.running():
            tab = await Tab.open(browser, base, "es")
            await tab.sign_in(MANAGER, PASSWORD)
            problem = tab.page.locator("article.problem")

            for number in range(3):
                database.execute(INSERT, [number])
            await _shows(problem, "Tienda", "El destino ha respondido 503", "Reintentar ahora")
            status = HTTPStatus.NO_CONTENT
            await problem.get_by_role("button").first.click()
            await _all_is_well(tab)

            _fill(disk)
            for number in range(100, 400):
                database.execute(INSERT, [number])
            await _shows(
                problem, "No se puede guardar nada desde el", "el disco está lleno", "Libere espacio en ese disco"
            )
            _resize(disk, ROOM)
            await _all_is_well(tab)
            await inbox.until(lambda each: len(each.accepted) >= 303)

            former = database.info.password
            database.execute("ALTER ROLE CURRENT_USER PASSWORD 'another-9-password'")
            old = "El origen main se lee con una conexión antigua, y una nueva falla"
            await _shows(problem, old, "Compruebe el usuario y la contraseña")
            config = disk / "cdc.toml"
            config.write_text(config.read_text().replace(former, "another-9-password"))
            assert consumer.process is not None
            consumer.process.send_signal(signal.SIGHUP)
            await _all_is_well(tab)


async def _shows(problem: Locator, *texts: str) -> None:
    for text in texts:
        await expect(problem.filter(has_text=text).first).to_be_visible(timeout=SEEN)


async def _all_is_well(tab: Tab) -> None:
    await tab.go("/")
    await expect(tab.page.locator(".note.good")).to_be_visible(timeout=SEEN)
