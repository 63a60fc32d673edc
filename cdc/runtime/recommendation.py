"""Which way to capture suits a database, and why."""

from __future__ import annotations

from dataclasses import dataclass

from cdc.config import SourceConfig
from cdc.model.connection import Engine
from cdc.model.errors import CdcError
from cdc.model.finding import Severity
from cdc.runtime.capture import captures, readable
from cdc.runtime.installers import binlog_inspector, installer, slot_installer


@dataclass(frozen=True, slots=True)
class CaptureRoute:
    """``capture``: as `[source.…] capture` names it.  ``problem``: why it cannot be had; empty: it can."""

    capture: str
    problem: str = ""


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
        why = "nothing of the server must be set, nothing expires, and the consumer may see no more than its tables"
        return Recommendation(triggers, why, log)
    if not log.problem:
        return Recommendation(
            log, "triggers cannot be installed, and the server's log holds all that is needed", triggers
        )
    return Recommendation(triggers, "neither way can be had yet, and this one takes less to mend", log)


def _triggers(source: SourceConfig) -> CaptureRoute:
    wanted = captures(source.model_copy(update={"capture": "triggers"}))
    try:
        obstacle: CdcError | None = installer(source).plan_install(wanted).obstacle
    except CdcError as error:
        obstacle = error
    return CaptureRoute("triggers", str(obstacle or ""))


def _log(source: SourceConfig) -> CaptureRoute:
    postgres = source.connection().engine is Engine.POSTGRESQL
    route = CaptureRoute("logical" if postgres else "binlog")
    by_log = source.model_copy(update={"capture": route.capture})
    try:
        if postgres:
            slot_installer(by_log).plan_install(captures(by_log))
            return route
        found = binlog_inspector(by_log).findings(readable(by_log), None)
    except CdcError as error:
        return CaptureRoute(route.capture, error.message)
    wrong = [finding.detail for finding in found if finding.severity is Severity.WRONG]
    return CaptureRoute(route.capture, wrong[0] if wrong else "")
