"""``doctor``: one line a check; ``support-bundle``: the same and more in a file for support."""

from __future__ import annotations

import asyncio
import os
import re
import zipfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import click

from cdc.admin.audit_log import verify
from cdc.admin.endpoints import MOST_COUNTED
from cdc.admin.findings import Check, endpoint_checks, limit_checks, quarantine_checks, token_checks
from cdc.cli.access import described, without_hash
from cdc.cli.admin import opened_access
from cdc.cli.app import COMMANDS, CommandSession, pass_session, translate
from cdc.cli.environment import opened_outbox, quiet_configuration, run_async, select_sources, sources_option
from cdc.cli.outbox import check_secrets
from cdc.cli.output import Styled, counted, echo, fitting, json_option, one_line, print_json, say
from cdc.config import Config, SourceConfig, sending
from cdc.model.audit import ChainCheck
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.delivery import Attempt
from cdc.model.endpoint import is_pull
from cdc.model.errors import CdcError, ConfigError, ProviderError, UsageError
from cdc.model.finding import Cause, Finding, Severity, by_cause, grouped, named, span
from cdc.model.worker import ProcessRole
from cdc.outbox.base import Replication
from cdc.outbox.store import OutboxStore
from cdc.runtime import doctor as service_doctor
from cdc.runtime import outboxes, support
from cdc.runtime.access import identity_provider
from cdc.runtime.doctor import account_findings, confirmed, consumer_findings, disk_finding, file_findings
from cdc.runtime.outboxes import account_finding, roles_of
from cdc.web.health import overdue, unreplicated

#: A consumer's program may run once a day.
UNFETCHED: Final = timedelta(days=1)
_INDENT = " " * 9
#: Endpoints that work, of which each has a line; those that do not work, whose receivers' words are read.
_SHOWN, _ASKED = 5, 20
#: Lines of findings by cause.
_LINES = 34
#: What shows that all goes well, where nothing is to be repaired.
_USUAL = ("cdc event tail", "cdc delivery list", "cdc endpoint list")
_ENDS = ";,:."
MARKS = {Severity.OK: ("OK", "green"), Severity.WARNING: ("WARNING", "yellow"), Severity.WRONG: ("WRONG", "red")}


@click.command()
@sources_option
@json_option
@pass_session
def doctor(session: CommandSession, sources: tuple[str, ...], as_json: bool) -> int:
    """Check everything, and say how to fix what is wrong.

    Checks configuration, files, disk, outbox, endpoints and sources, and asks the running consumer what its health
    says.  WRONG is what was wrong twice, a second apart.  Exit codes: 0 when nothing is WRONG (there may be warnings),
    1 when something is, 2 for a wrong command.
    """
    checks, working = list[Check](), 0
    many = not as_json and _many(session, sources)
    for check in checks_of(session, sources, list if as_json or many else grouped):
        checks.append(check)
        working += check.about.startswith("endpoint ") and check.finding.severity is Severity.OK
        if not as_json and not many and (working <= _SHOWN or check.finding.severity is not Severity.OK):
            echo(*line(check))
    wrong = sum(check.finding.severity is Severity.WRONG for check in checks)
    if as_json:
        print_json({"ok": wrong == 0, "checks": [_as_json(check) for check in checks]})
        return 1 if wrong else 0
    if many:
        causes = by_cause((each.about, each.finding) for each in checks)
        checks = [Check(_about(each), each.finding) for each in causes]
        wrong = sum(check.finding.severity is Severity.WRONG for check in checks)
        _print_causes(checks)
    elif working > _SHOWN:
        echo(*line(Check("endpoints", Finding("enabled", Severity.OK, f"and {working - _SHOWN} other endpoints"))))
    say(_summary(len(checks), wrong, sum(check.finding.severity is Severity.WARNING for check in checks)))
    if following := next_commands(checks):
        say("Next:")
        for command in following:
            say(Styled(f"  {command}", "cyan"))
    return 1 if wrong else 0


def _many(session: CommandSession, names: tuple[str, ...]) -> bool:
    """Return whether findings are printed by cause: there are more sources than a person reads one by one."""
    try:
        return len(select_sources(quiet_configuration(session), names)) > _SHOWN
    except ConfigError:  # reported as a check
        return False


