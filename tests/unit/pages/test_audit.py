"""The page with the audit log says in words what was done."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import cdc
from cdc.model.backfill import ACTIONS
from support.browsing import visiting
from support.managing import managing
from support.memory_outbox.outbox import MemoryOutbox

PRODUCT = Path(cdc.__file__).parent
#: Function → the place of its argument that names an action.
NOTING = {"_note": 0, "_entry": 1, "_change": 2, "AuditEntry": 2}


def noted(tree: ast.AST) -> Iterator[str]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        place = NOTING.get(name, len(call.args))
        action = call.args[place] if place < len(call.args) else None
        if isinstance(action, ast.Constant) and isinstance(action.value, str):
            yield action.value


def test_each_action_that_is_recorded_has_a_title() -> None:
    modules = [*PRODUCT.glob("admin/*.py"), *PRODUCT.glob("access/*.py")]
    recorded = {action for path in modules for action in noted(ast.parse(path.read_text(encoding="utf-8")))}
    recorded |= {action for _, action in ACTIONS.values()}
    page = (PRODUCT / "pages/templates/audit.html").read_text(encoding="utf-8")
    assert set(re.findall(r'^"([a-z.-]+)": _\(', page, re.MULTILINE)) == recorded


async def test_actions_are_in_the_readers_language() -> None:
    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        english = await ann.get("/audit")
        spanish = await ann.get("/audit", headers={"Accept-Language": "es"})
    assert "Signed in" in english.text
    assert "Inicio de sesión" in spanish.text
    assert "session.begin" not in english.text + spanish.text
