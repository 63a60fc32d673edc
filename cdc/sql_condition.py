"""A condition in a database's SQL that somebody gives, as one: nothing of the statement around it can be changed by it.

It is put in parentheses, so they must be balanced, and no comment or text may run on behind it.  Whether it is a
condition of the table at hand only the database knows.
"""

from __future__ import annotations

import re
from typing import Final

from cdc.errors import UsageError

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
_HINT: Final = "Give what stands behind WHERE, for instance --where \"fecha >= '2026-01-01' AND pagada\"."


def check_condition(text: str) -> str:
    """The condition itself; raises `UsageError`."""
    if not text.strip():
        raise UsageError("The condition is empty.", _HINT)
    if len(text) > LONGEST:
        raise UsageError(f"The condition has {len(text)} characters.", f"It has at most {LONGEST}.")
    if not text.isprintable():
        raise UsageError("The condition has signs that cannot be printed.", "Write it on one line.")
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
