"""The pytest side of the test servers: one keeper for the run, and what tests may do with a server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from cdc.model.connection import ConnectionInfo
from support.programs import NoServerError
from support.server import Kept, Spec, maintenance_database, owner_info

#: Where the keeper listens; set by the process that started it, inherited by the workers of pytest-xdist.
ADDRESS = "CDC_TEST_KEEPER"
END_SECONDS = 60


class KeeperProcess:
    """The keeper, started by the pytest process that begins the run."""

    def __init__(self) -> None:
        tests = Path(__file__).resolve().parents[1]
        path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            message = "The keeper of test servers did not start; its message stands above."
            raise NoServerError(message)

    def end(self) -> None:
        """Close its standard input and wait until every server is gone."""
        with suppress(BrokenPipeError):  # it has ended already; its exit code is read
            self._process.communicate(timeout=END_SECONDS)
        if self._process.returncode != 0:
            message = f"The keeper of test servers ended with {self._process.returncode}; its message stands above."
            raise NoServerError(message)


class KeeperClient:
    """One process's connection to the keeper."""

    def __init__(self, address: str) -> None:
        self._connection: Connection = Client(address, "AF_UNIX")

    def ask(self, *request: Any) -> Any:
        self._connection.send(request)
        succeeded, value = self._connection.recv()
        if not succeeded:
            raise NoServerError(value)
        return value

    def close(self) -> None:
        self._connection.close()


@contextmanager
def kept_servers() -> Iterator[KeeperClient]:
    """Keep servers for this process and those that it starts, which find the keeper by `ADDRESS`."""
    keeper = KeeperProcess()
    os.environ[ADDRESS] = keeper.address
    try:
        client = KeeperClient(keeper.address)
        try:
            yield client
        finally:
            client.close()
    finally:
        keeper.end()


class TestServer:
    """A running server.  Only a server that the test owns may be stopped, killed and started."""

    __test__ = False

    def __init__(self, keeper: KeeperClient, kept: Kept, *, owned: bool) -> None:
        self._keeper, self._kept, self._owned = keeper, kept, owned
        self.spec: Spec = kept.spec
        self.flavour = kept.spec.flavour
        self.port = kept.port
        self.label = kept.label

    def info(self, database: str = "") -> ConnectionInfo:
        """The owner's way in; without a name, to a database that is always there."""
        return owner_info(self.spec, self.port, database or maintenance_database(self.flavour))

    def start(self) -> None:
        """Start it on the same port with the same data, and wait until it answers."""
        self._act("start")

    def stop(self) -> None:
        """Shut it down in good order, clients or not."""
        self._act("stop")

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        self._act("kill")

    def restart(self) -> None:
        self.stop()
        self.start()

    def save(self) -> None:
        """Copy the data of the stopped server."""
        self._act("save")

    def restore(self) -> None:
        """Put that copy in the place of the stopped server's data."""
        self._act("restore")

    def standby(self) -> TestServer:
        """Start a hot standby of this PostgreSQL, which is the test's own too."""
        self._check_owned("copy")
        return TestServer(self._keeper, self._keeper.ask("standby", self._kept.id), owned=True)

    def discard(self) -> None:
        self._act("discard")

    def admin_execute(self, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement as the owner, outside of any test's database: for accounts and settings."""
        from support.database import Database  # noqa: PLC0415 - the two know each other

        administration = Database(self, self.info().database)
        try:
            return administration.execute(sql, params)
        finally:
            administration.close()

    def _act(self, action: str) -> None:
        self._check_owned(action)
        self._keeper.ask(action, self._kept.id)

    def _check_owned(self, action: str) -> None:
        if not self._owned:
            message = f"{self.label} is shared by all tests: use the fixture own_server to {action} one."
            raise NoServerError(message)


def shared_server(keeper: KeeperClient, spec: Spec) -> TestServer:
    """The server that all tests of the run share; started for the first who asks."""
    return TestServer(keeper, keeper.ask("shared", spec), owned=False)


def own_server(keeper: KeeperClient, spec: Spec) -> TestServer:
    return TestServer(keeper, keeper.ask("own", spec), owned=True)
