"""Every check of a source, of its accounts and of its consumer lock, and of the files that hold secrets: configuration,
keys, passwords and the outbox; and the health of the running consumer, which is requested, so that both report the
same."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import stat
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from cdc.capture.base import LockHolder
from cdc.capture.moving import captured, log_part
from cdc.config import Config, SourceConfig
from cdc.config.rules import catalogue
from cdc.config.section import OutboxConfig
from cdc.files import is_root
from cdc.model.change import Position, ReaderStore, check_present
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import CdcError, SourceUnavailable
from cdc.model.finding import FIGURES, Finding, Inspector, Severity, named, size
from cdc.runtime.capture import (
    absent,
    binlog_inspector,
    capture_plan,
    captured_tables,
    inspector,
    installer,
    installer_of,
    mysql_installer,
    of_postgres,
    with_lookups,
)
from cdc.runtime.due import due_findings
from cdc.runtime.outboxes import free_space
from cdc.runtime.process import secret_files
from cdc.web.health import SCARCE

if TYPE_CHECKING:
    from cdc.capture.binlog.inspector import BinlogInspector


#: Seconds that the consumer may take to answer: health reads memory and asks no database.
ANSWER_SECONDS: Final = 10.0
#: No answer about health is longer (bytes).
_LONGEST: Final = 1 << 20
#: Addresses on which everybody listens, and by which nobody is reached.
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - it is read here, and nothing listens
_START: Final = "cdc run; as a service of systemd: systemctl start facturascripts-cdc"


async def consumer_findings(config: Config) -> list[Finding]:
    """Return why the consumer that serves `[web] listen` is not ready, a finding for each reason, or that it is.  Empty
    where health is not served."""
    listen = config.web.listen
    if not listen:
        return []
    host, _, port = listen.rpartition(":")
    try:
        report = await _ask(f"http://{_ANYWHERE.get(host, host)}:{port}/health/ready")
    except TimeoutError:
        detail = f"What listens on {listen} does not answer within {ANSWER_SECONDS:g} s."
        return [Finding("running", Severity.WRONG, detail, "Read the log of cdc run, and start it again.")]
    except (ClientError, OSError):
        return [Finding("running", Severity.WARNING, f"No cdc run answers on {listen}: is it stopped?", _START)]
    if report is None:
        detail = f"What listens on {listen} is no cdc run."
        return [Finding("running", Severity.WARNING, detail, "Give [web] listen a free port, then start cdc run.")]
    return _own_findings(config, report)


def _own_findings(config: Config, report: Mapping[str, Any]) -> list[Finding]:
    """Return what the report says if it is of this configuration's consumer, else that it is not."""
    listen, own = config.web.listen, config.outbox.fingerprint()
    if report.get("outbox", own) != own:  # that of an earlier release does not say
        detail = f"The cdc run that listens on {listen} is another installation's: it has another outbox."
        fix = "Give each installation a [web] listen of its own, or restart it if [outbox] url has changed."
        return [Finding("running", Severity.WARNING, detail, fix)]
    if report["sources"] and set(report["sources"]) != set(config.source):  # one that only sends or serves reads none
        detail = f"The cdc run that listens on {listen} reads other sources than this configuration has."
        return [Finding("running", Severity.WARNING, detail, "Reload it, or give each installation a [web] listen.")]
    starting = {f"Source {name} is being opened." for name, state in report["sources"].items() if state == "opening"}
    fix = "See the other checks; if all are OK, read the log of cdc run."
    findings = [
        Finding("ready", Severity.WARNING if reason in starting else Severity.WRONG, str(reason), fix)
        for reason in report["reasons"]
    ]
    return findings or [Finding("ready", Severity.OK, f"cdc run works, and answers on {listen}")]


async def _ask(url: str) -> dict[str, Any] | None:
    """Return the answer; None when it is not one of ours."""
    timeout = ClientTimeout(total=ANSWER_SECONDS)
    async with ClientSession(timeout=timeout) as session, session.get(url, allow_redirects=False) as answer:
        body = await answer.content.read(_LONGEST)
    try:
        report = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    ours = (
        isinstance(report, dict) and isinstance(report.get("reasons"), list) and isinstance(report.get("sources"), dict)
    )
    return report if ours else None


#: Reads the last position of a source that the outbox holds; a running consumer moves it.
StoredPosition = Callable[[], Coroutine[Any, Any, Position | None]]
T = TypeVar("T")
#: Seconds between two readings, and how many are made at most.
AGAIN_SECONDS: Final = 1.0
_READINGS: Final = 5


