"""Reports on a database whose log is read: the doctor's checks, the grants that reading takes, the settings that a
complete log requires, with the statements that set them, and the server's time zone.

The zone is UTC offsets that were measured, not guessed from a name.  A log holds TIMESTAMPs as seconds since 1970 while
triggers and queries see local time.  The server itself renders moments: at a moment a week, then between two weeks that
differ.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
import pymysql
from pymysql.connections import Connection

from cdc.capture.binlog.connection import HEARTBEAT, LogConnection, LogHistory, log_head, log_owner, log_status
from cdc.capture.binlog.log_position import FILE_START, LogPosition
from cdc.capture.binlog.schema_history import BinlogPosition
from cdc.capture.journal.mysql import journals_cascades
from cdc.capture.mysql_session import explained
from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    NO_PRIVILEGE,
    Flavour,
    MySQLServer,
    code_of,
    connect,
    errors_of,
    literal,
    quote,
    rows,
    server_of,
)
from cdc.database.mysql_inspect import (
    UNSEEN,
    MySQLTable,
    account_of,
    create,
    named,
    read_replication,
    read_tables,
    replica_of_log,
    survey,
)
from cdc.database.mysql_journal import INSTALLATION, JOURNAL, PROBE, SHAPES
from cdc.extras import has_zstandard, install_hint
from cdc.model.change import Position
from cdc.model.column import Capture, Table
from cdc.model.connection import AccountChoice, AccountRole, ConnectionInfo, heading
from cdc.model.errors import LogPurged, SourceError
from cdc.model.finding import MUCH, Finding, Severity, SurveyedTable, size

_RESTART = "the server's configuration and restart it"
_CONFIGURATION = "and put it into the server's configuration file"
_UNLOGGED_SESSIONS = re.compile(r"sql_log_bin\s*:?=\s*(0|off|false)", re.IGNORECASE)


def read_settings(connection: Connection[Any]) -> dict[str, str]:
    """Return name → value of the global settings that matter, those that this server has."""
    return {str(name).lower(): str(value) for name, value in rows(connection, sqlfile.load("mysql/log_settings.sql"))}


def written(settings: Mapping[str, str]) -> bool:
    """Return whether the server writes a binary log."""
    return settings.get("log_bin") == "ON"


def refused(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Settings with which reading the log makes no sense."""
    if not written(settings):
        detail = "The server writes no binary log."
        fix = (
            "Write log_bin = binlog and binlog_format = ROW below [mysqld] in the server's configuration and restart it"
        )
        yield Finding("log_bin", Severity.WRONG, detail, fix)
        return
    for name, needed, meaning in (
        ("binlog_format", "ROW", "the log holds statements instead of the rows that they changed"),
        ("binlog_row_image", "FULL", "the log leaves columns out of changed rows"),
        ("binlog_row_value_options", "", "the log holds parts of JSON documents instead of the documents"),
    ):
        value = settings.get(name, needed)
        if value != needed:
            detail = f"The setting {name} is {value}: {meaning}."
            yield Finding(name, Severity.WRONG, detail, f"SET GLOBAL {name} = '{needed}'; {_CONFIGURATION}")
    if _UNLOGGED_SESSIONS.search(settings.get("init_connect", "")):
        detail = "init_connect sets sql_log_bin = 0: the log lacks the changes of all sessions that run it."
        fix = "Remove sql_log_bin from init_connect, also in the server's configuration file"
        yield Finding("init_connect", Severity.WRONG, detail, fix)
    compression = settings.get("binlog_transaction_compression", "OFF")
    if compression != "OFF" and not has_zstandard():
        detail = (
            f"binlog_transaction_compression is {compression}, and the package that reads compressed transactions is "
            "not installed."
        )
        yield Finding("binlog_transaction_compression", Severity.WRONG, detail, install_hint("zstd"))


