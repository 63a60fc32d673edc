"""``setup``: from nothing to the first signed webhook, each step by the plain command that does the same."""

from __future__ import annotations

import os
import shlex
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import click

from cdc.admin.endpoint_checks import check_patterns
from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.config import CAPTURES, accounts_option, place_options
from cdc.cli.endpoint_input import parse_events
from cdc.cli.guide import Guide, SetupAnswers
from cdc.cli.output import say
from cdc.cli.run import program_words, systemd_here
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration, select_sources
from cdc.cli.setup_config import choose, require_accounts, write
from cdc.config import DEFAULT_FILE, Config, SourceConfig, load_config
from cdc.config.load import find_config
from cdc.config.scan import rewrite
from cdc.config.sending import reach
from cdc.config.show import Choices, allowing_private
from cdc.dispatch.address import check_spelling, check_url, refusal
from cdc.model.endpoint import Endpoint
from cdc.model.errors import CdcError, ConfigError, OutboxMissing, UsageError
from cdc.runtime.unit import UNIT, UnitSettings, unit_text

_WHERE = "To which URL shall events be sent?"
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
        url = self.guide.checked(_WHERE, "--to URL", None, self._checked_url, given)
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
    rewrite(path, allowing_private(path.read_text(encoding="utf-8")))
    say(f"{path} now has allow_private = true under [dispatch], as agreed.")


_INSTALLERS = {"triggers": "install-triggers", "logical": "install-slot"}


@click.command()
@place_options
@accounts_option
@click.option("--capture", type=click.Choice(CAPTURES), help="How changes are found [as recommended].")
@click.option("--to", "receiver", metavar="URL", help="Where events are sent first.")
@click.option("--events", metavar="PATTERN,…", help="Which ones [*].")
@click.option("--no-endpoint", is_flag=True, help="Add no endpoint, and send no test event.")
@click.option("--allow-private", is_flag=True, help="Receivers on this machine and in private networks are allowed.")
@click.option(
    "--unit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a systemd unit there."
)
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
    no_endpoint: bool,
    allow_private: bool,
    unit: Path | None,
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
        plan = None if no_endpoint else ReceiverPlan(receiver, events)
        code = _lead(guide, answers, path, known, plan)
    except (click.Abort, KeyboardInterrupt, CdcError) as error:
        say(f"\n\nStopped at: {guide.title or 'the beginning'}.")
        if answers.path is not None or not isinstance(error, CdcError):
            say("Your answers are saved: cdc setup continues there." if answers.given else "cdc setup begins again.")
        raise
    _offer_unit(guide, quiet_configuration(session), unit)
    answers.forget()
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
        return ReceiverPlan(url, None)
    return ReceiverPlan(url, asked.events(wanted.events))


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
        guide.run("endpoint", "add", wanted.url, "--events", wanted.events or "*")
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


def _offer_unit(guide: Guide, config: Config, unit: Path | None) -> None:
    guide.heading("Next: run it")
    guide.show("run")
    command = guide.typed("service", "unit")
    if unit is None:
        say("As a service of systemd, as root:")
        guide.say_command(f"{command} > /etc/systemd/system/{UNIT}")
    else:
        guide.say_command(f"{command} > {shlex.quote(str(unit))}")
        _write_unit(unit, unit_text(config, UnitSettings(program_words(), systemd=systemd_here())))
        say("The head of that file says what starts it.")


def _write_unit(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The unit {path} cannot be written: {error.strerror}.", "Name another file: cdc setup --unit FILE"
        ) from error
