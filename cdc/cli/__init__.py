"""The command line, thin over ``cdc.admin`` and ``cdc.runtime``: no drivers and no SQL."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point of the script ``cdc``; ends the process with 0, 1, 2 or 130."""
    # blocked before anything is imported: it would end a `cdc run` that cannot reload yet
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from cdc.cli.app import cdc  # noqa: PLC0415 - the signal must be blocked before this takes its time

    cdc.main(prog_name="cdc")