def _about(cause: Cause) -> str:
    """Return what a cause is about, in the language of the command."""
    if not cause.names:
        return translate(cause.kind) + (f" ({cause.total:,})" if cause.total > 1 else "")
    several, few = f"{len(cause.names):,}", named(cause.names)
    if not cause.names[1:]:
        return translate(f"{cause.kind} {few}")
    return translate(f"{several} sources ({few})" if cause.kind == "source" else f"{several} endpoints ({few})")


def _print_causes(checks: Sequence[Check]) -> None:
    """Print the first of them that fit into `_LINES`, and how many do not."""
    shown, lines = 0, 0
    for check in checks:
        finding = check.finding
        lines += 1 + (finding.severity is not Severity.OK) * (bool(finding.fix) + bool(finding.reason))
        if lines > _LINES:
            break
        echo(*line(check))
        shown += 1
    if shown < len(checks):
        say(f"And {len(checks) - shown} other causes: cdc doctor --source NAME, or --json.")


def next_commands(checks: Sequence[Check]) -> list[str]:
    """Return the three most useful commands: those that fix what is wrong, then those for warnings, then, where
    the outbox can be read, those that show what happens.  A fix begins with its command, which ends before the
    first word that is neither of the command line nor a value."""
    context = click.get_current_context().find_root()
    ranked = sorted(checks, key=lambda check: check.finding.severity is not Severity.WRONG)
    found = []
    for check in ranked:
        program, name, *rest = [*check.finding.fix.split(), "", ""]
        if program != "cdc" or check.finding.severity is Severity.OK or name.rstrip(_ENDS) not in COMMANDS:
            continue
        known = getattr(cast("click.Group", context.command).get_command(context, name.rstrip(_ENDS)), "commands", ())
        words = [program, name]
        for word in rest:
            value = words[-1].startswith("--") or re.search(r"\A--|[A-Z0-9_/@…*]", word)
            if words[-1][-1] in _ENDS or not (value or word.rstrip(_ENDS) in known):
                break
            words.append(word)
        found.append(" ".join(words).rstrip(_ENDS))
    broken = any(
        check.about in ("configuration", "outbox") and check.finding.severity is Severity.WRONG for check in checks
    )
    return list(dict.fromkeys([*found, *(() if broken else _USUAL)]))[:3]


def _summary(checks: int, wrong: int, warnings: int) -> str:
    warned = counted(warnings, "warning")
    if wrong:
        return f"{wrong} of {checks} checks failed{f'; {warned}' if warnings else ''}."
    return (
        f"No check failed, but there {'is' if warnings == 1 else 'are'} {warned}." if warnings else "Nothing is wrong."
    )


def checks_of(
    session: CommandSession, names: tuple[str, ...], shown: Callable[[Iterable[Finding]], list[Finding]] = list
) -> Iterator[Check]:
    """One after the other, as they are made.  ``shown``: those of a source as they are to be shown."""
    try:
        config = quiet_configuration(session)
        sources = select_sources(config, names)
    except ConfigError as error:
        yield _failed("configuration", "read", error)
        return
    yield Check("configuration", Finding("read", Severity.OK, str(config.file or "from the environment")))
    for finding in file_findings(config):
        yield Check("files", finding)
    if config.dispatch.client_certificates:
        yield _check_certificates(config)
    if config.mail.host:
        yield _check_mail(config)
    if config.oidc.issuer:
        yield run_async(check_oidc(config))
    if (disk := disk_finding(config)) is not None:
        yield Check("outbox", disk)
    consumer = confirmed(lambda: run_async(consumer_findings(config)), lambda finding: finding)
    yield from (Check("consumer", finding) for finding in consumer)
    answered = any(finding.check == "ready" for finding in consumer)
    stopped = any(finding.check == "running" for finding in consumer)
    checks = confirmed(
        lambda: run_async(_check_outbox(config, sources, answered=answered)), lambda check: check.finding
    )
    yield from checks
    if not names:
        yield from (Check("accounts", finding) for finding in account_findings(sources))
    usable = not any(check.finding.check == "open" and check.finding.severity is Severity.WRONG for check in checks)

    def examined(source: SourceConfig) -> list[Finding]:
        found = service_doctor.examine(source, config.outbox, _stored(config, source.name, usable))
        if stopped:  # that nobody reads its database was said once, for all sources
            found = [each for each in found if each.check != "consumer" or each.severity is not Severity.WARNING]
        return shown(found)

    with ThreadPoolExecutor(service_doctor.EXAMINED_AT_ONCE) as threads:
        try:
            for source, findings in zip(sources, threads.map(examined, sources), strict=True):
                yield from (Check(f"source {source.name}", finding) for finding in findings)
        finally:  # Ctrl-C waits for those that have begun only
            threads.shutdown(wait=False, cancel_futures=True)


