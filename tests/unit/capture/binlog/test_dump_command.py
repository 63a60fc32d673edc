"""How servers are asked for their logs."""

from __future__ import annotations

from struct import unpack_from

import pytest

from cdc.capture.binlog.connection import dump_command, session_settings
from cdc.capture.binlog.log_position import LogPosition
from cdc.database.mysql_connection import Flavour

SERVER = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    ("flavour", "follow", "flags"),
    [(Flavour.MARIADB, True, 0), (Flavour.MARIADB, False, 1), (Flavour.MYSQL, True, 2), (Flavour.MYSQL, False, 3)],
)
def test_by_place(flavour: Flavour, follow: bool, flags: int) -> None:
    position = LogPosition("log.000007", 2**32 - 1, "")
    command = dump_command(flavour, position, 9, by_gtids=False, follow=follow)
    assert unpack_from("<BIHI", command) == (0x12, 2**32 - 1, flags, 9)
    assert command[11:] == b"log.000007"


def test_what_does_not_fit_the_command_is_read_from_the_beginning() -> None:
    command = dump_command(Flavour.MYSQL, LogPosition("log.000007", 2**32, ""), 9, by_gtids=False, follow=True)
    assert unpack_from("<BI", command) == (0x12, 4)


def test_by_mysqls_gtids() -> None:
    position = LogPosition("log.000007", 2**33, f"{SERVER}:1-5")
    command = dump_command(Flavour.MYSQL, position, 9, by_gtids=True, follow=True)
    assert unpack_from("<BHIIQI", command) == (0x1E, 2, 9, 0, 4, 48)
    assert unpack_from("<Q16sQQQ", command, 23)[2:] == (1, 1, 6)


def test_mariadb_takes_its_gtids_from_a_variable() -> None:
    position = LogPosition("log.000007", 5, "0-1-5")
    assert unpack_from("<BI", dump_command(Flavour.MARIADB, position, 9, by_gtids=True, follow=True)) == (0x12, 5)
    settings = session_settings(Flavour.MARIADB, position, 0.25, by_gtids=True)
    assert settings["@slave_connect_state"] == "0-1-5"
    assert settings["@slave_gtid_strict_mode"] == 1
    assert "@slave_connect_state" not in session_settings(Flavour.MARIADB, position, 0.25, by_gtids=False)


@pytest.mark.parametrize("flavour", Flavour)
def test_the_heartbeat_is_in_nanoseconds(flavour: Flavour) -> None:
    settings = session_settings(flavour, LogPosition("f", 4, ""), 0.25, by_gtids=False)
    assert settings["@master_heartbeat_period"] == 250_000_000
