"""Installers, inspectors and journals of a source; the tables and columns to capture of its database (those that the
rules need and the database has); a capture mode that suits it; lists of tables and events for people."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cdc.capture.triggers.base import AnyInstaller, Hiding, Plan, hide_nothing
from cdc.config import Config, SourceConfig
from cdc.config.rules import catalogue
from cdc.config.section import with_password
from cdc.config.write import InstallationFacts
from cdc.database.mysql_journal import Tokens
from cdc.database.settings import SETTINGS, site_url
from cdc.facturascripts.schema import models
from cdc.mapping.catalogue import Catalogue
from cdc.model.column import Capture, Table
from cdc.model.connection import AccountChoice, AccountRole, ConnectionInfo, Engine
from cdc.model.errors import CdcError, ConfigError, InstallError, SourceUnavailable
from cdc.model.finding import DescribedTable, Inspector, Severity, SurveyedTable
from cdc.runtime.sharing import SourcePace

if TYPE_CHECKING:
    from cdc.capture.binlog.inspector import BinlogInspector
    from cdc.capture.journal.database import JournalDatabase
    from cdc.capture.journal.mysql_watch import JournalWatch
    from cdc.capture.triggers.mysql import MySQLInstaller
    from cdc.capture.triggers.postgres import PostgresInstaller
    from cdc.mapping.schema import EventType


def inspector(source: SourceConfig) -> Inspector:
    """Return the inspector of the source's database, by its capture mode."""
    if source.capture == "binlog":
        return binlog_inspector(source)
    return slot_installer(source) if source.capture == "logical" else installer(source)


def granting_inspector(source: SourceConfig) -> Inspector:
    """The inspector for `cdc grants`, with the account of `admin_url`, else that of `url` or `config.php`: the accounts
    that it prints may not exist yet, or may not see the tables that are to be granted."""
    update: dict[str, object] = {}  # files of passwords are for the accounts that are named
    if source.user is not None:
        update |= {"user": None, "password_file": None}
    if source.admin_user is not None:
        update |= {"admin_user": None, "admin_password_file": None}
    there = source.model_copy(update=update)
    if there.capture == "binlog" and there.admin_url is not None:
        from cdc.capture.binlog.inspector import BinlogInspector

        of_mysql(there)
        return BinlogInspector(there.admin_connection(), replica=there.replica == "accept")
    return inspector(there)


def account_choice(
    source: SourceConfig, *, shared: bool = False, printed: set[tuple[object, str]] | None = None
) -> AccountChoice:
    """Return how `cdc grants` chooses the source's accounts; see `AccountChoice`.  The account of a `config.php` is
    FacturaScripts' own."""
    configured = {}
    if source.user is not None:
        info = source.place().as_user(source.user, "")
        configured[AccountRole.CONSUMER] = _with_known_password(info, source.password_file)
    elif source.url is not None:
        configured[AccountRole.CONSUMER] = _with_known_password(source.place(), source.password_file)
    if source.admin_user is not None:
        plain = source.model_copy(update={"admin_password_file": None}).admin_connection()
        configured[AccountRole.INSTALLER] = _with_known_password(plain, source.admin_password_file)
    elif source.admin_url is not None:
        configured[AccountRole.INSTALLER] = source.admin_connection()
    return AccountChoice(source.name, configured, shared, set() if printed is None else printed)


def _with_known_password(info: ConnectionInfo, file: Path | None) -> ConnectionInfo:
    """Its file may not be there before the account is."""
    return with_password(info, file) if file is not None and file.exists() else info


def binlog_inspector(source: SourceConfig) -> BinlogInspector:
    from cdc.capture.binlog.inspector import BinlogInspector

    return BinlogInspector(of_mysql(source), replica=source.replica == "accept")


def of_mysql(source: SourceConfig) -> ConnectionInfo:
    info = source.connection()
    if info.engine is Engine.POSTGRESQL:
        raise ConfigError(
            f"Source {source.name!r} is a PostgreSQL database, which has no binlog.", 'Write capture = "triggers".'
        )
    return info


def installer(source: SourceConfig) -> MySQLInstaller | PostgresInstaller:
    """The installer with the account that may install."""
    return installer_of(source.admin_connection(), _hiding(source), replica=source.replica == "accept")


