"""Remains of a release on its users' machines: an outbox with undelivered events, and installed triggers; and the
statements of its workers.

``python -m support.releases`` (with ``PYTHONPATH=tests``) writes them for the program as it is, into
``tests/upgrade/VERSION``; the tests there open each with the program of the day.  A folder is written once, for its
release, and never again.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cdc import __version__
from cdc.access.base import AccessStore
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.config import SourceConfig
from cdc.model.change import Position
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import EndpointChange, Order
from cdc.outbox.database import postgres_statements
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SecretBox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from cdc.runtime import capture
from support.accesses import entry, token, user
from support.consumer import database_url
from support.database import Database, fresh_database
from support.outboxes import NOW, at, endpoint, event, finish, lease
from support.programs import find
from support.server import Spec
from support.servers import KeeperClient, kept_servers, shared_server

FOLDER = Path(__file__).resolve().parents[1] / "upgrade"
#: Of a worker of that release on PostgreSQL.
STATEMENTS = "statements.postgresql.json.gz"
FLAVOURS = ("postgresql", "mariadb", "mysql")
#: Seals the secrets of these outboxes; a secret of nobody.
KEY = "c2VjcmV0IG9mIG5vYm9keTogZm9yIHRoZSB0ZXN0cyE="
SECRET, NEW_SECRET = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB", "whsec_QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC"
ENDPOINTS = (
    endpoint("ep_a", secret=SECRET, headers=(("X-Key", "k"),)),
    endpoint("ep_off", secret=SECRET, enabled=False, disabled_reason="It answered 410."),
    endpoint("ep_line", secret=SECRET, order=Order.ENDPOINT, condition="data.total > 1.0"),
    endpoint("ep_gone"),
)


def releases() -> list[str]:
    """Every version that left something here, oldest first."""
    return sorted((path.name for path in FOLDER.iterdir() if (path / "expected.json").is_file()), key=_number)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


async def fill(outbox: OutboxStore, access: AccessStore) -> dict[str, Any]:
    """Events in every state; what of them must still be sent, by endpoint, in the order of its records."""
    for each in ENDPOINTS:
        await outbox.add_endpoint(each)
    events = [event(1, "facturascli:1"), event(2, "facturascli:1"), event(3, "clientes:ñ'1"), event(4), event(5)]
    await outbox.store("main", Position("p1"), events, {"user:ann": "in"}, NOW)
    sent = await lease(outbox, worker="gone")
    first = {each.event_id: each for each in sent if each.endpoint_id == "ep_a"}
    await finish(outbox, first["evt_3"], worker="gone")
    await finish(outbox, first["evt_4"], state=DeliveryState.DEAD, worker="gone")
    await finish(outbox, first["evt_5"], state=DeliveryState.PENDING, due_at=at(25), worker="gone")
    await outbox.change_endpoint("ep_a", EndpointChange(secret=NEW_SECRET, former_secret_until=at(3600)))
    await outbox.remove_endpoint("ep_gone", NOW)
    await outbox.store("main", Position("p2"), [event(6, "facturascli:1", name="invoice.paid")], {}, at(6))
    await access.add_user(user("ann", password_hash="$argon2id$none"), entry())
    await access.add_token(token(1), "digest", entry("token.add", "token:tok_1"))
    return {
        "undelivered": {
            "ep_a": ["evt_1", "evt_2", "evt_5", "evt_6"],
            "ep_off": ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5", "evt_6"],
            "ep_line": ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5", "evt_6"],
        },
        "position": "p2",
        "states": {"user:ann": "in"},
    }


def after_rotation() -> list[Any]:
    """The endpoints as `fill` leaves them."""
    kept = [each for each in ENDPOINTS if each.id != "ep_gone"]
    rotated: dict[str, Any] = {"secret": NEW_SECRET, "former_secret": kept[0].secret, "former_secret_until": at(3600)}
    failing: dict[str, Any] = {"failing_since": NOW}  # its last attempt failed
    return [replace(kept[0], **rotated, **failing), *kept[1:]]


async def opened(outbox: OutboxStore, access: AccessStore) -> dict[str, Any]:
    await outbox.open()
    await access.open()
    try:
        return await fill(outbox, access)
    finally:
        await outbox.close()
        await access.close()


async def later(outbox: OutboxStore) -> dict[str, list[str]]:
    """Return the deliveries of a later program, a day after `fill`: event ids by endpoint, in their order."""
    sent: dict[str, list[str]] = {}
    now = NOW + timedelta(days=1)
    await outbox.change_endpoint("ep_off", EndpointChange(enabled=True, disabled_reason=""))
    while leased := await lease(outbox, now, worker="new"):
        for each in leased:
            sent.setdefault(each.endpoint_id, []).append(each.event_id)
        await finish(outbox, *leased, now=now, worker="new")
    return sent


def dumped(version: str, name: str) -> str:
    """A file of a release as text."""
    path = FOLDER / version / name
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")


# -- writing them ------------------------------------------------------------------------------------------------------


def sqlite_dump(path: Path) -> str:
    """Return statements that create the file again, its versions included."""
    with closing(sqlite3.connect(path)) as db:
        pragmas = [
            f"PRAGMA {name} = {db.execute(f'PRAGMA {name}').fetchone()[0]};"
            for name in ("application_id", "user_version")
        ]
        return "\n".join([*db.iterdump(), *pragmas, ""])


def postgres_dump(database: Database) -> str:
    """The schema ``cdc_outbox``, without what belongs to one server or to psql."""
    info = database.info
    program = find("postgresql").folder / "pg_dump"
    options = ["--schema=cdc_outbox", "--inserts", "--no-owner", "--no-privileges"]
    where = [f"--host={info.host}", f"--port={info.port}", f"--username={info.user}", info.database]
    done = subprocess.run(
        [program, *options, *where],
        env=os.environ | {"PGPASSWORD": info.password},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (
        line for line in done.stdout.splitlines() if not re.match(r"\\|SET |--|SELECT pg_catalog.set_config", line)
    )
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def triggers_script(database: Database) -> str:
    """Return the output of ``cdc install-triggers --dry-run``."""
    source = SourceConfig(url=database_url(database.info))
    installer = capture.installer(source)
    return installer.script(installer.plan_install(capture.captures(source)))


def write(folder: Path, keeper: KeeperClient) -> None:
    folder.mkdir(parents=True)
    box = SecretBox([KEY])
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "cdc.db"
        contents = asyncio.run(opened(SqliteOutbox(path, box=box), SqliteAccess(path, box=box)))
        (folder / "outbox.sqlite.sql").write_text(sqlite_dump(path), encoding="utf-8")
    with fresh_database(shared_server(keeper, Spec("postgresql")), erp=False) as database:
        asyncio.run(opened(PostgresOutbox(database.info, box=box), PostgresAccess(database.info, box=box)))
        (folder / "outbox.postgresql.sql").write_text(postgres_dump(database), encoding="utf-8")
    statements = json.dumps(dict(postgres_statements()), indent=1) + "\n"
    (folder / STATEMENTS).write_bytes(gzip.compress(statements.encode(), mtime=0))
    for flavour in FLAVOURS:
        with fresh_database(shared_server(keeper, Spec(flavour)), erp=True) as database:
            script = triggers_script(database).replace(database.name, "@DATABASE@")
            (folder / f"triggers.{flavour}.sql.gz").write_bytes(gzip.compress(script.encode(), mtime=0))
    (folder / "expected.json").write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    folder = FOLDER / __version__
    if folder.exists():
        print(f"{folder} is there: what a release left behind does not change.", file=sys.stderr)
        return 1
    with kept_servers() as keeper:
        write(folder, keeper)
    print(f"Written: {folder}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
