"""``setup``: from nothing to the first signed webhook, each step by the plain command that does the same."""

from __future__ import annotations

import shlex
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click

from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.config import CAPTURES, database_options
from cdc.cli.guide import Guide
from cdc.cli.output import say
from cdc.cli.service import program_words, systemd_here
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration, select_sources
from cdc.cli.setup_config import configure
from cdc.config import Config, SourceConfig
from cdc.config.show import Choices
from cdc.model.endpoint import Endpoint
from cdc.model.errors import ConfigError, OutboxMissing
from cdc.runtime.unit import UNIT, UnitSettings, unit_text

_INSTALLERS = {"triggers": "install-triggers", "logical": "install-slot"}


@click.command()
@database_options
@click.option("--capture", type=click.Choice(CAPTURES), help="How changes are found [as recommended].")
@click.option("--to", "receiver", metavar="URL", help="Where events are sent first.")
@click.option("--events", metavar="PATTERN,…", help="Which ones [*].")
@click.option("--no-endpoint", is_flag=True, help="Add no endpoint, and send no test event.")
@click.option("--allow-private", is_flag=True, help="Receivers on this machine and in private networks are allowed.")
@click.option(
    "--unit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a systemd unit there."
)
@click.option("--yes", is_flag=True, help="Ask nobody: what is not given is as recommended.")
@pass_session
def setup(
    session: CommandSession,
    *,
    facturascripts: Path | None,
    url: str | None,
    password_file: Path | None,
    api: str | None,
    token_file: Path | None,
    capture: str | None,
    receiver: str | None,
    events: str | None,
    no_endpoint: bool,
    allow_private: bool,
    unit: Path | None,
    yes: bool,
) -> int:
    """Lead from nothing to the first signed webhook.

    Finds FacturaScripts, writes a configuration, recommends a way to capture changes and says why, installs it, adds an
    endpoint and sends it a test event.  Each step is printed as the plain command that does the same.  Run again, it
    goes on where it stopped: what is there stays as it is.  Ends with 1 when something is still wrong.
    """
    guide = Guide(session, yes)
    if not no_endpoint:
        receiver = receiver or guide.answer("Where shall the first events be sent (https://…)?", "--to URL", None)
        allow_private = allow_private or _inside_agreed(guide, receiver)
    place, file, token = (
        None if each is None else each.absolute() for each in (facturascripts, password_file, token_file)
    )
    configure(guide, Choices(place, url, file, capture, allow_private=allow_private, api=api, token_file=token))
    config = quiet_configuration(session)
    for source in select_sources(config, ()):
        _install(guide, source)
    if no_endpoint:
        guide.heading("Create the outbox")
        guide.run("outbox", "create")
    refused = receiver is not None and _try_endpoint(guide, config, receiver, events)
    guide.heading("Check everything")
    wrong = guide.run("doctor")
    _offer_unit(guide, config, unit)
    return 1 if refused or wrong else 0


def _inside_agreed(guide: Guide, receiver: str) -> bool:
    """Whether the receiver is plainly inside, and that is wanted."""
    host = urlsplit(receiver).hostname or ""
    try:
        inside = not ip_address(host).is_global
    except ValueError:
        inside = host == "localhost"
    return inside and guide.agreed(f"{host} is this machine or a private network. Allow receivers there?")


def _install(guide: Guide, source: SourceConfig) -> None:
    guide.heading(f"Capture the changes of {source.name}")
    command = _INSTALLERS.get(source.capture)
    if command is None:
        say(f"Capture by {source.capture} installs nothing.")
        return
    say(f"The SQL, to read or to run by hand: {guide.typed(command, '--dry-run')}")
    if not guide.agreed(f"Install what capture by {source.capture} needs?"):
        raise ConfigError(
            "Without it no change is captured.", f"When it is wanted: {guide.typed(command)}; then cdc setup again."
        )
    guide.run(command, "--source", source.name)


def _try_endpoint(guide: Guide, config: Config, receiver: str, events: str | None) -> bool:
    """Add it, if it is not there yet, and send it a test event; whether it refused that."""
    guide.heading("Add an endpoint")
    found = run_async(_endpoint(config, receiver))
    if found is None:
        wanted = events or guide.answer("Which events (invoice.paid,receipt.*; * for all)?", "--events PATTERN", "*")
        guide.run("endpoint", "add", receiver, "--events", wanted)
        found = run_async(_endpoint(config, receiver))
        assert found is not None, "it was added"
    else:
        say(f"{found.id} is there already.")
    guide.heading("Send it a test event")
    refused = guide.run("endpoint", "test", found.id) != 0
    if refused:
        say(f"When the receiver is mended: {guide.typed('endpoint', 'test', found.id)}")
    return refused


async def _endpoint(config: Config, url: str) -> Endpoint | None:
    """None also where there is no outbox yet."""
    try:
        async with opened_outbox(config) as store:
            return next((each for each in await store.endpoints() if each.url == url), None)
    except OutboxMissing:
        return None


def _offer_unit(guide: Guide, config: Config, unit: Path | None) -> None:
    guide.heading("Run")
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
