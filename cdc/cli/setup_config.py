"""The first part of ``setup``: which FacturaScripts, which way to capture, and the file that says so."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from cdc.cli.guide import Guide
from cdc.cli.output import say
from cdc.config import DEFAULT_FILE, SourceConfig
from cdc.config.find import find_facturascripts
from cdc.config.initial import Choices, initial_toml
from cdc.config.load import find_config
from cdc.errors import ConfigError
from cdc.service.recommendation import Recommendation, recommend

_ANOTHER = "another place"


def configure(guide: Guide, known: Choices) -> None:
    """Write the configuration, if there is none.  ``known.capture``: None, as recommended."""
    guide.heading("Configure")
    path = find_config(guide.session.config_path, os.environ, Path.cwd()) or Path(DEFAULT_FILE)
    if path.is_file():
        say(f"{path} is there, and stays as it is.")
        return
    choices = known if known.url or known.facturascripts else replace(known, facturascripts=_found(guide))
    source = SourceConfig(facturascripts=choices.facturascripts, url=choices.url, password_file=choices.password_file)
    say(f"FacturaScripts' database: {source.connection().describe()}.")
    advice = recommend(source)
    _explain(advice)
    choices = replace(choices, capture=choices.capture or _usable(advice))
    _write(guide, path, choices)


def _found(guide: Guide) -> Path:
    """Raises `UsageError` when none is found, or several, and nobody is there to ask."""
    option = "--facturascripts PATH (its config.php), or --url URL of its database"
    paths = [str(path) for path in find_facturascripts(Path.cwd())]
    if len(paths) == 1 and guide.agreed(f"FacturaScripts is found: {paths[0]}. Use it?"):
        return Path(paths[0])
    if len(paths) > 1:
        chosen = guide.choice("Which FacturaScripts?", option, [*paths, _ANOTHER])
        if chosen != _ANOTHER:
            return Path(chosen)
    return Path(guide.answer("Where is FacturaScripts' config.php?", option, None)).absolute()


def _explain(advice: Recommendation) -> None:
    other = advice.other
    say(f'Recommended: capture = "{advice.route.capture}": {advice.why}.')
    say(
        f'  "{other.capture}" cannot be had now: {other.problem}'
        if other.problem
        else f'  "{other.capture}" can be had too.'
    )


def _usable(advice: Recommendation) -> str:
    """Raises `ConfigError` when changes cannot be captured at all."""
    route, other = advice.route, advice.other
    if route.problem:
        raise ConfigError(
            f"Changes cannot be captured yet. By {route.capture}: {route.problem} By {other.capture}: {other.problem}",
            "Mend one of the two, then run cdc setup again.",
        )
    return route.capture


def _write(guide: Guide, path: Path, choices: Choices) -> None:
    text = initial_toml(choices)
    guide.say_command(f"{shlex.join(['cdc', 'config', 'init', *_options(choices)])} > {shlex.quote(str(path))}")
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", "Name another place: cdc --config PATH setup"
        ) from error


def _options(choices: Choices) -> list[str]:
    named = {
        "--facturascripts": choices.facturascripts,
        "--url": choices.url,
        "--password-file": choices.password_file,
        "--capture": choices.capture,
    }
    options = [word for name, value in named.items() if value is not None for word in (name, str(value))]
    return [*options, "--allow-private"] if choices.allow_private else options
