"""The same tests on MariaDB without and with a binlog, and on MySQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.database import Database, fresh_database
from support.server import Spec
from support.servers import KeeperClient, shared_server

SPECS = {
    "mariadb": Spec("mariadb"),
    "mariadb-binlog": Spec("mariadb", binlog=True),
    "mysql": Spec("mysql"),
}


@pytest.fixture(params=SPECS)
def db(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=False) as database:
        yield database


@pytest.fixture(params=SPECS)
def shop(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    """With FacturaScripts' tables and seed rows."""
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=True) as database:
        yield database
