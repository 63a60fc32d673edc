"""Sources: what each reads, how far it is, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cdc.admin.base import UseCases
from cdc.model.errors import NotFound
from cdc.model.finding import Finding

if TYPE_CHECKING:
    from cdc.admin.process import ReportedSource


class Sources(UseCases):
    def reported(self) -> list[ReportedSource]:
        """Return those that this process captures."""
        process = self._service.process
        found = [] if process is None else process.sources()
        return [each for each in found if self._principal.sees(each.name)]

    def visible(self, name: str) -> bool:
        return self._principal.sees(name)

    async def examine(self, name: str) -> Sequence[Finding]:
        """Return the doctor's findings.  Raises `NotFound`."""
        if name not in self._config.source or not self._principal.sees(name):
            raise NotFound(f"There is no source {name!r}.")
        position = await self._store.position(name)
        return await self._service.examine(self._config.source[name], position)

    async def adopt(self, name: str) -> list[str]:
        """Accept the outbox for a source that another one has read, or a newer state of this one, and return the tables
        that are read again.  Raises `UsageError` when there is nothing to accept."""
        source = self._config.select_source(name)
        return await self._service.adopt(source, self._store, self._note("source.adopt", name))
