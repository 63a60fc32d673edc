"""What a server must be set to before its log tells all, and the statements that set it.  Pure, but for one query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymysql.connections import Connection

from cdc import sqlfile
from cdc.database.mysql_connection import rows

_CONFIGURATION = "and put it into the server's configuration file"


@dataclass(frozen=True, slots=True)
class Wrong:
    """``check``: the setting's name.  ``detail``: a sentence.  ``mend``: a statement, or what to do."""

    check: str
    detail: str
    mend: str


def read_settings(connection: Connection[Any]) -> dict[str, str]:
    """Name → value of the global settings that matter, those that this server has."""
    return {str(name).lower(): str(value) for name, value in rows(connection, sqlfile.load("mysql/log_settings.sql"))}


def refused(settings: Mapping[str, str]) -> Iterator[Wrong]:
    """Settings with which reading the log makes no sense."""
    if settings.get("log_bin") != "ON":
        detail = "The server writes no binary log."
        mend = "Write log_bin = binlog and binlog_format = ROW below [mysqld] in the server's configuration, restart it"
        yield Wrong("log_bin", detail, mend)
        return
    for name, wanted, meaning in (
        ("binlog_format", "ROW", "the log holds statements instead of the rows that they changed"),
        ("binlog_row_image", "FULL", "the log leaves columns out of changed rows"),
        ("binlog_row_value_options", "", "the log holds parts of JSON documents instead of the documents"),
    ):
        value = settings.get(name, wanted)
        if value != wanted:
            detail = f"{name} is {value}: {meaning}."
            yield Wrong(name, detail, f"SET GLOBAL {name} = '{wanted}'; {_CONFIGURATION}")
