"""The command line, thin over ``cdc.admin`` and ``cdc.runtime``: no drivers and no SQL."""

from __future__ import annotations

from cdc.cli.signals import hold_hangup


def main() -> None:
    """Entry point of the script ``cdc``; ends the process with 0, 1, 2 or 130."""
    # blocked before the rest is imported: it would end a `cdc run` that cannot reload yet
    hold_hangup()
    from cdc.cli.app import cdc  # noqa: PLC0415 - the signal must be blocked before this takes its time

    cdc.main(prog_name="cdc")
