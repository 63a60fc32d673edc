"""The last import of the process that commands are forked from (`support.commands`).  It excludes everything that was
imported from garbage collections: a fork then does not walk through it, which is half of what `cdc run` needs to start,
and shares its memory."""

from __future__ import annotations

import gc

from cdc.mapping.catalogue import load_catalogue

load_catalogue()  # which keeps the packaged one: seven milliseconds for each fork
gc.collect()
gc.freeze()