def _stored(config: Config, source: str, usable: bool) -> service_doctor.StoredPosition:
    """Return what reads a source's position; None without a usable outbox, which is reported already."""

    async def stored() -> Position | None:
        if not usable:
            return None
        if await roles_of(config.outbox) == {ProcessRole.DISPATCH}:
            return None
        async with opened_outbox(config) as store:
            return await store.position(source)

    return stored


def _check_certificates(config: Config) -> Check:
    try:
        sending.http_sender(config)
    except ConfigError as error:
        return _failed("dispatch", "client certificates", error)
    names = ", ".join(config.dispatch.client_certificates)
    return Check("dispatch", Finding("client certificates", Severity.OK, names))


def _check_mail(config: Config) -> Check:
    """Check the settings for mail; whether the server accepts it, `cdc endpoint test` shows."""
    try:
        sending.mail_sender(config)
    except ConfigError as error:
        return _failed("mail", "server", error)
    return Check("mail", Finding("server", Severity.OK, config.mail.host))


async def check_oidc(config: Config) -> Check:
    """Check the settings of the OpenID Connect provider, and its documents."""
    try:
        async with identity_provider(config, SystemClock()) as provider:
            await provider.check()
    except ProviderError as error:
        return Check("oidc", Finding("provider", Severity.WARNING, error.message, error.hint))
    except ConfigError as error:
        return _failed("oidc", "provider", error)
    return Check("oidc", Finding("provider", Severity.OK, config.oidc.issuer))


async def _check_outbox(config: Config, sources: Sequence[SourceConfig], *, answered: bool) -> list[Check]:
    """``answered``: the consumer said what is overdue."""
    now = SystemClock().now()

    async def endpoints(store: OutboxStore) -> list[Check]:
        found = await store.endpoints()
        checks = endpoint_checks(config, found, await store.counts(MOST_COUNTED), now)
        ill = [f"endpoint {each.id}" for each in found if each.failing_since is not None or not each.enabled]
        ill += [check.about for check in checks if check.finding.check == "delivered"]
        asked = [about.partition(" ")[2] for about in dict.fromkeys(ill)][:_ASKED]
        failures = await store.last_failures(asked) if asked else {}
        reasons = {f"endpoint {endpoint_id}": _reason(failed) for endpoint_id, failed in failures.items()}
        return [
            Check(each.about, replace(each.finding, reason=reasons[each.about]))
            if each.about in reasons and each.finding.check in ("accepting", "enabled", "delivered")
            else each
            for each in checks
        ]

    async def quarantine(store: OutboxStore) -> list[Check]:
        return quarantine_checks(await store.count_quarantined())

    parts: list[Callable[[OutboxStore], Awaitable[list[Check]]]] = [partial(_check_account, config)]
    parts += [partial(_check_secrets, config), partial(_check_replication, config), partial(_check_access, config)]
    parts += [endpoints, quarantine, partial(_check_unfetched, now=now)]
    parts += [] if answered else [partial(_check_overdue, config)]
    parts += [partial(_check_known, config, sources)]
    try:
        async with opened_outbox(config) as store:
            checks = [Check("outbox", Finding("open", Severity.OK, config.outbox.describe()))]
            for part in parts:
                try:
                    checks += await part(store)
                except CdcError as error:  # it hides no other check
                    checks.append(_failed("outbox", "checked", error))
    except CdcError as error:
        return [_failed("outbox", "open", error)]
    return checks


