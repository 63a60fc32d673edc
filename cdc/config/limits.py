"""``[limits]``."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from cdc.config.section import Section
from cdc.model.quota import Limited

_Most = Annotated[int, Field(ge=1, le=1_000_000)]


class LimitsConfig(Section):
    """The table ``[limits]``: the most of each kind (`cdc.model.quota.Limited`) that one source, and one principal, may
    have."""

    endpoints_per_source: _Most = 1_000
    endpoints_per_principal: _Most = 10_000
    consumers_per_source: _Most = 100
    consumers_per_principal: _Most = 1_000
    tokens_per_source: _Most = 100
    portal_links_per_source: _Most = 1_000
    portal_links_per_principal: _Most = 10_000
    replays_per_source: _Most = 20
    replays_per_principal: _Most = 20
    backfills_per_source: _Most = 1_000
    backfills_per_principal: _Most = 10_000
    idempotency_keys_per_source: _Most = 10_000
    idempotency_keys_per_principal: _Most = 2_000
    streams_per_source: _Most = 20
    streams_per_principal: _Most = 5
    live_pages_per_source: _Most = 20
    live_pages_per_principal: _Most = 10
    previews_per_source: _Most = 8
    previews_per_principal: _Most = 4

    def of(self, kind: Limited) -> tuple[int, int]:
        """Implement `cdc.model.quota.QuotaLimits`.  Tokens have none: administrators add them."""
        values = self.model_dump()
        per_source: int = values[f"{kind}_per_source"]
        return per_source, values.get(f"{kind}_per_principal", 0)


DEFAULT_LIMITS: Final = LimitsConfig()
