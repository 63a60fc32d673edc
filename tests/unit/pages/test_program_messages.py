"""Messages of the program on the page: each has a translation, and none names a command in an error."""

from __future__ import annotations

import re
from time import process_time

import pytest

from cdc.language import DEFAULT, LANGUAGES, Messages, messages
from support.program_messages import catalogue, names_command, templates, unknown_places, with_commands

_VALUE = re.compile(r"\{\d+\}")


@pytest.fixture(params=[code for code in LANGUAGES if code != DEFAULT])
def code(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_message_in_the_code_is_translated_and_none_is_left_over(code: str) -> None:
    """To add new ones: ``PYTHONPATH=tests python -m support.program_messages``, and translate the empty ones."""
    found = {str(message.id): str(message.string) for message in catalogue(code) if message.id}
    missing = {message: where.place for message, where in templates().items() if not found.get(message)}
    assert not missing
    assert not found.keys() - templates().keys()


def test_places_of_messages_are_in_the_code() -> None:
    assert not unknown_places()


@pytest.mark.parametrize("code", LANGUAGES)
def test_translations_hold_the_same_values(code: str) -> None:
    """What is said instead of a command may do without them."""
    for message in catalogue(code):
        original, translated = sorted(_VALUE.findall(str(message.id))), sorted(_VALUE.findall(str(message.string)))
        assert original == translated or (not translated and names_command(str(message.id))), message.id


@pytest.mark.parametrize("code", LANGUAGES)
def test_errors_on_the_page_name_no_command(code: str) -> None:
    """In English, too: the catalogue of English says the same for somebody who has a browser only."""
    translate = messages(code).translate
    assert len(with_commands()) > 30
    for message in with_commands():
        shown = translate(_VALUE.sub("x1", message))
        assert not names_command(shown), shown


def test_catalogue_of_english_holds_only_messages_of_the_code() -> None:
    assert {str(message.id) for message in catalogue(DEFAULT) if message.id} <= templates().keys()


ES = Messages(
    {
        "There is no user {1}.": "No existe el usuario {1}.",
        "`cdc user list` shows the users.": "Compruebe el nombre.",
        "{1} cannot get events: {2}": "{1} no puede recibir eventos: {2}",
        "The URL {1} leads to {2}.": "La URL {1} lleva a {2}.",
        "a private address": "una dirección privada",
        "{1} does not answer: {2}.": "{1} no responde: {2}.",
        "{1} database {2}": "la base de datos {2} de {1}",
        "The host name {1}": "el nombre {1}",
        "{1} cannot be looked up: {2}.": "No se encuentra {1}: {2}.",
        "The table changed: {1}.": "La tabla ha cambiado: {1}.",
        "column {1} was added": "se ha añadido la columna {1}",
        "column {1} was {2}, is {3}": "la columna {1} era {2} y ahora es {3}",
        "server": "servidor",
    }
)


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("There is no user ann.", "No existe el usuario ann."),
        ("There is no user ann. `cdc user list` shows the users.", "No existe el usuario ann. Compruebe el nombre."),
        (
            "x cannot get events: The URL https://a.example leads to a private address.",
            "x no puede recibir eventos: La URL https://a.example lleva a una dirección privada.",
        ),
        ("mysql database erp does not answer: no.", "La base de datos erp de mysql no responde: no."),
        ("The host name a.example cannot be looked up: no.", "No se encuentra el nombre a.example: no."),
        (
            "The table changed: column a was added; column b was int, is bigint.",
            "La tabla ha cambiado: se ha añadido la columna a; la columna b era int y ahora es bigint.",
        ),
        (
            "column a was added; column b was added",
            "se ha añadido la columna a; se ha añadido la columna b",
        ),
        ("server; column a was added", "servidor; se ha añadido la columna a"),
        ("server", "servidor"),
        ("There is no user server.", "No existe el usuario server."),  # a name is not a message
        ("Said by somebody else. There is no user ann.", "Said by somebody else. No existe el usuario ann."),
        ("Said by somebody else", "Said by somebody else"),
        ("There is no user .", "There is no user ."),
        ("", ""),
    ],
)
def test_translation_by_templates(text: str, translated: str) -> None:
    assert ES.translate(text) == translated


def test_long_and_hostile_texts_cost_little() -> None:
    """A receiver or server words a part of some messages."""
    translate, started = messages("es").translate, process_time()
    for part in ("; ", ": ", ". ", " (", "cannot ", "The API at ", "column a was b, is ", "{1}"):
        assert translate(part * (4000 // len(part)))
        assert translate(f"The outbox x refused an operation: {part * 800}.")
    assert translate("x" * 100_000) == "x" * 100_000
    assert process_time() - started < 30


@pytest.mark.parametrize(
    ("message", "spanish"),
    [
        ("example.com did not answer within 0.4 s.", "example.com no ha respondido en 0,4 s."),
        ("A rate of 0.05 a second is not possible.", "No es posible una velocidad de 0,05 por segundo."),
        (
            "1,234 changes wait, the oldest for 12 min; the journal takes 1.5 GB of disk",
            "1.234 cambios esperan, el más antiguo desde hace 12 min; la tabla de cambios ocupa 1,5 GB de disco",
        ),
    ],
)
def test_numbers_have_the_languages_signs(message: str, spanish: str) -> None:
    assert messages("es").translate(message) == spanish
    assert messages("en").translate(message) == message


def test_versions_and_addresses_keep_their_points() -> None:
    spanish = Messages({"{1} {2} is too old.": "{1} {2} es demasiado antiguo.", "{1} refuses.": "{1} rechaza."}, ",.")
    assert spanish.translate("MariaDB 10.3 is too old.") == "MariaDB 10.3 es demasiado antiguo."
    assert spanish.translate("10.0.0.5 refuses.") == "10.0.0.5 rechaza."
