"""What the doctor says of a slot, a sentence each, without a database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.capture.slot.plan import PublishedTable, Slot, SlotInstallation, SlotServer
from cdc.capture.slot.postgres import findings, size
from cdc.database.postgres_capture import Identity, SlotMemory
from cdc.model.column import Capture
from cdc.model.finding import Finding, Severity

GIGABYTE = 1 << 30
SERVER = SlotServer(
    version=170002,
    standby=False,
    read_only=False,
    role="cdc",
    database="fs",
    schema="public",
    may_create=True,
    may_replicate=True,
    wal_level="logical",
    free_slots=3,
    keep_size="20GB",
    published=True,
    publication_owned=True,
    comment="",
    flaws=[],
    consumer=True,
)
SLOT = Slot("pgoutput", "fs", active=True, invalid="", wal_status="reserved", retained=17, unread=3)
TABLE = PublishedTable(
    name="t",
    kind="r",
    owner="fs",
    owned=True,
    unlogged=False,
    has_key=True,
    identity="f",
    identity_index="",
    indexes=[],
    published=True,
    flaws=[],
    leaves=[],
    strange_leaves=[],
    columns=["id"],
    stored=[],
    virtual=[],
)
WELL = SlotInstallation(SERVER, "public", "cdc_fs", SLOT, SlotMemory("public", {"t": Identity("d")}), {"t": TABLE})


def wrong(found: SlotInstallation, limit: int = 0, no_replication: str = "") -> dict[str, Finding]:
    """What is not OK, by check."""
    reported = [
        each for each in findings(found, [Capture("t")], limit, no_replication) if each.severity is not Severity.OK
    ]
    assert all(each.fix for each in reported)
    return {each.check: each for each in reported}


def test_all_is_well() -> None:
    assert wrong(WELL) == {}
    details = {each.check: each.detail for each in findings(WELL, [Capture("t")], 0, "")}
    assert details["lag"] == "the server keeps 17 bytes of log for the slot; 3 bytes have not been read"
    assert details["server"] == "PostgreSQL 17, schema public, wal_level logical"
    assert "max_slot_wal_keep_size = 20GB" in details["limit"]


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (replace(SERVER, version=120000), "too old"),
        (replace(SERVER, standby=True), "standby"),
        (replace(SERVER, wal_level="replica"), "wal_level is replica"),
    ],
)
def test_servers(server: SlotServer, words: str) -> None:
    assert words in wrong(replace(WELL, server=server))["server"].detail


def test_publications() -> None:
    none = replace(WELL, server=replace(SERVER, published=False), memory=None)
    assert "there is no publication cdc" in wrong(none)["publication"].detail
    assert "is not this product's" in wrong(replace(WELL, memory=None))["publication"].detail
    changed = replace(WELL, server=replace(SERVER, flaws=["the publication leaves out DELETE"]))
    assert wrong(changed)["publication"].fix == "cdc install-slot"
    assert "leaves out DELETE" in wrong(changed)["publication"].detail


@pytest.mark.parametrize(
    ("table", "severity", "words"),
    [
        (replace(TABLE, identity="d"), Severity.WRONG, "its replica identity is not FULL"),
        (replace(TABLE, published=False), Severity.WRONG, "it is not published"),
        (replace(TABLE, flaws=["a row filter", "a column list"]), Severity.WRONG, "a row filter; a column list"),
        (replace(TABLE, has_key=False), Severity.WRONG, "no primary key"),
        (replace(TABLE, unlogged=True), Severity.WRONG, "unlogged"),
        (replace(TABLE, virtual=["v"]), Severity.WRONG, "virtual generated columns (v)"),
        (replace(TABLE, stored=["s"]), Severity.WARNING, "s will be missing"),
    ],
)
def test_tables(table: PublishedTable, severity: Severity, words: str) -> None:
    finding = wrong(replace(WELL, tables={"t": table}))["table t"]
    assert finding.severity is severity
    assert words in finding.detail


def test_tables_that_are_not_there_or_not_wanted() -> None:
    assert "does not exist" in wrong(replace(WELL, tables={}))["table t"].detail
    other = replace(WELL, tables={"t": TABLE, "u": replace(TABLE, name="u")})
    assert "no rule needs it" in wrong(other)["table u"].detail
    late = replace(WELL, server=replace(SERVER, version=180000), tables={"t": replace(TABLE, stored=["s"])})
    assert wrong(late) == {}


@pytest.mark.parametrize(
    ("slot", "limit", "check", "severity", "words"),
    [
        (None, 0, "slot", Severity.WRONG, "there is no replication slot cdc_fs"),
        (replace(SLOT, plugin="test_decoding"), 0, "slot", Severity.WRONG, "is not this product's"),
        (replace(SLOT, database="other"), 0, "slot", Severity.WRONG, "is not this product's"),
        (replace(SLOT, invalid="wal_removed"), 0, "slot", Severity.WRONG, "given up the slot cdc_fs (wal_removed)"),
        (replace(SLOT, wal_status="unreserved"), 0, "lag", Severity.WRONG, "about to give the slot up"),
        (replace(SLOT, retained=2 * GIGABYTE), 0, "lag", Severity.WARNING, "keeps 2.0 GB of log"),
        (replace(SLOT, retained=2 * GIGABYTE), 5 * GIGABYTE, "lag", Severity.OK, ""),
        (replace(SLOT, retained=3 * GIGABYTE), 5 * GIGABYTE, "lag", Severity.WARNING, "keeps 3.0 GB"),
        (replace(SLOT, retained=6 * GIGABYTE), 5 * GIGABYTE, "lag", Severity.WRONG, "cdc run will drop it"),
    ],
)
def test_slots(slot: Slot | None, limit: int, check: str, severity: Severity, words: str) -> None:
    found = wrong(replace(WELL, slot=slot), limit)
    if severity is Severity.OK:
        assert found == {}
    else:
        assert found[check].severity is severity
        assert words in found[check].detail


def test_nobody_reads_and_nothing_bounds_the_log() -> None:
    idle = replace(WELL, server=replace(SERVER, consumer=False, keep_size="-1"), slot=replace(SLOT, active=False))
    found = wrong(idle)
    assert set(found) == {"consumer", "limit"}
    assert "uninstall-slot" in found["consumer"].fix
    assert "max_slot_wal_keep_size" in found["limit"].fix
    assert set(wrong(idle, limit=GIGABYTE)) == {"consumer"}


def test_no_replication_connection() -> None:
    finding = wrong(WELL, no_replication="unsupported startup parameter: replication")["replication"]
    assert finding.severity is Severity.WARNING
    assert "SQL functions are used" in finding.detail


def test_sizes() -> None:
    assert [size(count) for count in (0, 1023, 1536, 3 << 20, 5 << 30)] == [
        *("0 bytes", "1023 bytes", "1.5 kB"),
        *("3.0 MB", "5.0 GB"),
    ]
