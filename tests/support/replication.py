"""A PostgreSQL server whose commits wait for its hot standby, and the standby that takes over."""

from __future__ import annotations

import time

from support.database import Database
from support.servers import TestServer
from support.waiting import HANG_SECONDS


def make_synchronous(primary: Database) -> None:
    """Return when each commit waits for the standby."""
    primary.server.admin_execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.server.admin_execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + HANG_SECONDS
    # not by the first byte of a base backup that has just ended
    state = "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'walreceiver'"
    while primary.execute(state) != [("sync",)]:
        assert time.monotonic() < deadline, "the standby does not follow"
        time.sleep(0.05)  # polled: a view of the server's


def promote(standby: TestServer) -> None:
    standby.admin_execute("SELECT pg_promote()")
