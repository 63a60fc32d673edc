"""A user's condition in a database's SQL, confined: it cannot change the statement around it.

It is put in parentheses, so they must be balanced, and no comment or text may run on behind it.  Whether it is a
condition of the table at hand only the database knows.

A user without an account of the database may only compare the row's own visible columns: how many rows meet a condition
would else reveal everything that the consumer's account may read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from cdc.model.column import SecretColumns
from cdc.model.errors import UsageError

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
