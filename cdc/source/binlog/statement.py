"""What a statement in the log may mean for a captured table.  Pure.

Statements are never parsed: a table is concerned when its name stands anywhere in the text as a word, since what alters
a table must name it.  Only words at the beginning that cannot alter any table are told apart, and TRUNCATE, which is a
change of rows although the log has it as a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Names that a statement can write in one way only, upper and lower case aside.
_PLAIN = re.compile(r"[0-9A-Za-z_$-]+\Z")
#: Comments that the server does not execute, and white space.
_SPACE = r"(?:\s+|/\*(?![!M]).*?\*/|--\s[^\n]*\n|\#[^\n]*\n)"
_START = re.compile(rf"{_SPACE}*", re.DOTALL)
_EXECUTED = ("/*!", "/*m!")
_IN_NAME = r"[0-9a-z_$\u0080-\uffff]"
_HARMLESS = re.compile(
    rf"""(?: ANALYZE | OPTIMIZE | REPAIR | CHECK | FLUSH | GRANT | REVOKE | SET | TRUNCATE | INSERT | UPDATE | DELETE
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


def concerned(statement: str, default_database: str, database: str, tables: Iterable[str]) -> frozenset[str]:
    """Those of our tables (of ``database``) whose columns the statement may have changed.

    ``default_database``: the one that its session used.
    """
    if _HARMLESS.match(statement, _begin(statement)):
        return frozenset()
    return mentioned(statement, default_database, database, tables)


def mentioned(statement: str, default_database: str, database: str, tables: Iterable[str]) -> frozenset[str]:
    """Those of our tables whose names stand in the statement."""
    text = statement.lower()
    if default_database.lower() != database.lower() and not _may_name(text, database):
        return frozenset()
    return frozenset(table for table in tables if _may_name(text, table))


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
    if any(mark in text for mark in _EXECUTED):  # what stands in front of a name there may be a version's digits
        return True
    return re.search(rf"(?<!{_IN_NAME}){re.escape(name.lower())}(?!{_IN_NAME})", text) is not None


def _unquoted(name: str) -> str:
    quote = name[0]
    return name[1:-1].replace(quote * 2, quote) if quote in '`"' else name