def installer_of(
    info: ConnectionInfo, hiding: Hiding = hide_nothing, *, replica: bool = False
) -> MySQLInstaller | PostgresInstaller:
    if info.engine is Engine.POSTGRESQL:
        from cdc.capture.triggers.postgres import PostgresInstaller

        return PostgresInstaller(info, hiding=hiding)
    from cdc.capture.triggers.mysql import MySQLInstaller

    return MySQLInstaller(info, hiding=hiding, replica=replica)


def _hiding(source: SourceConfig) -> Hiding:
    """Rules are read when something is repaired: what uninstalls must work with wrong ones."""
    return lambda table: catalogue(source).secret_patterns_of(table)


def mysql_installer(source: SourceConfig) -> MySQLInstaller:
    from cdc.capture.triggers.mysql import MySQLInstaller

    replica = source.replica == "accept"
    return MySQLInstaller(source.admin_connection(), hiding=_hiding(source), replica=replica)


def slot_installer(source: SourceConfig) -> AnyInstaller:
    """The installer of publication and slot, with the account that may install."""
    from cdc.capture.slot.postgres import SlotInstaller

    consumer = of_postgres(source)
    return SlotInstaller(source.admin_connection(), consumer, limit=source.slot_limit_mb << 20)


def of_postgres(source: SourceConfig) -> ConnectionInfo:
    info = source.connection()
    if info.engine is not Engine.POSTGRESQL:
        raise ConfigError(
            f"Source {source.name!r} is not a PostgreSQL database: it has no logical decoding.",
            'Write capture = "binlog" or "triggers".',
        )
    return info


def journal_of(
    info: ConnectionInfo,
    rules: Catalogue,
    pace: SourcePace | None = None,
    watches: dict[ConnectionInfo, JournalWatch] | None = None,
    *,
    replica: bool = True,
) -> JournalDatabase:
    """The journal of a database that is read by these rules.  ``watches``: those of its server.
    ``replica``: the server may be one on which triggers do not run for what it receives."""
    pace = pace or SourcePace()
    captured = rules.captures()
    names = {capture.table for capture in captured}
    lookups = [rules.capture_of(table) for table in rules.lookups() if table not in names]
    if info.engine is Engine.POSTGRESQL:
        from cdc.capture.journal.postgres import PostgresJournal

        return PostgresJournal(info, captured, lookups)
    from cdc.capture.journal.mysql import MySQLJournal

    watch = None
    if watches is not None and pace.together:
        from cdc.capture.journal.mysql_watch import JournalWatch

        watch = watches.setdefault(replace(info, database="", user="", password=""), JournalWatch())
    pauses = {"look": pace.look, "quick": pace.quick, "slice_": pace.round}
    return MySQLJournal(info, [*captured, *lookups], **pauses, watch=watch, replica=replica)


def captures(source: SourceConfig) -> list[Capture]:
    """Return the captures of this database: what the rules need and the database has.

    Raises `ConfigError` when a rule of the user's names a table or column that is not there."""
    return checked(source, inspector(source))


def absent(source: SourceConfig, present: Sequence[Capture]) -> list[str]:
    """Return the tables that the rules name and that the database does not have (yet).  ``present``: those it has."""
    there = {capture.table for capture in present}
    return sorted(set(catalogue(source).captured_tables()) - there)


def plan_install(source: SourceConfig, plan_of: Callable[[Sequence[Capture]], Plan]) -> Plan:
    """Return the plan for what the database has, with a note on tables that it does not have."""
    present = captures(source)
    plan = plan_of(present)
    missing = absent(source, present)
    if not missing:
        return plan
    names = ", ".join(missing) if present else "none of FacturaScripts' tables is there"
    later = "run this command again after their creation, since repair = false."
    if source.repair:
        later = "cdc run captures them within seconds of their creation."
    note = f"{len(missing)} tables that the rules name do not exist ({names}); {later}"
    return replace(plan, notes=(*plan.notes, note))


def plan_special(source: SourceConfig, *, cascades_only: bool, row_tokens: bool | None) -> Plan:
    """Return the plan of `install-triggers` with an option that only MariaDB or MySQL has.

    ``cascades_only``: just what journals the changes that foreign keys make, for a log that does not hold them.
    ``row_tokens``: None is as installed."""
    if source.admin_connection().engine is not Engine.POSTGRESQL:
        tokens = None if row_tokens is None else Tokens.ROW if row_tokens else Tokens.PERFORMANCE_SCHEMA
        plan_of = partial(mysql_installer(source).plan_install, tokens=tokens, cascades_only=cascades_only)
        return plan_of(captures(source)) if cascades_only else plan_install(source, plan_of)
    if row_tokens is not None:
        raise InstallError(
            "Triggers on PostgreSQL know their transaction without any right.", "Leave out --row-tokens."
        )
    return Plan((), ("PostgreSQL's log holds what foreign keys change: no trigger is needed for that.",))


