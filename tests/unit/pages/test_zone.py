"""The zone of times on the page: the configured one, FacturaScripts', the browser's; named, and the filters' too."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.browsing import visiting
from support.managing import managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, store

PHP = "<?php define('FS_DB_TYPE', 'mysql'); define('FS_DB_HOST', 'localhost'); define('FS_TIMEZONE', '{zone}');"


def source(folder: Path, name: str, zone: str) -> dict[str, str]:
    path = folder / f"{name}.php"
    path.write_text(PHP.format(zone=zone))
    return {"facturascripts": str(path)}


async def shown(path: str, cookie: str = "", **config: object) -> str:
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, name="order.paid"))  # 2026-11-24 12:00:01 UTC
    async with managing(outbox, **config) as managed, visiting(managed, "bob") as bob:
        return (await bob.get(path, cookies={"cdc_zone": cookie} if cookie else None)).text.replace("\u202f", " ")


async def test_times_are_in_the_zone_of_facturascripts(tmp_path: Path) -> None:
    text = await shown("/events", source={"main": source(tmp_path, "main", "Europe/Madrid")})
    assert "Nov 24, 2026, 1:00:01 PM" in text
    assert "Times: Europe/Madrid" in text


async def test_the_configured_zone_goes_before_that_of_facturascripts(tmp_path: Path) -> None:
    main = source(tmp_path, "main", "Europe/Madrid")
    text = await shown("/events", source={"main": main}, web={"timezone": "Asia/Tokyo"})
    assert "Times: Asia/Tokyo" in text


@pytest.mark.parametrize("zones", [("Europe/Madrid", "America/Bogota"), ("Mars/Olympus", "")])
async def test_without_one_zone_of_all_sources_the_browsers_counts(tmp_path: Path, zones: tuple[str, str]) -> None:
    config = {"source": {f"s{number}": source(tmp_path, f"s{number}", zone) for number, zone in enumerate(zones)}}
    assert "Times: Atlantic/Canary" in await shown("/events", "Atlantic/Canary", **config)
    text = await shown("/events", "../etc/passwd", **config)
    assert "Times: UTC" in text
    assert "Nov 24, 2026, 12:00:01 PM" in text


@pytest.mark.parametrize(("since", "found"), [("2026-11-24T13:00:00", True), ("2026-11-24T13:00:02", False)])
async def test_filters_mean_the_zone_that_is_shown(tmp_path: Path, since: str, found: bool) -> None:
    main = source(tmp_path, "main", "Europe/Madrid")
    text = await shown(f"/deliveries?since={since}", source={"main": main})
    assert ("order.paid" in text) is found
    assert text.count('<span class="soft">Europe/Madrid</span></label>') == 2
