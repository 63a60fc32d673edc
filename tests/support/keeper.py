"""The process that keeps the database servers of one test run, for all pytest processes of the run.

The pytest process that begins the run starts it and holds the other end of its standard input: when that closes, in
whatever way the run ended, the keeper ends every server that it started and removes their data.  A server that a test
asked for as its own ends with the connection that asked.

Requests are tuples over a `multiprocessing.connection`: ("shared", Spec), ("own", Spec), ("start" | "stop" | "kill" |
"save" | "restore" | "discard" | "standby", id), ("labels",).  Answers: (True, value) or (False, sentence).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from support.memory import in_memory
from support.programs import TITLES, NoServerError, version_of_text
from support.server import Kept, Server, Spec, ask, make_server


class Keeper:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ids = count(1)
        self._lock = threading.Lock()
        self._servers: dict[int, Server] = {}
        self._specs: dict[int, Spec] = {}
        self._shared: dict[Spec, Kept] = {}
        self._shared_locks: dict[Spec, threading.Lock] = {}
        self._labels: set[str] = set()
        self._closing = False

    def answer(self, request: tuple[Any, ...], owned: set[int]) -> Any:
        match request:
            case ("shared", Spec() as spec):
                return self._share(spec)
            case ("own", Spec() as spec):
                kept = self._make(spec)
                owned.add(kept.id)
                return kept
            case ("standby", int(number)) if number in owned:
                kept = self._make(self._specs[number], self._servers[number].port)
                owned.add(kept.id)
                return kept
            case ("start" | "stop" | "kill" | "save" | "restore" as action, int(number)) if number in owned:
                getattr(self._servers[number], action)()
                return None
            case ("discard", int(number)) if number in owned:
                owned.discard(number)
                self.discard(number)
                return None
            case ("labels",):
                return sorted(self._labels)
        message = f"The keeper of test servers does not know the request {request!r}."
        raise NoServerError(message)

    def _share(self, spec: Spec) -> Kept:
        with self._lock:
            lock = self._shared_locks.setdefault(spec, threading.Lock())
        with lock:
            if spec not in self._shared:
                self._shared[spec] = self._make(spec)
            return self._shared[spec]

    def _make(self, spec: Spec, primary: int | None = None) -> Kept:
        number = next(self._ids)
        server, origin = make_server(spec, self.folder / f"{spec.flavour}-{number}", primary)
        with self._lock:
            if self._closing:
                message = "The test run is over."
                raise NoServerError(message)
            self._servers[number], self._specs[number] = server, spec
        server.start()
        version = version_of_text(str(ask(spec, server.port, "SELECT version()")))
        log = " with binlog" if spec.binlog else ""
        label = f"{TITLES[spec.flavour]} {version}{log} ({origin})"
        self._labels.add(label)
        return Kept(number, spec, server.port, label)

    def discard(self, number: int) -> None:
        with self._lock:
            server = self._servers.pop(number, None)
        if server is not None:  # the end of the run and the end of a client may both ask for it
            server.discard()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            numbers = list(self._servers)
        for number in numbers:
            self.discard(number)


def serve(keeper: Keeper, client: Connection) -> None:
    """Answer one client until it goes away."""
    owned: set[int] = set()
    try:
        while True:
            request = client.recv()
            try:
                answer = (True, keeper.answer(request, owned))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test that asked must hear of it
                answer = (False, f"{type(error).__name__}: {error}")
            client.send(answer)
    except (EOFError, ConnectionError):
        pass  # the client has ended
    finally:
        client.close()
        for number in owned:
            keeper.discard(number)


def accept(keeper: Keeper, listener: Listener) -> None:
    while True:
        client = listener.accept()
        threading.Thread(target=serve, args=(keeper, client), daemon=True).start()


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for this run, readable for the accounts that servers run as; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="cdc-tests-", dir=in_memory()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which then closes our standard input
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with run_folder() as folder, Listener(str(folder / "keeper.sock"), "AF_UNIX", backlog=64) as listener:
        keeper = Keeper(folder)
        threading.Thread(target=accept, args=(keeper, listener), daemon=True).start()
        sys.stdout.write(f"{folder / 'keeper.sock'}\n")
        sys.stdout.flush()
        try:
            while os.read(0, 1):
                pass
        finally:
            keeper.close()


if __name__ == "__main__":
    main()