def _reason(failed: Attempt) -> str:
    """Return what the endpoint answered to an attempt, in its own words if there are any."""
    said = one_line(failed.answer, 200)
    return f"{failed.error} “{said}”" if said else failed.error


def _chain_finding(check: ChainCheck) -> Finding:
    if check.broken:
        fix = "Compare with an export or a backup (cdc audit verify FILE): somebody wrote to the outbox's tables"
        return Finding("chain", Severity.WRONG, check.broken, fix)
    if check.without_hash:
        fix = "If they are yours (cdc audit list), nothing; else see who can write to the outbox"
        return Finding("chain", Severity.WARNING, without_hash(check), fix)
    return Finding("chain", Severity.OK, described(check))


async def _check_access(config: Config, store: OutboxStore) -> list[Check]:
    """Check audit log, tokens and limits; return nothing for an account that may not read them."""
    if ProcessRole.WEB not in await roles_of(config.outbox):
        return []
    async with opened_access(config) as access:
        checks = [Check("audit log", _chain_finding(await verify(access)))]
        now = SystemClock().now()
        return checks + token_checks(await access.tokens(), now) + limit_checks(config, await store.usage(now))


async def _check_account(config: Config, _store: OutboxStore) -> list[Check]:
    found = await account_finding(config.outbox)
    return [] if found is None else [Check("outbox", found)]


async def _check_secrets(config: Config, store: OutboxStore) -> list[Check]:
    """Return nothing for an account that does not manage the secrets."""
    managed = ProcessRole.WEB in await roles_of(config.outbox)
    return [Check("outbox", await check_secrets(config, store))] if managed else []


async def _check_known(config: Config, sources: Sequence[SourceConfig], store: OutboxStore) -> list[Check]:
    """Return nothing for an account that may not read where sources are."""
    if await roles_of(config.outbox) == {ProcessRole.DISPATCH}:
        return []
    at_once = asyncio.Semaphore(service_doctor.READ_AT_ONCE)

    async def known(source: SourceConfig) -> list[Check]:
        async with at_once:
            found = [await outboxes.marker_finding(source, store)]
            found += [await service_doctor.lock_finding(source, store, served=bool(config.web.listen))]
        return [Check(f"source {source.name}", finding) for finding in found if finding is not None]

    return [check for checks in await asyncio.gather(*map(known, sources)) for check in checks]


async def _check_replication(config: Config, store: OutboxStore) -> list[Check]:
    """Return the check of a server that has a standby, or should have one."""
    replication = await store.replication()
    danger = unreplicated(replication, asked=config.outbox.synchronous)
    if not danger and replication is Replication.NONE:
        return []
    severity = Severity.WARNING if danger else Severity.OK
    detail = danger or "each commit waits for a standby"
    return [Check("outbox", Finding("replication", severity, detail, "Set synchronous_standby_names: docs/scale.md"))]


async def _check_unfetched(store: OutboxStore, *, now: datetime) -> list[Check]:
    """Return the consumers whose events no program has fetched for long; health leaves them out."""
    checks = []
    for each in await store.endpoints():
        due = await store.due_of(each.id) if is_pull(each.url) else None
        if due is not None and now - due >= UNFETCHED:
            detail = f"An event for {each.url} has not been fetched for {span((now - due).total_seconds())}."
            remedy = f"Run the program that fetches them (cdc consume), or cdc endpoint disable {each.id}"
            checks.append(Check(f"endpoint {each.id}", Finding("fetched", Severity.WARNING, detail, remedy)))
    return checks


async def _check_overdue(config: Config, store: OutboxStore) -> list[Check]:
    """Return what the consumer's health would report, for a consumer that does not answer."""
    now = SystemClock().now()
    endpoints = await store.endpoints()
    holdable = {each.id for each in endpoints if each.rate or each.failing_since is not None or is_pull(each.url)}
    return [
        Check("deliveries", Finding("overdue", Severity.WRONG, overdue(endpoint, since, now), "cdc run"))
        for endpoint, since in (await store.oldest_due(now)).items()
        if endpoint not in holdable and (now - since).total_seconds() >= config.web.overdue_seconds
    ]


