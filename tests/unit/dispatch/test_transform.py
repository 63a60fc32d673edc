"""Bodies that transforms make: shapes, messages, headers, and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc.api.endpoints import Language, Preset
from cdc.config import Config
from cdc.config.rules import event_types, label
from cdc.dispatch.message import LANGUAGES, event_title, occasion
from cdc.dispatch.transform import PRESETS, Body, Shape, TransformFailed, preset, shaped
from cdc.mapping.catalogue import load_catalogue
from cdc.model.event import Label
from cdc.model.operation import OPERATION_TYPES

RECORD = "facturascli:12"
INVOICE = {
    "id": "evt_1",
    "event": "invoice.paid",
    "timestamp": "2026-11-24T21:48:00.123456Z",
    "source": "main",
    "key": {"idfactura": 12},
    "data": {"codigo": "FAC2026A12", "nombrecliente": "Talleres Ruiz", "total": 423.5, "coddivisa": "EUR"},
    "transaction": "7",
}


def made(text: str, language: str = "en", **changes: Any) -> Body:
    return shaped(
        INVOICE | changes, RECORD, Shape(text, language), lambda source, event: label(Config(), source, event)
    )


def value(text: str, language: str = "en", **changes: Any) -> Any:
    return json.loads(made(text, language, **changes).content)


def reason(text: str, **changes: Any) -> TransformFailed:
    with pytest.raises(TransformFailed) as failed:
        made(text, **changes)
    return failed.value


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("es", "Factura FAC2026A12 pagada · Talleres Ruiz · 423,50 €"),
        ("en", "Invoice FAC2026A12 paid · Talleres Ruiz · €423.50"),
    ],
)
def test_a_message_names_the_record_as_the_page_does(language: str, message: str) -> None:
    assert value("[message]", language)[0].replace("\xa0", " ") == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event": "invoice.large"}, "Factura FAC2026A12 · Talleres Ruiz · 423,50 € (invoice.large)"),
        ({"event": "tarjetas.created", "data": {"puntos": 3}}, "tarjetas.created · 12"),
        ({"event": "payment.recorded", "data": {"importe": 10, "coddivisa": "EUR"}}, "Cobro registrado · 10,00 €"),
        ({"event": "invoice.truncated", "data": {}}, "Factura (tabla vaciada)"),
        ({"event": "receipt.due", "days": -7, "data": {"codigofactura": "F1"}}, "Recibo F1 vence en 7 días"),
        ({"event": "receipt.due", "days": 0, "data": {"codigofactura": "F1"}}, "Recibo F1 vence hoy"),
        ({"event": "estimate.expiring", "days": 1, "data": {}}, "Presupuesto caducó hace 1 día"),
        ({"event": "invoice.paid", "data": {"codigo": None, "total": None}}, "Factura pagada"),
        ({"event": "source.stalled", "source": "cdc", "data": {"source": "main"}}, "El origen main está detenido"),
    ],
)
def test_a_message_has_what_the_event_has(changes: dict[str, Any], message: str) -> None:
    assert value("[message]", "es", **changes)[0].replace("\xa0", " ") == message


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_event_of_the_catalogue_has_words(language: str) -> None:
    for kind in event_types(Config()):
        (text,) = value("[message]", language, **kind.example)
        assert text, kind.name
        assert kind.name not in text, kind.name
    assert {each.name for each in OPERATION_TYPES} <= {kind.name for kind in event_types(Config())}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_event_of_the_catalogue_has_a_sentence_of_its_own(language: str) -> None:
    names = [kind.name for kind in event_types(Config())]
    for words in (occasion, event_title):
        sentences = [words(name, language) for name in names]
        assert "" not in sentences
        assert [name for name, sentence in zip(names, sentences, strict=True) if name in sentence] == []
        assert len(set(sentences)) == len(names)


@pytest.mark.parametrize(
    ("name", "sentence", "title"),
    [
        ("invoice.paid", "se paga una factura", "Factura pagada"),
        ("invoice.*", "ocurre algo con una factura", "Ocurre algo con una factura"),
        ("*.deleted", "se elimina cualquier registro", "Se elimina cualquier registro"),
        ("*", "ocurre algo con cualquier registro", "Ocurre algo con cualquier registro"),
        ("tarjetas.created", "se crea un registro de tarjetas", "Se crea un registro de tarjetas"),
        ("source.gap", "no se ha podido capturar un cambio", "No se ha podido capturar un cambio"),
        ("invoice.large", "", "invoice.large"),
        ("inv*.paid", "", "inv*.paid"),
    ],
)
def test_events_and_patterns_in_words(name: str, sentence: str, title: str) -> None:
    assert (occasion(name, "es"), event_title(name, "es")) == (sentence, title)


def test_the_users_rules_say_what_a_record_is_called() -> None:
    rules = load_catalogue('[entity.invoice]\nlabel = { code = "numero2" }\n')
    (own,) = [each.label for each in rules.entities if each.name == "invoice"]
    event = INVOICE | {"data": {"numero2": "B-7", "codigo": "FAC2026A12"}}
    body = shaped(event, RECORD, Shape("message", "en"), lambda *_: own)
    assert (own, body.content) == (Label("numero2"), b"Invoice B-7 paid")


# -- presets -----------------------------------------------------------------------------------------------------------

HOSTILE = {"codigo": "<!channel> & @all <users/all> *b*", "nombrecliente": "x"}


def test_presets_are_what_the_chats_take() -> None:
    text = "Factura FAC2026A12 pagada · Talleres Ruiz · 423,50\xa0€"
    for name in ("slack", "telegram", "google-chat", "mattermost"):
        assert value(preset(name), "es") == {"text": text}
    assert value(preset("discord"), "es") == {"content": text, "allowed_mentions": {"parse": []}}
    (card,) = value(preset("teams"), "es")["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["body"] == [{"type": "TextBlock", "text": text, "wrap": True}]


def test_a_customers_name_calls_nobody() -> None:
    assert value(preset("slack"), data=HOSTILE)["text"].startswith(
        "Invoice &lt;!channel&gt; &amp; @all &lt;users/all&gt;"
    )
    assert "@all" not in value(preset("mattermost"), data=HOSTILE)["text"]
    assert "<users" not in value(preset("google-chat"), data=HOSTILE)["text"]


def test_the_api_names_the_presets_and_languages_that_there_are() -> None:
    assert Preset.__origin__.__args__ == PRESETS  # type: ignore[attr-defined]  # of the Literal within
    assert Language.__origin__.__args__ == LANGUAGES  # type: ignore[attr-defined]  # likewise


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('{"id": key.idfactura, "all": data}', ("application/json", {"id": 12, "all": INVOICE["data"]})),
        ("[event, record, table, test, title]", ("application/json", ["invoice.paid", RECORD, "facturascli", False])),
        ('"total=" + string(data.total)', ("text/plain; charset=utf-8", "total=423.5")),
        ('{"body": "<a/>", "content_type": "application/xml"}', ("application/xml", "<a/>")),
        ('{"body": {"a": 1u}}', ("application/json", {"a": 1})),
        ('{"body": 1, "title": 2}', ("application/json", {"body": 1, "title": 2})),
        (
            "{1: timestamp(timestamp), 2: duration('90s')}",
            ("application/json", {"1": "2026-11-24T21:48:00.123456+00:00", "2": "1m30s"}),
        ),
        ('["a", "b"].join("-").replace("a", "c")', ("text/plain; charset=utf-8", "c-b")),
        ("previous", ("application/json", {})),
    ],
)
def test_the_value_is_the_body(text: str, body: tuple[str, Any]) -> None:
    found = made(text)
    content = json.loads(found.content) if found.content_type == "application/json" else found.content.decode()
    if text.startswith("[event"):
        content = content[:4]
    assert (found.content_type, content) == body


def test_headers_are_checked_as_those_of_an_endpoint() -> None:
    assert made('{"body": "x", "headers": {"X-Event": event}}').headers == (("X-Event", "invoice.paid"),)
    for name in ("Host", "content-length", "webhook-signature", "Content-Type", "Transfer-Encoding", "X-Webhook-Test"):
        assert "is set by every delivery itself" in reason(f'{{"body": "x", "headers": {{"{name}": "1"}}}}').reason
    injected = {"codigo": "1\r\nX-Evil: 1"}
    assert "has a line break" in reason('{"body": "x", "headers": {"X-Code": data.codigo}}', data=injected).reason
    assert "header Authorization" in reason('{"body": "x", "headers": {"authorization": "Bearer x"}}').reason
    assert "not a map of texts" in reason('{"body": "x", "headers": {"X-Code": 1}}').reason
    assert "content_type" in reason('{"body": "x", "content_type": data.codigo}', data=injected).reason


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("days", "asks for a field or an element that the event does not have"),
        ("data.missing", "asks for a field or an element that the event does not have"),
        ("[data.total + event]", "values of different types"),
        ("[1 / 0]", "a number that does not exist"),
        ("true", "neither a map, nor a list, nor a text"),
        ('{"a": b"x"}', "bytes or a type"),
        ("{", "not a valid expression"),
    ],
)
def test_a_failure_has_a_reason_without_values(text: str, sentence: str) -> None:
    failed = reason(text)
    assert sentence in failed.reason
    assert not failed.exceeded


MANY = "[" + ",".join("1" for _ in range(62)) + "]"


@pytest.mark.parametrize(
    "text",
    [
        f"{MANY}.map(a, {MANY}.map(b, {MANY}))",
        f'{MANY}.map(a, {MANY}.map(b, "{"x" * 500}"))',
        f"{MANY}.map(a, {MANY}.map(b, data))",
        f'{{"body": {MANY}.map(a, data.text).join("")}}',
    ],
)
def test_a_hostile_transform_is_stopped(text: str) -> None:
    failed = reason(text, data={"text": "x" * 300_000, "lines": [{"a": 1}] * 100})
    assert failed.exceeded
    assert "The transform" in failed.reason


def test_many_dear_evaluations_exceed_the_average() -> None:
    shape = Shape(f"[{MANY}.all(a, {MANY}.all(b, b == 1 && a == 1))]", "en", "ep_average")
    reasons: list[TransformFailed] = []
    while not reasons:
        try:
            shaped(INVOICE, RECORD, shape)
        except TransformFailed as failed:
            reasons.append(failed)
    assert reasons[0].exceeded
    assert "on average" in reasons[0].reason
