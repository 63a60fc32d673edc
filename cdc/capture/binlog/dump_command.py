"""How a server is asked for its log.  Pure."""

from __future__ import annotations

from struct import Struct

from cdc.capture.binlog.gtid import GtidSet
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.stream import FIRST_UNASKABLE
from cdc.database.mysql_connection import Flavour

_DUMP, _DUMP_BY_GTIDS = 0x12, 0x1E
#: Command, offset, flags, server id; the file's name follows.
_BY_PLACE = Struct("<BIHI")
#: Command, flags, server id, length of the (empty) file's name, offset, length of the set; the set follows.
_BY_GTIDS = Struct("<BHIIQI")
#: End the stream where the log ends.
_DO_NOT_WAIT = 1
#: Heartbeats with 64-bit offsets; MariaDB means something else by it.
_HEARTBEATS_2 = 2
#: Where the first event of a file begins.
FILE_START = 4
_NANOSECONDS = 1_000_000_000
#: Seconds for which a consumer that is held up may leave the server's bytes unread.
_PATIENCE = 600


def dump_command(flavour: Flavour, position: LogPosition, server_id: int, *, by_gtids: bool, follow: bool) -> bytes:
    """``by_gtids``: from those of ``position``; MariaDB takes them from a variable instead.  ``server_id``: ours."""
    flags = (0 if follow else _DO_NOT_WAIT) | (_HEARTBEATS_2 if flavour is Flavour.MYSQL else 0)
    if by_gtids and flavour is Flavour.MYSQL:
        known = GtidSet.parse(position.gtids).encode()
        return _BY_GTIDS.pack(_DUMP_BY_GTIDS, flags, server_id, 0, FILE_START, len(known)) + known
    offset = position.offset if position.offset < FIRST_UNASKABLE else FILE_START
    return _BY_PLACE.pack(_DUMP, offset, flags, server_id) + position.file.encode()


def session_settings(flavour: Flavour, position: LogPosition, heartbeat: float, *, by_gtids: bool) -> dict[str, object]:
    """Variables to be set in the session before: name → value.

    Each has the name that old servers know and the one that new servers know.  A position by GTIDs that the log does
    not hold must be an error (strict mode), not the next best place.
    """
    period = round(heartbeat * _NANOSECONDS)
    settings: dict[str, object] = {"net_write_timeout": _PATIENCE, "@master_heartbeat_period": period}
    if flavour is Flavour.MYSQL:
        settings["@source_heartbeat_period"] = period
    else:
        settings["@mariadb_slave_capability"] = 4  # GTIDs
    if flavour is Flavour.MARIADB and by_gtids:
        settings |= {"@slave_connect_state": position.gtids, "@slave_gtid_strict_mode": 1}
    return settings