def confirmed(read: Callable[[], list[T]], finding_of: Callable[[T], Finding]) -> list[T]:
    """Return a reading whose WRONG findings the reading a second before had, too: what is repaired, cut off or moved
    just now is not reported.  When each reading finds another problem, the last one counts."""

    def wrong() -> set[str]:
        each = (finding_of(item) for item in items)
        return {f"{f.check}: {FIGURES.sub('', f.detail)}" for f in each if f.severity is Severity.WRONG}

    items = read()
    suspected = wrong()
    for _ in range(_READINGS - 1):
        if not suspected:
            break
        time.sleep(AGAIN_SECONDS)
        items, before = read(), suspected
        suspected = wrong()
        if suspected <= before:
            break
    return items


#: Sources that are read at the same time, and those of which some wait to be read again.
READ_AT_ONCE: Final = 8
EXAMINED_AT_ONCE: Final = 64
_AT_ONCE: Final = threading.BoundedSemaphore(READ_AT_ONCE)


class _Checks:
    """Gathers the findings of checks.  A check that fails is a finding, too, and hides no other check; only an account
    that could not connect is not tried again."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._silent: list[ConnectionInfo] = []

    def add(self, check: Callable[[], Iterable[Finding]], account: ConnectionInfo | None = None) -> None:
        self.findings += self.result(lambda: list(check()), account) or ()

    def result(self, check: Callable[[], T], account: ConnectionInfo | None = None) -> T | None:
        """Return the result of a part of a check; None when it failed."""
        if account in self._silent:
            return None
        try:
            return check()
        except CdcError as error:
            failed = Finding("source", Severity.WRONG, error.message, error.hint)
            if failed not in self.findings:
                self.findings.append(failed)
            if account is not None and isinstance(error, SourceUnavailable):
                self._silent.append(account)
            return None


def examine(source: SourceConfig, outbox: OutboxConfig, stored: StoredPosition) -> list[Finding]:
    """Return the findings of every check of one source; what is WRONG has been found twice.  FacturaScripts' API is
    asked once: calls that it refuses count towards a ban."""

    def reading() -> list[Finding]:
        with _AT_ONCE:  # not while it waits for the second reading
            return _examined(source, outbox, stored)

    if source.capture == "rest":
        return reading()
    return confirmed(reading, lambda finding: finding)


def _examined(source: SourceConfig, outbox: OutboxConfig, stored: StoredPosition) -> list[Finding]:
    checks = _Checks()
    position = checks.result(lambda: asyncio.run(stored()))
    checks.result(lambda: check_present(source.name, position))
    if checks.findings:  # another cell reads it now, or nobody knows
        return checks.findings
    checks.add(lambda: due_findings(source))
    checks.add(lambda: _impossible(source), source.connection() if source.has_database else None)
    if source.capture == "rest":
        from cdc.runtime.sources import rest_findings

        checks.add(lambda: asyncio.run(rest_findings(source, outbox)))
    elif source.capture == "nats":
        from cdc.runtime.sources import bus_findings

        checks.add(lambda: asyncio.run(bus_findings(source, stored)))
    else:
        checks.result(lambda: _check_database(source, captured(position), stored, checks))
    return checks.findings


def _check_database(source: SourceConfig, position: Position | None, stored: StoredPosition, checks: _Checks) -> None:
    own, inspect = source.connection(), inspector(source)
    inspecting = own if source.capture == "binlog" else source.admin_connection()
    plan = checks.result(lambda: capture_plan(source, inspect), inspecting)
    if plan is not None:
        checks.add(lambda: [_tables(source, plan.captures)])
        checks.findings += [Finding("rules", Severity.WRONG, each.message, each.hint) for each in plan.missing]
        checks.findings += [Finding("rules", Severity.WARNING, note) for note in plan.notes]
        needed = with_lookups(source, plan.captures)
        checks.add(lambda: _two_ways(source, position, plan.captures), source.admin_connection())
        checks.add(lambda: inspect.findings(needed if source.capture == "binlog" else plan.captures), inspecting)
        if source.capture != "binlog":
            checks.add(lambda: _reading(source, inspect, needed), own)
    if source.capture == "binlog":
        checks.add(lambda: asyncio.run(_log_position(binlog_inspector(source), stored)), own)
    elif source.capture == "logical":
        from cdc.capture.logical.slot import position_findings

        checks.add(lambda: asyncio.run(position_findings(of_postgres(source), lambda: _of_log(stored))), own)


def _impossible(source: SourceConfig) -> list[Finding]:
    """Check whether each condition of the source's own rules may hold of a column of that type."""
    rules = catalogue(source)
    if not any(rule.place.user for rule in rules.rules):
        return []
    fix = (
        "Compare a number with a column of numbers, a text in quotes with one of texts: docs/events.md, Your own rules"
    )
    reasons = rules.impossible(asyncio.run(captured_tables(source)))
    return [Finding("rules", Severity.WARNING, reason, fix) for reason in reasons]


