"""Events for tests of the command line."""

from __future__ import annotations

from datetime import datetime

from cdc.model.event import Event


def stored_event(number: int, time: datetime) -> Event:
    """``evt_<number>``: invoice ``number`` was paid."""
    key = {"idfactura": number}
    return Event(
        id=f"evt_{number}",
        name="invoice.paid",
        source="main",
        table="facturascli",
        record=f"facturascli:{number}",
        key=key,
        data=key | {"pagada": True},
        previous={"pagada": False},
        time=time,
        transaction=str(number),
    )
