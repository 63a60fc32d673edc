"""Makes docs/packages/typescript/events.d.ts; ``python -m support.typescript_types`` prints it."""

from __future__ import annotations

import sys

from cdc.api.documents import typescript
from cdc.config import Config
from cdc.config.rules import event_types

_HEAD = "// Types of the packaged events. Written by `make docs`; do not edit.\n\n"

if __name__ == "__main__":
    sys.stdout.write(_HEAD + typescript(event_types(Config())).decode())
