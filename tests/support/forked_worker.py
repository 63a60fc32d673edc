"""Workers of pytest-xdist that share one collection's imports.

A worker imports all test modules before it runs one, and in a new clone rewrites their assertions: 17 seconds of a
processor each.  So pytest-xdist starts this file for each (``--tx 'popen//python=… tests/support/forked_worker.py'``),
with execnet's gateway on the standard streams; it hands these to a process that has collected the tests and forks.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

#: Environment variable: the socket of the process that forks.
ADDRESS = "CDC_TEST_WORKERS"


@contextmanager
def forking(arguments: Sequence[str]) -> Iterator[None]:
    """Have a process that forks workers for a run with these arguments of pytest."""
    with tempfile.TemporaryDirectory(prefix="cdc-test-workers-") as folder:
        os.environ[ADDRESS] = str(Path(folder, "socket"))
        command = [sys.executable, __file__, "serve", *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            yield
            process.communicate()


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        _serve(sys.argv[2:])
    else:  # started by execnet, whose arguments are for an interpreter
        _request()


def _request() -> None:
    """Have a worker forked for the standard streams, and wait for its end."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[ADDRESS])
        socket.send_fds(connection, [b"1"], [0, 1, 2])
        for stream in (0, 1):
            os.close(stream)  # only the worker's end keeps the gateway open
        connection.recv(1)


def _serve(arguments: Sequence[str]) -> None:
    """Collect the tests, then fork workers until standard input closes."""
    import pytest  # noqa: PLC0415 - a request needs none

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.environ[ADDRESS])
        listener.listen()
        print("listening", flush=True)
        with Path(os.devnull).open("w") as silent, redirect_stdout(silent):
            pytest.main([*arguments, "--collect-only", "-p", "no:cacheprovider"])  # a worker says what fails
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection = listener.accept()[0]
            if os.fork() == 0:
                listener.close()
                _work(connection)
                return
            connection.close()
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _work(connection: socket.socket) -> None:
    """Do what ``python -u -c`` would with execnet's line.  The connection closes when the process ends."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115 - the standard streams
    exec(eval(sys.stdin.readline()), {"__name__": "__main__"})  # as execnet's line does


if __name__ == "__main__":
    main()
