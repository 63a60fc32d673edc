"""The language of commands: which one, and that nothing of it is half translated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cdc.capture.triggers.postgres_render import account_parts, connects
from cdc.cli.app import CommandSession, cdc
from cdc.cli.output import coloured, with_comments
from cdc.config.write import Choices, short_toml
from cdc.database.sqlfile import render
from cdc.language import LANGUAGES, chosen, messages, terminal_messages
from cdc.model.backfill import BackfillState
from cdc.model.change import Operation
from cdc.model.connection import Account, AccountChoice, AccountRole
from cdc.model.delivery import DeliveryState, ReplayState
from cdc.model.endpoint import EndpointState
from support.foreign_words import foreign_words
from support.program_messages import catalogue, missing


def run_cli(*arguments: str) -> Result:
    return CliRunner().invoke(cdc, arguments)


@pytest.mark.parametrize(
    ("environment", "configured", "language"),
    [
        ({}, "", "en"),
        ({"LANG": "es_ES.UTF-8"}, "", "es"),
        ({"LANG": "es_ES.UTF-8", "LC_ALL": "C.UTF-8"}, "", "en"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "es_MX"}, "", "es"),
        ({"LANG": "en_GB.UTF-8"}, "es", "es"),
        ({"CDC_LANG": "en", "LANG": "es_ES"}, "es", "en"),
        ({"CDC_LANG": "es"}, "", "es"),
        ({"CDC_LANG": "fr", "LANG": "de_DE"}, "", "en"),
    ],
)
def test_variable_wins_over_configuration_and_configuration_over_locale(
    environment: dict[str, str], configured: str, language: str
) -> None:
    assert chosen(environment, configured) == language


def test_each_text_is_translated() -> None:
    assert not missing()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_message_is_half_translated(language: str) -> None:
    """Each with values in their places, which are no words."""
    wrong = {}
    for name, translator in (("program", messages(language)), ("terminal", terminal_messages(language))):
        for text in (str(message.id) for message in catalogue("es", name) if message.id):
            shown = translator.lines(re.sub(r"\{(\d)\}", r"x\1", text))
            if found := foreign_words(shown, language):
                wrong[text] = (found, shown)
    assert not wrong


def _commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _commands(below, click.Context(below, info_name=name, parent=context))


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_help_page_is_half_translated(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_LANG", language)
    wrong, pages = {}, 0
    for context in _commands(cdc, click.Context(cdc, info_name="cdc", obj=CommandSession(), terminal_width=10_000)):
        with context.scope(cleanup=False):
            page, pages = context.get_help(), pages + 1
        if found := foreign_words(page, language):
            wrong[context.command_path] = found
        assert page.startswith("Uso: cdc" if language == "es" else "Usage: cdc")
    assert not wrong
    assert pages > 80


def test_configuration_chooses_the_language_of_errors_but_not_of_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cdc.toml"
    file.write_text('[process]\nlanguage = "es"\n[outbox]\nurl = "sqlite:///cdc.db"\n')
    monkeypatch.delenv("CDC_LANG")
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    spanish = run_cli("--config", str(file), "endpoint", "list")
    assert spanish.stderr.startswith("Error: No existe la bandeja de salida ")
    assert not foreign_words(spanish.stderr.replace(str(file.parent), ""), "es")
    english = run_cli("--config", str(file), "endpoint", "list", "--json")
    assert '"message": "There is no outbox ' in english.stderr
    monkeypatch.setenv("CDC_LANG", "en")
    assert run_cli("--config", str(file), "endpoint", "list").stderr.startswith("Error: There is no outbox ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["endpoint", "lst"], "Error: No existe el comando 'lst'. ¿Quería decir 'list'?"),
        (["endpoint", "show"], "Error: Falta el argumento 'ID'."),
        (["delivery", "list", "--limit", "0"], "Error: Valor no válido para '--limit': 0 no está en el intervalo 1<=x"),
        (["listen", "--port"], "Error: La opción '--port' necesita un valor."),
        (["user", "add", "ana", "--role", "boss"], "'boss' no es ninguno de 'viewer', 'manager'."),
    ],
)
def test_errors_of_the_command_line_itself(arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_LANG", "es")
    shown = run_cli(*arguments)
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert not foreign_words(shown.stderr, "es")


@pytest.mark.parametrize("states", [DeliveryState, EndpointState, BackfillState, ReplayState, Operation])
def test_states_of_lists_are_translated_and_those_of_json_are_not(states: type[StrEnum]) -> None:
    for language in LANGUAGES:
        with click.Context(cdc, obj=CommandSession()).scope() as context:
            context.obj.language = language
            words = {state: coloured(state).text for state in states}
        same = [state for state, word in words.items() if word == state.value]
        assert same == ([] if language == "es" else list(states))


def test_comments_of_scripts_are_translated_and_their_statements_are_not() -> None:
    choice = AccountChoice("acme", {})
    accounts = {role: Account(f"cdc_acme_{role}", "%", "secret") for role in AccountRole}
    parts = account_parts(accounts, choice, connects("erp", []))
    parts |= {"database": "erp", "schema": "public", "tables": "t", "selects": "", "owners": ""}
    for script in (
        render("postgres/trigger/grants.sql", **parts),
        render("postgres/slot/grants.sql", **parts),
        render("postgres/outbox/roles.sql", database="cdc"),
        short_toml(Choices(url="postgresql://cdc@db/erp")),
    ):
        with click.Context(cdc, obj=CommandSession()).scope() as context:
            context.obj.language = "es"
            spoken = with_comments(script)
        comments = [line for line in spoken.splitlines() if line.startswith(("-- ", "# "))]
        assert comments
        assert not foreign_words("\n".join(comments), "es")
        assert [line for line in spoken.splitlines() if line not in comments] == [
            line for line in script.splitlines() if not line.startswith(("-- ", "# "))
        ]


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("2 days", "2 días"),
        ("id, event, days", "id, event, days"),  # names, of which the last is a noun of something counted
        ("Disabled by hand.", "Desactivado a mano."),
        ("No check failed, but there is 1 warning.", "Ninguna comprobación ha fallado, pero hay 1 aviso."),
        (
            "Invalid value for 'FILE': File 'b' does not exist.",
            "Valor no válido para 'FILE': no existe el archivo 'b'.",
        ),
    ],
)
def test_values_of_a_message_are_translated_where_they_are_words(text: str, translated: str) -> None:
    assert terminal_messages("es").lines(text) == translated


def test_kinds_of_events_are_described_in_spanish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_LANG", "es")
    shown = run_cli("event", "kinds", "receipt.*")
    assert "se paga (pagado)" in shown.stdout
    assert not foreign_words(shown.stdout, "es")


def test_step_of_a_list_is_translated_without_its_number() -> None:
    """``{1} event`` is a message too."""
    assert terminal_messages("es").lines("  5. add the receiver, and send it a test event") == (
        "  5. añadir el receptor y enviarle un evento de prueba"
    )
