"""Events show the records that belong to theirs, and the record's page in FacturaScripts, by every way to capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.routes import ROUTES, routes

TABLES = (
    "CREATE TABLE settings (name varchar(30) PRIMARY KEY, properties text)",
    """INSERT INTO settings VALUES ('email', '{"password": "hush", "site_url": "https://mail.example"}'),
        ('default', '{"site_url": "https://erp.example.com/shop/"}')""",
    """CREATE TABLE clientes (
        codcliente varchar(10) PRIMARY KEY, nombre varchar(40), email varchar(40), telefono1 varchar(20))""",
    """CREATE TABLE pedidoscli (
        idpedido integer PRIMARY KEY, codigo varchar(20), codcliente varchar(10), nombrecliente varchar(40),
        total integer)""",
    """CREATE TABLE facturascli (
        idfactura integer PRIMARY KEY, codigo varchar(20), codcliente varchar(10), nombrecliente varchar(40),
        total integer)""",
    """CREATE TABLE doctransformations (
        id integer PRIMARY KEY, model1 varchar(30), iddoc1 integer, model2 varchar(30), iddoc2 integer)""",
    """CREATE TABLE recibospagoscli (
        idrecibo integer PRIMARY KEY, idfactura integer, codcliente varchar(10), importe integer)""",
    "CREATE TABLE pagoscli (idpago integer PRIMARY KEY, idrecibo integer, importe integer)",
)
SITE = "https://erp.example.com/shop"


def _document(entity: str, key: str, number: int, code: str, total: int) -> dict[str, Any]:
    page = {"order": "EditPedidoCliente", "invoice": "EditFacturaCliente"}[entity]
    link = f"{SITE}/{page}?code={number}"
    return {"entity": entity, "key": {key: number}, "code": code, "name": "Ada & Co", "total": total, "link": link}


def _customer(email: str) -> dict[str, Any]:
    link = f"{SITE}/EditCliente?code=A%2F1%20%26"
    named = {"code": "A/1 &", "name": "Ada & Co", "email": email, "phone": None}
    return {"entity": "customer", "key": {"codcliente": "A/1 &"}, **named, "link": link}


_ORDER = _document("order", "idpedido", 12, "PED1", 100)
_INVOICE = _document("invoice", "idfactura", 12, "FAC12", 100)
_NONE: dict[str, list[Any]] = {"before": [], "after": []}
_RECEIPT, _PAYMENT = f"{SITE}/EditReciboCliente?code=27", f"{SITE}/EditReciboCliente?code=27"

#: Transactions, each with its events: name → related, link.  The order and the invoice have the same number.
STEPS: tuple[tuple[tuple[str, ...], dict[str, tuple[Any, str | None]]], ...] = (
    (
        (
            "INSERT INTO clientes VALUES ('A/1 &amp;', 'Ada &amp; Co', 'one@example.com', NULL)",
            "INSERT INTO pedidoscli VALUES (12, 'PED1', 'A/1 &amp;', 'Ada &amp; Co', 100)",
        ),
        {
            "customer.created": (None, f"{SITE}/EditCliente?code=A%2F1%20%26"),
            "order.created": ({"customer": _customer("one@example.com"), "origin": _NONE}, _ORDER["link"]),
        },
    ),
    (
        (
            "INSERT INTO facturascli VALUES (12, 'FAC12', 'A/1 &amp;', 'Ada &amp; Co', 90)",
            "INSERT INTO doctransformations VALUES (1, 'PedidoCliente', 12, 'FacturaCliente', 12)",
            "INSERT INTO doctransformations VALUES (2, 'PedidoCliente', 12, 'FacturaCliente', 12)",
            "INSERT INTO doctransformations VALUES (3, 'PedidoProveedor', 12, 'FacturaProveedor', 12)",
            "UPDATE clientes SET email = 'two@example.com'",
            "UPDATE pedidoscli SET total = 101",
            "UPDATE facturascli SET total = 100",
            "UPDATE pedidoscli SET total = 100, codigo = 'PED1'",
            "UPDATE pedidoscli SET nombrecliente = 'Ada &amp; Co '",
        ),
        {
            "invoice.created": (
                {
                    "customer": _customer("two@example.com"),
                    "origin": {"before": [{**_ORDER, "name": "Ada & Co "}], "after": []},
                },
                _INVOICE["link"],
            ),
            "customer.updated": (None, f"{SITE}/EditCliente?code=A%2F1%20%26"),
            "order.updated": (
                {"customer": _customer("two@example.com"), "origin": {"before": [], "after": [_INVOICE]}},
                _ORDER["link"],
            ),
        },
    ),
    (
        ("INSERT INTO recibospagoscli VALUES (27, 12, 'A/1 &amp;', 100)",),
        {"receipt.created": ({"customer": _customer("two@example.com")}, _RECEIPT)},
    ),
    (
        ("INSERT INTO pagoscli VALUES (33, 27, 100)",),
        {
            "payment.created": ({"invoice": _INVOICE, "customer": _customer("two@example.com")}, _PAYMENT),
            "payment.recorded": ({"invoice": _INVOICE, "customer": _customer("two@example.com")}, _PAYMENT),
        },
    ),
    (
        ("UPDATE clientes SET email = 'three@example.com'",),
        {"customer.updated": (None, f"{SITE}/EditCliente?code=A%2F1%20%26")},
    ),
    (
        (
            "DELETE FROM pagoscli",
            "DELETE FROM recibospagoscli",
            "DELETE FROM facturascli",
            "DELETE FROM doctransformations",
        ),
        {
            "payment.deleted": ({"invoice": _INVOICE, "customer": _customer("three@example.com")}, None),
            "receipt.deleted": ({"customer": _customer("three@example.com")}, None),
            "invoice.deleted": (
                {
                    "customer": _customer("three@example.com"),
                    "origin": {"before": [{**_ORDER, "name": "Ada & Co "}], "after": []},
                },
                None,
            ),
        },
    ),
    (
        ("DELETE FROM pedidoscli", "DELETE FROM clientes"),
        {
            "order.deleted": ({"customer": _customer("three@example.com"), "origin": _NONE}, None),
            "customer.deleted": (None, None),
        },
    ),
)


def _seen(events: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    return [(each["event"], each.get("related"), each.get("links", {}).get("record")) for each in events]


@pytest.mark.timeout(600)
async def test_events_show_related_records_and_links(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """First as each transaction is committed, then all together, as after a stop of the consumer.

    A log may give these in several batches: records that a transaction did not change are then as they are when its
    batch is read."""
    expected = [sorted(((name, *shown) for name, shown in events.items()), key=str) for _, events in STEPS]
    options = 'include = ["customer", "origin"]'
    async with routes(request, tmp_path, TABLES, "*", options) as running:
        count = 0
        async with running.running():
            for number, (statements, _) in enumerate(STEPS):
                await running.commit(*statements)
                count += len(expected[number])
                await running.until(count)
                for source in running.databases:
                    news = running.of(source)[count - len(expected[number]) :]
                    assert sorted(_seen(news), key=str) == expected[number], (source, number)
        for statements, _ in STEPS:
            await running.commit(*statements)
        async with running.running():
            await running.until(2 * count)
        for source in running.databases:
            again = sorted(_seen(running.of(source)[count:]), key=str)
            if ROUTES[source][1] == "triggers":
                assert again == sorted((event for events in expected for event in events), key=str), source
        assert "hush" not in running.consumer.log.read_text()
