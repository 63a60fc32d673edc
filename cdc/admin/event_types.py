"""Which events there are, of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cdc.config import Config
from cdc.config.rules import catalogue, catalogues

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType


def event_types(config: Config, sources: Sequence[str] | None = None) -> list[EventType]:
    """Every event of every source, by name, once, and the operational ones; with ``sources``, those of these sources
    only.  Tables of FacturaScripts itself are described as it creates them."""
    from cdc.facturascripts.schema import tables
    from cdc.mapping import schema
    from cdc.mapping.schema import operation_event_types

    meant = catalogues(config)
    if sources is not None:
        meant = [catalogue(config.source[name]) for name in sources if name in config.source]
    known = [rules.expanded(tables()) for rules in meant]
    found = {kind.name: kind for rules in known for kind in schema.event_types(rules, tables())}
    if sources is not None:
        return list(found.values())
    return [*found.values(), *(kind for kind in operation_event_types() if kind.name not in found)]
