"""Backfills of existing rows, and of rows whose skipped changes are in quarantine.

The condition that narrows a backfill is in a database's SQL, and cannot change anything of the statement around it.  It
is put in parentheses, so they must be balanced, and no comment or text may continue after it.  Only the database can
say whether it is a condition of the table.

A user without an account of the database may only compare the row's own visible columns: how many rows meet a condition
would else reveal everything that the consumer's account may read.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from cdc.admin.base import ExistingTables, UseCases, page_of
from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.model.backfill import ACTIONS, EXISTING, Asked, Backfill, BackfillState, Planned
from cdc.model.change import Operation, Quarantined
from cdc.model.clock import SystemClock
from cdc.model.column import SecretColumns
from cdc.model.connection import Engine
from cdc.model.endpoint import check_rate
from cdc.model.errors import NotFound, UsageError
from cdc.model.quota import Limited
from cdc.outbox.shared import no_backfill, no_endpoint, subscriber_of
from cdc.outbox.store import OutboxStore

if TYPE_CHECKING:
    from cdc.mapping.catalogue import Catalogue
    from cdc.mapping.rule import Entity


def named_tables(source: SourceConfig) -> dict[str, str]:
    """Return table → the name of its entity, of tables whose existing rows can be sent, without those that a pattern
    means.  Raises `ConfigError`."""
    if not source.has_database:
        return {}
    rules = catalogue(source)
    return {entity.table: entity.title for entity in rules.entities if _tells(rules, entity)}


async def planned(
    source: SourceConfig, asked: Asked, actor: str, existing_tables: ExistingTables, *, own_columns: bool
) -> list[Backfill]:
    """Return one for each table, not stored yet.  ``existing_tables``: asks the source's database.  ``own_columns``:
    the condition asks about no more than may be seen of a row.  Raises `UsageError` for what cannot be read,
    `SourceError`."""
    from cdc.capture.estimate import estimate

    if source.capture == "nats":
        raise UsageError(
            f"Source {source.name} is read from a stream of NATS, which a backfill cannot do.",
            "Run it in the cell that captures: its events come through the stream.",
        )
    if source.capture == "rest":
        raise UsageError(
            f"Source {source.name} is read through FacturaScripts' API, which a backfill cannot do.",
            'existing = "read" of its [source.….rest] table tells of rows at first sight: docs/sources.md.',
        )
    check_rate(asked.rate)
    if asked.where:
        check_condition(asked.where)
    rules, now = catalogue(source), SystemClock().now()
    tables = _checked(rules, asked.tables) if asked.tables else await _all(source, rules, existing_tables)
    found: list[Backfill] = []
    for table in dict.fromkeys(tables):
        if asked.where and own_columns:
            check_own_columns(asked.where, rules.capture_of(table).hidden)
        rows = await estimate(source.connection(), table, asked.where)
        if rows is None and asked.tables:
            raise UsageError(f"The database of source {source.name} has no table {table} that its account may read.")
        if rows is not None:
            named = f"bf_{secrets.token_hex(8)}"
            found.append(Backfill(named, source.name, table, actor, now, asked.where, asked.endpoint, asked.rate, rows))
    return found


async def planned_reread(
    source: SourceConfig, change: Quarantined, endpoint: str, actor: str, existing_tables: ExistingTables
) -> Backfill:
    """`planned`, of the row of a skipped change.  Raises `UsageError` for one that leaves no row."""
    if change.key is None or change.operation in (Operation.DELETE, Operation.TRUNCATE):
        raise UsageError(
            f"The change {change.id} ({change.operation} of {change.table}) leaves no row to read.",
            "cdc quarantine show prints what is known of it.",
        )
    asked = Asked((change.table,))
    if source.has_database:  # otherwise the refusal is the same for every row
        where = key_condition(change.key, "`" if source.connection().engine is Engine.MYSQL else '"')
        asked = Asked((change.table,), where, endpoint)
    (found,) = await planned(source, asked, actor, existing_tables, own_columns=False)
    return found


async def _all(source: SourceConfig, rules: Catalogue, existing_tables: ExistingTables) -> list[str]:
    """Return the tables whose rows can be sent; a pattern means the tables that the database has."""
    if rules.patterns.patterns:
        rules = rules.expanded(await asyncio.to_thread(existing_tables, source))
    return [entity.table for entity in rules.entities if _tells(rules, entity)]


def _tells(rules: Catalogue, entity: Entity | None) -> bool:
    return entity is not None and rules.enabled(f"{entity.name}.{EXISTING}")


def _checked(rules: Catalogue, tables: Sequence[str]) -> list[str]:
    """Return the table, also by the names that events have: ``invoice`` for ``facturascli``."""
    named = {entity.name: entity.table for entity in rules.entities}
    entities = {entity.table: entity for entity in rules.entities}
    known = [named.get(table, table) for table in tables]
    unknown = [table for table in known if not _tells(rules, entities.get(table) or rules.matched(table))]
    if unknown:
        raise UsageError(
            f"No event reports existing rows of {', '.join(unknown)}.",
            "cdc event kinds shows the events (*.existing); a table of yours is named in the rules: docs/events.md.",
        )
    return known


async def receivers(store: OutboxStore, source: SourceConfig, backfill: Backfill) -> list[str]:
    """Return the ids of the endpoints that name its events, or of the one that it is for.  Raises `UsageError` when
    that one is not there."""
    endpoints = await store.endpoints()
    if backfill.endpoint and all(each.id != backfill.endpoint for each in endpoints):
        raise UsageError(f"There is no endpoint {backfill.endpoint}.", "cdc endpoint list shows the endpoints.")
    if backfill.endpoint:
        return [backfill.endpoint]
    rules = catalogue(source)
    entity = next((each for each in rules.entities if each.table == backfill.table), None)
    entity = entity or rules.matched(backfill.table)
    if entity is None:
        return []
    event = f"{entity.name}.{EXISTING}"
    return [each.id for each in endpoints if subscriber_of(each).names(event, source.name)]


LONGEST: Final = 2000
#: A quoted text or name (a quote in it is doubled), or one sign that means something here.
_TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|--|/\*|[;#$'"`()\\]""")
_BACKSLASH: Final = "a backslash"
_REFUSED: Final = {
    ";": "a semicolon",
    "--": "a comment",
    "/*": "a comment",
    "#": "the sign #",
    "$": "the sign $",
    "\\": _BACKSLASH,
    "'": "a quote that does not end",
    '"': "a quote that does not end",
    "`": "a quote that does not end",
}
#: Outside of a quoted text: a quoted name, a word, a number, or one sign.
_PART: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?P<name>(?:[^"]|"")*)"|`(?P<ticked>(?:[^`]|``)*)`|(?P<word>[^\W\d]\w*)|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"""
    r"""|(?P<sign>\S)"""
)
_SIGNS: Final = frozenset("(),=<>!+-*/%|")
#: What may stand before a parenthesis: words between conditions, and functions of nothing but their arguments.
_BEFORE_PARENTHESIS: Final = frozenset((
    "abs", "and", "between", "ceil", "ceiling", "char_length", "coalesce", "date", "day", "else", "floor", "ilike",
    "in", "length", "like", "lower", "month", "not", "now", "nullif", "or", "round", "then", "trim", "upper", "when",
    "year",
))  # fmt: skip
#: What begins another statement, and how a statement around the condition calls the whole row.
_OF_STATEMENTS: Final = frozenset({"select", "table", "values", "with", "t"})
_HINT: Final = "Write what follows WHERE, for instance fecha >= '2026-01-01' AND pagada."


_OWN_HINT: Final = (
    "Here a condition compares columns of the row, such as fecha >= '2026-01-01' AND pagada. Where the program runs, "
    "cdc backfill takes any that the database knows."
)


def check_condition(text: str) -> str:
    """The condition itself; raises `UsageError`."""
    if not text.strip():
        raise UsageError("The condition is empty.", _HINT)
    if len(text) > LONGEST:
        raise UsageError(f"The condition has {len(text)} characters.", f"It has at most {LONGEST}.")
    if not text.isprintable():
        raise UsageError("The condition has characters that cannot be printed.", "Write it on one line.")
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in _REFUSED or "\\" in token:
            raise UsageError(f"The condition has {_REFUSED.get(token, _BACKSLASH)}.", _HINT)
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth < 0:
            break
    if depth:
        raise UsageError("The parentheses of the condition are not balanced.", _HINT)
    return text


def key_condition(key: Mapping[str, object], quote: str) -> str:
    """Return the condition of the row with this primary key.  ``quote``: of names.  Raises `UsageError` for a key that
    cannot be written as one."""
    parts = []
    for column, value in key.items():
        if not column.isidentifier():
            raise UsageError(f"The column {column} of the primary key cannot be named in a condition.")
        text = str(value).replace("'", "''")
        parts.append(f"{quote}{column}{quote} = " + (text if isinstance(value, int | float) else f"'{text}'"))
    return check_condition(" AND ".join(parts))


def check_own_columns(text: str, secrets: SecretColumns) -> str:
    """The condition itself, if it asks about nothing but values of the row that are not secret; raises `UsageError`.
    ``secrets``: columns that may not be seen."""
    check_condition(text)
    hidden = {column.casefold() for column in secrets.names}
    before = ""  # what a parenthesis would belong to: a word, or the ` of a quoted name
    for match in _PART.finditer(text):
        sign, named = match["sign"], match["name"] or match["ticked"]
        word = (match["word"] or named or "").casefold()
        if sign and sign not in _SIGNS:
            raise UsageError(f"The condition has the sign {sign}.", _OWN_HINT)
        if word in hidden or secrets.patterns.hides(word):
            raise UsageError(f"The condition asks about {word}, which is secret.", _OWN_HINT)
        if not word.isascii() or word in _OF_STATEMENTS:
            raise UsageError(f"The condition has the word {word}.", _OWN_HINT)
        if sign == "(" and before and before not in _BEFORE_PARENTHESIS:
            raise UsageError(f"The condition calls {before}.", _OWN_HINT)
        before = f"`{word}`" if named else word
    return text


