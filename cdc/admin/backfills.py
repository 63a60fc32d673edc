"""Backfills of existing rows, and of rows whose skipped changes are in quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdc.admin.backfill_plan import named_tables, planned, planned_reread, receivers
from cdc.admin.base import UseCases, page_of
from cdc.model.backfill import ACTIONS, Asked, Backfill, BackfillState, Planned
from cdc.model.change import Quarantined
from cdc.model.errors import NotFound, UsageError
from cdc.model.quota import Limited
from cdc.outbox.shared import no_backfill, no_endpoint

#: Quarantined changes that are removed from one page of the list.
_PAGE = 500


class Backfills(UseCases):
    def tables(self) -> Mapping[str, Mapping[str, str]]:
        """Return source → table → the name of its entity, of tables whose existing rows can be sent, without those that
        a pattern means.  Only sources that can be read so."""
        sources = self._config.source.items()
        found = {name: named_tables(source) for name, source in sources if self._principal.sees(name)}
        return {name: tables for name, tables in found.items() if tables}

    async def newest(self, limit: int, before: str | None = None) -> list[Backfill]:
        """Newest first."""
        if not self._principal.sources:
            return await self._store.backfills(limit, before)
        return await page_of(self._store.backfills, self._owns, limit, before)

    async def get(self, backfill_id: str) -> Backfill:
        """Raises `NotFound`."""
        found = await self._store.find_backfill(backfill_id)
        if found is None or not await self._owns(found):
            raise no_backfill(backfill_id)
        return found

    def speed(self, backfill: Backfill) -> float | None:
        """Return rows a second, as this process stored them lately; None when it did not, or has just begun."""
        process = self._service.process
        if process is None or backfill.state is not BackfillState.RUNNING:
            return None
        return process.backfill_speed(backfill)

    async def plan(self, source: str, asked: Asked) -> list[Planned]:
        """Return one for each table; nothing is stored.  Raises `UsageError` for what cannot be read, and for a
        condition that asks about more than may be seen of a row; `SourceError`."""
        if not self._principal.sees(source):
            raise UsageError("You have access to some sources only.", f"Name one of {self._principal.source_list}.")
        if self._principal.sources:
            await self._check_endpoint(asked.endpoint)
        chosen = self._config.select_source(source)
        found = await planned(
            chosen,
            asked,
            self._principal.name,
            self._service.existing_tables,
            own_columns=not self._principal.operator,
        )
        return [Planned(each, await receivers(self._store, chosen, each)) for each in found]

    async def begin(self, source: str, asked: Asked) -> list[Planned]:
        """Store what is planned so; it continues while its source is captured.  Raises as `plan`."""
        begun = await self.plan(source, asked)
        within = self._quotas(Limited.BACKFILLS, [source])
        for following, (each, _) in zip(reversed(range(len(begun))), begun, strict=True):
            room = [quota._replace(following=following) for quota in within]  # all of them, or none
            await self._store.add_backfill(each, self._note("backfill.begin", each.id, within=room))
        return begun

    async def change(self, backfill_id: str, name: str) -> Backfill:
        """``name``: of `ACTIONS`.  Raises `NotFound`."""
        if self._principal.sources:
            await self.get(backfill_id)
        state, action = ACTIONS[name]
        note = self._note(action, backfill_id)
        return await self._store.set_backfill(backfill_id, state, "", self._clock.now(), note)

    async def _owns(self, backfill: Backfill) -> bool:
        """Return whether the backfill is the principal's; not if it is for all endpoints: others may be among them."""
        if not self._principal.sources:
            return True
        if not backfill.endpoint or not self._principal.sees(backfill.source):
            return False
        found = await self._store.endpoint(backfill.endpoint)
        return found is not None and self._principal.owns(found.sources)

    async def _check_endpoint(self, endpoint_id: str) -> None:
        if not endpoint_id:
            raise UsageError(
                "With access to some sources only, a backfill needs an endpoint: the only one that receives it."
            )
        found = await self._store.endpoint(endpoint_id)
        if found is None or not self._principal.owns(found.sources):
            raise no_endpoint(endpoint_id)


class Quarantine(UseCases):
    """Changes that could not be processed and were skipped."""

    async def get(self, change_id: str) -> Quarantined:
        """Raises `NotFound`."""
        found = await self._store.find_quarantined(change_id)
        if found is None:
            raise _not_quarantined(change_id)
        return found

    async def newest(self, limit: int, source: str | None = None) -> list[Quarantined]:
        """Newest first; without ``source``: of all."""
        return await self._store.quarantined(limit, source=source)

    async def counts(self) -> dict[str, int]:
        """Return source → how many."""
        return await self._store.count_quarantined()

    async def reread(self, change_id: str, endpoint: str) -> Backfill:
        """Begin a backfill of the row of a skipped change.  Raises `UsageError`, `SourceError`."""
        found = await self.get(change_id)
        source = self._config.select_source(found.source)
        begun = await planned_reread(
            source,
            found,
            endpoint,
            self._principal.name,
            self._service.existing_tables,
        )
        await receivers(self._store, source, begun)
        within = self._quotas(Limited.BACKFILLS, [source.name])
        note = self._note("quarantine.reread", change_id, within=within)
        await self._store.add_backfill(begun, note, rereads=change_id)
        return begun

    async def remove(self, change_ids: Sequence[str]) -> int:
        """Return how many were removed.  Raises `NotFound` when one was not there."""
        removed = [each for each in change_ids if await self._remove(each)]
        missing = [each for each in change_ids if each not in removed]
        if missing:
            raise _not_quarantined(missing[0])
        return len(removed)

    async def remove_all(self) -> int:
        removed = 0
        while page := await self._store.quarantined(_PAGE):
            removed += sum([await self._remove(each.id) for each in page])
        return removed

    async def _remove(self, change_id: str) -> bool:
        if await self._store.find_quarantined(change_id) is None:
            return False
        return await self._store.remove_quarantined(change_id, self._note("quarantine.remove", change_id))


def _not_quarantined(change_id: str) -> NotFound:
    return NotFound(f"No change {change_id} is in quarantine.", "cdc quarantine list shows the changes.")
