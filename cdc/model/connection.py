"""The connection to a FacturaScripts database; read from a URL or from its ``config.php`` (see `cdc.config`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Engine(StrEnum):
    """The protocol spoken; whether a MySQL-protocol server is MySQL or MariaDB is asked of the server itself."""

    MYSQL = "mysql"
    POSTGRESQL = "postgresql"


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of a database connection. ``mode``: libpq's words (disable, prefer, require, verify-ca, verify-full);
    the others are file paths, empty when not given."""

    mode: str = "prefer"
    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """``socket``: path of a Unix socket (MySQL) or its directory (PostgreSQL); wins over host and port when set.

    ``others``: hosts and ports of further PostgreSQL servers, tried in turn.  ``writable``: a server that takes no
    writes, as a standby, is passed over.
    """

    engine: Engine
    database: str
    user: str
    password: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    socket: str = ""
    tls: Tls = Tls()
    others: tuple[tuple[str, int], ...] = ()
    writable: bool = False

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        return ((self.host, self.port), *self.others)

    def describe(self) -> str:
        """Return a description for people and logs, never the password."""
        where = self.socket or ",".join(f"{host}:{port}" for host, port in self.servers)
        return f"{self.engine} database {self.database} at {where} as {self.user}"

    def as_user(self, user: str, password: str) -> ConnectionInfo:
        return replace(self, user=user, password=password)
