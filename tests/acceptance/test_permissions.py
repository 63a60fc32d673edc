"""Saving a role, one autocommitted row a permission: one event a member, by every way to capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.routes import routes

TABLES = (
    "CREATE TABLE users (nick varchar(50) PRIMARY KEY, admin boolean, level integer)",
    "CREATE TABLE roles_users (id integer PRIMARY KEY, codrole varchar(20), nick varchar(50))",
    "CREATE TABLE roles_access (id integer PRIMARY KEY, codrole varchar(20), pagename varchar(40))",
)
#: As many as the ERP writes for a usual role.
PERMISSIONS = 67


def _member(number: int, nick: str) -> str:
    return f"INSERT INTO roles_users VALUES ({number}, 'ventas', '{nick}')"


def _seen(event: dict[str, Any]) -> tuple[str, int]:
    return event["data"]["nick"], len(event["data"]["changes"])


@pytest.mark.timeout(600)
async def test_saved_role_gives_one_event_for_each_member(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    permissions = [f"INSERT INTO roles_access VALUES ({n}, 'ventas', 'Page{n}')" for n in range(PERMISSIONS)]
    async with routes(request, tmp_path, TABLES, "user.permissions_changed") as running:
        async with running.running():
            await running.each(_member(1, "ada"), _member(2, "eva"), _member(3, "lia"))
            await running.until(3)
            # a member leaves right after the role was saved, another one joins: neither changes what came before
            await running.each(*permissions, "DELETE FROM roles_users WHERE id = 3", _member(4, "pia"))
            await running.until(8)
        first = {source: running.of(source) for source in running.databases}
        for source, events in first.items():
            assert sorted(map(_seen, events[:3])) == [("ada", 1), ("eva", 1), ("lia", 1)], source
            assert sorted(map(_seen, events[3:])) == [
                ("ada", PERMISSIONS),
                ("eva", PERMISSIONS),
                ("lia", 1),
                ("lia", PERMISSIONS),
                ("pia", 1),
            ], source
            lia = [_seen(event) for event in events[3:] if event["data"]["nick"] == "lia"]
            assert lia == [("lia", PERMISSIONS), ("lia", 1)], source
        await running.each("DELETE FROM roles_access")  # in one transaction, while nobody reads
        async with running.running():
            await running.until(11)
        for source in running.databases:
            assert sorted(map(_seen, running.of(source)[8:])) == [(nick, PERMISSIONS) for nick in ("ada", "eva", "pia")]