def _failed(about: str, check: str, error: CdcError) -> Check:
    return Check(about, Finding(check, Severity.WRONG, error.message, error.hint))


def line(check: Check) -> tuple[Styled, str]:
    """Return a check for a person: its mark in colour, and the rest."""
    finding = check.finding
    word, colour = MARKS[finding.severity]
    about, named, detail = map(translate, (check.about, finding.check, finding.detail))
    shown = fitting(f"{translate(word):<8} {about}: {named}: {detail}", _INDENT)
    fix = finding.fix if finding.severity is not Severity.OK else ""
    last = "\n" + fitting(f"{_INDENT}{translate('fix')}: {translate(fix)}", _INDENT + "     ") if fix else ""
    if finding.reason:
        reason = f"{_INDENT}{translate('reason')}: {translate(finding.reason)}"
        last = "\n" + fitting(reason, _INDENT + "     ") + last
    return Styled(shown[:8], colour), shown[8:] + last


def _as_json(check: Check) -> dict[str, str | None]:
    finding = check.finding
    return {
        "about": check.about,
        "check": finding.check,
        "severity": finding.severity,
        "detail": finding.detail,
        "reason": finding.reason or None,
        "mend": finding.fix or None,  # programs read it by the name that released versions gave it
    }


_README = """Contents of this file:

about.json          versions of the program, Python, the system and the packages
configuration.json  options that hold no secret and no address; of others only that they are given
doctor.json         what `cdc doctor` found; names of hosts, accounts, databases and files are replaced
outbox.json         endpoints without URL, counts of deliveries, lags, positions of sources, the tables of the outbox
log.jsonl           the last lines of the log, of each the fields that hold numbers, ids and names of ours (with --log)

Not in it: events and their data, URLs, secrets, headers, what endpoints answered, names of people, the texts of errors.
It is not encrypted: look into it before you send it.
"""


@click.command("support-bundle")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), default="cdc-support.zip")
@click.option(
    "--log", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Add the end of this log, in JSON."
)
@click.option(
    "--lines", type=click.IntRange(1, 100_000), default=5000, show_default=True, help="Lines of the log at most."
)
@json_option
@pass_session
def support_bundle(session: CommandSession, target: Path, log: Path | None, lines: int, as_json: bool) -> None:
    """Write a ZIP file for support, without personal data.

    It holds versions, configuration, the results of cdc doctor, counts and lags; no secrets.  A log for --log, under
    systemd: journalctl -u facturascripts-cdc -o cat > log.jsonl
    """
    parts = _parts(session)
    if log is not None:
        parts["log.jsonl"] = support.open_log(log, lines)
    _write(target, parts)
    if as_json:
        print_json({"file": str(target), "parts": {name: len(content) for name, content in parts.items()}})
    say(f"{target}: {', '.join(parts)}. Look into it before you send it.")


def _parts(session: CommandSession) -> dict[str, bytes]:
    """Name → content.  What cannot be had is said in its place: this is for when something is wrong."""
    parts = {"README.txt": _README.encode(), "about.json": support.packed(support.about())}
    try:
        config = quiet_configuration(session)
    except CdcError as error:
        parts["configuration.json"] = support.packed({"error": type(error).__name__})
        return parts
    parts["configuration.json"] = support.packed(support.configuration(config))
    checks = [(check.about, check.finding) for check in checks_of(session, ())]
    parts["doctor.json"] = support.packed(support.open_findings(config, checks))
    parts["outbox.json"] = support.packed(run_async(_outbox(config)))
    return parts


async def _outbox(config: Config) -> dict[str, Any]:
    try:
        async with opened_outbox(config) as store:
            return await support.outbox_facts(config, store, SystemClock().now())
    except CdcError as error:
        return {"error": type(error).__name__}


def _write(target: Path, parts: dict[str, bytes]) -> None:
    try:
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror}.", "Name a file that is not there: cdc support-bundle FILE"
        ) from error
