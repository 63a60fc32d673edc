"""Every column type, written to a real server and read from its binlog: what the log's rows give is what a trigger's
journal gives for the same row, and what mysql-replication gives wherever that is right."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.binlog_events import end_of_log, rows_events
from support.binlog_rows import Journal, Pair, decoded, found_table, known_table, typed
from support.column_types import BYTES, LISTS, MOMENTS, NUMBERS, OWN, TEXTS, UNREAD, ColumnKind
from support.database import Database, fresh_database
from support.mysql_replication import disagreements, replication_rows
from support.server import Spec
from support.servers import KeeperClient, shared_server

#: Server, and what it says of columns in its log; NO_LOG and MINIMAL are the defaults.
SPECS = {
    "mariadb NO_LOG": Spec("mariadb", binlog=True),
    "mariadb MINIMAL": Spec("mariadb", binlog=True, options=("--binlog-row-metadata=MINIMAL",)),
    "mariadb FULL": Spec("mariadb", binlog=True, options=("--binlog-row-metadata=FULL",)),
    "mysql MINIMAL": Spec("mysql"),
    "mysql FULL": Spec("mysql", options=("--binlog-row-metadata=FULL",)),
}
GROUPS = {"numbers": NUMBERS, "moments": MOMENTS, "texts": TEXTS, "lists": LISTS, "bytes": BYTES}
ZONE, ZONE_SECONDS = "+02:00", 7200
ROWS = 40
PARTS = 4
#: The same in all processes of a run.
SEED = os.environ.get("PYTEST_XDIST_TESTRUNUID", "alone")


@pytest.fixture(params=SPECS)
def db(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=False) as database:
        yield database


@pytest.fixture
def full(db: Database) -> bool:
    """mysql-replication can be compared with: without these metadata it knows neither names nor signs."""
    return any("FULL" in option for option in db.server.spec.options)


def write_randomly(cursor: Any, kinds: Sequence[ColumnKind], journal: Journal, rows: int) -> list[Pair]:
    """Insert rows of random values, update each to others, delete them all; what the journal gives."""
    places = ", ".join(kind.place for kind in kinds)
    changes = ", ".join(f"c{number} = {kind.place}" for number, kind in enumerate(kinds))
    row = st.tuples(*(st.one_of(st.none(), kind.values) if kind.nullable else kind.values for kind in kinds))
    pairs: list[Pair] = []

    @settings(max_examples=rows, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(row, row)
    def write(first: Sequence[Any], then: Sequence[Any]) -> None:
        number = len(pairs)
        cursor.execute(f"INSERT INTO kinds VALUES ({number}, {places})", first)
        inserted = journal.row(number)
        cursor.execute(f"UPDATE kinds SET {changes} WHERE id = {number}", then)
        pairs.extend([(None, inserted), (inserted, journal.row(number))])

    write()
    cursor.execute("DELETE FROM kinds")
    return [*pairs, *((after, None) for before, after in pairs if before is not None)]


def check(database: Database, kinds: Sequence[ColumnKind], *, full: bool, examples: int = ROWS) -> None:
    columns = ", ".join(f"c{number} {kind.sql}" for number, kind in enumerate(kinds))
    database.execute(f"CREATE TABLE kinds (id INT PRIMARY KEY, {columns}) ROW_FORMAT=DYNAMIC")
    known = known_table(database, "kinds")
    cursor = database.connect(autocommit=True).cursor()
    cursor.execute(f"SET SESSION sql_mode = '', time_zone = '{ZONE}'")
    start = end_of_log(database)
    expected = write_randomly(cursor, kinds, Journal(cursor, found_table(database, "kinds")), examples)
    events = rows_events(database, start, "kinds")
    rows = decoded(events, known, lambda _: ZONE_SECONDS)
    # servers log no update that changes nothing, but one that makes a zero date NULL
    changed = [[pair for pair in pairs if pair[0] != pair[1]] for pairs in (rows, expected)]
    for pair, wanted in zip(*changed, strict=True):
        for row, right in zip(pair, wanted, strict=True):
            assert typed(row) == typed(right), columns
    if full:
        theirs = replication_rows(events, database.flavour)
        assert disagreements(rows, theirs, known.columns, ZONE_SECONDS) == {}


@pytest.mark.parametrize("group", GROUPS)
def test_types_of_both(db: Database, full: bool, group: str) -> None:
    check(db, GROUPS[group], full=full)


def test_types_of_one_engine(db: Database, full: bool) -> None:
    check(db, OWN[db.flavour], full=full)


def test_types_that_mysql_replication_cannot_read(db: Database) -> None:
    check(db, UNREAD[db.flavour], full=False)


@pytest.mark.parametrize("part", range(PARTS))
def test_types_in_any_order(db: Database, part: int) -> None:
    """What the log says of some types only (signs, character sets, members) is matched with the columns by their order:
    each type stands before and after each other one of its part, and the parts differ from run to run."""
    kinds = [*chain.from_iterable(GROUPS.values()), *OWN[db.flavour], *UNREAD[db.flavour]]
    random.Random(f"{SEED} {db.flavour}").shuffle(kinds)
    for order in (kinds[part::PARTS], kinds[part::PARTS][::-1]):
        try:
            check(db, order, full=False, examples=5)
        except BaseException as error:
            error.add_note(f"PYTEST_XDIST_TESTRUNUID={SEED} repeats this order.")
            raise
        db.execute("DROP TABLE kinds")
