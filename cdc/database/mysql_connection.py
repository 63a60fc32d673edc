"""Connections to MariaDB and MySQL, and what their errors mean, in words that installer and journal share."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final

import pymysql
from pymysql.connections import Connection
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions

from cdc.model.connection import LOGIN_HINT, ConnectionInfo, Tls
from cdc.model.errors import SourceError, SourceUnavailable

#: Server and client codes that mean "not now": too many connections, shutdown, killed, cannot connect, gone, lost.
UNAVAILABLE = frozenset(
    {0, 1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1203, 1927, 2002, 2003, 2006, 2013, 2055}
)
#: Another transaction holds a lock that the statement needs: waited too long, or ended to resolve a deadlock.
LOCK_CONFLICTS = frozenset({1205, 1213})
ACCESS_DENIED = frozenset({1045, 1049, 1698, 1820, 1862})
#: Wrong user or password.
WRONG_LOGIN = frozenset({1045, 1698})
NO_PRIVILEGE = frozenset({1044, 1142, 1143, 1227, 1370})
_NO_SUCH_DATABASE: Final = (
    "Check the database's name (FS_DB_NAME in config.php, the path of a url); SHOW DATABASES lists those of the server."
)
#: The server's words of error 1044: the account's name is in them.
_NO_ACCESS: Final = re.compile(r"Access denied for user ('[^']*'@'[^']*') to database ")
_WHEN_REFUSED: Final = {
    1045: LOGIN_HINT,
    1049: _NO_SUCH_DATABASE,
    1698: LOGIN_HINT,
}
MISSING_TABLE = 1146
#: Seconds between two statements that open MariaDB's registry of transactions.
REGISTRY_SECONDS: Final = 0.8
_NOT_VERSIONED, _UNKNOWN_TRANSACTION = 4124, 4129
BAD_COLUMN = 1054
#: No such index.
MISSING_INDEX = 1176
#: After a table's name in a statement of ours: refused (`MISSING_INDEX`) where the name is a view's, whose text would
#: run with the rights of our account.  No plan changes: nothing is grouped by that index.  `FORCE INDEX (PRIMARY)` does
#: the same where rows are read by that index anyway.
BASE_TABLE: Final = "IGNORE INDEX FOR GROUP BY (PRIMARY)"
#: The same for a table that may have no primary key, where nothing is read, or all of it.
BASE_TABLE_WHOLE: Final = "USE INDEX ()"


#: DATETIME columns that hold UTC, as the journal's do, read by the standard library's fast parser.
UTC_DATETIMES = {**conversions, FIELD_TYPE.DATETIME: lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC)}


#: What our statements rely on, whatever the server's administrator or `init_connect` sets for everybody: strings and
#: operators mean one thing, every row is read, and every row is deleted.
_SESSION: Final = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES', SESSION sql_select_limit = 18446744073709551615, "
    "SESSION sql_safe_updates = 0, SESSION sql_auto_is_null = 0, SESSION sql_big_selects = 1"
)


class Flavour(StrEnum):
    MARIADB = "mariadb"
    MYSQL = "mysql"


@dataclass(frozen=True, slots=True)
class MySQLServer:
    """``binlog``: this server writes a binary log, so that `@@last_gtid` moves with every commit (MariaDB)."""

    flavour: Flavour
    version: str
    binlog: bool


def quote(identifier: str) -> str:
    """Return the name as a quoted identifier of MariaDB and MySQL."""
    return "`" + identifier.replace("`", "``") + "`"


def account_literal(account: str) -> str:
    """Return the account that CURRENT_USER() or DEFINER shows as statements name it."""
    user, _, host = account.rpartition("@")
    return f"{literal(user)}@{literal(host)}"


def literal(text: str) -> str:
    """Return a string literal that reads the same whatever the session's sql_mode says about backslashes and quotes."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return "'" + text.replace("'", "''") + "'"
    return f"CONVERT(X'{text.encode().hex()}' USING utf8mb4)"


def code_of(error: BaseException) -> int:
    """The server's or client's error number; 0 when there is none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def open_registry(connection: Connection[Any], database: str) -> bool:
    """Have MariaDB open `mysql.transaction_registry`; return whether this installation and account can.

    After one failure to open it (a KILL while a transaction commits), the server refuses all commits to tables that are
    versioned by transactions, in all databases, with error 4133.  A query of the past that finds a row opens it again.
    """
    try:
        probe = f"{quote(database)}.`cdc_probe` FOR SYSTEM_TIME AS OF TRANSACTION 1"
        rows(connection, f"SELECT 1 FROM {probe} {BASE_TABLE}")  # noqa: S608 - `quote` quotes the name
    except pymysql.err.MySQLError as error:
        code = code_of(error)
        if code not in (_UNKNOWN_TRANSACTION, _NOT_VERSIONED, MISSING_TABLE, *NO_PRIVILEGE):
            raise
        return code == _UNKNOWN_TRANSACTION  # looked for in the registry, which is thus open
    return False


def tls_arguments(tls: Tls) -> dict[str, Any]:
    """libpq's words as PyMySQL's arguments.  "prefer" is what PyMySQL does by itself: TLS if the server offers it."""
    if tls.mode == "disable":
        return {"ssl_disabled": True}
    if tls.mode in ("prefer", "allow") and not tls.certificate:
        return {}
    if tls.mode == "require" and not tls.ca and not tls.certificate:
        return {"ssl": unverified()}
    context = ssl.create_default_context(cafile=tls.ca or None)
    context.check_hostname = tls.mode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if tls.mode in ("verify-ca", "verify-full") else ssl.CERT_NONE
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key or None)
    return {"ssl": context}


@cache
def unverified() -> ssl.SSLContext:
    """Return the TLS context of all connections that verify nothing.  PyMySQL makes one for each, with the system's
    certificates in it: 0.9 MB and 6 ms of CPU."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Connection(Connection):  # type: ignore[misc]  # PyMySQL has no types
    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        """Return the context; ``sslp`` is empty where TLS is used if the server offers it."""
        context: ssl.SSLContext = unverified() if sslp == {} else super()._create_ssl_ctx(sslp)
        return context