async def _of_log(stored: StoredPosition) -> Position | None:
    return log_part(captured(await stored()))


async def _log_position(inspect: BinlogInspector, stored: StoredPosition) -> list[Finding]:
    """Check the position again where the consumer has moved it since: the server may have purged what was read."""
    position: Position | None = None
    found: list[Finding] = []
    while (last := await _of_log(stored)) != position:
        position = last
        found = inspect.position_findings(position) if position is not None else []
        if not any(each.severity is Severity.WRONG for each in found):
            break
    return found


def _tables(source: SourceConfig, captures: Sequence[Capture]) -> Finding:
    missing = absent(source, captures)
    if not captures:
        detail = f"The database has none of the {len(missing)} tables that the rules name."
        return Finding(
            "rules", Severity.WARNING, detail, "Finish FacturaScripts' installation, or correct the connection."
        )
    detail = f"{len(captures)} tables to capture"
    return Finding("rules", Severity.OK, f"{detail}; not in the database: {', '.join(missing)}" if missing else detail)


def _reading(source: SourceConfig, inspect: Inspector, needed: Sequence[Capture]) -> list[Finding]:
    """Check that the consumer's own account, if it is not the installing one, may read what events need."""
    if source.admin_connection() == source.connection():
        return []
    there = inspect.existing_tables()
    tables = [capture.table for capture in needed if capture.table in there]
    if not (hidden := installer_of(source.connection()).unreadable(tables)):
        return [Finding("table privileges", Severity.OK, "the consumer's account may read every captured table")]
    detail = f"The consumer's account may not read {', '.join(hidden)}."
    fix = "cdc grants prints what it needs: print and run it again after each change of tables or include"
    return [Finding("table privileges", Severity.WRONG, detail, fix)]


def _two_ways(source: SourceConfig, position: Position | None, captures: Sequence[Capture]) -> list[Finding]:
    """Check the change from one capture mode to another, and triggers that help one or are left over."""
    by_log = source.capture != "triggers"
    if position is not None and by_log == (log_part(position) is None):
        detail = f"cdc run moves to {source.capture} when it is started next, and loses nothing."
        return [Finding("moving", Severity.WARNING, detail, "cdc run")]
    if source.capture == "binlog" and (helping := mysql_installer(source).cascade_findings(captures)) is not None:
        return helping
    if by_log and installer(source).plan_uninstall().steps:
        detail = f"Triggers are installed although the log is read ({source.capture}): every write pays for them."
        return [Finding("triggers", Severity.WARNING, detail, "cdc uninstall-triggers")]
    return []


_URL_WITH_PASSWORD: Final = re.compile(r"://[^\s:/@\"']*:[^\s@\"']+@")
_OTHERS: Final = stat.S_IRWXO
_CHANGE: Final = stat.S_IWGRP | stat.S_IWOTH


class _SecretFile(NamedTuple):
    """``refused``: mode bits that nobody else needs.  ``mode``: the mode to have instead."""

    path: Path
    title: str
    refused: int
    mode: str


def file_findings(config: Config) -> list[Finding]:
    """Return a warning for each file that another account can read or change.  Asked before the outbox is opened, which
    takes its files from everyone but their owner.  None on Windows, where files have access lists."""
    if not hasattr(os, "geteuid"):
        return []
    files = [each for each in _files(config) if each.path.exists()]
    findings = [finding for each in files for finding in _findings(each, _trusted(config))]
    for folder in dict.fromkeys(each.path.resolve().parent for each in files):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            detail = f"Every account can replace files in {folder} (mode {mode:04o})."
            fix = f"chmod o-w {shlex.quote(str(folder))}"
            findings.append(Finding("folder mode", Severity.WARNING, detail, fix))
    return findings


