"""Definitions that installer and consumer share on PostgreSQL: version and locks of the journal, places in the log, and
names and notes of capture from it.  Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from cdc.database.sqlfile import load

#: Of the journal's tables and functions; the consumer refuses another one.
JOURNAL_VERSION = 1
#: The two-part advisory lock keys: "cdc", and what for.
LOCK_CLASS = 0x63646300
LOCK_CONSUMER = 1
LOCK_IDLE = 2
#: The table of ours whose triggers prove that changes are captured.
PROBE = "cdc_probe"


def lsn_text(number: int) -> str:
    """Return the text of a pg_lsn as PostgreSQL writes and reads it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    """Raises ValueError."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(text)
    return (int(high, 16) << 32) + int(low, 16)


#: The slot's reader in pg_stat_activity, for the DBA.
APPLICATION = "cdc consumer"
PUBLICATION = "cdc"
PLUGIN = "pgoutput"
#: Raised with every change that an older consumer would misread.
VERSION = 1
_LONGEST = 63


def slot_name(database: str) -> str:
    """Slots belong to the server, not to a database: their names must differ.  They hold a-z, 0-9 and _ only."""
    plain = re.sub(r"[^a-z0-9_]", "_", database.lower())
    name = f"cdc_{plain}"
    if plain == database and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(database.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - 9]}_{digest}"


def flaws() -> dict[str, str]:
    """Return the parts of statements that ask for what a publication leaves out, by their names there."""
    return {f"{of}_flaws": load(f"postgres/slot/flaws.sql#{of}") for of in ("publication", "table")}


def options(publication: str) -> str:
    """Return the options of START_REPLICATION."""
    return f"proto_version '1', publication_names '\"{publication}\"'"


@dataclass(frozen=True, slots=True)
class Identity:
    """A table's replica identity.  ``kind``: pg_class.relreplident; ``index``: its name, for kind ``i``."""

    kind: str
    index: str = ""


@dataclass(frozen=True, slots=True)
class SlotMemory:
    """The data that uninstalling needs, stored as the publication's comment: the schema of the tables, and the replica
    identity that each had before."""

    schema: str
    identities: Mapping[str, Identity]

    def dump(self) -> str:
        identities = {name: [each.kind, each.index] for name, each in sorted(self.identities.items())}
        return orjson.dumps({"cdc": VERSION, "schema": self.schema, "identities": identities}).decode()

    @staticmethod
    def load(comment: str | None) -> SlotMemory | None:
        """Load a comment; None when the publication is not ours, or of another version."""
        try:
            fields: dict[str, Any] = orjson.loads(comment or "")
            if fields["cdc"] != VERSION:
                return None
            return SlotMemory(fields["schema"], {name: Identity(*each) for name, each in fields["identities"].items()})
        except (ValueError, KeyError, TypeError):
            return None
