from __future__ import annotations

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.facts import Facts, FactsRequest
from cdc.mapping.mapper import Mapper
from cdc.mapping.rule import Child
from cdc.model.change import Operation, Row, RowChange, Transaction
from support.row_changes import START, change, delete, events, insert, mapped, names, transaction, update

_CUSTOMER: Row = {"codcliente": "7", "nombre": "Ruiz", "riesgoalcanzado": 0.0, "telefono1": None}
_ESTIMATE: Row = {"idpresupuesto": 1, "idestado": 1, "editable": True}
_INVOICE: Row = {"idfactura": 1, "total": 1.0, "pagada": False}
_OPEN: Row = {"idestado": 1, "generadoc": None, "editable": True}
_ORDERED: Row = {"idestado": 2, "generadoc": "PedidoCliente", "editable": False}
_WITH_LINES = '[entity.invoice]\ninclude = ["lines"]'
_LINES = Child("lineasfacturascli", "idfactura")


def test_an_update_carries_the_row_and_the_old_values_noise_included() -> None:
    (event,) = events(update("clientes", _CUSTOMER, key="codcliente", nombre="Ruiz e Hijos", riesgoalcanzado=5.0))
    assert event.name == "customer.updated"
    assert event.data == {**_CUSTOMER, "nombre": "Ruiz e Hijos", "riesgoalcanzado": 5.0}
    assert event.previous == {"nombre": "Ruiz", "riesgoalcanzado": 0.0}
    assert (event.key, event.record, event.table) == ({"codcliente": "7"}, "clientes:7", "clientes")
    assert (event.source, event.transaction, event.inferred, event.renamed_from) == ("main", "t1", False, None)


def test_inserts_and_deletes_have_no_previous() -> None:
    created, deleted = events(insert("clientes", _CUSTOMER, "codcliente")) + events(
        delete("clientes", _CUSTOMER, "codcliente")
    )
    assert (created.name, created.data, created.previous) == ("customer.created", _CUSTOMER, None)
    assert (deleted.name, deleted.data, deleted.previous) == ("customer.deleted", _CUSTOMER, None)


def test_transitions_share_the_update() -> None:
    updated, paid = events(update("facturascli", _INVOICE, key="idfactura", pagada=True))
    assert (updated.name, paid.name) == ("invoice.updated", "invoice.paid")
    assert (paid.data, paid.previous, paid.record) == (updated.data, {"pagada": False}, updated.record)
    assert paid.id != updated.id


def test_the_time_is_that_of_the_last_change_and_the_id_comes_from_the_first() -> None:
    first = insert("facturascli", _INVOICE, "idfactura")
    second = update("facturascli", _INVOICE, key="idfactura", total=2.0)
    (alone,) = events(first)
    (event,) = events(first, second)
    assert event.time == second.time
    assert event.id == alone.id


def test_ids_do_not_depend_on_batches_or_on_other_records() -> None:
    transactions = [
        transaction(update("clientes", _CUSTOMER, key="codcliente", nombre=str(n)), token=f"t{n}") for n in range(4)
    ]
    together = [event.id for event in mapped(*transactions).events]
    apart = [event.id for single in transactions for event in mapped(single).events]
    assert together == apart
    assert len(set(together)) == 4
    other = insert("roles", {"codrole": "x"}, "codrole")
    with_other = mapped(Transaction("t0", (other, *transactions[0].changes))).events
    assert with_other[-1].id == together[0]


def test_a_renamed_record_says_what_it_was_called() -> None:
    (event,) = events(update("clientes", _CUSTOMER, key="codcliente", codcliente="CLI7"))
    assert (event.record, event.renamed_from) == ("clientes:CLI7", "clientes:7")
    assert (event.key, event.previous) == ({"codcliente": "CLI7"}, {"codcliente": "7"})


def test_text_is_decoded_everywhere_but_in_the_name_of_the_record() -> None:
    row: Row = {"codcliente": "A&amp;B", "nombre": "O&#39;Brien"}
    (event,) = events(update("clientes", row, key="codcliente", nombre="&lt;x&gt;"))
    assert event.key == {"codcliente": "A&B"}
    assert event.data == {"codcliente": "A&B", "nombre": "<x>"}
    assert event.previous == {"nombre": "O'Brien"}
    assert event.record == "clientes:A&amp;B"


def test_a_secret_that_a_source_let_through_is_taken_out() -> None:
    user: Row = {"nick": "lola", "email": "a", "password": "geheim"}
    made = events(update("users", user, key="nick", password="otro", email="b"))
    assert [event.name for event in made] == ["user.updated", "user.password_changed"]
    assert not any("password" in {**event.data, **(event.previous or {})} for event in made)


def test_a_column_that_was_added_in_between_counts_once_it_is_set() -> None:
    before: Row = {"codcliente": "7", "nombre": "Ruiz"}
    added: Row = {"codcliente": "7", "nuevo": None, "nombre": "Ruiz"}
    quiet = RowChange(Operation.UPDATE, "clientes", {"codcliente": "7"}, before, added, START, 1)
    assert events(quiet) == []
    filled = RowChange(Operation.UPDATE, "clientes", {"codcliente": "7"}, before, {**added, "nuevo": 1}, START, 1)
    (event,) = events(filled)
    assert event.previous == {"nuevo": None}


def test_truncate_and_read() -> None:
    (truncated,) = events(change(Operation.TRUNCATE, "clientes", None, None))
    assert (truncated.name, truncated.key, truncated.data, truncated.record) == (
        "customer.truncated",
        {},
        {},
        "clientes:",
    )
    (read,) = events(change(Operation.READ, "facturascli", None, {**_INVOICE, "pagada": True}, key="idfactura"))
    assert (read.name, read.data["pagada"], read.previous) == ("invoice.read", True, None)