def readable(source: SourceConfig, inspect: Inspector | None = None) -> list[Capture]:
    """Return what the consumer's account must be able to read: the captures, and the tables that mapping looks up.

    ``inspect``: what reads the database; None: the source's own inspector."""
    return with_lookups(source, checked(source, inspect or inspector(source)))


def grants(source: SourceConfig, printed: set[tuple[object, str]], *, shared: bool = False) -> str:
    """Return the SQL for the source's accounts.  ``printed``: see `cdc.model.connection.AccountChoice`."""
    inspect = granting_inspector(source)
    choice = account_choice(source, shared=shared, printed=printed)
    return inspect.grants(readable(source, inspect), choice).rstrip() + "\n"


def unreadable_tables(source: SourceConfig) -> list[str]:
    """Return the tables that the consumer's account must be able to read, and may not."""
    there = inspector(source).existing_tables()
    tables = [capture.table for capture in readable(source) if capture.table in there]
    return installer_of(source.connection()).unreadable(tables)


def with_lookups(source: SourceConfig, captured: Sequence[Capture]) -> list[Capture]:
    rules = catalogue(source)
    known = {capture.table for capture in captured}
    return [*captured, *(rules.capture_of(table) for table in rules.lookups() if table not in known)]


class CapturePlan(NamedTuple):
    """``captures``: what the rules need and the database has.  ``notes``: on packaged rules that the database has no
    table for, and on tables that a pattern means and that cannot be captured.  ``missing``: errors of rules of the
    user's that name a table or column that is not there."""

    captures: list[Capture]
    notes: list[str]
    missing: list[ConfigError]


def checked(source: SourceConfig, inspect: Inspector) -> list[Capture]:
    """Return the captures.  Raises `ConfigError` when a rule of the user's names a table or column that is not
    there."""
    plan = capture_plan(source, inspect)
    if plan.missing:
        raise plan.missing[0]
    return plan.captures


def capture_plan(source: SourceConfig, inspect: Inspector) -> CapturePlan:
    rules = catalogue(source)
    existing = inspect.existing_tables()
    notes, missing = rules.check(existing)
    captures = rules.captures(existing)
    if rules.patterns.patterns:
        obstacles = {table.name: table.obstacle for table in inspect.survey(counted=False) if table.obstacle}
        left_out = [table for table in obstacles if rules.matched(table) is not None]
        notes += [
            f"Table {table} is not captured, though a pattern means it: {obstacles[table]}." for table in left_out
        ]
        captures = [capture for capture in captures if capture.table not in left_out]
    return CapturePlan(captures, notes, missing)


@dataclass(frozen=True, slots=True)
class CaptureRoute:
    """``capture``: as `[source.…] capture` names it.  ``problem``: why it cannot be had; empty: it can.  ``fix``: the
    statements or settings that it lacks, a line each.  ``statements``: those that an administrator can run."""

    capture: str
    problem: str = ""
    fix: str = ""
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """``route``: the one to take; where it has a problem, there is none that has not.  ``other``: the other one."""

    route: CaptureRoute
    why: str
    other: CaptureRoute


def recommend(source: SourceConfig) -> Recommendation:
    """Looks at the database and changes nothing.  Raises `CdcError` when it does not answer."""
    triggers, log = _triggers(source), _log(source)
    if not triggers.problem:
        why = "it needs no server setting, nothing expires, and its account may be limited to its own tables"
        return Recommendation(triggers, why, log)
    if not log.problem:
        return Recommendation(
            log, "triggers cannot be installed, and the server's log holds all that is needed", triggers
        )
    return Recommendation(triggers, "neither is possible yet, and this one needs less repair", log)


def _triggers(source: SourceConfig) -> CaptureRoute:
    captured = captures(source.model_copy(update={"capture": "triggers"}))
    try:
        obstacle: CdcError | None = installer(source).plan_install(captured).obstacle
    except CdcError as error:
        obstacle = error
    return _refused("triggers", obstacle) if obstacle else CaptureRoute("triggers")