def log_findings(
    connection: Connection[Any], database: str, settings: Mapping[str, str], *, replica: bool
) -> list[Finding]:
    """Return what is wrong with the log and what could be better.  ``replica``: the server may be one whose log lacks
    what it receives."""
    found = list(refused(settings))
    if not written(settings):
        return found
    found += advised(settings)
    cascades = not cascades_in_log(settings) and journals_cascades(connection)
    if received := replica_of_log(read_replication(connection), cascades=cascades, accepted=replica):
        found.append(received)
    try:
        _, _, only, without, *_ = log_status(connection)
    except pymysql.err.MySQLError as error:
        if code_of(error) not in NO_PRIVILEGE:  # which is a finding of its own
            raise
        return found
    # the databases whose changes the log holds, and those that it leaves out
    ((folds,),) = rows(connection, "SELECT @@lower_case_table_names")
    lists = (str(text or "").lower() if folds else str(text or "") for text in (only, without))
    inside, outside = ({name.strip() for name in text.split(",")} - {""} for text in lists)
    name = database.lower() if folds else database
    if inside and name not in inside:
        detail = f"binlog_do_db is {only}: the log does not hold the changes of database {database}."
        fix = f"Add binlog_do_db = {database} to {_RESTART}"
        found.append(Finding("binlog_do_db", Severity.WRONG, detail, fix))
    elif not inside and name in outside:
        detail = f"binlog_ignore_db is {without}: the log does not hold the changes of database {database}."
        fix = f"Remove {database} from it in {_RESTART}"
        found.append(Finding("binlog_ignore_db", Severity.WRONG, detail, fix))
    elif inside or outside:
        detail = (
            "The log is filtered (binlog_do_db, binlog_ignore_db): it lacks an ALTER TABLE run from another database."
        )
        found.append(Finding("log filters", Severity.WARNING, detail, f"Remove them from {_RESTART}"))
    return found


_DAY = 86_400


