"""The use cases, together, for one principal."""

from __future__ import annotations

from cdc.access.base import AccessStore
from cdc.admin.backfills import Backfills, Quarantine
from cdc.admin.base import Service, UseCases
from cdc.admin.deliveries import Deliveries
from cdc.admin.endpoints import Endpoints
from cdc.admin.events import Events
from cdc.admin.principal import Principal
from cdc.admin.sources import Sources
from cdc.admin.statistics import Statistics


class Admin(UseCases):
    def __init__(self, service: Service, principal: Principal) -> None:
        super().__init__(service, principal)
        self.backfills = Backfills(service, principal)
        self.deliveries = Deliveries(service, principal)
        self.endpoints = Endpoints(service, principal)
        self.events = Events(service, principal)
        self.quarantine = Quarantine(service, principal)
        self.sources = Sources(service, principal)
        self.statistics = Statistics(service, principal)

    async def rekey(self, access: AccessStore) -> int:
        """Encrypt all secrets with the present key, and return how many were not."""
        return await access.rekey(self._note("outbox.rekey", "outbox"))
