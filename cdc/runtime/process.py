"""The resources of this process: priority, open files."""

from __future__ import annotations

import os
import resource

import structlog

log = structlog.get_logger()

#: Open files: more is never needed, and a process that closes all it might have open would take long.
MOST = 65_536


def stand_back(nice: int) -> None:
    """Let others of this machine go first, to ``nice`` of 0 to 19; never forward again, which takes a privilege.

    To be called before threads begin: on Linux each has a priority of its own, and takes over that of its maker.
    Sandboxes may refuse it (systemd's ``SystemCallFilter=~@resources``): then it is said, and nothing else.
    """
    further = nice - os.getpriority(os.PRIO_PROCESS, 0)
    if further <= 0:
        return
    try:
        os.nice(further)
    except PermissionError:
        log.warning("priority kept", nice=nice, reason="the sandbox refuses another: set it there (Nice= of a unit)")


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