#: Free bytes of the outbox's disk with which it can hardly be written.
_FULL: Final = 16 << 20


def disk_finding(config: Config) -> Finding | None:
    """Return the check of the disk that the outbox's file is on; None where another server stores it."""
    free = free_space(config)
    if free is None or config.outbox.path is None:
        return None
    folder = config.outbox.path.resolve().parent
    severity = Severity.WRONG if free < _FULL else Severity.WARNING if free < SCARCE else Severity.OK
    fix = f"Free space on the disk of {folder}, or keep less: payload_days, events under [retention]"
    return Finding("disk", severity, f"{size(free)} are free", fix)


def _files(config: Config) -> Iterator[_SecretFile]:
    if config.file is not None:
        secret = _holds_password(config.file)
        read, mode = (_OTHERS, "o-rwx,g-w") if secret else (0, "go-w")
        yield _SecretFile(config.file, "configuration", read | _CHANGE, mode)
    for path, file in secret_files(config):
        if path[-1] == "facturascripts":  # config.php is the ERP's, and as open as its web server needs it
            continue
        yield _SecretFile(file, path[-1], _OTHERS | _CHANGE, "o-rwx,g-w")
    for name, file in config.dispatch.client_certificates.items():
        yield _SecretFile(file, f"client certificate {name}", _OTHERS | _CHANGE, "o-rwx,g-w")
    if (outbox := config.outbox.path) is not None:
        for file in (outbox, *sorted(outbox.parent.glob(f"{outbox.name}-*"))):
            yield _SecretFile(file, "outbox", stat.S_IRWXG | stat.S_IRWXO, "go-rwx")


