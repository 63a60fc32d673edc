"""The SQL text of triggers for MariaDB and MySQL.  Pure: the same input gives the same text, byte for byte.

Rows of captured tables that a foreign key changes without any trigger are found as paths from a parent table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cdc.capture.triggers.mysql_state import ForeignKey, trigger_name
from cdc.database import sqlfile
from cdc.database.mysql_connection import Flavour, quote
from cdc.database.mysql_inspect import MySQLTable
from cdc.database.mysql_journal import CASCADE_ONLY, CODES, JournalShape, Tokens
from cdc.database.mysql_types import MySQLColumn, image, same
from cdc.model.change import Operation
from cdc.model.column import Capture

#: InnoDB refuses cascades that go deeper, so longer paths (through cycles) cannot happen.
DEEPEST = 15
#: A parent with more paths than this would get a trigger too long to be sensible.
MOST_PATHS = 400


class Effect(StrEnum):
    DELETED = "deleted"
    NULLED = "nulled"
    REKEYED = "rekeyed"


@dataclass(frozen=True, slots=True)
class Path:
    """A path from the parent's row over ``keys`` (the first references the parent) to rows, and what becomes of
    these."""

    keys: tuple[ForeignKey, ...]
    effect: Effect

    @property
    def table(self) -> str:
        return self.keys[-1].table

    @property
    def operation(self) -> Operation:
        return Operation.DELETE if self.effect is Effect.DELETED else Operation.UPDATE


#: Parent → the keys that reference it.
References = Mapping[str, Sequence[ForeignKey]]


def delete_paths(parent: str, keys: References, captured: Collection[str]) -> list[Path]:
    """Return the paths to captured rows that change when a row of ``parent`` is deleted."""
    return _distinct(_delete_paths(parent, keys, captured, ()))


def update_paths(parent: str, keys: References, captured: Collection[str]) -> list[Path]:
    """Return the paths to captured rows that change with the referenced columns of a row of ``parent``."""
    return _distinct(_update_paths(parent, None, keys, captured, ()))


def _distinct(paths: Iterator[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        found[path] = None
        if len(found) == MOST_PATHS:
            break
    return list(found)


def _delete_paths(
    parent: str, keys: References, captured: Collection[str], behind: tuple[ForeignKey, ...]
) -> Iterator[Path]:
    deeper: list[tuple[ForeignKey, ...]] = []
    for key in keys.get(parent, ()):
        if key.on_delete not in ("CASCADE", "SET NULL"):
            continue
        here = (*behind, key)
        if key.table in captured:
            yield Path(here, Effect.DELETED if key.on_delete == "CASCADE" else Effect.NULLED)
        if key.on_delete == "CASCADE" and len(here) < DEEPEST:
            deeper.append(here)
    for here in deeper:
        yield from _delete_paths(here[-1].table, keys, captured, here)


def _update_paths(
    parent: str,
    changed: Collection[str] | None,
    keys: References,
    captured: Collection[str],
    behind: tuple[ForeignKey, ...],
) -> Iterator[Path]:
    """``changed``: the columns of ``parent`` that the cascade changes; None means any (the statement itself)."""
    for key in keys.get(parent, ()):
        if key.on_update not in ("CASCADE", "SET NULL") or key in behind:
            continue
        if changed is not None and not set(key.parent_columns) & set(changed):
            continue
        here = (*behind, key)
        if key.table in captured:
            yield Path(here, Effect.REKEYED if key.on_update == "CASCADE" else Effect.NULLED)
        if key.on_update == "CASCADE" and len(here) < DEEPEST:
            yield from _update_paths(key.table, key.columns, keys, captured, here)


_SNAPSHOT_OFF = (
    "      SET @cdc_isolation = @@innodb_snapshot_isolation;\n      SET SESSION innodb_snapshot_isolation = FALSE;\n"
)
_SNAPSHOT_BACK = "\n      SET SESSION innodb_snapshot_isolation = @cdc_isolation;"
_BODY = re.compile(r"\bFOR EACH ROW\s+")
_EVENTS = {Operation.CREATE: "INSERT", Operation.UPDATE: "UPDATE", Operation.DELETE: "DELETE"}
_TOKEN_FILES = {
    Tokens.GTID: "mysql/triggers.sql#token_gtid",
    Tokens.PERFORMANCE_SCHEMA: "mysql/triggers.sql#token_performance_schema",
    Tokens.ROW: "mysql/triggers.sql#token_row",
}


@dataclass(frozen=True, slots=True)
class PlannedTrigger:
    name: str
    table: str
    timing: str
    event: str
    statement: str

    @property
    def body(self) -> str:
        """Return the body as information_schema.TRIGGERS.ACTION_STATEMENT shows it once created."""
        return _BODY.split(self.statement, maxsplit=1)[1]


@dataclass(frozen=True, slots=True)
class Dialect:
    """Properties of the server on which the text depends besides the tables; for the switches see
    `cdc.capture.triggers.mysql_state.Found`.  ``cascades_only``: see
    `cdc.capture.triggers.mysql_state.Installation`."""

    flavour: Flavour
    tokens: Tokens
    cascades_only: bool = False
    cascade_switch: bool = False
    native_switch: bool = False
    snapshot_switch: bool = False


@dataclass(frozen=True, slots=True)
class CascadeTarget:
    """A captured table at the end of a path, with its shape."""

    table: MySQLTable
    shape: JournalShape
    shape_id: int


def statement(name: str, **parts: str) -> str:
    """A file of ``sql/`` without its header comment (clients drop comments, so none may be in what is compared)."""
    text = sqlfile.render(name, **parts) if parts else sqlfile.load(name)
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()


def shape_of(table: MySQLTable, capture: Capture) -> JournalShape:
    """Return the current shape of this table's images."""
    visible = tuple(column.column for column in table.columns if column.name not in capture.secrets)
    secrets = tuple(column.name for column in table.columns if column.name in capture.secrets)
    return JournalShape(table.name, visible, table.key, secrets)


