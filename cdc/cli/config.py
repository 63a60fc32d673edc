"""``config init`` and ``config show``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cdc.cli.app import CommandGroup, CommandSession, pass_session
from cdc.cli.environment import configuration
from cdc.cli.output import json_option, print_json, print_script, say, with_comments
from cdc.config.write import CONFIG_PHP, Choices, effective_toml, initial_toml, masked, short_toml

CAPTURES = ("triggers", "binlog", "logical", "rest")


_FILE = click.Path(path_type=Path, dir_okay=False)
_DATABASE = [
    click.option(
        "--facturascripts",
        type=click.Path(path_type=Path),
        callback=lambda _context, _option, path: path / CONFIG_PHP if path is not None and path.is_dir() else path,
        metavar="PATH",
        help="FacturaScripts' folder, or its config.php.",
    ),
    click.option("--url", metavar="URL", help="Or the database's URL, without a password."),
    click.option("--password-file", type=_FILE, metavar="FILE", help="A file that holds the password alone."),
]
_API = [
    click.option("--api", metavar="URL", help="Without a database: FacturaScripts' address, whose API is polled."),
    click.option("--token-file", type=_FILE, metavar="FILE", help="With --api: a file that holds its key alone."),
]


accounts_option = click.option(
    "--accounts",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Give the source accounts of its own, with their passwords in files there [FacturaScripts' account].",
)


def database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for FacturaScripts' database."""
    for option in reversed(_DATABASE):
        command = option(command)
    return command


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for FacturaScripts' database, or its API."""
    for option in reversed(_API):
        command = option(command)
    return database_options(command)


@click.group(cls=CommandGroup)
def config() -> None:
    """Print a new or the effective configuration."""


@config.command()
@place_options
@accounts_option
@click.option("--capture", type=click.Choice(CAPTURES), help="How to capture changes [triggers].")
@click.option("--outbox", metavar="URL", help="URL of the outbox, which stores events and deliveries.")
@click.option("--allow-private", is_flag=True, help="Receivers on this machine and in private networks are allowed.")
@click.option("--short", is_flag=True, help="Only what these options say.")
def init(*, short: bool, **choices: Any) -> None:
    """Print a new configuration with every option explained.

    Save it as cdc.toml: cdc config init > cdc.toml
    """
    print_script(with_comments(short_toml(Choices(**choices))) if short else initial_toml(Choices(**choices)))


@config.command()
@json_option
@pass_session
def show(session: CommandSession, as_json: bool) -> None:
    """Print the effective configuration and its origins.

    Passwords are shown as ***.
    """
    effective = configuration(session, required=False)
    if as_json:
        print_json({"file": str(effective.file) if effective.file else None, **masked(effective)})
        return
    say(f"Read from {effective.file or 'the environment and defaults: there is no configuration file'}.")
    print_script(effective_toml(effective).rstrip() + "\n")
