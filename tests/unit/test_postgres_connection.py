"""Connections in libpq's words."""

from __future__ import annotations

import socket

import psycopg
import pytest

from cdc.database.postgres_connection import conninfo, libpq_parameters, own_words
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


def test_several_servers() -> None:
    several = ConnectionInfo(Engine.POSTGRESQL, "erp", "fs", host="a", others=(("b", 5433),), writable=True)
    parameters = libpq_parameters(several, "cdc")
    wanted = {"host": "a,b", "port": "5432,5433", "target_session_attrs": "read-write", "connect_timeout": "4"}
    assert wanted.items() <= parameters.items()
    assert "target_session_attrs" not in libpq_parameters(INFO, "cdc")


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


def test_a_refused_connection_is_told_in_the_systems_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(host="127.0.0.1", port=taken.getsockname()[1], user="fs", dbname="erp")
    assert own_words(refused.value) == "Connection refused"


def test_explanations_of_libpq_are_left_out() -> None:
    error = psycopg.OperationalError(
        "consuming input failed: server closed the connection unexpectedly\n"
        "\tThis probably means the server terminated abnormally\n\tbefore or while processing the request.\n"
    )
    assert own_words(error) == "server closed the connection unexpectedly"