def _journal_parts(target: CascadeTarget, operation: Operation, dialect: Dialect) -> dict[str, str]:
    """Return the parts of every statement that writes the journal; InnoDB itself gives the token in a row-start
    journal."""
    parts = {
        "shape": str(target.shape_id),
        "op": _code(operation, dialect),
        "gap": gap(target, dialect, operation),
    }
    if dialect.tokens is Tokens.ROW_START:
        return {**parts, "token": "", "txn_name": "", "txn_value": "", "gap_value": ""}
    token = statement(_TOKEN_FILES[dialect.tokens])
    named = {"txn_name": "`txn`, ", "txn_value": "@cdc_txn, ", "gap_value": "UUID_SHORT(), "}
    return {**parts, "token": token, **named}


def _code(operation: Operation, dialect: Dialect) -> str:
    return str(CODES[operation] + (CASCADE_ONLY if dialect.cascades_only else 0))


def gap(target: CascadeTarget, dialect: Dialect, operation: Operation = Operation.UPDATE) -> str:
    """Return the statement of a row that makes the consumer read the target's table again."""
    named = dialect.tokens is not Tokens.ROW_START
    return statement(
        "mysql/triggers.sql#gap",
        txn_name="`txn`, " if named else "",
        gap_value="UUID_SHORT(), " if named else "",
        shape=str(target.shape_id),
        op=_code(operation, dialect),
    )


def _secrets(table: MySQLTable, shape: JournalShape, flavour: Flavour) -> str:
    """The expression of the indexes of the secret columns that changed; NULL when there are none."""
    if not shape.secrets:
        return "NULL"
    tests = (
        f"IF({same(table.column(name), flavour, f'OLD.{quote(name)}', f'NEW.{quote(name)}')}, NULL, '{index}')"
        for index, name in enumerate(shape.secrets)
    )
    return f"NULLIF(CONCAT_WS(',', {', '.join(tests)}), '')"


def _same(columns: Iterable[MySQLColumn], flavour: Flavour) -> str:
    return " AND ".join(same(c, flavour, f"OLD.{quote(c.name)}", f"NEW.{quote(c.name)}") for c in columns) or "TRUE"


def row_triggers(target: CascadeTarget, dialect: Dialect) -> list[PlannedTrigger]:
    """The three triggers of a captured table."""
    table, shape = target.table, target.shape
    visible = [table.column(column.name) for column in shape.columns]
    parts = {
        "table": quote(table.name),
        "before": image(visible, "OLD"),
        "after": image(visible, "NEW"),
        "same_first": _same([c for c in table.columns if c.often_changed], dialect.flavour),
        "same_rest": _same([c for c in table.columns if not c.often_changed], dialect.flavour),
        "secrets": _secrets(table, shape, dialect.flavour),
    }
    keys = [table.column(name) for name in shape.key]
    triggers = []
    for suffix, operation in (("ai", Operation.CREATE), ("au", Operation.UPDATE), ("ad", Operation.DELETE)):
        name, event = trigger_name(table.name, suffix), _EVENTS[operation]
        own = {**parts, **_journal_parts(target, operation, dialect), "trigger": quote(name)}
        # the handler: an update only matters for its key, and only if that is not the same any more: a number that the
        # server gives is
        if operation is Operation.UPDATE and all(column.automatic for column in keys):
            own["gap_key"] = own["gap"]
        elif operation is not Operation.CREATE:
            after = image(keys, "NEW") if operation is Operation.UPDATE else "NULL"
            own["gap_key"] = statement(
                "mysql/triggers.sql#gap_key", key_before=image(keys, "OLD"), key_after=after, **own
            )
        text = statement(f"mysql/triggers.sql#trigger_{event.lower()}", **own)
        triggers.append(PlannedTrigger(name, table.name, "AFTER", event, text))
    return triggers


