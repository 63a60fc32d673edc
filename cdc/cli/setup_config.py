"""The first part of ``setup``: which FacturaScripts, which way to capture, and the file that says so."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cdc.cli.asynchronous import run_async
from cdc.cli.guide import Guide, SetupAnswers
from cdc.cli.output import say
from cdc.config import SourceConfig
from cdc.config.accounts import write_passwords
from cdc.config.load import load_config
from cdc.config.outbox import OutboxConfig
from cdc.config.scan import CONFIG_PHP, find_facturascripts
from cdc.config.show import Choices, check_choices, initial_toml
from cdc.config.source import RestConfig
from cdc.model.errors import CdcError, ConfigError, SourceUnavailable
from cdc.model.finding import named
from cdc.runtime.capture import CaptureRoute, Recommendation, grants, recommend, unreadable_tables
from cdc.runtime.rest import api_greeting

#: The file for statements that an administrator of the database server runs, beside the configuration.
NEEDED = "cdc-setup.sql"
_ANOTHER = "another place"
_WHERE = "Where is FacturaScripts? Its folder or config.php, or its address (https://…)"
_PLACE = "--facturascripts PATH (its config.php), --url URL of its database, or --api URL of FacturaScripts itself"
_WHICH_KEY = "Which file holds a key of its API (Control panel, API keys) and nothing else?"
_AGAIN = "again"


def choose(guide: Guide, answers: SetupAnswers, known: Choices, path: Path) -> Choices:
    """Return the choices of a new configuration: a FacturaScripts that answers, and a way to capture that it allows.

    ``known``: by options; ``capture``: None, as recommended.  ``path``: of the configuration to be written.  Raises
    `CdcError` when nobody is there to ask, and something is wrong or missing."""
    named = known.facturascripts or known.url or known.api
    choices = known if named else of_place(known, named_place(known, guide, answers), answers.given)
    while True:
        try:
            choices = _ready(guide, answers, choices, path)
        except CdcError as error:
            if not guide.asking:
                raise
            guide.problem(error)
        else:
            return choices
        place = guide.answer("Enter: check again. Or another folder, config.php or address", _PLACE, _AGAIN)
        if place != _AGAIN:
            choices = of_place(replace(known, facturascripts=None, url=None, api=None), place, answers.given)


def named_place(known: Choices, guide: Guide, answers: SetupAnswers) -> str:
    """A path or an address, given before, found or asked for."""
    if before := answers.given.get("place"):
        return before
    if known.capture == "rest":
        return guide.answer("What is FacturaScripts' address (https://…)?", "--api URL", None)
    return _found(guide)


def of_place(known: Choices, place: str, answers: Mapping[str, str]) -> Choices:
    """Return the choices with a place: an address of FacturaScripts, a database's URL, or a path.  ``answers``: those
    that were given, maybe with the file of the password."""
    if place.startswith(("http://", "https://")):
        return replace(known, api=place)
    if "://" in place:
        file = answers.get("password_file")
        return replace(known, url=place, password_file=known.password_file or (None if file is None else Path(file)))
    return replace(known, facturascripts=Path(place).expanduser().absolute())


def _ready(guide: Guide, answers: SetupAnswers, choices: Choices, path: Path) -> Choices:
    if choices.api is not None:
        return _by_api(guide, answers, choices, path)
    if choices.facturascripts is not None and choices.facturascripts.is_dir():
        choices = replace(choices, facturascripts=choices.facturascripts / CONFIG_PHP)
    check_choices(choices)
    source = SourceConfig(facturascripts=choices.facturascripts, url=choices.url, password_file=choices.password_file)
    say(f"FacturaScripts' database: {source.connection().describe()}.")
    if choices.accounts is not None:
        return replace(choices, capture=choices.capture or "triggers")
    answers.keep(place=str(choices.facturascripts or choices.url))  # it answers: the rest may be granted later
    if choices.password_file is not None:
        answers.keep(password_file=str(choices.password_file))
    advice = recommend(source)
    _explain(advice)
    usable = _usable(advice, choices.capture, source.connection().describe(), path.with_name(NEEDED))
    return replace(choices, capture=usable)


def _by_api(guide: Guide, answers: SetupAnswers, choices: Choices, path: Path) -> Choices:
    """Return the choices with a token that FacturaScripts' API accepts.  ``path``: of the configuration to be written.
    Raises `SourceError` when the API does not accept it, or does not answer."""
    if choices.token_file is None:
        file = answers.given.get("token_file") or guide.answer(_WHICH_KEY, "--token-file FILE", None)
        choices = replace(choices, token_file=Path(file).expanduser().absolute())
    check_choices(choices)
    rest = RestConfig(url=choices.api, token_file=choices.token_file)
    say(run_async(api_greeting(SourceConfig(capture="rest", rest=rest), _outbox(path))))
    answers.keep(place=str(choices.api), token_file=str(choices.token_file))
    say('Capture = "rest": FacturaScripts is asked every few minutes, and what differs is reported.')
    say("  Triggers or the log of its database see every change, at once: docs/sources.md.")
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
    route, other = advice.route, advice.other
    if route.problem:
        return  # it is an error, which says the rest
    say(f'Recommended: capture = "{route.capture}": {advice.why}.')
    say(f'  "{other.capture}" is possible too.' if not other.problem else f'  "{other.capture}" is not possible now:')
    for line in (other.problem, *other.fix.splitlines()):
        say(*([f"    {line}"] if line else []))


def _usable(advice: Recommendation, wanted: str | None, database: str, needed: Path) -> str:
    """Return the recommended way, or the one that was asked for.  Raises `ConfigError` when it is not possible, and
    writes the statements that change that to the file ``needed``."""
    routes = [advice.route, advice.other]
    among = [route for route in routes if wanted in (None, route.capture)]
    if not among:
        raise ConfigError(
            f"Capture by {wanted} is not for this database.", f"It has {' and '.join(each.capture for each in routes)}."
        )
    if not among[0].problem:
        return among[0].capture
    problems = " ".join(f"By {route.capture}: {route.problem}" for route in among)
    hints = [f"For {route.capture}: {line}" for route in among for line in route.fix.splitlines()]
    written = next((route for route in among if route.statements), None)
    if written is not None and _write_needed(needed, written, database):
        hints.append(f"An administrator of the server runs {needed}, which has the statements for {written.capture}.")
    again = "Then run cdc setup again; or do without the database: cdc setup --api URL."
    raise ConfigError(f"Changes cannot be captured yet. {problems}", "\n".join([*hints, again]))


def _write_needed(path: Path, route: CaptureRoute, database: str) -> bool:
    """Write the statements that a way to capture lacks; return whether that was possible."""
    head = [f"-- Capture by {route.capture} needs these statements, run on the {database}.", "-- Then: cdc setup"]
    try:
        path.write_text("\n".join([*head, *route.statements, ""]), encoding="utf-8")
    except OSError as error:
        say(f"{path} cannot be written: {error.strerror}.")
        return False
    return True


def require_accounts(source: SourceConfig, path: Path, *, installed: bool) -> None:
    """Raise `ConfigError` while accounts of the source's own do not exist, or, once it is installed, read too little.
    The SQL is written to a file beside the configuration ``path``."""
    if source.user is None:
        return
    printed: set[tuple[object, str]] = set()
    text = grants(source, printed)
    needed = path.with_name(NEEDED)
    if printed:
        names = " and ".join(sorted(name for _, name in printed))
        problem, part = f"These accounts do not exist yet: {names}.", "part 1"
    elif installed and (problem := _reads_too_little(source)):
        part = "part 2"
    else:
        return
    try:
        needed.unlink(missing_ok=True)  # its mode may be another one
        with os.fdopen(os.open(needed, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{needed} cannot be written: {error.strerror}.", "cdc grants prints its content.") from error
    raise ConfigError(problem, f"An administrator of the server runs {part} of {needed}. Then run cdc setup again.")


def _reads_too_little(source: SourceConfig) -> str:
    """Return what the consumer's account lacks; empty: nothing."""
    try:
        hidden = unreadable_tables(source)
    except SourceUnavailable:
        raise
    except CdcError as error:
        return error.message
    return f"The account {source.user} may not read {named(hidden)} yet." if hidden else ""


def write(guide: Guide, path: Path, choices: Choices) -> None:
    text = initial_toml(choices)
    write_passwords(choices.account_options)
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
        "--accounts": choices.accounts,
    }
    options = [word for name, value in named.items() if value is not None for word in (name, str(value))]
    return [*options, "--allow-private"] if choices.allow_private else options
