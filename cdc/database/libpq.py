"""A `ConnectionInfo` in the words of libpq, for every psycopg connection of this package.  Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

from psycopg.conninfo import make_conninfo

from cdc.model.connection import ConnectionInfo

DEFAULT_PORT = 5432
_SOCKET_PREFIX = ".s.PGSQL."
#: Keyword → value.  Seconds, except tcp_user_timeout (milliseconds): a peer that went away without a word is noticed
#: within about half a minute, also while waiting.
_LIVENESS: dict[str, str] = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


def libpq_parameters(info: ConnectionInfo, application: str) -> dict[str, str]:
    """``application``: shown to the DBA in pg_stat_activity."""
    host, port = _where(info)
    tls = info.tls
    wanted = {
        "host": host,
        "port": str(port),
        "dbname": info.database,
        "user": info.user,
        "password": info.password,
        "sslmode": tls.mode,
        "sslrootcert": tls.ca,
        "sslcert": tls.certificate,
        "sslkey": tls.key,
        "application_name": application,
        "client_encoding": "UTF8",
    }
    return {**_LIVENESS, **{keyword: value for keyword, value in wanted.items() if value}}


def conninfo(info: ConnectionInfo, application: str, **more: str) -> str:
    """The same as a connection string, which holds the password.  ``more``: further parameters."""
    return make_conninfo("", **libpq_parameters(info, application), **more)


def _where(info: ConnectionInfo) -> tuple[str, int]:
    """Host and port; a socket may be given as its directory or as the file in it, whose name ends in the port."""
    port = info.port or DEFAULT_PORT
    if not info.socket:
        return info.host, port
    path = PurePosixPath(info.socket)
    if path.name.startswith(_SOCKET_PREFIX):
        number = path.name.removeprefix(_SOCKET_PREFIX)
        return str(path.parent), int(number) if number.isdecimal() else port
    return str(path), port
