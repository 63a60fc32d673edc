"""The installer of publication and replication slot, and the doctor's checks of them.

Making the slot locks nothing, but awaits open transactions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import errors

from cdc.capture.slot import plan as slot_plan
from cdc.capture.slot.plan import Slot, SlotInstallation, grants, inspect
from cdc.capture.triggers.base import Plan, Step, within
from cdc.capture.triggers.postgres import LockWait, PostgresBase, run_step
from cdc.capture.triggers.postgres_plan import unfit_server
from cdc.capture.triggers.postgres_state import Connection
from cdc.database.postgres_capture import PLUGIN, PUBLICATION
from cdc.database.postgres_connection import connect, own_words
from cdc.database.sqlfile import load
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, ConnectionInfo
from cdc.model.errors import InstallError, LockTimeout
from cdc.model.finding import MUCH, Finding, Repaired, Severity, size, span

INSTALL = "cdc install-slot"
_GENERATED_VERSION = 180000


def findings(found: SlotInstallation, captures: Sequence[Capture], limit: int, no_replication: str) -> list[Finding]:
    """Return the doctor's findings.  ``limit``: bytes of log beyond which `cdc run` drops the slot (0: never).
    ``no_replication``: why the consumer gets no replication connection."""
    checks = [_server(found), _publication(found)]
    if found.memory is not None:
        checks += _tables(found, captures)
    if no_replication:
        detail = f"no replication connection ({no_replication}): SQL functions are used, which costs the server more"
        fix = "let the account connect without a pooler; cdc grants"
        checks.append(Finding("replication", Severity.WARNING, detail, fix))
    else:
        checks.append(Finding("replication", Severity.OK, "a replication connection is granted"))
    return [*checks, *_slot(found, limit)]


def _server(found: SlotInstallation) -> Finding:
    server = found.server
    if unfit := unfit_server(server):
        return unfit
    if server.wal_level != "logical":
        fix = "ALTER SYSTEM SET wal_level = 'logical'; then restart the server"
        return Finding("server", Severity.WRONG, f"its log holds no rows: wal_level is {server.wal_level}", fix)
    sound = f"PostgreSQL {server.version // 10000}, schema {found.schema}, wal_level logical"
    return Finding("server", Severity.OK, sound)


def _publication(found: SlotInstallation) -> Finding:
    if not found.server.published:
        return Finding("publication", Severity.WRONG, f"there is no publication {PUBLICATION}", INSTALL)
    if found.memory is None:
        fix = f"ALTER PUBLICATION {PUBLICATION} RENAME TO …; then {INSTALL}"
        return Finding("publication", Severity.WRONG, f"the publication {PUBLICATION} is not this product's", fix)
    if found.server.flaws:
        return Finding("publication", Severity.WRONG, f"{'; '.join(found.server.flaws)}: changes are lost", INSTALL)
    return Finding("publication", Severity.OK, f"{len(found.published)} tables published")


def _tables(found: SlotInstallation, captures: Sequence[Capture]) -> Iterator[Finding]:
    wrong = False
    for capture in captures:
        for severity, phrase, fix in _table(found, capture.table):
            wrong = True
            yield Finding(f"table {capture.table}", severity, phrase, fix)
    wanted = {capture.table for capture in captures}
    for table in sorted(set(found.published) - wanted):
        wrong = True
        yield Finding(f"table {table}", Severity.WARNING, "published, but no rule needs it", INSTALL)
    if not wrong:
        yield Finding("tables", Severity.OK, f"whole rows of {len(captures)} tables in the log")


def _table(found: SlotInstallation, name: str) -> Iterator[tuple[Severity, str, str]]:
    if name not in found.tables:
        yield Severity.WRONG, "the table does not exist", INSTALL
        return
    try:
        slot_plan.refuse_table(found, name)
    except InstallError as error:
        yield Severity.WRONG, error.message, error.hint
        return
    if not found.tables[name].has_key:
        yield Severity.WRONG, "it has no primary key: a changed row cannot be named", "add a primary key"
    if phrases := slot_plan.drift(found, name):
        yield Severity.WRONG, "; ".join(phrases), INSTALL
    stored = found.tables[name].stored
    if stored and found.server.version < _GENERATED_VERSION:
        detail = f"before PostgreSQL 18 the log does not hold generated columns: {', '.join(stored)} will be missing"
        yield Severity.WARNING, detail, 'capture = "triggers", or PostgreSQL 18'


def _slot(found: SlotInstallation, limit: int) -> Iterator[Finding]:
    slot, server = found.slot, found.server
    if slot is None:
        yield Finding("slot", Severity.WRONG, f"there is no replication slot {found.slot_name}", INSTALL)
        return
    if slot.plugin != PLUGIN or slot.database != server.database:
        fix = f"SELECT pg_drop_replication_slot('{found.slot_name}'); if nobody needs it, then {INSTALL}"
        yield Finding("slot", Severity.WRONG, f"the slot {found.slot_name} is not this product's", fix)
        return
    if slot.invalid:
        detail = f"the server has given up the slot {found.slot_name} ({slot.invalid}): what was not read is lost"
        yield Finding("slot", Severity.WRONG, detail, f'{INSTALL}; on_purged = "reread" reads the tables again')
        return
    yield Finding("slot", Severity.OK, found.slot_name)
    present = server.consumer or slot.active
    fix = "" if present else "cdc run; or cdc uninstall-slot: a slot that nobody reads fills the server's disk"
    severity = Severity.OK if present else Severity.WARNING
    since = "" if slot.idle is None else f", for {span(slot.idle)}"
    detail = "at work" if slot.active else f"no consumer reads this database{since}"
    if server.consumer and not slot.active:
        detail = "a session holds its lock"
    yield Finding("consumer", severity, detail, fix)
    yield from _disk(slot, server.keep_size, limit)


def _disk(slot: Slot, keep_size: str, limit: int) -> Iterator[Finding]:
    """Yield how much log the server retains for the slot, and what bounds it while nobody reads the slot."""
    retained = f"the server keeps {size(slot.retained)} of log for the slot; {size(slot.unread)} have not been read"
    fix = "look at the log of cdc run; or cdc uninstall-slot"
    if slot.wal_status == "unreserved":
        yield Finding("lag", Severity.WRONG, f"{retained}, and it is about to give the slot up", fix)
    elif limit and slot.retained > limit:
        yield Finding("lag", Severity.WRONG, f"{retained}, more than slot_limit_mb: cdc run will drop it", fix)
    elif slot.retained > (limit / 2 if limit else MUCH):
        yield Finding("lag", Severity.WARNING, retained, fix)
    else:
        yield Finding("lag", Severity.OK, retained)
    if keep_size != "-1":
        yield Finding("limit", Severity.OK, f"the server gives the slot up beyond max_slot_wal_keep_size = {keep_size}")
    elif limit:
        yield Finding("limit", Severity.OK, f"cdc run drops the slot beyond {size(limit)} (only while it runs)")
    else:
        detail = "nothing bounds the log that is kept for the slot while nobody reads it: it can fill the disk"
        fix = "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf(); (beyond it the slot is lost)"
        yield Finding("limit", Severity.WARNING, detail, fix)


class SlotInstaller(PostgresBase[SlotInstallation]):
    """Installs publication and slot, and checks them.  ``consumer``: the account that reads, asked whether it can.
    ``slot_seconds``: how long to wait for open transactions.  ``limit``: bytes of log beyond which `cdc run` drops
    the slot (0: never)."""

    COMMANDS = ("install-slot", "uninstall-slot")

    def __init__(
        self,
        info: ConnectionInfo,
        consumer: ConnectionInfo | None = None,
        lock_wait: LockWait | None = None,
        *,
        slot_seconds: float = 30.0,
        limit: int = 0,
    ) -> None:
        super().__init__(info, lock_wait)
        self._consumer = consumer or info
        self._slot_seconds = slot_seconds
        self._limit = limit

    def _inspect(self, connection: Connection) -> SlotInstallation:
        return inspect(connection)

    def plan_install(self, captures: Sequence[Capture]) -> Plan:
        with self._inspected() as (_, found):
            return slot_plan.plan_install(found, captures)

    def plan_uninstall(self) -> Plan:
        with self._inspected() as (_, found):
            return slot_plan.plan_uninstall(found)

    def grants(self, captures: Sequence[Capture], choice: AccountChoice) -> str:
        with self._inspected() as (connection, found):
            return grants(found, within(found.tables, captures), choice, *self._accounts(connection, choice))

    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        with self._inspected() as (connection, found):
            leaves = {leaf for table in found.tables.values() for leaf in table.leaves}
            there = [table for table in found.installed if table in found.tables and table not in leaves]
            plan = slot_plan.plan_repair(found, there if tables is None else tables)
            self._apply(connection, plan, lambda _title: None)
        return Repaired(tuple(step.title for step in plan.steps))

    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        with self._inspected() as (connection, found):
            plan = slot_plan.plan_extend(found, [capture.table for capture in captures])
            self._apply(connection, plan, lambda _title: None)
        return [step.title for step in plan.steps]

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        no_replication = ""
        with self._inspected() as (_, found):
            try:
                connect(self._consumer, "cdc doctor", replication="database").close()
            except psycopg.OperationalError as error:
                no_replication = own_words(error)
        return findings(found, captures, self._limit, no_replication)

    def _restoring(self, found: SlotInstallation, before: SlotInstallation) -> Plan:
        return slot_plan.restoring(found, before)

    def _run(self, connection: Connection, step: Step, found: SlotInstallation) -> None:
        if step.title == slot_plan.SLOT_STEP:
            try:
                with connection.transaction():
                    timeout = f"{int(self._slot_seconds * 1000)}ms"
                    connection.execute(b"SELECT set_config('statement_timeout', %s, true)", [timeout])
                    for statement in step.statements:
                        connection.execute(statement.encode())
            except errors.QueryCanceled as error:
                raise self._blocked(connection) from error
        else:
            run_step(connection, step, found.schema, self._lock_wait)

    def _blocked(self, connection: Connection) -> LockTimeout:
        what = f"The replication slot could not be made in {self._slot_seconds:.0f} s"
        row = connection.execute(load("postgres/slot/queries.sql#blockers").encode()).fetchone()
        if row is None:
            return LockTimeout(f"{what}.", "Try again at a quieter time.")
        holder, user, application, state, age, end = row
        details = [f"user {user}" if user else "", application and f"application {application}", state]
        described = ", ".join(each for each in details if each)
        return LockTimeout(
            f"{what}: it waits for open transactions, and {holder} ({described}) has had one for {age:.0f} s.",
            f"Let it finish, or end it with {end}; then run the command again.",
        )
