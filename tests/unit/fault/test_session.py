"""The harness notices a transaction that a MySQL server took back without an error."""

from __future__ import annotations

import pytest
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_AUTOCOMMIT, SERVER_STATUS_IN_TRANS

from support.fault.ledger import Ledger
from support.fault.session import EndedInSilence, Session, is_conflict


class Server:
    """A connection and its cursor.  ``swallowed``: the statement in which the transaction ends."""

    def __init__(self, swallowed: str = "") -> None:
        self.swallowed = swallowed
        self.server_status = SERVER_STATUS_AUTOCOMMIT

    def cursor(self) -> Server:
        return self

    def execute(self, sql: str, _values: object) -> None:
        if sql == "BEGIN":
            self.server_status |= SERVER_STATUS_IN_TRANS
        if sql in ("COMMIT", "ROLLBACK", self.swallowed):
            self.server_status &= ~SERVER_STATUS_IN_TRANS

    def close(self) -> None: ...


def test_transaction_that_ends_in_silence_is_repeated() -> None:
    session = Session(Server("DELETE FROM productos"), "mysql", Ledger())
    session.execute("BEGIN")
    session.execute("INSERT INTO clientes VALUES (1)")
    with pytest.raises(EndedInSilence) as caught:
        session.execute("DELETE FROM productos")
    assert is_conflict(caught.value)
    session.execute("ROLLBACK")


def test_transaction_that_ends_by_its_own_statement_is_none() -> None:
    session = Session(Server(), "mysql", Ledger())
    for sql in (
        "BEGIN",
        "INSERT INTO clientes VALUES (1)",
        "ROLLBACK TO SAVEPOINT part",
        "COMMIT",
        "BEGIN",
        "ROLLBACK",
    ):
        session.execute(sql)