def advised(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Settings with which reading works, and what they cost."""
    metadata = settings.get("binlog_row_metadata", "FULL")
    if metadata != "FULL":
        detail = (
            f"binlog_row_metadata is {metadata}: the log does not name columns, so that a table which is altered twice "
            "while the consumer is away must be read again."
        )
        yield Finding(
            "binlog_row_metadata",
            Severity.WARNING,
            detail,
            f"SET GLOBAL binlog_row_metadata = 'FULL'; {_CONFIGURATION}",
        )
    retained = retention_seconds(settings)
    if retained is not None and retained < _DAY:
        detail = f"The log is kept for {retained / 3600:.2g} hours: a consumer that is away for longer loses changes."
        fix = "SET GLOBAL binlog_expire_logs_seconds = 604800"
        yield Finding("binlog_expire_logs_seconds", Severity.WARNING, detail, f"{fix}; {_CONFIGURATION}")
    size = int(settings.get("max_binlog_total_size", "0"))
    if size:
        detail = f"The log is cut at {size} bytes: a day of many changes may be gone before it is read."
        yield Finding(
            "max_binlog_total_size", Severity.WARNING, detail, f"SET GLOBAL max_binlog_total_size = 0; {_CONFIGURATION}"
        )


def retention_seconds(settings: Mapping[str, str]) -> float | None:
    """Return for how long the server keeps its log; None: until it is purged."""
    if settings.get("binlog_expire_logs_auto_purge", "ON") != "ON":
        return None
    seconds = float(settings.get("binlog_expire_logs_seconds", "0"))
    return seconds or float(settings.get("expire_logs_days", "0")) * _DAY or None


def cascades_in_log(settings: Mapping[str, str]) -> bool:
    """Return whether rows that a foreign key deletes or changes are in the log: since MySQL 9.6, unless InnoDB does
    it."""
    return settings.get("innodb_native_foreign_keys") == "OFF"


_WEEK = 7 * 86_400
#: What four bytes hold; offsets of later moments are the last one's.
_END = 2**32

#: Moments (seconds since 1970) → seconds that local time is ahead of UTC; None where the server does not say.
Ask = Callable[[Sequence[int]], Sequence[int | None]]


@dataclass(frozen=True, slots=True)
class Zone:
    """The offsets of a time zone.  ``starts``: moments from which on the offset of the same index holds; the first
    one holds before, too."""

    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    def offset(self, moment: int) -> int:
        """Return the seconds that local time is ahead of UTC at a moment (seconds since 1970)."""
        return self.offsets[max(bisect_right(self.starts, moment) - 1, 0)]


def measure(ask: Ask) -> Zone:
    """Determine the offsets of a time zone with about twenty queries, however long its history."""
    moments = list(range(1, _END, _WEEK))
    known = [(moment, offset) for moment, offset in zip(moments, ask(moments), strict=True) if offset is not None]
    changes = [(left, right) for left, right in pairwise(known) if left[1] != right[1]]
    while any(right[0] - left[0] > 1 for left, right in changes):
        middles = [(left[0] + right[0]) // 2 for left, right in changes]
        # each becomes the half in which the last change to its right-hand offset is
        for number, (middle, offset) in enumerate(zip(middles, ask(middles), strict=True)):
            left, right = changes[number]
            if right[0] - left[0] > 1:
                before = left[1] if offset is None else offset
                changes[number] = (left, (middle, right[1])) if offset == right[1] else ((middle, before), right)
    first = known[0] if known else (0, 0)
    return Zone((first[0], *(right[0] for _, right in changes)), (first[1], *(right[1] for _, right in changes)))


def measure_server(connection: Connection[Any]) -> Zone:
    """The zone of a session that sets none, as FacturaScripts' are."""
    sql = sqlfile.load("mysql/zone_offsets.sql")

    def ask(moments: Sequence[int]) -> list[int | None]:
        return [offset for (offset,) in rows(connection, sql, (orjson.dumps(moments).decode(),))]

    return measure(ask)


#: Of the rights on a server's log, which no server grants for one database.
_LOG_RISK = (
    "-- It holds for the whole server: the account reads the log of ALL its databases, secret columns too.",
    "-- Where tenants share the server, use triggers, or a server for each.",
)
_CASCADE = re.compile(r"^ *CONSTRAINT .* FOREIGN KEY .* ON (DELETE|UPDATE) (CASCADE|SET NULL)", re.MULTILINE)


class BinlogInspector:
    """Checks of the log and its tables, with the consumer's own account, since it is the one that needs the rights.
    ``replica``: the server may be one whose log lacks what it receives."""

    def __init__(self, info: ConnectionInfo, *, replica: bool = False) -> None:
        self._info = info
        self._replica = replica

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        with errors_of(self._info), closing(connect(self._info)) as connection:
            yield connection

    def _found(self) -> dict[str, MySQLTable]:
        with self._connection() as connection:
            return read_tables(connection)

    def survey(self, *, counted: bool) -> list[SurveyedTable]:
        with self._connection() as connection:
            return survey(connection, None, counted=counted)

    def within(self, captures: Sequence[Capture]) -> list[Capture]:
        there = self._found()
        return [c if (table := there.get(c.table)) is None else c.within(table.names, table.key) for c in captures]

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(column.name for column in table.columns) for name, table in self._found().items()}

    def tables(self, captures: Sequence[Capture]) -> dict[str, Table]:
        """The captured tables as they are now, without their secret columns."""
        secrets = {capture.table: capture.hidden for capture in captures}
        return {name: table.without(secrets[name]).as_table for name, table in self._found().items() if name in secrets}

    # -- grants -----------------------------------------------------------------------------------------------------

    def grants(self, captures: Sequence[Capture], choice: AccountChoice) -> str:
        with self._connection() as connection:
            server, existing = server_of(connection), read_tables(connection)
            account = account_of(choice, AccountRole.CONSUMER, self._info, connection)
        to = named(account)
        selects = [
            ("" if table in existing else UNSEEN) + f"{_select_grant(self._info.database, table, to)};"
            for table in sorted(capture.table for capture in captures)
        ]
        journal = []
        if JOURNAL in existing:  # triggers journal cascades there, and the consumer deletes rows that it has read
            rights = {JOURNAL: "SELECT, DELETE", SHAPES: "SELECT", INSTALLATION: "SELECT"}
            if PROBE in existing:
                rights[PROBE] = "SELECT, INSERT, UPDATE, DELETE"
            schema = quote(self._info.database)
            journal = [f"GRANT {right} ON {schema}.{quote(name)} TO {to};" for name, right in rights.items()]
        return "\n".join(
            [
                *heading(choice, {AccountRole.CONSUMER: account}),
                "-- For cdc run and cdc doctor.",
                *create(account),
                *_LOG_RISK,
                f"{_log_grant(server, to)};",
                *selects,
                *journal,
                "",
            ]
        )

    # -- the doctor -------------------------------------------------------------------------------------------------

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        """Return the findings about log, account and tables."""
        with self._connection() as connection:
            server, settings = server_of(connection), read_settings(connection)
            findings = [Finding("server", Severity.OK, f"{server.flavour} {server.version}")]
            if next(refused(settings), None) is None:
                seconds = retention_seconds(settings)
                period = "until it is purged" if seconds is None else f"for {seconds / 86_400:.3g} days"
                findings.append(Finding("log", Severity.OK, f"on, kept {period}"))
            findings += log_findings(connection, self._info.database, settings, replica=self._replica)
            if written(settings):
                if problem := self._refused(connection):
                    fix = _log_grant(server, _account(connection))
                    findings.append(Finding("log privileges", Severity.WRONG, problem, fix))
                else:
                    findings.append(Finding("log privileges", Severity.OK, "the account may read the log"))
                findings += _cascades(connection, settings, captures)
            hidden = list(_hidden(connection, captures))
            for table in hidden:
                detail = f"The account may not read table {table}."
                grant = _select_grant(self._info.database, table, _account(connection))
                fix = f"{grant}; cdc grants prints all that it needs"
                findings.append(Finding(f"privileges on {table}", Severity.WRONG, detail, fix))
            if not hidden:
                findings.append(Finding("table privileges", Severity.OK, "the account may read every captured table"))
            existing = read_tables(connection)
        for capture in captures:
            if capture.table in existing and not existing[capture.table].key:
                detail = f"Table {capture.table} has no primary key: its records have no names."
                fix = "Give it one, or take it out of the rules"
                findings.append(Finding(f"key of {capture.table}", Severity.WRONG, detail, fix))
        return findings

    def position_findings(self, position: Position) -> list[Finding]:
        """Return whether the log still holds what comes after the consumer's position; nothing where no log can be
        read."""
        with self._connection() as connection:
            if not written(read_settings(connection)) or self._refused(connection):
                return []
            loaded = BinlogPosition.load(position)
            name, _ = log_owner(connection, server_of(connection).flavour)
            stored = loaded.log if loaded.server in ("", name) else LogPosition("", FILE_START, loaded.log.gtids)
            try:
                head = log_head(connection)
                error = LogHistory(self._info).error(connection, stored)
                if error is not None:
                    raise error
                self._first(stored)
            except LogPurged as error:
                fix = 'on_purged = "reread" in the configuration, then cdc run'
                return [Finding("position", Severity.WRONG, error.message, fix)]
            sizes = {str(name): int(count) for name, count, *_ in rows(connection, "SHOW BINARY LOGS")}
        if stored.place() >= head.place():
            return [Finding("position", Severity.OK, f"{stored.file}:{stored.offset}, the end of the log")]
        unread = 0  # where its file is another server's
        if stored.file in sizes:
            unread = max(sum(count for name, count in sizes.items() if name >= stored.file) - stored.offset, 0)
        detail = (
            f"{stored.file}:{stored.offset}; the log ends at {head.file}:{head.offset}, "
            f"{size(unread)} have not been read"
        )
        if unread <= MUCH:
            return [Finding("position", Severity.OK, detail)]
        fix = "cdc run; where it runs, read its log (what the server purges before it is read is lost)"
        return [Finding("position", Severity.WARNING, detail, fix)]

    def _refused(self, connection: Connection[Any]) -> str:
        """Return the reason why the account may not read the log, found by reading it; empty when it may."""
        try:
            with explained(self._info):
                self._first(log_head(connection))
        except SourceError as error:
            return error.message
        return ""

    def _first(self, position: LogPosition) -> None:
        """Read what comes first behind a position, or that nothing does."""
        with closing(LogConnection.open(self._info, position, HEARTBEAT, follow=False)) as log:
            next(log.items(lambda _: None), None)