def connect(
    info: ConnectionInfo,
    *,
    timeout: float = 10.0,
    read_timeout: float | None = None,
    made: Callable[[Connection[Any]], None] = lambda _: None,
) -> Connection[Any]:
    """Return an autocommitting connection in utf8mb4 under READ COMMITTED, in the server's own time zone.

    ``made``: receives the connection before the server is asked for anything; it may be `shut_down` from then on.
    Raises `SourceUnavailable` when the server does not answer, `SourceError` when it refuses the account.
    """
    where = {"unix_socket": info.socket} if info.socket else {"host": info.host, "port": info.port or 3306}
    try:
        with errors_of(info):
            connection = _Connection(
                **where,
                defer_connect=True,
                user=info.user,
                password=info.password,
                database=info.database,
                charset="utf8mb4",
                conv=UTC_DATETIMES,
                autocommit=True,
                connect_timeout=timeout,
                read_timeout=read_timeout,
                init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                **tls_arguments(info.tls),
            )
            made(connection)
            connection.connect()
            try:
                rows(connection, _SESSION)
            except BaseException:
                connection.close()
                raise
    except pymysql.err.MySQLError as error:  # locked, expired, host blocked, TLS demanded: whatever it is, not a defect
        raise _refused(info, error) from error
    return connection


def socket_of(connection: Connection[Any]) -> socket.socket:
    """Return the socket of an open connection, to wait for it, to read from it directly, or to shut it down."""
    found = connection._sock  # noqa: SLF001 - PyMySQL has no public attribute or method that gives its socket
    if found is None:
        raise ConnectionError("The connection is closed.")
    return found  # type: ignore[no-any-return]  # typeshed does not describe this attribute


def cut(connection: Connection[Any]) -> None:
    """Close a connection at once.  `close` would first send COM_QUIT, and wait for a server that does not read."""
    connection._force_close()  # noqa: SLF001 - PyMySQL has no public method that closes without sending COM_QUIT


def tap(connection: Connection[Any], sent: Callable[[bytes], None], received: Callable[[bytes], None]) -> None:
    """Call ``sent`` with the bytes of each packet that is sent from now on, ``received`` with those of each answer."""
    write, read = connection._write_bytes, connection._read_packet  # noqa: SLF001 - PyMySQL has no public way to see the bytes

    def tapped_write(data: bytes) -> None:
        sent(data)
        write(data)

    def tapped_read(*arguments: Any) -> Any:
        packet = read(*arguments)
        received(packet.get_all_data())
        return packet

    connection._write_bytes, connection._read_packet = tapped_write, tapped_read  # noqa: SLF001 - as above


def shut_down(connection: Connection[Any]) -> None:
    """Wake the thread that waits for the server with an error."""
    with suppress(OSError):  # not connected, or not any more
        socket.socket.shutdown(socket_of(connection), socket.SHUT_RDWR)  # TLS's own would wait for an answer


@contextmanager
def errors_of(info: ConnectionInfo) -> Iterator[None]:
    """Lost or refused connections as errors of this package; every other error passes unchanged."""
    try:
        yield
    except (pymysql.err.OperationalError, pymysql.err.InternalError) as error:
        code = code_of(error)
        if code in ACCESS_DENIED:
            raise _refused(info, error) from error
        if code in UNAVAILABLE:
            raise _unavailable(info, error) from error
        raise
    except (pymysql.err.InterfaceError, OSError) as error:
        raise _unavailable(info, error) from error


def _refused(info: ConnectionInfo, error: Exception) -> SourceError:
    hint = _WHEN_REFUSED.get(code_of(error), "Check user, password, database and grants.")
    if account := _NO_ACCESS.match(str(error.args[-1])):
        grant = f"GRANT SELECT ON {quote(info.database)}.* TO {account[1]}"
        hint = f"As an administrator of the server: {grant}; then `cdc grants` prints what else is needed."
    return SourceError(f"The server refuses {info.describe()}: {_words(info, error)}.", hint)


def _unavailable(info: ConnectionInfo, error: Exception) -> SourceUnavailable:
    return SourceUnavailable(
        f"No connection to {info.describe()}: {_words(info, error)}.",
        "Check that the server runs and is reachable from here.",
    )


def _words(info: ConnectionInfo, error: Exception) -> str:
    """Return the server's message and error number, without the password."""
    text = " ".join(str(error.args[-1] if len(error.args) > 1 else error).split()).rstrip(".")
    if info.password:
        text = text.replace(info.password, "***")
    return f"{text} (error {code_of(error)})"


def rows(connection: Connection[Any], sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """All rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def server_of(connection: Connection[Any]) -> MySQLServer:
    version, binlog = rows(connection, "SELECT VERSION(), @@log_bin")[0]
    flavour = Flavour.MARIADB if "mariadb" in version.lower() else Flavour.MYSQL
    return MySQLServer(flavour, version, bool(binlog))
