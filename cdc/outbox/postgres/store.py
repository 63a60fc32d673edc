"""Storing in the PostgreSQL outbox by one function of the schema: one round trip, which also commits."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.outbox.base import Stored
from cdc.outbox.postgres.database import PostgresDatabase
from cdc.outbox.relay import StoreBatch, StoreRequest, deliveries_of, event_columns, position_columns


def plain(requests: Sequence[StoreRequest]) -> bool:
    """Return whether requests have nothing to store but what the function takes: positions, states, and events of
    records that keep their names."""
    return not any(
        each.kept or each.step or each.quarantined or each.note or any(event.renamed_from for event, _ in each.events)
        for each in requests
    )


async def store_plain(db: PostgresDatabase, requests: Sequence[StoreRequest]) -> list[Stored] | None:
    """Store `plain` requests of different sources, outside a transaction.  None, and nothing is stored, where it takes
    `cdc.outbox.relay.store`: endpoints have changed, an event is stored already, or a fence does not hold."""
    batch, (version, subscribers) = StoreBatch(requests), db.subscribers.latest
    if version is None or not batch.distinct:
        return None
    new = {place: event for place, (event, _) in enumerate(batch.events, 1)}
    made = await deliveries_of(db, new, subscribers)
    leases, parameters = batch.leases(new, made)
    events = event_columns(db, batch.events)
    positions = position_columns({each.source: (each.position, each.fence) for each in requests})
    states = [(each.source, *state) for each in requests for state in each.states.items()]
    parameters |= {**events, "event_source": events["source"], **positions, "version": version}
    parameters |= {name: [state[place] for state in states] for place, name in enumerate(_STATE)}
    parameters |= {name: [each[place] for each in made] for place, name in enumerate(("event", "endpoint", "lane"))}
    parameters |= {f"leased_{name}": values for name, values in leases.items()}
    rows = await db.rows("store", **parameters, token=db.shared.token)
    if not rows:
        return None
    db.shared.writes += 1
    return batch.stored(new, made, rows[1:], parameters["until"])


_STATE = "state_source", "state_name", "state_value"
