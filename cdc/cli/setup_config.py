"""The first part of ``setup``: which FacturaScripts, which way to capture, and the file that says so."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from cdc.cli.asynchronous import run_async
from cdc.cli.guide import Guide
from cdc.cli.output import say
from cdc.config import DEFAULT_FILE, SourceConfig
from cdc.config.load import find_config, load_config
from cdc.config.outbox import OutboxConfig
from cdc.config.scan import find_facturascripts
from cdc.config.show import Choices, check_choices, initial_toml
from cdc.config.source import RestConfig
from cdc.model.errors import ConfigError
from cdc.runtime.capture import Recommendation, recommend
from cdc.runtime.rest import api_greeting

_ANOTHER = "another place"
_WHERE = "Where is FacturaScripts' config.php? Without its database: FacturaScripts' address, https://…"
_PLACE = "--facturascripts PATH (its config.php), --url URL of its database, or --api URL of FacturaScripts itself"
_WHICH_KEY = "Which file holds a key of its API (Control panel, API keys) and nothing else?"


def configure(guide: Guide, known: Choices) -> None:
    """Write the configuration, if there is none.  ``known.capture``: None, as recommended."""
    guide.heading("Configure")
    path = find_config(guide.session.config_path, os.environ, Path.cwd()) or Path(DEFAULT_FILE)
    if path.is_file():
        say(f"{path} is there, and stays as it is.")
        return
    choices = _placed(guide, known)
    if choices.api is not None:
        _write(guide, path, _by_api(guide, choices, path))
        return
    check_choices(choices)
    source = SourceConfig(facturascripts=choices.facturascripts, url=choices.url, password_file=choices.password_file)
    say(f"FacturaScripts' database: {source.connection().describe()}.")
    advice = recommend(source)
    _explain(advice)
    choices = replace(choices, capture=choices.capture or _usable(advice))
    _write(guide, path, choices)


def _placed(guide: Guide, known: Choices) -> Choices:
    """With a place to read from."""
    if known.facturascripts or known.url or known.api:
        return known
    if known.capture == "rest":
        return replace(known, api=guide.answer("What is FacturaScripts' address (https://…)?", "--api URL", None))
    found = _found(guide)
    if found.startswith(("http://", "https://")):
        return replace(known, api=found)
    return replace(known, facturascripts=Path(found).absolute())


def _by_api(guide: Guide, choices: Choices, path: Path) -> Choices:
    """Return the choices with a token that FacturaScripts' API accepts.  ``path``: of the configuration to be written.
    Raises `SourceError` when the API does not accept it, or does not answer."""
    if choices.token_file is None:
        choices = replace(choices, token_file=Path(guide.answer(_WHICH_KEY, "--token-file FILE", None)).absolute())
    check_choices(choices)
    rest = RestConfig(url=choices.api, token_file=choices.token_file)
    say(run_async(api_greeting(SourceConfig(capture="rest", rest=rest), _outbox(path))))
    say('Chosen: capture = "rest": what differs between two looks is told, minutes later, and no more than that.')
    say("  Where the database can be reached, triggers or its log see every change, at once: docs/sources.md.")
    return choices


def _outbox(path: Path) -> OutboxConfig:
    """The outbox that the configuration will have."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("CDC_OUTBOX_")}
    return load_config(environment=environment, folder=path.absolute().parent).outbox


def _found(guide: Guide) -> str:
    """A path, or an address.  Raises `UsageError` when none is found, or several, and nobody is there to ask."""
    paths = [str(path) for path in find_facturascripts(Path.cwd())]
    if len(paths) == 1 and guide.agreed(f"FacturaScripts is found: {paths[0]}. Use it?"):
        return paths[0]
    if len(paths) > 1:
        chosen = guide.choice("Which FacturaScripts?", _PLACE, [*paths, _ANOTHER])
        if chosen != _ANOTHER:
            return chosen
    return guide.answer(_WHERE, _PLACE, None)


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
            "Mend one of the two, then run cdc setup again; or do without the database: cdc setup --api URL.",
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
        "--api": choices.api,
        "--token-file": choices.token_file,
        "--capture": choices.capture,
    }
    options = [word for name, value in named.items() if value is not None for word in (name, str(value))]
    return [*options, "--allow-private"] if choices.allow_private else options
