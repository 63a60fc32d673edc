"""Connections in libpq's words."""

from __future__ import annotations

import pytest

from cdc.database.postgres_connection import conninfo, libpq_parameters
from cdc.model.connection import ConnectionInfo, Engine, Tls

INFO = ConnectionInfo(Engine.POSTGRESQL, "erp", "fs", "it's secret")


def test_defaults() -> None:
    parameters = libpq_parameters(INFO, "cdc")
    assert parameters["host"] == "127.0.0.1"
    assert parameters["port"] == "5432"
    assert parameters["sslmode"] == "prefer"
    assert "sslrootcert" not in parameters
    assert r"password='it\'s secret'" in conninfo(INFO, "cdc")


def test_tls_files() -> None:
    tls = Tls("verify-full", "/ca.pem", "/cert.pem", "/key.pem")
    parameters = libpq_parameters(ConnectionInfo(Engine.POSTGRESQL, "erp", "fs", port=5433, tls=tls), "cdc")
    wanted = {"sslmode": "verify-full", "sslrootcert": "/ca.pem", "sslcert": "/cert.pem", "sslkey": "/key.pem"}
    assert wanted.items() <= parameters.items()
    assert parameters["port"] == "5433"
    assert "password" not in parameters


@pytest.mark.parametrize(
    ("socket", "host", "port"),
    [
        ("/run/postgresql", "/run/postgresql", "5432"),
        ("/run/postgresql/.s.PGSQL.5444", "/run/postgresql", "5444"),
    ],
)
def test_sockets_win(socket: str, host: str, port: str) -> None:
    parameters = libpq_parameters(ConnectionInfo(Engine.POSTGRESQL, "erp", "fs", socket=socket), "cdc")
    assert (parameters["host"], parameters["port"]) == (host, port)
