"""A source's page shows its position as the database's own statements do, in the reader's language."""

from __future__ import annotations

import re
from html import unescape

import pytest

from cdc.capture.base import HugePart, Reread
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.schema_history import BinlogPosition
from cdc.capture.journal.database import JournalPosition, Marker
from cdc.capture.logical.position import LogicalPosition
from cdc.capture.moving import Overlap
from cdc.capture.probe import Backlog
from cdc.capture.rest.comparison import ResourceProgress, RestPosition
from cdc.model.change import Position
from support.browsing import visiting
from support.managing import managing
from support.memory_outbox import MemoryOutbox

_LOG = LogPosition("mariadb-bin.000012", 4711, "0-1-5,1-2-7")
_BINLOG = BinlogPosition(_LOG, "server", "schema", ("facturascli",)).dump()
_LOGICAL = LogicalPosition(0x1_0000_00A8, "7301", rereads=(Reread("stocks", "x"),), huge=HugePart("799", 1234))
_JOURNAL = JournalPosition(done=tuple(f"t{number}" for number in range(7)), marker=Marker("a", 3))
_REST = RestPosition({"clientes": ResourceProgress(2, known=True), "stocks": ResourceProgress()})

POSITIONS = {
    _BINLOG: "Archivo de log y posición: mariadb-bin.000012:4711 GTID: 0-1-5, 1-2-7",
    Overlap(_BINLOG, ("t1",), _BINLOG).dump(): (
        "Archivo de log y posición: mariadb-bin.000012:4711 GTID: 0-1-5, 1-2-7"
    ),
    _LOGICAL.dump(): (
        "LSN: 1/A8 Registros guardados de una transacción grande: 1234 Tablas que se leen de nuevo: stocks"
    ),
    _JOURNAL.dump(): "Últimas transacciones: t6, t5, t4, t3, t2",
    _REST.dump(): "Tablas comparadas: clientes Tablas que se leen por primera vez: stocks",
    Position("unknown"): "",
}


@pytest.mark.parametrize(("position", "expected"), POSITIONS.items())
async def test_position_is_shown_in_parts_with_the_stored_text_folded(position: Position, expected: str) -> None:
    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        managed.watch.reported.sources["main"].position = position
        page = (await ann.get("/sources/main", headers={"Accept-Language": "es"})).text
    match = re.search(
        r"<dt>Posición</dt><dd>(.*?)<details><summary>Tal como se guarda</summary>(.*?)</details>", page, re.DOTALL
    )
    assert match
    shown, stored = (" ".join(unescape(re.sub("<[^>]*>", "", part)).split()) for part in match.groups())
    assert (shown, stored) == (expected, position)


async def test_long_list_of_gtids_is_cut() -> None:
    log = LogPosition("", 0, ",".join(f"uuid{number}:1-5" for number in range(12)))
    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        managed.watch.reported.sources["main"].position = BinlogPosition(log, "server", "schema", ()).dump()
        page = (await ann.get("/sources/main")).text
    assert "<code>uuid4:1-5</code> and 7 more" in page
    assert "Log file" not in page


async def test_stalled_source_and_refused_password_are_said_in_the_readers_language() -> None:
    spanish = {"Accept-Language": "es"}
    async with managing(MemoryOutbox(), web={"timezone": "Europe/Madrid"}) as managed, visiting(managed, "ann") as ann:
        backlog = Backlog(0.0, 0, refused="No connection to mysql database erp at db:3306 as cdc: refused.")
        managed.watch.monitor.ahead["main"].came(backlog, managed.clock.now())
        for path in ("/", "/sources", "/sources/main"):
            shown = unescape((await ann.get(path, headers=spanish)).text)
            assert "El origen main se lee con una conexión antigua, y una nueva falla" in shown, path
        managed.watch.pass_time(180, ahead=1)
        for path in ("/sources", "/sources/main"):
            shown = unescape((await ann.get(path, headers=spanish)).text)
            assert '<span class="badge bad">parado</span>' in shown
            assert "no ha guardado nada desde el 24 nov 2026, 22:48:00 (hace 3 min)" in shown
        listed = (await managed.ask("GET", "/sources?state=stalled")).json["items"]
        assert [(each["name"], each["state"]) for each in listed] == [("main", "stalled")]
