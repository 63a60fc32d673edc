"""The configuration, as commands ask for it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cdc.cli.session import CommandSession
from cdc.config import DEFAULT_FILE, Config, SourceConfig, load_config
from cdc.logs import configure_logs
from cdc.model.errors import ConfigError

sources_option = click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source (repeatable)."
)


def configuration(session: CommandSession) -> Config:
    """Read the configuration, with what the command line says on top."""
    config = load_config(session.config_path)
    changes = {"format": session.log_format, "level": "debug" if session.verbose else None}
    log = config.log.model_copy(update={name: value for name, value in changes.items() if value})
    return config.model_copy(update={"log": log})


def quiet_configuration(session: CommandSession) -> Config:
    """`configuration` for commands that print results: what modules log is shown only when it matters."""
    config = configuration(session)
    configure_logs(config.log.format, "debug" if session.verbose else "warning")
    return config


def select_sources(config: Config, names: Sequence[str]) -> list[SourceConfig]:
    """The sources of these names, or all.  Raises `ConfigError` when there is none."""
    if not config.source:
        place = f"{config.file} has no [source.…] table" if config.file else f"there is no {DEFAULT_FILE} here"
        raise ConfigError(
            f"No source is configured: {place}, and no CDC_SOURCE_… variable is set.",
            f"Begin with `cdc config init > {DEFAULT_FILE}`, or say where it is: cdc --config PATH, or CDC_CONFIG.",
        )
    return [config.select_source(name) for name in names] or list(config.source.values())
