"""Pages of a table, as a journal reads them for a backfill or to repair a gap."""

from __future__ import annotations

from cdc.capture.journal.database import JournalDatabase
from cdc.capture.pages import PageRequest
from cdc.model.change import Row


async def page_of(journal: JournalDatabase, name: str, after: Row | None, most: int) -> list[Row]:
    """The next ``most`` rows behind ``after``, of which the key counts."""
    table = (await journal.tables())[name]
    key = None if after is None else {column: after[column] for column in table.key}
    found = await journal.page(PageRequest(table, key, most), 1000)
    assert found is not None, "so much does not wait"
    return list(found.page.rows)
