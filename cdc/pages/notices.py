"""What a page says at its top after something was done: key in the address → text; no address can say anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NOTICES: Final[Mapping[str, str]] = {
    "saved": "Saved.",
    "created": "Created.",
    "removed": "Removed.",
    "enabled": "Enabled: waiting deliveries are being sent.",
    "disabled": "Disabled: its events wait until it is enabled again.",
    "resent": "It is sent again now, with the same id.",
    "replaying": "The replay has started.",
    "replay-stopped": "The replay has stopped; queued deliveries are sent.",
    "replay-over": "The replay had already ended.",
    "backfill-begun": "The backfill has started: it continues while its source is captured.",
    "backfill-pause": "The backfill is paused.",
    "backfill-resume": "The backfill continues.",
    "backfill-cancel": "The backfill has stopped; rows already read are sent.",
    "backfill-over": "The backfill had already ended.",
    "signed-out": "You have signed out.",
}
