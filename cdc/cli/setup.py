"""``setup``: from nothing to the first signed webhook, each step by the plain command that does the same."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import click

from cdc.admin.endpoint_checks import check_patterns
from cdc.cli.app import CommandSession, pass_session
from cdc.cli.config import CAPTURES, accounts_option, place_options
from cdc.cli.endpoint_fields import parse_events
from cdc.cli.environment import opened_outbox, quiet_configuration, run_async, select_sources
from cdc.cli.guide import Guide, SetupAnswers
from cdc.cli.output import fitting, say, with_comments
from cdc.cli.run import program_words, systemd_here
from cdc.config import DEFAULT_FILE, Config, SourceConfig, load_config
from cdc.config.load import find_config
from cdc.config.section import OutboxConfig
from cdc.config.sending import reach
from cdc.config.source import RestConfig
from cdc.config.write import (
    CONFIG_PHP,
    Choices,
    check_choices,
    find_facturascripts,
    rewrite,
    short_toml,
    with_option,
    write_passwords,
)
from cdc.dispatch.address import check_spelling, check_url, refusal
from cdc.files import is_root
from cdc.model.endpoint import Endpoint
from cdc.model.errors import CdcError, ConfigError, OutboxMissing, SourceUnavailable, UsageError
from cdc.model.finding import named
from cdc.runtime.capture import CaptureRoute, Recommendation, grants, recommend, unreadable_tables
from cdc.runtime.process import UnitSettings, unit_text
from cdc.runtime.sources import api_greeting

#: The file for statements that an administrator of the database server runs, beside the configuration.
NEEDED = "cdc-setup.sql"
_ANOTHER = "another place"
_ERP_QUESTION = "Where is FacturaScripts? Its folder or config.php, or its address (https://…)"
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
    _say_fitting(f"FacturaScripts' database: {source.connection().describe()}.")
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
    return guide.answer(_ERP_QUESTION, _PLACE, None)


def _explain(advice: Recommendation) -> None:
    route, other = advice.route, advice.other
    if route.problem:
        return  # it is an error, which says the rest
    _say_fitting(f'Recommended: capture = "{route.capture}": {advice.why}.')
    say(f'  "{other.capture}" is possible too.' if not other.problem else f'  "{other.capture}" is not possible now:')
    for line in filter(None, (other.problem, *other.fix.splitlines())):
        _say_fitting(f"    {line}")


def _say_fitting(text: str) -> None:
    say(fitting(text, f"{' ' * (len(text) - len(text.lstrip()))}  ", err=True))


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
        path.write_text(with_comments("\n".join([*head, *route.statements, ""])), encoding="utf-8")
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
    text = with_comments(grants(source, printed))
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
    text = short_toml(choices)
    write_passwords(choices.account_options)
    guide.say_command(
        f"{shlex.join(['cdc', 'config', 'init', '--short', *_options(choices)])} > {shlex.quote(str(path))}"
    )
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


_URL_QUESTION = "To which URL shall events be sent?"
_EVENTS = "Which events? Such as invoice.paid,customer.*"
_LOCAL = ("localhost", ".localhost", ".local", ".lan", ".internal")


@dataclass
class ReceiverQuestions:
    """``private``: receivers on this machine and in private networks are allowed: by the configuration, an option, or
    an answer."""

    guide: Guide
    answers: SetupAnswers
    config: Config
    private: bool

    def url(self, given: str | None) -> str:
        """A URL that deliveries may go to.  Raises `UsageError` for a wrong one when nobody is there to ask."""
        given = given or self.answers.given.get("receiver")
        url = self.guide.checked(_URL_QUESTION, "--to URL", None, self._checked_url, given)
        self.answers.keep(receiver=url)
        return url

    def _checked_url(self, text: str) -> str:
        url = text.strip()
        if "://" not in url and not url.startswith("mailto:"):
            url = f"{'http' if _inside(urlsplit(f'//{url}').hostname or '') else 'https'}://{url}"
            say(f"  Taken as {url}")
        host = urlsplit(url).hostname or ""
        if not self.private and _inside(host):
            self.private = self.guide.agreed(f"{host} is this machine or a private network. Allow receivers there?")
            if not self.private:
                raise UsageError(
                    f"{host} is not allowed as a receiver.", "Give an address on the Internet, or allow it."
                )
            self.answers.keep(private="yes")
        dispatch = self.config.dispatch.model_copy(update={"allow_private": self.private})
        check_url(url, reach(self.config.model_copy(update={"dispatch": dispatch})))
        check_spelling(url)
        return url

    def events(self, given: str | None) -> str:
        """Patterns that events fit.  Raises `UsageError` as `url`."""
        given = given or self.answers.given.get("events")
        chosen = self.guide.checked(_EVENTS, "--events PATTERN", "*", self._checked_events, given)
        self.answers.keep(events=chosen)
        return chosen

    def _checked_events(self, text: str) -> str:
        check_patterns(self.config, parse_events(text))
        return text


def _inside(host: str) -> bool:
    """Return whether a host is an inside address, or a name that leads to one."""
    if host.endswith(_LOCAL):
        return True
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)} if host else set()
    except (OSError, UnicodeError):  # not known here, or not now: sending will show it
        return False
    return any(refusal(address) is not None for address in found)


def allow_private(path: Path) -> None:
    """Have a configuration that is there allow what was agreed to."""
    if load_config(path).dispatch.allow_private:
        return
    rewrite(path, with_option(path.read_text(encoding="utf-8"), "dispatch", "allow_private", True))
    say(f"{path} now has allow_private = true under [dispatch], as agreed.")


_INSTALLERS = {"triggers": "install-triggers", "logical": "install-slot"}


@click.command()
@place_options
@accounts_option
@click.option("--capture", type=click.Choice(CAPTURES), help="How changes are found [as recommended].")
@click.option("--to", "receiver", metavar="URL", help="Where events are sent first.")
@click.option("--events", metavar="PATTERN,…", help="Which ones [*].")
@click.option("--name", metavar="TEXT", help="What this receiver is called [its host].")
@click.option("--no-endpoint", is_flag=True, help="Add no endpoint, and send no test event.")
@click.option("--allow-private", is_flag=True, help="Receivers on this machine and in private networks are allowed.")
@click.option(
    "--unit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a systemd unit there."
)
@click.option("--service", is_flag=True, help="Then install the service, as root: see cdc service install.")
@click.option("--yes", is_flag=True, help="Do not ask: use what is recommended.")
@pass_session
def setup(
    session: CommandSession,
    *,
    facturascripts: Path | None,
    url: str | None,
    password_file: Path | None,
    api: str | None,
    token_file: Path | None,
    accounts: Path | None,
    capture: str | None,
    receiver: str | None,
    events: str | None,
    name: str | None,
    no_endpoint: bool,
    allow_private: bool,
    unit: Path | None,
    service: bool,
    yes: bool,
) -> int:
    """Lead from nothing to the first signed webhook.

    Finds FacturaScripts, recommends a way to capture changes and says why, asks for the receiver, and checks all that
    before it writes the configuration, installs capture, adds the endpoint and sends it a test event.  Each step is
    printed as the plain command that does the same.  Ctrl-C leaves it: run again, it keeps the answers, and what is
    there stays as it is.  Exit codes: 0 done, 1 something is still wrong, 2 wrong or missing input, 130 Ctrl-C.
    """
    guide = Guide(session, yes)
    path = find_config(session.config_path, os.environ, Path.cwd()) or Path(DEFAULT_FILE)
    answers = SetupAnswers.beside(path, asking=guide.asking)
    place, file, token, folder = (
        None if each is None else each.absolute() for each in (facturascripts, password_file, token_file, accounts)
    )
    known = Choices(place, url, file, capture, allow_private=allow_private, api=api, token_file=token, accounts=folder)
    try:
        _introduce(guide, path, answers)
        plan = None if no_endpoint else ReceiverPlan(receiver, events, name)
        code = _lead(guide, answers, path, known, plan)
    except (click.Abort, KeyboardInterrupt, CdcError) as error:
        say(f"\n\nStopped at: {guide.title or 'the beginning'}.")
        if answers.path is not None or not isinstance(error, CdcError):
            say("Your answers are saved: cdc setup continues there." if answers.given else "cdc setup begins again.")
        raise
    answers.forget()
    _offer_service(guide, quiet_configuration(session), unit, wanted=service)
    return code


_INTRODUCTION = """
This leads to the first signed webhook:

  1. find FacturaScripts, and check that its changes can be captured
  2. choose the receiver, and the events that it gets
  3. write the configuration, {path}
  4. install what captures changes in FacturaScripts' database
  5. add the receiver, and send it a test event
  6. check everything

