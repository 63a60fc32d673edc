"""A resource of many rows, read and compared: how much memory that takes.  CDC_TEST_REST_ROWS=100000 for so many."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cdc.facturascripts.schema import resources, tables
from cdc.model.column import ColumnKind

ROWS = int(os.environ.get("CDC_TEST_REST_ROWS", "10000"))
#: Numbers of rows.  The gone ones are of one page: the two answers that lack them are `comparison._MOMENT` apart.
GONE = range(1, 51)
CHANGED = range(51, ROWS + 1, ROWS // 500)
INVOICES = resources()["facturascli"]
#: And whether they hold whole numbers.
COLUMNS = {column.name: column.kind is ColumnKind.INTEGER for column in tables()["facturascli"].columns}


class Invoices:
    """Answers as the API does, with rows that are made as they are asked for; from ``round`` 1 on some are changed, and
    some gone."""

    def __init__(self) -> None:
        self.round = 0
        self.seen_to_the_end = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/3").strip("/")
        resource = path.removesuffix("/schema")
        names = {resource: table for table, resource in resources().items()}
        if not path:
            return web.json_response({"resources": sorted(names)})
        if path != resource:
            columns = tables()[names[resource]].columns
            kinds = {
                column.name: "int(11)" if column.kind is ColumnKind.INTEGER else "varchar(200)" for column in columns
            }
            return web.json_response({name: {"type": kind} for name, kind in kinds.items()})
        return web.json_response(self._page(request) if resource == INVOICES else [])

    def _page(self, request: web.Request) -> list[dict[str, Any]]:
        behind = int(request.query.get("filter[idfactura_gte]", "1")) - 1
        page: list[dict[str, Any]] = []
        number, limit = behind, int(request.query["limit"])
        while len(page) < limit and number < ROWS:
            number += 1
            if not self.round or number not in GONE:
                page.append(self._row(number))
        if number == ROWS and behind < ROWS:
            self.seen_to_the_end.set()
        return page

    def _row(self, number: int) -> dict[str, Any]:
        changed = self.round and number in CHANGED
        row = {name: number if whole else f"{name} of invoice {number}" for name, whole in COLUMNS.items()}
        return row | {"idfactura": number, "observaciones": "changed" if changed else "x" * 200}


@pytest.mark.timeout(240)
async def test_comparing_many_rows_takes_little_memory(tmp_path: Path) -> None:
    invoices = Invoices()
    app = web.Application()
    app.router.add_get("/api/3{path:.*}", invoices.answer)
    server = TestServer(app)
    await server.start_server()
    url = str(server.make_url("/"))
    command = (
        sys.executable,
        "-m",
        "support.rest_memory",
        url,
        str(tmp_path / "cdc.db"),
        str(len(CHANGED) + len(GONE)),
    )
    process = await asyncio.create_subprocess_exec(
        *command, cwd=Path(__file__).parents[1], stdout=asyncio.subprocess.PIPE
    )
    ended = asyncio.create_task(process.communicate())
    read = asyncio.create_task(invoices.seen_to_the_end.wait())
    await asyncio.wait({ended, read}, return_when=asyncio.FIRST_COMPLETED)
    invoices.round = 1
    output, _ = await ended
    read.cancel()
    await server.close()
    measured = json.loads(re.findall(rb"{.*}", output)[-1])
    assert process.returncode == 0
    assert measured["told"] == len(CHANGED) + len(GONE)
    assert measured["most"] <= 100, "MB of the whole process"
    assert measured["most"] - measured["started"] <= 34, "MB, the same for ten times the rows"
