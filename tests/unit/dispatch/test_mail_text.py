"""What a mail says: sentences of operational events, changed fields of others, all of it bounded."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from cdc.dispatch.mail import MARK, mail_text
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import BySchemeSender
from cdc.model.event import event_payload
from cdc.model.operation import examples
from support.foreign_words import foreign_words


def payload(**changes: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "event": "invoice.paid",
        "timestamp": "2026-11-24T21:48:00.000000Z",
        "source": "main",
        "key": {"idfactura": 12},
        "data": {"idfactura": 12, "pagada": True, "total": 121.0, "nota": "", "baja": None},
        "previous": {"pagada": False, "nota": "x"},
        "transaction": "7301",
    } | changes


def test_a_change_says_what_changed() -> None:
    found = mail_text(orjson.dumps(payload()))
    assert found.subject == f"{MARK} invoice.paid: idfactura 12"
    assert found.text == (
        'invoice.paid: idfactura 12 (source main)\n\npagada: false → true\nnota: x → ""\n\n'
        "time: 2026-11-24T21:48:00.000000Z\nevent: evt_1\n"
    )


def test_a_new_record_says_what_it_holds() -> None:
    lines = [{"referencia": "A"}, {"referencia": "B"}]
    created = payload(event="invoice.created", data={"idfactura": 12, "lines": lines, "nota": "a\nb"})
    del created["previous"]
    assert "\nidfactura: 12\nlines: 2 rows\nnota: a b\n" in mail_text(orjson.dumps(created)).text


def test_a_conclusion_is_called_one() -> None:
    assert "A conclusion" in mail_text(orjson.dumps(payload(event="user.login", inferred=True))).text


def test_a_truncated_table_has_no_key() -> None:
    gone = payload(event="invoice.truncated", key={}, data={})
    del gone["previous"]
    assert mail_text(orjson.dumps(gone)).subject == f"{MARK} invoice.truncated: all"


def test_every_operational_event_begins_with_its_message() -> None:
    for event in examples().values():
        found = mail_text(event_payload(event))
        assert found.text.startswith(f"{event.data['message']}\n")
        assert f"\n\n{event.name}\n" in found.text
        assert found.subject.startswith(f"{MARK} {event.name}: ")
        assert f"event: {event.id}\n" in found.text


@pytest.mark.parametrize("name", examples())
def test_operational_event_in_spanish_says_cause_what_waits_and_where(name: str) -> None:
    event = examples()[name]
    mail = mail_text(event_payload(event), "es", "https://cdc.example.com/")
    prose = mail.subject + "\n" + mail.text.replace("The database", "")  # of an example
    assert not foreign_words(prose, "es")
    place = (
        f"/endpoints/{event.key['endpoint']}"
        if "endpoint" in event.key
        else "/sources"
        if "source" in event.key
        else "/"
    )
    assert f"\nVer: https://cdc.example.com{place}\n" in mail.text
    if name == "endpoint.disabled":
        assert mail.subject.endswith(" (Shop): shop.example.com ha rechazado la conexión.")
        assert "Entregas en espera: 37. cdc endpoint enable ep_4f1d2c90ab37e856 las envía." in mail.text
    if name == "endpoint.failing":
        assert "Entregas en espera: 37." in mail.text


def test_a_record_in_spanish() -> None:
    mail = mail_text(orjson.dumps([payload(test=True, observed=True, inferred=True, days=3), payload(days=-1)]), "es")
    assert mail.subject == f"{MARK} 2 eventos: invoice.paid"
    assert "invoice.paid: idfactura 12 (origen main)" in mail.text
    assert not foreign_words(mail.text.replace("pagada: false → true", ""), "es")


def test_size_is_bounded() -> None:
    wide = payload(data={f"c{number}": "x" * 300 for number in range(150)}, key={"id": "k" * 1000})
    del wide["previous"]
    one, many = mail_text(orjson.dumps(wide)), mail_text(orjson.dumps([wide] * 60))
    assert len(one.subject) == 150
    assert "… and 50 more" in one.text
    assert f"\nc0: {'x' * 199}…\n" in one.text
    assert many.text.count("\n") == 5_000
    assert many.text.endswith("lines more")


async def test_the_scheme_says_how_it_goes() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        async def send(self, request: WebhookRequest) -> Answer:
            return Answer(200, 0.0, body=f"{self.name} {request.url}".encode())

    sender = BySchemeSender(Named("http"), {"mailto": Named("mail")})
    for url, how in {"https://a.example.com": "http", "mailto:a@b": "mail", "MAILTO:a@b": "mail"}.items():
        assert (await sender.send(WebhookRequest(url, {}, b"", 1.0))).body == f"{how} {url}".encode()
