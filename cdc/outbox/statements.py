"""The statements of an outbox, by name.

``sql/outbox`` has those that are the same for SQLite and PostgreSQL, ``sql/outbox/<dialect>`` those that differ.  The
same ones are written for PostgreSQL, but with parameters ``:name``; what SQLite writes otherwise is replaced here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from cdc.sqlfile import names, parts


@cache
def sqlite_statements() -> Mapping[str, str]:
    return _merged({name: _for_sqlite(text) for name, text in _folder("outbox").items()}, "sqlite")


@cache
def postgres_statements() -> Mapping[str, str]:
    return {name: _for_psycopg(text) for name, text in _merged(_folder("outbox"), "postgres").items()}


def _merged(shared: Mapping[str, str], dialect: str) -> Mapping[str, str]:
    own = _folder(f"outbox/{dialect}")
    assert not shared.keys() & own.keys(), "a statement is shared, or each dialect has its own"
    return {**shared, **own}


def _folder(folder: str) -> Mapping[str, str]:
    """The statements of a folder, by names that are used once; their comments are for readers of the files."""
    found: dict[str, str] = {}
    for file in names(folder):
        assert not found.keys() & parts(file).keys(), f"a statement is twice in {folder}"
        found |= {name: re.sub(r"^--.*\n", "", text, flags=re.MULTILINE).strip() for name, text in parts(file).items()}
    return found


def _for_sqlite(text: str) -> str:
    """A list is a JSON array there, a transaction that writes is alone, and text is compared byte by byte."""
    text = text.replace("cdc_outbox.", "").replace("octet_length(", "length(")
    text = re.sub(r"\s+FOR UPDATE( SKIP LOCKED)?", "", text.replace(' COLLATE "C"', ""))
    text = re.sub(r"= ANY \((:\w+)::\w+\[\]\)", r"IN (SELECT value FROM json_each(\1))", text)
    return re.sub(r"(:\w+)::\w+", r"\1", text)


def _for_psycopg(text: str) -> str:
    """Lists of bytes are sent as bytes: as text they would be escaped."""
    text = re.sub(r"(?<![:\w]):(\w+)(?=::bytea\[\])", r"%(\1)b", text)
    return re.sub(r"(?<![:\w]):([a-z]\w*)", r"%(\1)s", text)