def _account(connection: Connection[Any]) -> str:
    ((account,),) = rows(connection, "SELECT CURRENT_USER()")
    user, _, host = account.rpartition("@")
    return f"{literal(user)}@{literal(host)}"


def _log_grant(server: MySQLServer, to: str) -> str:
    monitor = "BINLOG MONITOR" if server.flavour is Flavour.MARIADB else "REPLICATION CLIENT"
    return f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO {to}"


def _select_grant(database: str, table: str, to: str) -> str:
    """Return the grant on a whole table: the types of all its columns must be known, also of those never looked up."""
    return f"GRANT SELECT ON {quote(database)}.{quote(table)} TO {to}"


def _hidden(connection: Connection[Any], captures: Sequence[Capture]) -> Iterator[str]:
    """Yield tables that are there and that this account may not read wholly."""
    for capture in captures:
        try:
            rows(connection, sqlfile.render("mysql/hold_table.sql", table=quote(capture.table)))
        except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
            if code_of(error) in NO_PRIVILEGE:
                yield capture.table


def _cascades(
    connection: Connection[Any], settings: Mapping[str, str], captures: Sequence[Capture]
) -> Iterator[Finding]:
    if cascades_in_log(settings):
        yield Finding("cascades", Severity.OK, "in the log, as any other change")
        return
    unseen = []
    for capture in captures:
        # a key that changes its rows by itself; information_schema shows keys to those who may write only
        with suppress(pymysql.err.OperationalError, pymysql.err.ProgrammingError):  # gone, or a finding of its own
            ((_, text, *_),) = rows(connection, f"SHOW CREATE TABLE {quote(capture.table)}")
            if _CASCADE.search(str(text)):
                unseen.append(capture.table)
    if unseen and journals_cascades(connection):
        yield Finding("cascades", Severity.OK, "triggers journal what foreign keys change")
    elif unseen:
        detail = f"What foreign keys delete or change by themselves is not in this server's log: {', '.join(unseen)}."
        yield Finding("cascades", Severity.WARNING, detail, "cdc install-triggers --cascades-only")
    else:
        yield Finding("cascades", Severity.OK, "no foreign key changes a captured table by itself")
