"""``config init`` and ``config show``."""

from __future__ import annotations

import click

from cdc.cli.output import json_option, print_json, say
from cdc.cli.session import Session, pass_session
from cdc.cli.settings import configuration
from cdc.config.show import default_toml, effective_toml, masked


@click.group()
def config() -> None:
    """Print a default or the effective configuration."""


@config.command()
def init() -> None:
    """Print a configuration with every option, explained.

    Save it as cdc.toml: cdc config init > cdc.toml
    """
    click.echo(default_toml(), nl=False)


@config.command()
@json_option
@pass_session
def show(session: Session, as_json: bool) -> None:
    """Print what is in force, and where each value was set.

    Passwords are replaced by ***.
    """
    effective = configuration(session)
    if as_json:
        print_json({"file": str(effective.file) if effective.file else None, **masked(effective)})
        return
    say(f"Read from {effective.file or 'the environment and defaults: there is no configuration file'}.")
    click.echo(effective_toml(effective).rstrip())
