"""Connections with TLS that verify nothing, as sources have it by default."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from cdc.database.mysql_connection import connect, rows, unverified
from cdc.model.connection import Tls
from support.database import Database

CIPHER = "SHOW SESSION STATUS LIKE 'Ssl_cipher'"


def test_connections_that_verify_nothing_share_a_tls_context(mariadb_db: Database) -> None:
    """One each would hold the system's certificates: a megabyte a source."""
    preferred = mariadb_db.info
    required = replace(preferred, tls=Tls("require"))
    with (
        closing(connect(preferred)) as first,
        closing(connect(preferred)) as second,
        closing(connect(required)) as third,
    ):
        assert first.ctx is second.ctx is third.ctx is unverified()
        assert all(rows(each, CIPHER)[0][1] for each in (first, second, third))


def test_connection_without_tls_has_none(mariadb_db: Database) -> None:
    with closing(connect(replace(mariadb_db.info, tls=Tls("disable")))) as plain:
        assert not rows(plain, CIPHER)[0][1]
