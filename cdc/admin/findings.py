"""Findings about endpoints and changes that were not processed: the same for `cdc doctor` and the page's overview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc.access.model import EXPIRY_WARNING, ApiToken
from cdc.admin.endpoint_checks import sending_problem
from cdc.admin.endpoints import cut, unfinished
from cdc.config import Config
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint, shown_url
from cdc.model.finding import Finding, Severity, span
from cdc.model.quota import Usage, at_limit

#: Names in one finding.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Check:
    """A finding and what it is about: ``configuration``, ``outbox``, ``endpoint ep_…`` or ``source main``."""

    about: str
    finding: Finding


def token_checks(tokens: Sequence[ApiToken], now: datetime) -> list[Check]:
    """Return a warning of each token that expires soon, and a note of those that never do."""
    fix = "Create another token, give it to the program, and remove this one."
    checks = [
        Check(
            f"token {each.name}",
            Finding("expiry", Severity.WARNING, f"It expires on {each.expires_at:%Y-%m-%d} (UTC).", fix),
        )
        for each in tokens
        if each.expires_at is not None and now < each.expires_at <= now + EXPIRY_WARNING
    ]
    endless = [each.name for each in tokens if each.expires_at is None]
    if endless:
        named = ", ".join(endless[:_NAMED]) + (" …" if len(endless) > _NAMED else "")
        checks.append(Check("tokens", Finding("expiry", Severity.OK, f"Without an end: {named}")))
    return checks


def endpoint_checks(
    config: Config, endpoints: Sequence[Endpoint], counts: Mapping[str, Mapping[DeliveryState, int]], now: datetime
) -> list[Check]:
    """``counts``: of deliveries, by endpoint and state; up to `MOST_COUNTED` unfinished ones."""
    if not endpoints:
        remedy = "cdc endpoint add URL --events invoice.paid"
        return [Check("endpoints", Finding("any", Severity.WARNING, "There is no endpoint: nothing is sent.", remedy))]
    checks = []
    for each in endpoints:
        problem = _check_sending(config, each)
        found = [problem] if problem else endpoint_findings(each, counts.get(each.id, {}), now)
        checks += [Check(f"endpoint {each.id}", finding) for finding in (*found, *_check_retired(each))]
    return checks


def quarantine_checks(counts: Mapping[str, int]) -> list[Check]:
    """``counts``: of changes that were not processed, by source."""
    remedy = "cdc quarantine list; cdc quarantine reread sends them once the cause is fixed"
    return [
        Check(
            f"source {source}", Finding("quarantine", Severity.WARNING, f"{number} changes were not processed.", remedy)
        )
        for source, number in counts.items()
    ]


def limit_checks(config: Config, usage: Sequence[Usage]) -> list[Check]:
    """Return the limits under ``[limits]`` that a source or principal has reached."""
    reached = [(quota, quota.refusal()) for quota in at_limit(config.limits, usage)]
    return [
        Check("limits", Finding(quota.option, Severity.WARNING, error.message, error.hint)) for quota, error in reached
    ]


def endpoint_findings(endpoint: Endpoint, counts: Mapping[DeliveryState, int], now: datetime) -> list[Finding]:
    """Return whether it is disabled or fails, and its dead letters; one that is OK where there is none of these."""
    name = endpoint.description or shown_url(endpoint)
    dead = counts.get(DeliveryState.DEAD, 0)
    waiting = f"{'≥ ' if cut(counts) else ''}{unfinished(counts)}"
    found = []
    if not endpoint.enabled:
        why = endpoint.disabled_reason or "No reason is known."
        detail = f"{name} is disabled; deliveries waiting: {waiting}. {why}"
        found.append(Finding("enabled", Severity.WRONG, detail, f"cdc endpoint enable {endpoint.id}"))
    elif endpoint.failing_since is not None:
        failing = span((now - endpoint.failing_since).total_seconds())
        detail = f"{name} has accepted nothing for {failing}; deliveries waiting: {waiting}."
        remedy = f"cdc endpoint test {endpoint.id} shows its answer"
        found.append(Finding("accepting", Severity.WARNING, detail, remedy))
    if endpoint.filter_problem:
        detail = f"The filter of {name} failed for an event, which was delivered. {endpoint.filter_problem}"
        remedy = f"cdc endpoint preview {endpoint.id} tries it; cdc endpoint update {endpoint.id} --filter …"
        found.append(Finding("filter", Severity.WARNING, detail, remedy))
    if dead:
        remedy = f"cdc delivery list --endpoint {endpoint.id} --state dead"
        found.append(Finding("delivered", Severity.WRONG, f"{name} has dead letters: {dead}.", remedy))
    return found or [Finding("enabled", Severity.OK, shown_url(endpoint))]


def _check_sending(config: Config, endpoint: Endpoint) -> Finding | None:
    """Return what the configuration keeps from being sent, if anything."""
    problem = sending_problem(config, endpoint)
    return None if problem is None else Finding("allowed", Severity.WRONG, problem.message, problem.hint)


def _check_retired(endpoint: Endpoint) -> list[Finding]:
    """Return the events of former versions that the endpoint still names, if any."""
    from cdc.mapping.catalogue import RETIRED

    retired = [
        f"{pattern} does not come any more. {RETIRED[pattern]}" for pattern in endpoint.events if pattern in RETIRED
    ]
    remedy = f"cdc endpoint update {endpoint.id} --events …"
    return [Finding("events", Severity.WARNING, " ".join(retired), remedy)] if retired else []
