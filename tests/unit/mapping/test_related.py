"""Records that events show beside their own, and the addresses of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.database.settings import site_url
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.change import Row, Transaction, Value
from cdc.model.column import Table
from cdc.model.errors import ConfigError
from cdc.model.event import Event
from support.row_changes import delete, insert, transaction, update
from support.selection import examples

KEYS = {
    "facturascli": "idfactura", "facturasprov": "idfactura", "recibospagoscli": "idrecibo",
    "recibospagosprov": "idrecibo", "pagoscli": "idpago", "pagosprov": "idpago", "clientes": "codcliente",
    "proveedores": "codproveedor", "pedidoscli": "idpedido", "doctransformations": "id",
}  # fmt: skip


class Tables:
    """What is read after a batch; ``read``: the tables, a statement each."""

    def __init__(self, **rows: list[dict[str, Any]]) -> None:
        self.stored = rows
        self.read: list[str] = []

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        self.read += [table] if values else []
        return [row for row in self.stored.get(table, []) if row[column] in values]

    async def all_rows(self, table: str) -> list[Row]:
        return list(self.stored.get(table, []))

    async def tables(self) -> dict[str, Table]:
        return {name: Table(name, (), (key,)) for name, key in KEYS.items()}


async def _events(tables: Tables, *batch: Transaction, rules: str = "", site: str = "") -> list[Event]:
    mapping = Mapper(load_catalogue(rules)).batch("main", batch, {}, site)
    return (await mapping.read_facts(tables, {})).map().events


def _stored() -> Tables:
    return Tables(
        facturasprov=[{"idfactura": 7, "codigo": "FP7", "nombre": "Aceros", "total": 9.0}],
        recibospagosprov=[{"idrecibo": 5, "idfactura": 7, "codproveedor": "3"}],
        proveedores=[{"codproveedor": "3", "nombre": "Aceros", "email": "a@example.com", "telefono1": "96"}],
    )


_PAID = insert("pagosprov", {"idpago": 1, "idrecibo": 5, "importe": 9.0}, "idpago")


async def test_supplier_payment_shows_invoice_always_and_supplier_on_demand() -> None:
    (*_, plain) = await _events(_stored(), transaction(_PAID))
    invoice = {"entity": "supplier_invoice", "key": {"idfactura": 7}, "code": "FP7", "name": "Aceros", "total": 9.0}
    assert (plain.name, plain.related, plain.link) == ("supplier_payment.recorded", {"invoice": invoice}, "")
    rules, tables = '[entity.supplier_payment]\ninclude = ["supplier"]', _stored()
    (*_, asked) = await _events(tables, transaction(_PAID), rules=rules, site="https://erp")
    supplier = {"code": "3", "name": "Aceros", "email": "a@example.com", "phone": "96"}
    link = "https://erp/EditProveedor?code=3"
    shown = {"entity": "supplier", "key": {"codproveedor": "3"}, **supplier, "link": link}
    assert asked.related is not None
    assert asked.related["supplier"] == shown
    assert tables.read == ["recibospagosprov", "facturasprov", "proveedores"]


async def test_secret_columns_of_related_records_are_not_shown() -> None:
    rules = '[secret]\nproveedores = ["email", "telefono1"]\n[entity.supplier_payment]\ninclude = ["supplier"]'
    (*_, event) = await _events(_stored(), transaction(_PAID), rules=rules)
    assert event.related is not None
    assert event.related["supplier"].keys() == {"entity", "key", "code", "name"}


async def test_invoice_is_not_read_where_receipts_are_not_captured() -> None:
    tables = _stored()
    (*_, event) = await _events(tables, transaction(_PAID), rules='disable = ["supplier_receipt.*"]')
    assert (event.related, tables.read) == (None, [])


async def test_row_that_later_transactions_changed_is_followed_as_it_was() -> None:
    """The receipt moves to another invoice, and is deleted, before the batch is read."""
    receipt = {"idrecibo": 5, "idfactura": 7, "codproveedor": "3"}
    tables = _stored()
    tables.stored["recibospagosprov"] = []
    moved = update("recibospagosprov", receipt, key="idrecibo", idfactura=8)
    later = transaction(moved, token="t2"), transaction(delete("recibospagosprov", receipt, "idrecibo"), token="t3")
    events = await _events(tables, transaction(_PAID), *later)
    recorded = next(event for event in events if event.name == "supplier_payment.recorded")
    assert recorded.related is not None
    assert recorded.related["invoice"]["code"] == "FP7"


@pytest.mark.parametrize("kind", ["customer", "origin"])
async def test_document_of_which_only_lines_changed_shows_related_records(kind: str) -> None:
    rules = f'[entity.order]\ninclude = ["lines", "{kind}"]'
    order = {"idpedido": 1, "codigo": "PED1", "codcliente": "A"}
    made = {"id": 1, "model1": "PedidoCliente", "iddoc1": 1, "model2": "FacturaCliente", "iddoc2": 4}
    tables = Tables(
        pedidoscli=[order],
        clientes=[{"codcliente": "A", "nombre": "Ada"}],
        doctransformations=[made, {**made, "id": 2, "model1": "PresupuestoCliente"}],
        facturascli=[{"idfactura": 4, "codigo": "FAC4"}],
    )
    line = {"idlinea": 1, "idpedido": 1, "cantidad": 1.0}
    (event,) = await _events(
        tables, transaction(update("lineaspedidoscli", line, cantidad=2.0, key="idlinea")), rules=rules
    )
    invoice = {"entity": "invoice", "key": {"idfactura": 4}, "code": "FAC4"}
    expected = {
        "customer": {"entity": "customer", "key": {"codcliente": "A"}, "code": "A", "name": "Ada"},
        "origin": {"before": [], "after": [invoice]},
    }
    assert (event.name, event.related) == ("order.updated", {kind: expected[kind]})


_EMAIL = st.sampled_from(["a", "b", "c"])


@settings(max_examples=examples(200))
@given(st.lists(st.tuples(_EMAIL, st.booleans(), _EMAIL), min_size=1, max_size=6))
async def test_customer_is_shown_as_each_transaction_left_it(steps: list[tuple[str, bool, str]]) -> None:
    """Each transaction may change the customer, and writes a receipt; the batch is read after all of them."""
    customer: dict[str, Any] = {"codcliente": "1", "email": "z"}
    batch, expected = [], []
    for number, (first, changes, second) in enumerate(steps):
        receipt = insert("recibospagoscli", {"idrecibo": number, "codcliente": "1"}, "idrecibo")
        written = [receipt]
        for email in (first, second) if changes else ():
            written.append(update("clientes", customer, key="codcliente", email=email))
            customer = {**customer, "email": email}
        batch.append(transaction(*written, token=f"t{number}"))
        expected.append(customer["email"])
    rules = '[entity.receipt]\ninclude = ["customer"]'
    events = await _events(Tables(clientes=[customer]), *batch, rules=rules)
    receipts = [event for event in events if event.name == "receipt.created"]
    assert [event.related and event.related["customer"]["email"] for event in receipts] == expected


_INVOICE = {"idfactura": 9, "codigo": "FAC9", "total": 20.0, "editable": False, "idfacturarect": None}
_REFUND = {**_INVOICE, "idfactura": 10, "codigo": "REC1", "total": -5.0, "idfacturarect": 9, "codigorect": "FAC9"}


async def test_refund_shows_the_invoice_that_it_corrects() -> None:
    batch = transaction(insert("facturascli", _REFUND, "idfactura"))
    events = await _events(Tables(facturascli=[_INVOICE]), batch, rules='[entity.invoice]\ninclude = ["original"]')
    original = {"entity": "invoice", "key": {"idfactura": 9}, "code": "FAC9", "total": 20.0}
    assert {event.name for event in events} >= {"invoice.issued", "invoice.rectified"}
    assert [event.related for event in events] == [{"original": original}] * len(events)


async def test_corrected_invoice_is_shown_as_the_same_transaction_left_it() -> None:
    paid = update("facturascli", _INVOICE, key="idfactura", total=15.0)
    batch = transaction(paid, insert("facturascli", _REFUND, "idfactura"))
    events = await _events(Tables(facturascli=[]), batch, rules='[entity.invoice]\ninclude = ["original"]')
    shown = {event.name: event.related and event.related["original"] for event in events}
    assert shown["invoice.updated"] is None
    rectified = shown["invoice.rectified"]
    assert rectified is not None
    assert rectified["total"] == 15.0


@pytest.mark.parametrize(
    ("entity", "include", "problem"),
    [
        ("stock", "customer", "nothing says where the customer of stock are"),
        ("receipt", "origin", "nothing says where the origin of receipt are"),
    ],
)
def test_what_an_entity_does_not_have_is_refused(entity: str, include: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_catalogue(f'[entity.{entity}]\ninclude = ["{include}"]')


async def test_table_of_a_plugin_has_customers_and_pages_too() -> None:
    rules = """
        [entity.ticket]
        table = "tickets"
        customer = { codcliente = "clientes" }
        include = ["customer"]
        page = "EditTicket?code={id}&of={codcliente}"
    """
    row = {"id": "a b/c", "codcliente": "1&amp;2"}
    tables = Tables(clientes=[{"codcliente": "1&amp;2", "nombre": "Ana"}])
    (event,) = await _events(tables, transaction(insert("tickets", row)), rules=rules, site="https://erp")
    assert event.related is not None
    assert (event.related["customer"]["name"], event.link) == ("Ana", "https://erp/EditTicket?code=a%20b%2Fc&of=1%262")
    unknown = await _events(
        tables, transaction(insert("tickets", {"id": 1, "codcliente": None})), rules=rules, site="x"
    )
    assert [(event.related, event.link) for event in unknown] == [({"customer": None}, "")]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ('{"site_url": "https://erp.example.com/"}', "https://erp.example.com"),
        ('{"site_url": "http://erp:8080/shop"}', "http://erp:8080/shop"),
        ('{"site_url": "https://user:pass@erp"}', ""),
        ('{"site_url": "javascript:alert(1)"}', ""),
        ('{"site_url": "https://erp\\n.example"}', ""),
        ('{"site_url": 5}', ""),
        ("[]", ""),
        ("{", ""),
        (None, ""),
    ],
)
def test_address_in_settings_is_a_plain_one_or_none(properties: str | None, expected: str) -> None:
    assert site_url([("email", '{"site_url": "https://no"}'), ("default", properties)]) == expected
