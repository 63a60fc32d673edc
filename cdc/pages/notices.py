"""What a page says at its top after something was done: key in the address → text; no address can say anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NOTICES: Final[Mapping[str, str]] = {
    "saved": "Saved.",
    "created": "Created.",
    "removed": "Removed.",
    "enabled": "Enabled: what has waited is being sent.",
    "disabled": "Disabled: its events wait until it is enabled again.",
    "resent": "It is sent again now, with the same id.",
    "replaying": "The replay has begun.",
    "replay-stopped": "The replay has stopped; what it made due by then is sent.",
    "replay-over": "The replay was over already.",
    "backfill-begun": "The backfill has begun: it goes on while its source is captured.",
    "backfill-pause": "The backfill rests.",
    "backfill-resume": "The backfill goes on.",
    "backfill-cancel": "The backfill has ended; what it told of by then is sent.",
    "backfill-over": "The backfill was over already.",
    "signed-out": "You have signed out.",
}
