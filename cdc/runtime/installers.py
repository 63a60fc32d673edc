"""The installer, the inspector and the journal that a source means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cdc.capture.triggers.base import AnyInstaller, Hiding, hide_nothing
from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.config.section import with_password
from cdc.mapping.catalogue import Catalogue
from cdc.model.connection import AccountChoice, AccountRole, ConnectionInfo, Engine
from cdc.model.errors import ConfigError
from cdc.model.finding import Inspector
from cdc.runtime.sharing import SourcePace

if TYPE_CHECKING:
    from cdc.capture.binlog.inspector import BinlogInspector
    from cdc.capture.journal.database import JournalDatabase
    from cdc.capture.journal.mysql_watch import JournalWatch
    from cdc.capture.triggers.mysql import MySQLInstaller
    from cdc.capture.triggers.postgres import PostgresInstaller


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
    wanted = [*captured, *lookups]
    return MySQLJournal(info, wanted, look=pace.look, quick=pace.quick, slice_=pace.round, watch=watch, replica=replica)
