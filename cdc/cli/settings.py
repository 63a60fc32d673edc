"""The configuration, as commands ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from cdc.cli.output import say
from cdc.cli.session import CommandSession
from cdc.config import DEFAULT_FILE, Config, SourceConfig, load_config
from cdc.logs import configure_logs
from cdc.model.errors import CdcError, ConfigError

T = TypeVar("T")

sources_option = click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source (repeatable) [all]."
)


def configuration(session: CommandSession, *, required: bool = True) -> Config:
    """Read the configuration, with what the command line says on top.

    ``required``: raise `ConfigError` when there is no file and no variable.  The defaults alone name an outbox in the
    current folder: a command in the wrong folder would create one there, and find its own events nowhere.
    """
    config = load_config(session.config_path)
    if required and config.file is None and not config.origins:
        raise ConfigError(
            f"There is no configuration: no {DEFAULT_FILE} in {Path.cwd()}, no --config, and no variable CDC_….",
            f"Run the command in the folder of your {DEFAULT_FILE}, or name the file: cdc --config PATH …, or the "
            f"variable CDC_CONFIG.  Without one yet: cdc setup, or cdc config init > {DEFAULT_FILE}",
        )
    changes = {"format": session.log_format, "level": "debug" if session.verbose else None}
    log = config.log.model_copy(update={name: value for name, value in changes.items() if value})
    return config.model_copy(update={"log": log})


def quiet_configuration(session: CommandSession, *, required: bool = True) -> Config:
    """`configuration` for commands that print results: what modules log is shown only when it matters."""
    config = configuration(session, required=required)
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


def of_each(sources: Sequence[SourceConfig], work: Callable[[SourceConfig], T]) -> tuple[list[T], CdcError | None]:
    """Return the results of ``work``, and the error to raise when they are printed, which names the sources that
    failed: the error of one does not keep ``work`` from the others.  Raises the error of a source that is alone."""
    results, failed = list[T](), list[str]()
    for source in sources:
        try:
            results.append(work(source))
        except CdcError as error:
            if len(sources) == 1:
                raise
            say(f"{source.name}: Error: {error.message}", *([f"\n  {error.hint}"] if error.hint else []))
            failed.append(source.name)
    names = ", ".join(failed)
    return results, CdcError(f"{len(failed)} of {len(sources)} sources failed: {names}.") if failed else None
