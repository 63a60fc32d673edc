"""A TCP proxy before a MariaDB or MySQL server that cuts the log's stream at a given place, or goes deaf."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_DUMP_COMMANDS = frozenset({0x12, 0x1E})
_HEAD = 4


class Proxy:
    """``limit``: bytes of the log that each new connection lets through before it is cut; None: all of them.

    ``deaf``: set it, and no answer comes through any more, while connections stay; ``kept``: one did not.  The limit
    is for connections without TLS.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.limit: int | None = None
        self.deaf, self.kept = threading.Event(), threading.Event()
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def redirect(self, port: int) -> None:
        """New connections go to another server."""
        self._target = ("127.0.0.1", port)

    def cut(self) -> None:
        """End every connection; new ones are let through."""
        for each in list(self._sockets):
            _end(each)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()  # the server is down
                continue
            self._sockets += [client, server]
            threading.Thread(target=self._connection, args=(client, server, self.limit), daemon=True).start()

    def _connection(self, client: socket.socket, server: socket.socket, limit: int | None) -> None:
        """Both directions of a connection, to its end."""
        asked = threading.Event()
        commands = threading.Thread(target=self._commands, args=(client, server, asked), daemon=True)
        commands.start()
        self._answers(server, client, asked, limit)
        commands.join()
        for each in (client, server):
            self._sockets.remove(each)
            each.close()

    def _commands(self, client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if len(data) > _HEAD and data[3] == 0 and data[_HEAD] in _DUMP_COMMANDS:
                    asked.set()
                server.sendall(data)
        _end(server)

    def _answers(self, server: socket.socket, client: socket.socket, asked: threading.Event, limit: int | None) -> None:
        left = limit
        with suppress(OSError):
            while (left is None or left > 0) and (data := server.recv(65536)):
                if self.deaf.is_set():
                    self.kept.set()
                    self._ended.wait()
                    break
                if asked.is_set() and left is not None:
                    data, left = data[:left], left - len(data)
                client.sendall(data)
        _end(client)
        _end(server)


def _end(each: socket.socket) -> None:
    with suppress(OSError):  # ended already
        each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    made = Proxy(port)
    try:
        yield made
    finally:
        made.close()
