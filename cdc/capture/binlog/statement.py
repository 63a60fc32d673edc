"""Effects of statements in the log on captured tables.  Pure.

Statements are never parsed: a table is concerned when its name is anywhere in the text as a word, since a statement
that alters a table must name it.  Only these are recognised by their words: statements that cannot alter any table;
those that empty one; and those that change rows in another way of which the log has no row events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Names that a statement can write in one way only, upper and lower case aside.
_PLAIN = re.compile(r"[0-9A-Za-z_$-]+\Z")
#: Comments that the server does not execute, and white space.
_SPACE = r"(?:\s+|/\*(?![!M]).*?\*/|--\s[^\n]*\n|\#[^\n]*\n)"
#: MariaDB may write settings in front of a statement.
_START = re.compile(rf"{_SPACE}*(?:SET{_SPACE}+STATEMENT\b.*?\bFOR\b{_SPACE}*)?", re.IGNORECASE | re.DOTALL)
_EXECUTED = ("/*!", "/*m!")
_IN_NAME = r"[0-9a-z_$\u0080-\uffff]"
_HARMLESS = re.compile(
    rf"""(?: ANALYZE | OPTIMIZE | CHECK | FLUSH | GRANT | REVOKE | SET | TRUNCATE | INSERT | UPDATE | DELETE
    | REPLACE | LOAD | CALL | XA | USE | DO
    | (?: CREATE | DROP ) {_SPACE}+ (?: OR {_SPACE}+ REPLACE {_SPACE}+ )?
      (?: DEFINER | TRIGGER | VIEW | ALGORITHM | SQL | PROCEDURE | FUNCTION | AGGREGATE | EVENT | USER | ROLE | SERVER )
    )\b""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_NAME = r"(?: `(?:[^`]|``)+` | \"(?:[^\"]|\"\")+\" | [0-9A-Za-z_$\u0080-\uffff]+ )"
_TRUNCATE = re.compile(
    rf"""TRUNCATE (?:{_SPACE}+TABLE\b)? {_SPACE}* (?P<first>{_NAME})
    (?: {_SPACE}* \. {_SPACE}* (?P<second>{_NAME}) )?
    {_SPACE}* (?: WAIT {_SPACE}+ \d+ | NOWAIT )? {_SPACE}* ;? \s* \Z""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


_DROP_DATABASE = re.compile(rf"DROP{_SPACE}+(?:DATABASE|SCHEMA)\b", re.IGNORECASE | re.DOTALL)
_DROPPED = re.compile(
    rf"(?:DROP|CREATE{_SPACE}+OR{_SPACE}+REPLACE){_SPACE}+(?:TABLES?|DATABASE|SCHEMA)\b", re.IGNORECASE | re.DOTALL
)
_REPLACED = re.compile(
    rf"""(?: RENAME {_SPACE}+ TABLES? | REPAIR | ALTER {_SPACE}+ (?: ONLINE {_SPACE}+ )? IGNORE
    | ALTER \b .* \b (?: (?: TRUNCATE | DROP | EXCHANGE | CONVERT | REPAIR | IMPORT ) {_SPACE}+ PARTITION
      | CONVERT {_SPACE}+ TABLE | IMPORT {_SPACE}+ TABLESPACE
      | RENAME {_SPACE}* (?! (?:\s|/\*.*?\*/)* (?: COLUMN | INDEX | KEY )\b ) )
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def concerned(statement: str, default_database: str, database: str, tables: Iterable[str]) -> frozenset[str]:
    """Return our tables (of ``database``) whose columns the statement may have changed.

    ``default_database``: the one that its session used.
    """
    begin = _begin(statement)
    if _HARMLESS.match(statement, begin):
        return frozenset()
    if _DROP_DATABASE.match(statement, begin):
        return frozenset(tables) if _may_name(statement.lower(), database) else frozenset()
    return mentioned(statement, default_database, database, tables)


def mentioned(statement: str, default_database: str, database: str, tables: Iterable[str]) -> frozenset[str]:
    """Return our tables whose names are in the statement."""
    text = statement.lower()
    if default_database.lower() != database.lower() and not _may_name(text, database):
        return frozenset()
    return frozenset(table for table in tables if _may_name(text, table))


def dropped(statement: str) -> bool:
    """Return whether the statement removes the tables that it concerns, with their rows."""
    return _DROPPED.match(statement, _begin(statement)) is not None


def replaced(statement: str) -> bool:
    """Return whether the statement may change rows of the tables that it concerns, or put others in their place,
    without row events.  So do exchanges of partitions, tablespaces and names."""
    return _REPLACED.match(statement, _begin(statement)) is not None


def truncated(statement: str, default_database: str, database: str, tables: Iterable[str]) -> str | None:
    """The one of our tables that this statement empties, if it does that."""
    found = _TRUNCATE.match(statement, _begin(statement))
    if found is None:
        return None
    first, second = found["first"], found["second"]
    where, table = (default_database, first) if second is None else (_unquoted(first), second)
    if where.lower() != database.lower():
        return None
    name = _unquoted(table)
    known = list(tables)
    return name if name in known else next((each for each in known if each.lower() == name.lower()), None)


def _begin(statement: str) -> int:
    start = _START.match(statement)
    return start.end() if start else 0


def _may_name(text: str, name: str) -> bool:
    """``text``: in lower case."""
    if not _PLAIN.match(name):
        return True
    if name.lower() not in text:
        return False
    if any(mark in text for mark in _EXECUTED):  # the digits before a name there may be a version's
        return True
    return re.search(rf"(?<!{_IN_NAME}){re.escape(name.lower())}(?!{_IN_NAME})", text) is not None


def _unquoted(name: str) -> str:
    quote = name[0]
    return name[1:-1].replace(quote * 2, quote) if quote in '`"' else name
