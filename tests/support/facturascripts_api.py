"""A double of FacturaScripts' API v3 on a loopback port: rights, refusals and the ban, filters, sorting, pages, and how
models render rows.

Written from what FacturaScripts does: a refused token or resource is a bad call, and five of them within 600 s ban; an
unknown column in a filter or sort makes the query fail, which looks like no rows; texts compare without case.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from cdc.facturascripts.schema import resources, tables
from cdc.model.column import ColumnKind, Table

TOKEN = "n0t-a-secret"
_TYPES = {
    ColumnKind.BOOLEAN: "tinyint(1)",
    ColumnKind.INTEGER: "int(11)",
    ColumnKind.DOUBLE: "double",
    ColumnKind.DATE: "date",
    ColumnKind.TIME: "time",
    ColumnKind.TIMESTAMP: "timestamp",
    ColumnKind.TEXT: "varchar(100)",
}
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "_gte": lambda one, other: bool(one >= other),
    "_lte": lambda one, other: bool(one <= other),
    "_neq": lambda one, other: bool(one != other),
    "_gt": lambda one, other: bool(one > other),
    "_lt": lambda one, other: bool(one < other),
    "": lambda one, other: bool(one == other),
}
Row = dict[str, Any]


@dataclass
class Api:
    """``data``: table → key → row, as the database has it.  ``rights``: tables that may be read (None: all).
    ``failing``: statuses to answer with next, whatever is asked.  ``before_answer``: called before a list is made.
    ``now``: seconds."""

    data: dict[str, dict[Any, Row]] = field(default_factory=dict)
    rights: set[str] | None = None
    enabled: bool = True
    token: str = TOKEN
    now: Callable[[], float] = lambda: 0.0
    advance: Callable[[float], None] = lambda _seconds: None  # the time, where it is simulated
    failing: list[int] = field(default_factory=list)
    empty: int = 0  # so many of the next lists are empty: the database fails, and nothing says so
    away: set[str] = field(default_factory=set)  # tables whose queries fail: their lists are empty
    instead: str | None = None  # what something before FacturaScripts answers in its place
    instead_status: int = 200
    failing_tables: dict[str, int] = field(default_factory=dict)  # table → status, with a text that is not JSON
    without_query: bool = False  # something on the way takes the parameters away
    without_filters: bool = False  # or the filters
    before_answer: Callable[[str], None] = lambda _table: None
    requests: list[tuple[float, str]] = field(default_factory=list)
    incidents: list[float] = field(default_factory=list)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)  # added by plugins: table → column → type
    url: str = ""
    refused: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def banned(self) -> bool:
        return sum(self.now() - each < 600 for each in self.incidents) >= 5

    async def until_refused(self, times: int) -> None:
        while len(self.incidents) < times:
            self.refused.clear()
            await self.refused.wait()

    def put(self, table: str, row: Row) -> None:
        """Insert or update; columns that are not given are null."""
        known = tables()[table]
        rows = self.data.setdefault(table, {})
        key = row[known.key[0]]
        rows[key] = {column.name: None for column in known.columns} | rows.get(key, {}) | row

    def delete(self, table: str, key: Any) -> None:
        del self.data[table][key]

    # -- answers ----------------------------------------------------------------------------------------------------

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/3").strip("/").split("/")
        self.requests.append((self.now(), path[0]))
        if self.instead is not None:
            return web.Response(status=self.instead_status, text=self.instead)
        if self.failing and (status := self.failing.pop(0)):
            return web.Response(status=status, text="<html>error</html>")
        names = {resource: table for table, resource in resources().items()}
        refused = self._refused(request, path[0], names)
        if refused is not None:
            return refused
        if path == [""]:
            return web.json_response({"resources": sorted(names)})
        if names[path[0]] in self.failing_tables:
            return web.Response(status=self.failing_tables[names[path[0]]], text="<html>error</html>")
        table = tables()[names[path[0]]]
        return web.json_response(self._schema(table)) if path[1:] == ["schema"] else self._list(request, table)

    def _refused(self, request: web.Request, resource: str, names: Mapping[str, str]) -> web.Response | None:
        if not self.enabled:
            return _error(409, "api-disabled")
        if self.banned:
            return _error(429, "ip-banned")
        given = request.headers.get("X-Auth-Token", request.headers.get("Token", ""))
        allowed = not resource or self.rights is None or names.get(resource) in self.rights
        if given != self.token or not allowed:
            self.incidents.append(self.now())
            self.refused.set()
            return _error(403, "forbidden") if given == self.token else _error(401, "auth-token-invalid")
        return _error(404, "api-resource-invalid") if resource and resource not in names else None

    def _schema(self, table: Table) -> dict[str, Any]:
        types = {column.name: _TYPES[column.kind] for column in table.columns} | self.columns.get(table.name, {})
        hidden = {"password", "logkey", "two_factor_secret_key"} if table.name == "users" else set()
        return {
            name: {"type": kind, "default": None, "is_nullable": "YES"}
            for name, kind in types.items()
            if name not in hidden
        }

    def _list(self, request: web.Request, table: Table) -> web.Response:
        self.before_answer(table.name)
        rows = list(self.data.get(table.name, {}).values())
        if self.empty or table.name in self.away:
            self.empty = max(self.empty - 1, 0)
            rows = []
        limit, offset = int(request.query.get("limit", "50")), int(request.query.get("offset", "0"))
        known = self._schema(table)
        query = {} if self.without_query else request.query
        for name, value in () if self.without_filters else query.items():
            if (column := re.fullmatch(r"filter\[(\w+)\]", name)) is not None:
                rows = [row for row in rows if _passes(row, column[1], value, known)]
        for name, direction in reversed(list(query.items())):
            if (column := re.fullmatch(r"sort\[(\w+)\]", name)) is not None:
                rows = _sorted(rows, column[1], direction, known)
        shown = rows[offset : offset + limit] if limit else rows[offset:]
        rendered = [_rendered(row, known) for row in shown]
        return web.json_response(rendered, headers={"X-Total-Count": str(len(rows))})


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"status": "error", "message": message}, status=status)


def _comparable(value: Any, kind: str) -> Any:
    if kind.startswith("int"):
        return int(value)
    return str(value).casefold() if kind.startswith("varchar") else value


def _passes(row: Row, column: str, value: str, known: Mapping[str, Any]) -> bool:
    suffix = next(suffix for suffix in _OPERATORS if column.endswith(suffix))
    name = column.removesuffix(suffix)
    if name not in known or row[name] is None:
        return False
    kind = known[name]["type"]
    return _OPERATORS[suffix](_comparable(row[name], kind), _comparable(value, kind))


def _sorted(rows: list[Row], column: str, direction: str, known: Mapping[str, Any]) -> list[Row]:
    if column not in known:
        return []
    kind = known[column]["type"]
    return sorted(rows, key=lambda row: _comparable(row[column], kind), reverse=direction.upper() == "DESC")


def _rendered(row: Row, known: Mapping[str, Any]) -> Row:
    return {name: _value(row.get(name), described["type"]) for name, described in known.items()}


def _value(value: Any, kind: str) -> Any:
    """PHP prints a float without its empty fraction, and FacturaScripts days before months before years."""
    if value is None:
        return None
    if kind in ("date", "timestamp"):
        day, _, rest = str(value).partition("T")
        year, month, date = day.split("-")
        return f"{date}-{month}-{year}" + (f" {rest}" if rest else "")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[Api]:
    app = web.Application()
    app.router.add_get("/api/3{path:.*}", api.answer)
    server = TestServer(app)
    await server.start_server()
    api.url = str(server.make_url("/")).rstrip("/")
    try:
        yield api
    finally:
        await server.close()
