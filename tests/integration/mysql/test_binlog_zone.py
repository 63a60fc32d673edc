"""The server's zone as it is measured is the one in which the server shows TIMESTAMPs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cdc.capture.binlog.inspector import Zone, measure, measure_server
from cdc.database.mysql_connection import connect, rows
from support.database import Database

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local time of the server
FLAVOURS = ("mariadb", "mysql")


def _of_reference(name: str) -> Zone:
    zone = ZoneInfo(name)

    def ask(moments: Sequence[int]) -> list[int | None]:
        found = [datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset() for moment in moments]
        return [None if each is None else int(each.total_seconds()) for each in found]

    return measure(ask)


def _load(database: Database, name: str) -> None:
    """What the server's own program puts into its tables from the system's files."""
    zone = _of_reference(name)
    kinds = sorted(set(zone.offsets))
    database.execute("INSERT INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (9001, 'N')")
    database.execute("INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES (%s, 9001)", [name])
    for number, offset in enumerate(kinds):
        database.execute("INSERT INTO mysql.time_zone_transition_type VALUES (9001, %s, %s, 0, 'X')", [number, offset])
    for start, offset in zip(zone.starts, zone.offsets, strict=True):
        database.execute(
            "INSERT INTO mysql.time_zone_transition VALUES (9001, %s, %s)",
            [start if start > 1 else 0, kinds.index(offset)],
        )


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("name", ["Europe/Madrid", "Australia/Lord_Howe"])
def test_a_named_zone_is_measured(flavour: str, name: str, own_server: Any) -> None:
    database: Database = own_server(flavour)
    _load(database, name)
    database.execute("SET GLOBAL time_zone = %s", [name])
    with closing(connect(database.info)) as connection:
        zone = measure_server(connection)
        dice = random.Random(name)
        moments = [dice.randrange(1, 2**31) for _ in range(300)]
        moments += [start + more for start in zone.starts[1:] for more in (-1, 0, 1) if start + more < 2**31 - 1]
        for moment in moments:
            ((shown,),) = rows(connection, "SELECT CAST(FROM_UNIXTIME(%s) AS CHAR)", [moment])
            local = EPOCH + timedelta(seconds=moment + zone.offset(moment))
            assert shown.partition(".")[0] == str(local), moment
    assert len(zone.starts) > 50


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_fixed_offset_is_measured(flavour: str, own_server: Any) -> None:
    database: Database = own_server(flavour, "--default-time-zone=-03:30")
    with closing(connect(database.info)) as connection:
        assert measure_server(connection) == Zone((1,), (-12_600,))
