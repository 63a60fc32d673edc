"""``docs/install.md`` is true: its commands, run in their order, print what it shows.

CDC_TEST_WRITE_DOCS=1 writes what they print into it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from support.config_php import config_php
from support.consumer import Consumer
from support.database import Database
from support.install_page import PAGE, Stand, blocks, reset, rewritten
from support.ports import free_port


async def test_the_page_shows_what_its_commands_print(mariadb_erp: Database, tmp_path: Path) -> None:
    (tmp_path / "config.php").write_text(config_php(mariadb_erp), encoding="utf-8")
    (tmp_path / "system").mkdir()
    stand = Stand(tmp_path, mariadb_erp, {8600: free_port(), 8700: free_port()})
    text = await asyncio.to_thread(PAGE.read_text, encoding="utf-8")
    shown = blocks(text)
    by_hand = next(number for number, each in enumerate(shown) if each.command.startswith("cdc config init"))
    led = await stand.play(shown[:by_hand])
    await asyncio.to_thread(reset, Consumer(tmp_path))
    played = led + await stand.play(shown[by_hand:])
    if os.environ.get("CDC_TEST_WRITE_DOCS") == "1":
        await asyncio.to_thread(PAGE.write_text, rewritten(text, played), encoding="utf-8")
        return
    for real, told in zip(played, shown, strict=True):
        assert real.output == told.output, f"$ {told.command}: CDC_TEST_WRITE_DOCS=1 writes the page anew"