#: Quarantined changes that are removed from one page of the list.
_PAGE = 500


class Backfills(UseCases):
    def tables(self) -> Mapping[str, Mapping[str, str]]:
        """Return source → table → the name of its entity, of tables whose existing rows can be sent, without those that
        a pattern means.  Only sources that can be read so."""
        sources = self._config.source.items()
        found = {name: named_tables(source) for name, source in sources if self._principal.sees(name)}
        return {name: tables for name, tables in found.items() if tables}

    async def newest(self, limit: int, before: str | None = None) -> list[Backfill]:
        """Newest first."""
        if not self._principal.sources:
            return await self._store.backfills(limit, before)
        return await page_of(self._store.backfills, self._owns, limit, before)

    async def get(self, backfill_id: str) -> Backfill:
        """Raises `NotFound`."""
        found = await self._store.find_backfill(backfill_id)
        if found is None or not await self._owns(found):
            raise no_backfill(backfill_id)
        return found

    def speed(self, backfill: Backfill) -> float | None:
        """Return rows a second, as this process stored them lately; None when it did not, or has just begun."""
        process = self._service.process
        if process is None or backfill.state is not BackfillState.RUNNING:
            return None
        return process.backfill_speed(backfill)

    async def plan(self, source: str, asked: Asked) -> list[Planned]:
        """Return one for each table; nothing is stored.  Raises `UsageError` for what cannot be read, and for a
        condition that asks about more than may be seen of a row; `SourceError`."""
        if not self._principal.sees(source):
            raise UsageError("You have access to some sources only.", f"Name one of {self._principal.source_list}.")
        if self._principal.sources:
            await self._check_endpoint(asked.endpoint)
        chosen = self._config.select_source(source)
        found = await planned(
            chosen,
            asked,
            self._principal.name,
            self._service.existing_tables,
            own_columns=not self._principal.operator,
        )
        return [Planned(each, await receivers(self._store, chosen, each)) for each in found]

    async def start(self, source: str, asked: Asked) -> list[Planned]:
        """Store what is planned so; it continues while its source is captured.  Raises as `plan`."""
        begun = await self.plan(source, asked)
        within = self._quotas(Limited.BACKFILLS, [source])
        for following, (each, _) in zip(reversed(range(len(begun))), begun, strict=True):
            room = [quota._replace(following=following) for quota in within]  # all of them, or none
            await self._store.add_backfill(each, self._note("backfill.begin", each.id, within=room))
        return begun

    async def change(self, backfill_id: str, name: str) -> Backfill:
        """``name``: of `ACTIONS`.  Raises `NotFound`."""
        if self._principal.sources:
            await self.get(backfill_id)
        state, action = ACTIONS[name]
        note = self._note(action, backfill_id)
        return await self._store.set_backfill(backfill_id, state, "", self._clock.now(), note)

    async def _owns(self, backfill: Backfill) -> bool:
        """Return whether the backfill is the principal's; not if it is for all endpoints: others may be among them."""
        if not self._principal.sources:
            return True
        if not backfill.endpoint or not self._principal.sees(backfill.source):
            return False
        found = await self._store.endpoint(backfill.endpoint)
        return found is not None and self._principal.owns(found.sources)

    async def _check_endpoint(self, endpoint_id: str) -> None:
        if not endpoint_id:
            raise UsageError(
                "With access to some sources only, a backfill needs an endpoint: the only one that receives it."
            )
        found = await self._store.endpoint(endpoint_id)
        if found is None or not self._principal.owns(found.sources):
            raise no_endpoint(endpoint_id)