def parent_trigger(
    parent: MySQLTable, event: str, paths: Sequence[Path], targets: Mapping[str, CascadeTarget], dialect: Dialect
) -> PlannedTrigger:
    """The trigger that journals what deleting (or re-keying) a row of ``parent`` does to captured rows elsewhere.

    Every table that a trigger names is opened by every statement that may run it.  So where the key is a number that
    the server gives, which nobody changes, a change only leaves gaps: the consumer then reads those tables again.
    """
    name = trigger_name(parent.name, "bd" if event == "DELETE" else "bu")
    columns = {name: parent.column(name) for path in paths for name in path.keys[0].parent_columns}
    conditions = ["@@foreign_key_checks"]
    if dialect.cascade_switch:
        native = "@@innodb_native_foreign_keys OR " if dialect.native_switch else ""
        conditions.append(f"({native}NOT @@enable_cascade_triggers)")
    if event == "UPDATE":
        conditions.append(f"NOT ({_same([columns[name] for name in sorted(columns)], dialect.flavour)})")
    # a gap for every table and operation at the end of these paths
    noted = {gap(targets[path.table], dialect, path.operation) for path in paths}
    gaps = "".join(f"    {each};\n" for each in sorted(noted))
    if event == "UPDATE" and all(column.automatic for column in columns.values()):
        begin, blocks, end = "", [gaps], ""
    else:
        rows = ("OLD", "NEW") if event == "UPDATE" else ("OLD",)
        variables = {(row, name): f"{row.lower()}_{n}" for row in rows for n, name in enumerate(sorted(columns), 1)}
        begin = "".join(
            f"      DECLARE {variable} {columns[name].variable_type} DEFAULT {row}.{quote(name)};\n"
            for (row, name), variable in variables.items()
        )
        begin += _SNAPSHOT_OFF if dialect.snapshot_switch else ""
        blocks = [_block(path, targets[path.table], parent, dialect, variables) for path in paths]
        end = _SNAPSHOT_BACK if dialect.snapshot_switch else ""
    text = statement(
        "mysql/triggers.sql#trigger_parent",
        trigger=quote(name),
        event=event,
        table=quote(parent.name),
        gaps=gaps,
        condition=" AND ".join(conditions),
        begin=begin,
        end=end,
        blocks="\n".join(blocks),
    )
    return PlannedTrigger(name, parent.name, "BEFORE", event, text)


#: OLD or NEW, and a column of the parent → the local variable that holds its value.
Variables = Mapping[tuple[str, str], str]


def _block(path: Path, target: CascadeTarget, parent: MySQLTable, dialect: Dialect, variables: Variables) -> str:
    end = f"t{len(path.keys)}"
    visible = [target.table.column(column.name) for column in target.shape.columns]
    where, replaced = _conditions(path, variables)
    referenced = [parent.column(name) for name in path.keys[0].parent_columns]
    if all(("NEW", column.name) in variables for column in referenced):
        pairs = ((column, variables["OLD", column.name], variables["NEW", column.name]) for column in referenced)
        where.append(f"NOT ({' AND '.join(same(column, dialect.flavour, old, new) for column, old, new in pairs)})")
    parts = {
        "tables": " STRAIGHT_JOIN ".join(f"{quote(key.table)} AS t{n}" for n, key in enumerate(path.keys, 1)),
        "where": " AND ".join(where),
        "lock": "LOCK IN SHARE MODE" if parent.name in {key.table for key in path.keys} else "FOR UPDATE",
        **_journal_parts(target, path.operation, dialect),
    }
    handler, after = parts["gap"], image(visible, end, replaced)
    if path.effect is Effect.DELETED:
        key = image([target.table.column(name) for name in target.shape.key], end)
        handler, after = statement("mysql/triggers.sql#gap_cascade", key_before=key, **parts), "NULL"
    return statement("mysql/triggers.sql#cascade", handler=handler, before=image(visible, end), after=after, **parts)


def _conditions(path: Path, variables: Variables) -> tuple[list[str], dict[str, str]]:
    """Return the conditions that join the tables of a path, and the new values of its last table's columns."""
    where: list[str] = []
    old = {name: variables["OLD", name] for name in path.keys[0].parent_columns}
    # as a function's result: MariaDB's JSON_ARRAY writes every variable as a text
    rekeyed = path.keys[0].parent_columns if path.effect is Effect.REKEYED else ()
    new = {name: f"COALESCE({variables['NEW', name]})" for name in rekeyed}
    for number, key in enumerate(path.keys, 1):
        pairs = list(zip(key.columns, key.parent_columns, strict=True))
        source = f"t{number - 1}"
        where += [f"t{number}.{quote(c)} = {old.get(p, f'{source}.{quote(p)}')}" for c, p in pairs]
        new = {c: new.get(p, f"{source}.{quote(p)}") for c, p in pairs}
        old = {}
    if path.effect is Effect.NULLED:
        new = dict.fromkeys(new, "NULL")
    return where, new
