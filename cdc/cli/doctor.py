"""``doctor``: one line a check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from cdc.admin.endpoint_checks import sending_problem
from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.outbox import check_secrets
from cdc.cli.output import Styled, echo, json_option, print_json, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration, select_sources, sources_option
from cdc.config import Config, sending
from cdc.mapping.catalogue import RETIRED
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint
from cdc.model.errors import CdcError, ConfigError
from cdc.model.finding import Finding, Severity
from cdc.model.position import Position
from cdc.outbox.base import OutboxStore
from cdc.runtime import doctor as service_doctor
from cdc.runtime import markers
from cdc.runtime.doctor import file_findings

_MARKS = {Severity.OK: ("OK", "green"), Severity.WARNING: ("WARNING", "yellow"), Severity.WRONG: ("WRONG", "red")}


@dataclass(frozen=True, slots=True)
class Check:
    """A finding and what it is about: ``configuration``, ``outbox``, ``endpoint ep_…`` or ``source main``."""

    about: str
    finding: Finding


@click.command()
@sources_option
@json_option
@pass_session
def doctor(session: CommandSession, sources: tuple[str, ...], as_json: bool) -> int:
    """Check everything, and say what mends what is wrong.

    Ends with 1 when anything is wrong.
    """
    checks = []
    for check in checks_of(session, sources):
        checks.append(check)
        if not as_json:
            echo(*_line(check))
    wrong = sum(check.finding.severity is Severity.WRONG for check in checks)
    if as_json:
        print_json({"ok": wrong == 0, "checks": [_as_json(check) for check in checks]})
    else:
        warnings = sum(check.finding.severity is Severity.WARNING for check in checks)
        fine = f"Nothing is wrong; {warnings} warnings." if warnings else "Nothing is wrong."
        say(f"{wrong} of {len(checks)} checks failed." if wrong else fine)
    return 1 if wrong else 0


def checks_of(session: CommandSession, names: tuple[str, ...]) -> Iterator[Check]:
    """One after the other, as they are made."""
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
    checks, positions = run_async(_check_outbox(config))
    yield from checks
    for source in sources:
        for finding in service_doctor.examine(source, config.outbox, positions.get(source.name)):
            yield Check(f"source {source.name}", finding)


def _check_certificates(config: Config) -> Check:
    try:
        sending.http_sender(config)
    except ConfigError as error:
        return _failed("dispatch", "client certificates", error)
    names = ", ".join(config.dispatch.client_certificates)
    return Check("dispatch", Finding("client certificates", Severity.OK, names))


def _check_mail(config: Config) -> Check:
    """What is needed to send; whether the server takes it, `cdc endpoint test` tells."""
    try:
        sending.mail_sender(config)
    except ConfigError as error:
        return _failed("mail", "server", error)
    return Check("mail", Finding("server", Severity.OK, config.mail.host))


async def _check_outbox(config: Config) -> tuple[list[Check], dict[str, Position]]:
    """And where the consumers stand, as far as the outbox tells."""
    try:
        async with opened_outbox(config) as store:
            checks = [Check("outbox", Finding("open", Severity.OK, config.outbox.describe()))]
            checks.append(Check("outbox", await check_secrets(config, store)))
            checks += await _check_endpoints(config, store)
            for source in config.source.values():
                if (known := await markers.finding(source, store)) is not None:
                    checks.append(Check(f"source {source.name}", known))
            found = [(name, await store.position(name)) for name in config.source]
    except CdcError as error:
        return [_failed("outbox", "open", error)], {}
    return checks, {name: position for name, position in found if position is not None}


async def _check_endpoints(config: Config, store: OutboxStore) -> list[Check]:
    counts = await store.counts()
    endpoints = await store.endpoints()
    if not endpoints:
        mend = "cdc endpoint add URL --events invoice.paid"
        return [Check("endpoints", Finding("any", Severity.WARNING, "There is none: nothing is sent.", mend))]
    checks = []
    for each in endpoints:
        sent = _check_sending(config, each) or check_endpoint(each, counts.get(each.id, {}))
        findings = (sent, _check_retired(each))
        checks += [Check(f"endpoint {each.id}", finding) for finding in findings if finding is not None]
    return checks


def _check_sending(config: Config, endpoint: Endpoint) -> Finding | None:
    """What the configuration keeps from being sent, if anything."""
    problem = sending_problem(config, endpoint)
    return None if problem is None else Finding("allowed", Severity.WRONG, problem.message, problem.hint)


def _check_retired(endpoint: Endpoint) -> Finding | None:
    """Events of former versions that the endpoint still names, if any."""
    retired = [
        f"{pattern} does not come any more. {RETIRED[pattern]}" for pattern in endpoint.events if pattern in RETIRED
    ]
    mend = f"cdc endpoint update {endpoint.id} --events …"
    return Finding("events", Severity.WARNING, " ".join(retired), mend) if retired else None


def check_endpoint(endpoint: Endpoint, counts: dict[DeliveryState, int]) -> Finding:
    """Disabled, or given up deliveries, is what somebody should know."""
    dead = counts.get(DeliveryState.DEAD, 0)
    if not endpoint.enabled:
        why = endpoint.disabled_reason or "No reason is known."
        waiting = sum(number for state, number in counts.items() if not state.final)
        detail = f"{endpoint.url} is disabled, and {waiting} deliveries wait: {why}"
        return Finding("enabled", Severity.WRONG, detail, f"cdc endpoint enable {endpoint.id}")
    if dead:
        detail = f"{endpoint.url} did not take {dead} deliveries; they were given up."
        return Finding("delivered", Severity.WRONG, detail, f"cdc delivery list --endpoint {endpoint.id} --state dead")
    return Finding("enabled", Severity.OK, endpoint.url)


def _failed(about: str, check: str, error: CdcError) -> Check:
    return Check(about, Finding(check, Severity.WRONG, error.message, error.hint))


def _line(check: Check) -> tuple[Styled, str]:
    finding = check.finding
    word, colour = _MARKS[finding.severity]
    mend = f"\n         mend: {finding.mend}" if finding.mend and finding.severity is not Severity.OK else ""
    return Styled(f"{word:<8}", colour), f" {check.about}: {finding.check}: {finding.detail}{mend}"


def _as_json(check: Check) -> dict[str, str | None]:
    finding = check.finding
    return {
        "about": check.about,
        "check": finding.check,
        "severity": finding.severity,
        "detail": finding.detail,
        "mend": finding.mend or None,
    }
