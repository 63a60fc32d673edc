"""The outbox's PostgreSQL and its synchronous standby, each behind a proxy of each worker."""

from __future__ import annotations

from contextlib import ExitStack

from support.consumer import database_url
from support.database import Database, create_database
from support.replication import make_synchronous, promote
from support.server import Spec
from support.servers import KeeperClient, TestServer, own_server
from support.tcp_proxy import Proxy

_SPEC = Spec("postgresql", options=("max_connections=300",))


class OutboxPath:
    """A worker's way to both servers.  Cut off, it hears nothing; then its connections end."""

    def __init__(self, ports: list[int]) -> None:
        self.proxies = [Proxy(port) for port in ports]

    def url(self, url: str, port: int) -> str:
        """Return the URL of the outbox, which is on ``port``, by this way."""
        return url.replace(f":{port}/", ":" + ",127.0.0.1:".join(str(each.port) for each in self.proxies) + "/")

    def cut_off(self) -> None:
        for each in self.proxies:
            each.deaf.set()

    def restore(self) -> None:
        for each in self.proxies:
            each.deaf.clear()
            each.cut()

    def close(self) -> None:
        for each in self.proxies:
            each.close()


class Pair:
    """``outbox``: the database on the present primary."""

    def __init__(self, keeper: KeeperClient, stack: ExitStack) -> None:
        self._stack = stack
        primary = own_server(keeper, _SPEC)
        stack.callback(primary.discard)
        self.outbox = Database(primary, create_database(primary, erp=False))
        stack.callback(self.close)
        self._servers = [primary]
        self._paths: list[OutboxPath] = []
        self._primary = 0
        self._servers.append(self._follow())

    def close(self) -> None:
        self.outbox.close()

    def path(self) -> OutboxPath:
        made = OutboxPath([each.port for each in self._servers])
        self._stack.callback(made.close)
        self._paths.append(made)
        return made

    def url(self, path: OutboxPath) -> str:
        return path.url(database_url(self.outbox.info), self._servers[self._primary].port)

    def kill(self) -> None:
        """Kill the primary for good."""
        self._servers[self._primary].kill()

    def hang(self) -> None:
        """Nothing comes from the primary any more, and connections to it stay."""
        for path in self._paths:
            path.proxies[self._primary].deaf.set()

    def fail_over(self) -> None:
        """Promote the standby."""
        former, self._primary = self._primary, 1 - self._primary
        promote(self._servers[self._primary])
        self.outbox.close()
        self.outbox = Database(self._servers[self._primary], self.outbox.name)
        self._servers[former] = self._follow()
        for path in self._paths:
            path.proxies[former].redirect(self._servers[former].port)
            path.proxies[former].deaf.clear()

    def _follow(self) -> TestServer:
        standby = self._servers[self._primary].standby()
        self._stack.callback(standby.discard)
        make_synchronous(self.outbox)
        return standby
