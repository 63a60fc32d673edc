"""The use cases, together, for one principal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

import orjson

from cdc.access.base import AccessStore
from cdc.access.model import ApiToken
from cdc.admin.backfills import Backfills, Quarantine
from cdc.admin.base import Service, UseCases
from cdc.admin.consumers import Consumers
from cdc.admin.deliveries import Deliveries, Events, Records, Statistics
from cdc.admin.endpoints import Endpoints
from cdc.admin.findings import Check, endpoint_checks, quarantine_checks, token_checks
from cdc.admin.managed import Managed
from cdc.admin.principal import Principal
from cdc.config.rules import DueStatus, due_status
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint
from cdc.model.errors import NotFound
from cdc.model.finding import DescribedTable, Finding, Severity
from cdc.outbox.slices import SearchPage

if TYPE_CHECKING:
    from cdc.admin.explain import Explanations
    from cdc.admin.process import ReportedSource


#: So long (seconds) the tables of a source's database are not asked for again.
_TABLES_FRESH: Final = 60.0


class Sources(UseCases):
    def names(self) -> list[str]:
        """Return those that this process captures."""
        process = self._service.process
        return [] if process is None else [name for name in process.sources() if self._principal.sees(name)]

    def get(self, name: str) -> ReportedSource:
        """Raises `NotFound` for one that this process does not capture."""
        process = self._service.process
        if process is None or name not in self.names():
            raise _no_source(name)
        return process.source(name)

    def slowest(self, most: int) -> list[ReportedSource]:
        """Return those that this process captures; of more than ``most`` the failed ones and the slowest."""
        process = self._service.process
        return [] if process is None else [process.source(name) for name in process.slowest(self.names(), most)]

    def search(
        self, text: str = "", state: str = "", limit: int | None = None, after: str = ""
    ) -> SearchPage[ReportedSource]:
        """Return a page of those that this process captures.  ``text``: part of the name or server; empty fields do not
        narrow.  ``after``: where the page before ended.  Raises `NotFound` when that is no source any more."""
        process, names = self._service.process, self.names()
        if after and after not in names:
            raise _no_source(after)
        if process is None:
            return SearchPage([], None)
        behind = names[names.index(after) + 1 :] if after else names
        fitting = (name for name in behind if process.fits(name, text, state))
        found = list(fitting if limit is None else islice(fitting, limit + 1))
        shown = found[:limit]
        return SearchPage([process.source(name) for name in shown], shown[-1] if len(found) > len(shown) else None)

    def visible(self, name: str) -> bool:
        return self._principal.sees(name)

    async def due(self, name: str) -> Sequence[DueStatus]:
        """Return its rules by time, and how far each is.  Raises `NotFound`."""
        if name not in self._config.source or not self._principal.sees(name):
            raise _no_source(name)
        return due_status(self._config.source[name], await self._store.states(name), self._clock.now())

    async def examine(self, name: str) -> Sequence[Finding]:
        """Return the doctor's findings.  Raises `NotFound`."""
        if name not in self._config.source or not self._principal.sees(name):
            raise _no_source(name)
        return await self._service.examine(self._config.source[name])

    async def tables(self, name: str) -> Sequence[DescribedTable]:
        """Return every table of the source's database, captured or not, and why, as of the last minute: the database is
        asked by one request at a time.  Raises `NotFound`, `CdcError`."""
        if name not in self._config.source or not self._principal.sees(name):
            raise _no_source(name)
        service = self._service
        async with service.describing:
            asked_at, found = service.tables.get(name, (-_TABLES_FRESH, ()))
            if self._clock.monotonic() - asked_at >= _TABLES_FRESH:
                found = await service.describe_tables(self._config.source[name])
                service.tables[name] = self._clock.monotonic(), found
        return found

    def table_lines(self, name: str, more: Sequence[str]) -> str:
        """Return the lines of the configuration that capture more tables, by name or pattern, than it does now.  Raises
        `NotFound`."""
        if name not in self._config.source or not self._principal.sees(name):
            raise _no_source(name)
        tables = dict.fromkeys((*self._config.source[name].tables, *more))
        return f"[source.{name}]\ntables = {orjson.dumps(list(tables)).decode()}\n".replace('","', '", "')

    async def adopt(self, name: str) -> list[str]:
        """Accept the outbox for a source that another one has read, or a newer state of this one, and return the tables
        that are read again.  Raises `UsageError` when there is nothing to accept."""
        source = self._config.select_source(name)
        return await self._service.adopt(source, self._store, self._note("source.adopt", name))


def _no_source(name: str) -> NotFound:
    return NotFound(f"There is no source {name!r}.")


class Admin(UseCases):
    def __init__(self, service: Service, principal: Principal) -> None:
        super().__init__(service, principal)
        self.backfills = Backfills(service, principal)
        self.consumers = Consumers(service, principal)
        self.deliveries = Deliveries(service, principal)
        self.endpoints = Endpoints(service, principal)
        self.events = Events(service, principal)
        self.managed = Managed(service, principal)
        self.quarantine = Quarantine(service, principal)
        self.records = Records(service, principal)
        self.sources = Sources(service, principal)
        self.statistics = Statistics(service, principal)

    @property
    def explanations(self) -> Explanations:
        from cdc.admin.explain import Explanations  # with the rules, which few commands need

        return Explanations(self._service, self._principal)

    async def attention(
        self,
        endpoints: Sequence[Endpoint],
        counts: Mapping[str, Mapping[DeliveryState, int]],
        tokens: Sequence[ApiToken] = (),
    ) -> list[Check]:
        """Return what health reports of this process, and of the doctor's checks of endpoints, changes and tokens those
        that found something; what is wrong first."""
        found = [Check("consumer", Finding("ready", Severity.WRONG, reason)) for reason in self._reasons()]
        found += [Check("consumer", Finding("ready", Severity.WARNING, warning)) for warning in self._warnings()]
        found += endpoint_checks(self._config, endpoints, counts, self._clock.now())
        found += token_checks(tokens, self._clock.now())
        skipped = await self._store.count_quarantined()
        found += quarantine_checks({name: number for name, number in skipped.items() if self._principal.sees(name)})
        if self._service.process is not None and not self._principal.sources:
            refused = self._service.process.refused_lately()
            found += [Check("limits", Finding("limit", Severity.WARNING, each.message, each.hint)) for each in refused]
        wanted = [each for each in found if each.finding.severity is not Severity.OK]
        return sorted(wanted, key=lambda each: each.finding.severity is not Severity.WRONG)

    def _reasons(self) -> Sequence[str]:
        if self._principal.sources:
            return [each.error for each in self.sources.search().found if each.error]
        return self._service.process.reasons() if self._service.process else ()

    def _warnings(self) -> Sequence[str]:
        if self._principal.sources:
            return [each.warning for each in self.sources.search().found if each.warning]
        return self._service.process.warnings() if self._service.process else ()

    async def rekey(self, access: AccessStore) -> int:
        """Encrypt all secrets with the present key, and return how many were not."""
        return await access.rekey(self._note("outbox.rekey", "outbox"))
