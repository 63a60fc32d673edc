"""The rules by time of a source, and how far each is, in the API and on the source's page."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from cdc.access.model import Scope
from cdc.model.backfill import state_after
from cdc.model.change import BackfillStep, DueDay, Position
from support.browsing import visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox

RULES = """
due = { timezone = "Europe/Madrid" }
event = [{ entity = "receipt", name = "due", days = [-7, 0] }, { entity = "estimate", name = "expiring", days = [-3] }]
"""


async def due(managed: Managed, source: str) -> list[tuple[object, ...]]:
    items = (await managed.ask("GET", f"/sources/{source}/due", Scope.READ)).json["items"]
    return [(each["event"], each["column"], each["days"], each["complete"], each["problem"]) for each in items]


async def test_rules_by_time_are_listed_with_the_last_complete_day(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES, encoding="utf-8")
    url = "postgresql://cdc@db.example.com/erp"
    sources = {"main": {"url": url, "rules": str(rules)}, "plain": {"url": url}}
    outbox = MemoryOutbox()
    async with managing(outbox, source=sources) as managed, visiting(managed, "bob") as bob:
        day = DueDay("receipt.due", "vencimiento", (0,), date(2026, 11, 23))
        step = BackfillStep("due/receipt.due/2026-11-23", 1, None, finished=True, due=day)
        await outbox.store("main", Position("p"), [], state_after(step, {}), managed.clock.now())
        assert sorted(await due(managed, "main"), key=str) == [
            ("estimate.expiring", "presupuestoscli.finoferta", [-3], None, None),
            ("receipt.due", "recibospagoscli.vencimiento", [-7, 0], "2026-11-23", None),
        ]
        assert await due(managed, "plain") == []
        assert (await managed.ask("GET", "/sources/none/due", Scope.READ)).status == 404
        page = (await bob.get("/sources/main", headers={"Accept-Language": "es"})).text
        assert "<h2>Eventos por fecha</h2>" in page
        assert "<code>recibospagoscli.vencimiento</code>" in page
        assert "-7, 0" in page
        assert "2026-11-23" in page