It needs FacturaScripts' config.php, or the address of its database or API,
and a URL that receives webhooks: a program or service of yours, or for a
first look `cdc listen` in another terminal. Before step 3 nothing is changed.
Leave with Ctrl-C at any time: answers are saved, and cdc setup continues.
"""


def _introduce(guide: Guide, path: Path, answers: SetupAnswers) -> None:
    if not guide.asking:
        return
    say(_INTRODUCTION.format(path=path).rstrip())
    if answers.given:
        say("\nFrom the setup that was interrupted:")
        for name, value in answers.given.items():
            say(f"  {_KEPT.get(name, name)}: {value}")
        if not guide.agreed("Continue with these answers?"):
            answers.forget()


_KEPT = {
    "place": "FacturaScripts",
    "private": "private receivers allowed",
    "token_file": "file with the API's key",
    "password_file": "file with the password",
}


@dataclass(frozen=True, slots=True)
class ReceiverPlan:
    """The receiver as the options give it; a field that is None is asked for."""

    url: str | None
    events: str | None
    name: str | None

    @property
    def called(self) -> str:
        """Return the name that was given, else the host or the address that the URL names."""
        parts = urlsplit(self.url or "")
        return self.name or parts.netloc.rpartition("@")[2] or parts.path


def _lead(guide: Guide, answers: SetupAnswers, path: Path, known: Choices, wanted: ReceiverPlan | None) -> int:
    """Run the steps up to the checks; return the exit code."""
    there = path.is_file()
    guide.heading("Step 1 of 6: find FacturaScripts")
    if there:
        say(f"{path} is there, and stays as it is.")
    else:
        known = choose(guide, answers, known, path)
    config = quiet_configuration(guide.session) if there else Config()
    allowed = config.dispatch.allow_private or known.allow_private or "private" in answers.given
    if wanted is not None:
        guide.heading("Step 2 of 6: choose the receiver")
        asked = ReceiverQuestions(guide, answers, config, allowed)
        wanted = _chosen(asked, wanted, there=there)
        allowed = asked.private
    guide.heading("Step 3 of 6: write the configuration")
    if not there:
        write(guide, path, replace(known, allow_private=allowed))
    elif allowed and not config.dispatch.allow_private:
        allow_private(path)
    else:
        say(f"Nothing to do: {path} is there.")
    config = quiet_configuration(guide.session)
    for source in select_sources(config, ()):
        _install(guide, source, path)
    if wanted is None:
        guide.heading("Step 5 of 6: create the outbox")
        guide.run("outbox", "create")
    refused = wanted is not None and _try_endpoint(guide, config, wanted)
    guide.heading("Step 6 of 6: check everything")
    wrong = guide.run("doctor")
    return 1 if refused or wrong else 0


def _chosen(asked: ReceiverQuestions, wanted: ReceiverPlan, *, there: bool) -> ReceiverPlan:
    """Return the receiver's plan, with answers to what was not given: events only for an endpoint that is not there
    yet."""
    url = asked.url(wanted.url)
    if there and run_async(_endpoint(asked.config, url)) is not None:
        say(f"An endpoint sends to {url} already.")
        return replace(wanted, url=url, events=None)
    return replace(wanted, url=url, events=asked.events(wanted.events))


def _install(guide: Guide, source: SourceConfig, path: Path) -> None:
    """``path``: of the configuration."""
    guide.heading(f"Step 4 of 6: capture the changes of {source.name}")
    require_accounts(source, path, installed=False)
    command = _INSTALLERS.get(source.capture)
    if command is None:
        say(f"Capture by {source.capture} installs nothing.")
        require_accounts(source, path, installed=True)
        return
    say(f"The SQL, to read or to run by hand: {guide.typed(command, '--dry-run')}")
    if not guide.agreed(f"Install what capture by {source.capture} needs?"):
        raise ConfigError(
            "Without it no change is captured.", f"To continue later: {guide.typed(command)}, then cdc setup again."
        )
    guide.run(command, "--source", source.name)
    require_accounts(source, path, installed=True)


def _try_endpoint(guide: Guide, config: Config, wanted: ReceiverPlan) -> bool:
    """Add it, if it is not there yet, and send it a test event; whether it refused that."""
    assert wanted.url is not None, "it was asked for"
    guide.heading("Step 5 of 6: add the receiver, and send it a test event")
    found = run_async(_endpoint(config, wanted.url))
    if found is None:
        guide.run("endpoint", "add", wanted.url, "--events", wanted.events or "*", "--name", wanted.called)
        found = run_async(_endpoint(config, wanted.url))
        assert found is not None, "it was added"
    else:
        say(f"{found.id} is there already.")
    refused = guide.run("endpoint", "test", found.id) != 0
    if refused:
        say(f"When the receiver works: {guide.typed('endpoint', 'test', found.id)}")
    return refused


async def _endpoint(config: Config, url: str) -> Endpoint | None:
    """Return the endpoint with this URL; None also where there is no outbox yet."""
    try:
        async with opened_outbox(config) as store:
            return next((each for each in await store.endpoints() if each.url == url), None)
    except OutboxMissing:
        return None


def _offer_service(guide: Guide, config: Config, unit: Path | None, *, wanted: bool) -> None:
    """``wanted``: by an option; otherwise root is asked, where systemd runs."""
    guide.heading("Run it")
    if unit is not None:
        guide.say_command(f"{guide.typed('service', 'unit')} > {shlex.quote(str(unit))}")
        text = unit_text(config, UnitSettings(program_words(), systemd=systemd_here()))
        try:
            unit.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"The unit {unit} cannot be written: {error.strerror}.", "Name another file: cdc setup --unit FILE"
            ) from error
        say("The head of that file says what starts it.")
        return
    root = is_root()
    asked = guide.asking and root and Path("/run/systemd/system").is_dir()
    if wanted or (asked and guide.agreed("Install it as a service, which starts with the machine?")):
        guide.run("service", "install", *(["--yes"] if guide.yes else []))
        return
    say("In this terminal:")
    guide.show("run")
    say("As a service of systemd, which starts with the machine:")
    if root:
        guide.show("service", "install")
    else:
        file = str((config.file or Path(DEFAULT_FILE)).absolute())
        guide.say_command(shlex.join(["sudo", *program_words(), "--config", file, "service", "install"]))
