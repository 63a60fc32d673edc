"""How many files and connections this process may have open."""

from __future__ import annotations

import resource

import structlog

#: More is never needed, and a process that closes all it might have open would take long.
MOST = 65_536

log = structlog.get_logger()


def raise_limit(most: int = MOST) -> None:
    """Raise the soft limit of open files as far as the hard one allows.  Shells set it to 1,024, though a process may
    take more by itself.  Sandboxes may refuse even the question (systemd's ``SystemCallFilter=~@resources``): the unit
    sets the limit there."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.debug("limit of open files kept", reason=str(error))