def test_a_table_that_no_rule_names_gives_nothing() -> None:
    assert names(insert("work_events", {"id": 1}), change(Operation.TRUNCATE, "logs", None, None)) == []


def test_states_are_asked_for_only_where_a_document_enters_one() -> None:
    mapper = Mapper(load_catalogue())
    written = transaction(
        update("presupuestoscli", _ESTIMATE, key="idpresupuesto", idestado=2),
        update("presupuestoscli", {**_ESTIMATE, "idpresupuesto": 2, "idestado": 9}, key="idpresupuesto", nick="x"),
        insert("pedidoscli", {"idpedido": 1, "idestado": 4}, "idpedido"),
        insert("facturascli", {**_INVOICE, "idestado": 10}, "idfactura"),
    )
    request = mapper.batch("main", [written], {}).facts_needed()
    assert request.states == {2, 4}
    assert (request.members, request.children) == (False, {})
    batch = mapper.batch("main", [transaction(insert("clientes", _CUSTOMER, "codcliente"))], {})
    assert batch.facts_needed() == FactsRequest()


def test_a_state_that_the_same_transaction_wrote_wins_over_what_was_read() -> None:
    approval = update("presupuestoscli", _ESTIMATE, key="idpresupuesto", idestado=2, editable=False)
    facts = Facts(states={1: _OPEN, 2: {**_ORDERED, "generadoc": None}})
    assert names(approval, facts=facts)[1:] == ["estimate.status_changed", "estimate.rejected"]
    written = insert("estados_documentos", _ORDERED, "idestado")
    assert names(written, approval, facts=facts)[1:] == ["estimate.status_changed", "estimate.approved"]


def test_lines_are_asked_for_and_included() -> None:
    mapper = Mapper(load_catalogue(_WITH_LINES))
    line: Row = {"id": 1, "idfactura": 1, "descripcion": "Tornillo &amp; tuerca"}
    paid = update("facturascli", _INVOICE, key="idfactura", pagada=True)
    assert mapper.batch("main", [transaction(paid)], {}).facts_needed().children == {_LINES: {1}}
    facts = Facts(children={_LINES: {1: [line], 2: [{"id": 9, "idfactura": 2}]}})
    for event in events(paid, rules=_WITH_LINES, facts=facts):
        assert event.data["lines"] == [{**line, "descripcion": "Tornillo & tuerca"}]
        assert event.previous == {"pagada": False}


def test_lines_of_a_deleted_invoice_go_with_it() -> None:
    line: Row = {"id": 1, "idfactura": 1}
    (event,) = events(
        delete("lineasfacturascli", line), delete("facturascli", _INVOICE, "idfactura"), rules=_WITH_LINES
    )
    assert event.data == {**_INVOICE, "lines": [line]}


def test_the_parts_of_a_huge_transaction_are_one_moment() -> None:
    line: Row = {"id": 1, "idfactura": 1}
    first = transaction(insert("facturascli", _INVOICE, "idfactura"))._replace(more=True)
    parts = (first, transaction(insert("lineasfacturascli", line)))
    facts = Facts(children={_LINES: {1: [line]}})
    (event,) = mapped(*parts, rules=_WITH_LINES, facts=facts).events
    assert event.data["lines"] == [line]


def test_no_lines_in_a_truncated_table() -> None:
    (event,) = events(change(Operation.TRUNCATE, "facturascli", None, None), rules=_WITH_LINES)
    assert event.data == {}


def test_every_change_of_one_record_comes_before_its_transitions() -> None:
    receipt: Row = {"idrecibo": 1, "pagado": False, "vencido": False, "importe": 1.0}
    assert names(
        insert("recibospagoscli", receipt, "idrecibo"),
        update("recibospagoscli", receipt, key="idrecibo", pagado=True, vencido=True),
    ) == ["receipt.created", "receipt.paid", "receipt.overdue"]


_DRAFT: Row = {"idfactura": 2, "codigo": "FAC2", "editable": True, "total": 1.0, "idfacturarect": None}


def _issues(*changes: RowChange) -> list[str]:
    return [name for name in names(*changes) if name in ("invoice.issued", "invoice.rectified")]


def test_invoice_is_issued_once_whichever_way_it_stops_being_a_draft() -> None:
    issued, made = {**_DRAFT, "editable": False}, insert("facturascli", _DRAFT, "idfactura")
    written = update("facturascli", _DRAFT, key="idfactura", editable=False)
    assert _issues(made) == []
    assert _issues(written) == ["invoice.issued"]
    assert _issues(made, written) == ["invoice.issued"]
    assert _issues(insert("facturascli", issued, "idfactura")) == ["invoice.issued"]
    assert _issues(update("facturascli", issued, key="idfactura", total=2.0)) == []
    assert _issues(update("facturascli", issued, key="idfactura", editable=True)) == []


def test_refund_is_rectified_when_it_is_issued_not_when_it_is_drafted() -> None:
    refund = {**_DRAFT, "idfacturarect": 1, "codigorect": "FAC1"}
    assert _issues(insert("facturascli", refund, "idfactura")) == []
    (*_, rectified) = events(update("facturascli", refund, key="idfactura", editable=False))
    assert (rectified.name, rectified.previous) == ("invoice.rectified", {"editable": True})
    assert rectified.data["codigorect"] == "FAC1"
    assert _issues(insert("facturascli", {**refund, "editable": False}, "idfactura")) == [
        "invoice.issued",
        "invoice.rectified",
    ]