def _holds_password(file: Path) -> bool:
    try:
        return _URL_WITH_PASSWORD.search(file.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:  # it was read when the command began: it is gone since
        return False


def _findings(checked: _SecretFile, trusted: set[int]) -> Iterator[Finding]:
    path = shlex.quote(str(checked.path))
    try:
        found = checked.path.stat()
    except FileNotFoundError:  # SQLite removes its log when the last process closes the outbox
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & checked.refused:
        does = "change" if mode & checked.refused & _CHANGE else "read"
        detail = f"Other accounts can {does} {checked.path} (mode {mode:04o})."
        yield Finding(f"{checked.title} mode", Severity.WARNING, detail, f"chmod {checked.mode} {path}")
    if found.st_uid not in trusted:
        detail = f"{checked.path} belongs to {_account(found.st_uid)}, who can change it."
        yield Finding(f"{checked.title} owner", Severity.WARNING, detail, f"chown {_account(os.geteuid())} {path}")


def _trusted(config: Config) -> set[int]:
    """Return root, this account, and for root the account that owns the outbox, under which the consumer runs."""
    trusted = {0, os.geteuid()}
    outbox = config.outbox.path
    if is_root() and outbox is not None and outbox.exists():
        trusted.add(outbox.stat().st_uid)
    return trusted


def _account(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # an account need not have a name
        return str(number)


_READS_ALL: Final = "one stolen account reads them all"
_FIX: Final = (
    "Set user and admin_user of each source to accounts of its own, and run what cdc grants prints: docs/operations.md"
)
_LOG_FIX: Final = 'No server grants its log for one database: capture = "triggers", or a server for each tenant'


class _Reach(NamedTuple):
    """``sources``: those whose tables an account may read.  ``log``: it may read the log of its whole server."""

    sources: set[str]
    log: bool


@dataclass
class _Server:
    """``databases``: source → the accounts of the configuration, in its database."""

    engine: Engine
    databases: dict[str, list[ConnectionInfo]] = field(default_factory=dict)

    @property
    def users(self) -> set[str]:
        return {info.user for accounts in self.databases.values() for info in accounts}

    @property
    def several(self) -> bool:
        return len({accounts[0].database for accounts in self.databases.values()}) > 1


def account_findings(sources: Iterable[SourceConfig]) -> list[Finding]:
    """Return a warning for each account that can read the databases of several sources of its server."""
    findings = []
    for server in _servers(sources).values():
        if not server.several:
            continue
        reach = _postgres(server) if server.engine is Engine.POSTGRESQL else _mysql(server)
        findings += list(_reach_findings(server, reach))
    return findings


def _servers(sources: Iterable[SourceConfig]) -> Mapping[object, _Server]:
    servers: dict[object, _Server] = {}
    for source in sources:
        if not source.has_database:
            continue
        with suppress(CdcError):  # reported with the source
            for info in dict.fromkeys((source.connection(), source.admin_connection())):
                place = (info.engine, info.socket or info.servers)
                server = servers.setdefault(place, _Server(info.engine))
                server.databases.setdefault(source.name, []).append(info)
    return servers


def _mysql(server: _Server) -> dict[str, _Reach]:
    """Try to read each database with each account."""
    from cdc.database.mysql_connection import connect, errors_of
    from cdc.database.mysql_inspect import granted, readable_databases

    names: dict[str, list[str]] = defaultdict(list)  # database → its sources
    for source, accounts in server.databases.items():
        names[accounts[0].database].append(source)
    reach: dict[str, _Reach] = {}
    logins = {(each.user, each.password): each for several in server.databases.values() for each in several}
    for info in logins.values():
        try:
            with errors_of(info), closing(connect(replace(info, database=""))) as connection:
                found = readable_databases(connection, sorted(names))
                everywhere = [each.privileges for each in granted(connection) if each.schema == "*"]
        except SourceUnavailable:
            break  # reported with each source
        except CdcError:
            continue
        log = bool({"REPLICATION SLAVE", "ALL PRIVILEGES"} & frozenset().union(*everywhere))
        reach[info.user] = _Reach({source for database in found for source in names[database]}, log)
    return reach


def _postgres(server: _Server) -> dict[str, _Reach]:
    """Ask in each database which accounts may read something there."""
    import psycopg

    from cdc.database.postgres_connection import connect, readers, replicating

    users = sorted(server.users)
    found: dict[str, set[str]] = defaultdict(set)
    log: set[str] = set()
    silent = threading.Event()

    def ask(source: str) -> None:
        if silent.is_set():
            return
        try:
            with closing(connect(server.databases[source][0], "cdc doctor")) as connection:
                reading, logging = readers(connection, users), replicating(connection, users)
        except psycopg.errors.ConnectionTimeout:
            silent.set()  # reported with each source
            return
        except psycopg.OperationalError:
            return
        log.update(logging)
        for user in reading:
            found[user].add(source)

    with ThreadPoolExecutor(READ_AT_ONCE) as threads:
        deque(threads.map(ask, server.databases), maxlen=0)
    return {user: _Reach(found[user], user in log) for user in users}


def _reach_findings(server: _Server, reach: Mapping[str, _Reach]) -> Iterator[Finding]:
    databases = {source: accounts[0].database for source, accounts in server.databases.items()}
    fine = []
    for user, (sources, log) in sorted(reach.items()):
        if len({databases[source] for source in sources}) > 1:
            detail = f"It can read the databases of {len(sources)} sources ({_list(sources)}): {_READS_ALL}."
            yield Finding(f"account {user}", Severity.WARNING, detail, _FIX)
        elif log:
            detail = f"It can read the server's log, with the rows of {len(databases)} sources ({_list(databases)})."
            yield Finding(f"account {user}", Severity.WARNING, detail, _LOG_FIX)
        else:
            fine.append(user)
    if fine:
        yield Finding("accounts", Severity.OK, f"{len(fine)} of {len(reach)} read one source's database at most")


def _list(sources: Collection[str]) -> str:
    return named(sorted(sources))


async def lock_finding(source: SourceConfig, readers: ReaderStore, *, served: bool) -> Finding | None:
    """Return that the holder is no process of this outbox; None when it is one, or the lock is free, or another check
    reports why the database cannot be asked.  ``served``: health says whether a consumer waits for the lock; if none
    does, nothing is wrong."""
    if not source.has_database:
        return None
    try:
        holder = await _holder(source)
    except CdcError:
        return None
    if holder is None or holder.noted(await readers.reading_session(source.name)):
        return None
    severity = Severity.WARNING if served else Severity.WRONG
    return Finding("consumer lock", severity, holder.foreign, holder.remedy)


async def _holder(source: SourceConfig) -> LockHolder | None:
    info = source.connection()
    if info.engine is Engine.POSTGRESQL:
        from cdc.capture.postgres_lookup import PostgresLookup

        lookup = PostgresLookup(info, ())
        try:
            await lookup.connect()
            return await lookup.lock_holder()
        finally:
            await lookup.disconnect()
    from cdc.capture.mysql_session import MySQLSession

    session = MySQLSession(info)
    try:
        await session.connect(lambda _connection: None)
        return await session.lock_holder()
    finally:
        await session.disconnect()
