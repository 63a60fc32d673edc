"""The command line, thin over ``cdc.admin`` and ``cdc.runtime``: no drivers and no SQL."""

from __future__ import annotations

from cdc.cli.app import cdc


def main() -> None:
    """Entry point of the script ``cdc``; ends the process with 0, 1, 2 or 130."""
    cdc.main(prog_name="cdc")