def _log(source: SourceConfig) -> CaptureRoute:
    postgres = source.connection().engine is Engine.POSTGRESQL
    route = CaptureRoute("logical" if postgres else "binlog")
    by_log = source.model_copy(update={"capture": route.capture})
    try:
        if postgres:
            slot_installer(by_log).plan_install(captures(by_log))
            return route
        found = binlog_inspector(by_log).findings(readable(by_log))
    except CdcError as error:
        return _refused(route.capture, error)
    wrong = [finding for finding in found if finding.severity is Severity.WRONG]
    fixes = dict.fromkeys(finding.fix for finding in wrong)
    statements = [f"{statement};" for fix in fixes if (statement := fix.partition(";")[0]).startswith(_STATEMENTS)]
    return CaptureRoute(
        route.capture, " ".join(finding.detail for finding in wrong), "\n".join(fixes), tuple(statements)
    )


_STATEMENTS = ("GRANT ", "SET GLOBAL ", "ALTER ")


def survey(source: SourceConfig) -> InstallationFacts:
    """Ask a FacturaScripts whose it is, and whether its changes can be captured in the configured way."""
    info = source.connection()
    try:
        settings = _table_rows(info, SETTINGS, "name, properties")
        companies = _table_rows(info, "empresas", "idempresa, nombrecorto, nombre")
        route = _triggers(source) if source.capture == "triggers" else _log(source)
    except CdcError as error:
        return InstallationFacts(problem=error.message)
    company = next((str(short or name) for _, short, name in companies), "")
    return InstallationFacts(site_url(settings), company, route.problem)


#: `postgres/pin_names.sql` has left it there.
_FIRST_SCHEMA: Final = b"SELECT (pg_catalog.current_setting('cdc.schemas')::pg_catalog.text[])[1]"


