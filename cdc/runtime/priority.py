"""How much of a machine this process takes when others want it too."""

from __future__ import annotations

import os

import structlog

log = structlog.get_logger()


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
