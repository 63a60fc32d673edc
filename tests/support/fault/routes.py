"""The ways from a database to a receiver that the harness drives."""

from __future__ import annotations

from dataclasses import dataclass

from support.server import Spec

_POSTGRES = ("deadlock_timeout=50ms",)


@dataclass(frozen=True, slots=True)
class Route:
    """``outbox``: "sqlite", or "postgresql" for one in a database of its own server.  ``moving``: prepared for both
    ways to capture.  ``replica``: the ERP writes to another server, which the one that is read replicates."""

    name: str
    flavour: str
    capture: str
    binlog: bool = False
    outbox: str = "sqlite"
    moving: bool = False
    replica: bool = False

    @property
    def log(self) -> str:
        """The capture mode that reads the server's log."""
        return "logical" if self.flavour == "postgresql" else "binlog"

    @property
    def spec(self) -> Spec:
        options = _POSTGRES if self.flavour == "postgresql" else ()
        return Spec(self.flavour, self.binlog, options, durable=True)

    @property
    def installs(self) -> list[tuple[str, ...]]:
        """The commands that prepare the database."""
        found: list[tuple[str, ...]] = []
        if self.moving or self.capture == "triggers":
            found.append(("install-triggers",))
        elif self.flavour == "mariadb":
            found.append(("install-triggers", "--cascades-only"))
        if self.flavour == "postgresql" and (self.moving or self.capture == "logical"):
            found.append(("install-slot",))
        return found


ROUTES = {
    route.name: route
    for route in (
        Route("mariadb-triggers", "mariadb", "triggers"),
        Route("mariadb-binlog-on-triggers", "mariadb", "triggers", binlog=True),
        Route("mysql-triggers", "mysql", "triggers"),
        Route("postgresql-triggers", "postgresql", "triggers"),
        Route("mariadb-binlog", "mariadb", "binlog", binlog=True),
        Route("mysql-binlog", "mysql", "binlog"),
        Route("postgresql-logical", "postgresql", "logical"),
        Route("postgresql-triggers-pgoutbox", "postgresql", "triggers", outbox="postgresql"),
        Route("mysql-replica-binlog", "mysql", "binlog", replica=True),
        Route("mariadb-moving", "mariadb", "triggers", binlog=True, moving=True),
        Route("mysql-moving", "mysql", "triggers", moving=True),
        Route("postgresql-moving", "postgresql", "triggers", moving=True),
    )
}