def _table_rows(info: ConnectionInfo, table: str, columns: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table of FacturaScripts, in the order of its key; none where there is none, or the account
    may not read it.  Raises `SourceError` where the server does not answer."""
    statement = f"SELECT {columns} FROM {{}} ORDER BY 1"  # noqa: S608 - constants of this module
    if info.engine is Engine.POSTGRESQL:
        import psycopg
        from psycopg import sql

        from cdc.database.postgres_connection import connect, own_words

        try:
            with connect(info, "cdc source scan") as connection:
                (schema,) = connection.execute(_FIRST_SCHEMA).fetchone() or ("public",)
                place = sql.Identifier(str(schema), table)
                return connection.execute(sql.SQL(statement).format(place)).fetchall()
        except psycopg.OperationalError as error:
            raise SourceUnavailable(f"No connection to {info.describe()}: {own_words(error)}.") from error
        except psycopg.Error:
            return []
    import pymysql

    from cdc.database.mysql_connection import connect as connect_mysql
    from cdc.database.mysql_connection import rows

    with closing(connect_mysql(info, read_timeout=30.0)) as connection:
        try:
            return rows(connection, statement.format(table))
        except pymysql.MySQLError:
            return []


def _refused(capture: str, error: CdcError) -> CaptureRoute:
    statements = error.statements if isinstance(error, InstallError) else ()
    plain = [line for line in error.hint.splitlines() if line.startswith(_STATEMENTS) and line.endswith(";")]
    return CaptureRoute(capture, error.message, error.hint, statements or tuple(plain))


class DescribedSource(NamedTuple):
    """``reads``: its database, or address.  ``problem``: what keeps it from being read; empty when nothing does."""

    name: str
    capture: str
    reads: str
    tables: tuple[str, ...]
    problem: str


def described(config: Config, text: str = "", limit: int | None = None, after: str = "") -> list[DescribedSource]:
    """Return the sources of the configuration, in its order.  ``text``: part of their name or database, in any case;
    ``after``: those after this one.  Raises `UsageError` when there is no such source."""
    names = list(config.source)
    following = names[names.index(config.select_source(after).name) + 1 :] if after else names
    found = (_source(config.source[name], text.lower()) for name in following)
    return list(islice(filter(None, found), limit))


def _source(source: SourceConfig, text: str) -> DescribedSource | None:
    """Describe a source with this text in its name or database; None: it has not."""
    reads, problem = "", ""
    try:
        if source.capture == "nats":
            reads = source.nats.stream().where
        else:
            reads = source.rest.url or "" if source.capture == "rest" else source.connection().describe()
    except ConfigError as error:
        problem = error.message
    if text not in f"{source.name}\n{reads}".lower():
        return None
    try:
        catalogue(source)
    except ConfigError as error:
        problem = problem or error.message
    return DescribedSource(source.name, source.capture, reads, source.tables, problem)


def described_tables(source: SourceConfig) -> list[DescribedTable]:
    """Every table of the source's database, by name.  Raises `CdcError`."""
    if source.capture == "nats":
        source.connection()  # which says that there is none
    if source.capture == "rest":
        raise ConfigError(
            f"Source {source.name!r} is read through FacturaScripts' API, which lists no tables.",
            "Those that are captured are named by its rules: cdc event kinds.",
        )
    rules, inspect = catalogue(source), inspector(source)
    tables, columns = inspect.survey(counted=True), inspect.existing_tables()
    captures = inspect.within([rules.capture_of(each.name) for each in tables])
    hidden = {each.table: each.secrets.intersection(columns.get(each.table, ())) for each in captures}
    return [_table(source, rules, each, hidden[each.name]) for each in tables]


def _table(source: SourceConfig, rules: Catalogue, table: SurveyedTable, hidden: Iterable[str]) -> DescribedTable:
    found = coverage(rules, table.name)
    captured = found.captured and not table.obstacle
    why = table.obstacle if found.captured and table.obstacle else found.by
    missing = captured and not table.installed
    install = "cdc install-slot" if source.capture == "logical" else "cdc install-triggers"
    model = models().get(table.name, "")
    fix = install if missing else ""
    unnamed = why == _NO_RULE and not table.obstacle
    return DescribedTable(
        table.name, table.rows, captured, found.events, why, fix, model, tuple(sorted(hidden)), unnamed
    )


_NO_RULE: Final = "no rule names it"


@dataclass(frozen=True, slots=True)
class Coverage:
    """``events``: what its events begin with; empty, there are none.  ``by``: why it is captured, or why not, as a
    phrase."""

    captured: bool
    events: str
    by: str


def coverage(rules: Catalogue, table: str) -> Coverage:
    entity = next((each for each in rules.entities if each.table == table), None)
    if entity is not None:
        place = f" ({entity.place})" if entity.place.user else ""
        return Coverage(True, entity.name, f"entity {entity.name}{place}")
    if table in set(rules.captured_tables()):
        return Coverage(True, "", "for events of other tables (members of roles, lines, receipts, related records)")
    matched = rules.matched(table)
    if matched is not None:
        return Coverage(True, matched.name, f"pattern {rules.patterns.pattern_of(table)} ({matched.place})")
    return Coverage(False, "", _why_not(rules, table))


def _why_not(rules: Catalogue, table: str) -> str:
    known = rules.patterns.entities.get(table)
    if known is not None:
        return f"entity {known.name} is switched off, or all its events are"
    refusal = rules.patterns.refusal(table)
    if rules.patterns.pattern_of(table) is not None:
        return refusal or "all its events are switched off"
    return "excluded from patterns, and not named" if refusal.startswith("excluded") else _NO_RULE


async def event_types_of(source: SourceConfig) -> list[EventType]:
    """The events of one source, with the columns that its captured tables have now."""
    from cdc.mapping import schema

    return schema.event_types(catalogue(source), await captured_tables(source))


async def captured_tables(source: SourceConfig) -> Mapping[str, Table]:
    """The captured tables of one source as they are now; of one without a database, as FacturaScripts creates them."""
    rules = catalogue(source)
    if not source.has_database:
        from cdc.facturascripts.schema import tables

        return tables()
    if source.capture == "binlog":
        return await asyncio.to_thread(binlog_inspector(source).tables, rules.captures())
    if source.capture == "logical":
        from cdc.capture.logical import slot

        return await slot.captured_tables(of_postgres(source), rules.captures())
    journal = journal_of(source.connection(), rules)
    await journal.connect()
    try:
        return await journal.tables()
    finally:
        await journal.disconnect()


def event_document(file: str, types: Sequence[EventType]) -> bytes:
    """Return a description of these events for integrators; ``file``: its name, such as asyncapi.json."""
    from cdc.api.application import DOCUMENTS

    return DOCUMENTS[file](types)