class Quarantine(UseCases):
    """Changes that could not be processed and were skipped."""

    async def get(self, change_id: str) -> Quarantined:
        """Raises `NotFound`."""
        found = await self._store.find_quarantined(change_id)
        if found is None:
            raise _not_quarantined(change_id)
        return found

    async def newest(self, limit: int, source: str | None = None) -> list[Quarantined]:
        """Newest first; without ``source``: of all."""
        return await self._store.quarantined(limit, source=source)

    async def counts(self) -> dict[str, int]:
        """Return source → how many."""
        return await self._store.count_quarantined()

    async def reread(self, change_id: str, endpoint: str) -> Backfill:
        """Begin a backfill of the row of a skipped change.  Raises `UsageError`, `SourceError`."""
        found = await self.get(change_id)
        source = self._config.select_source(found.source)
        begun = await planned_reread(
            source,
            found,
            endpoint,
            self._principal.name,
            self._service.existing_tables,
        )
        await receivers(self._store, source, begun)
        within = self._quotas(Limited.BACKFILLS, [source.name])
        note = self._note("quarantine.reread", change_id, within=within)
        await self._store.add_backfill(begun, note, rereads=change_id)
        return begun

    async def remove(self, change_ids: Sequence[str]) -> int:
        """Return how many were removed.  Raises `NotFound` when one was not there."""
        removed = [each for each in change_ids if await self._remove(each)]
        missing = [each for each in change_ids if each not in removed]
        if missing:
            raise _not_quarantined(missing[0])
        return len(removed)

    async def remove_all(self) -> int:
        removed = 0
        while page := await self._store.quarantined(_PAGE):
            removed += sum([await self._remove(each.id) for each in page])
        return removed

    async def _remove(self, change_id: str) -> bool:
        if await self._store.find_quarantined(change_id) is None:
            return False
        return await self._store.remove_quarantined(change_id, self._note("quarantine.remove", change_id))


def _not_quarantined(change_id: str) -> NotFound:
    return NotFound(f"No change {change_id} is in quarantine.", "cdc quarantine list shows the changes.")
