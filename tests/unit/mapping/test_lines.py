"""Documents of which only the lines change."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.facts import Facts
from cdc.mapping.mapper import Mapper
from cdc.mapping.rule import Child
from cdc.model.change import Operation, Row, RowChange, Transaction
from cdc.model.event import Event
from support.row_changes import applied, change, delete, insert, mapped, transaction, update

_RULES = '[entity.invoice]\ninclude = ["lines"]\n[noise]\nlineasfacturascli = ["servido"]'
_MAPPER = Mapper(load_catalogue(_RULES))
_LINES = Child("lineasfacturascli", "idfactura")


def _invoice(number: int = 1, **values: Any) -> Row:
    return {"idfactura": number, "total": 10.0, "idasiento": 1, **values}


def _line(number: int, invoice: int = 1, **values: Any) -> Row:
    return {"idlinea": number, "idfactura": invoice, "descripcion": "a", "servido": 0.0, **values}


def _facts(invoices: list[Row], lines: list[Row]) -> Facts:
    """What is read after the batch."""
    owners = {invoice["idfactura"]: [] for invoice in invoices} | {line["idfactura"]: [] for line in lines}
    children = {owner: [line for line in lines if line["idfactura"] == owner] for owner in owners}
    documents = {"facturascli": ("idfactura", {invoice["idfactura"]: invoice for invoice in invoices})}
    return Facts(children={_LINES: children}, documents=documents)


def _edit(line: Row, **values: Any) -> RowChange:
    return update("lineasfacturascli", line, key="idlinea", **values)


def _add(line: Row) -> RowChange:
    return insert("lineasfacturascli", line, "idlinea")


def _remove(line: Row) -> RowChange:
    return delete("lineasfacturascli", line, "idlinea")


def _events(*changes: RowChange, facts: Facts) -> list[Event]:
    return mapped(transaction(*changes), rules=_RULES, facts=facts).events


def test_document_and_its_lines_are_asked_for() -> None:
    request = _MAPPER.batch("main", [transaction(_edit(_line(1), idfactura=2))], {}).facts_needed()
    assert request.documents == {"facturascli": {1, 2}}
    assert request.children == {_LINES: {1, 2}}


def test_document_that_batch_shows_is_not_asked_for() -> None:
    batch = [transaction(_edit(_line(1)), token="t1"), transaction(insert("facturascli", _invoice(), "idfactura"))]
    assert _MAPPER.batch("main", batch, {}).facts_needed().documents == {}


def test_edited_line_gives_updated_with_former_lines() -> None:
    new = _line(1, descripcion="b &amp; c")
    (event,) = _events(_edit(_line(1), descripcion="b &amp; c"), facts=_facts([_invoice()], [new, _line(2)]))
    assert (event.name, event.key, event.record) == ("invoice.updated", {"idfactura": 1}, "facturascli:1")
    assert event.data == {**_invoice(), "lines": [{**new, "descripcion": "b & c"}, _line(2)]}
    assert event.previous == {"lines": [_line(1), _line(2)]}


def test_added_and_deleted_lines_give_one_event() -> None:
    (event,) = _events(_add(_line(3)), _remove(_line(2)), facts=_facts([_invoice()], [_line(1), _line(3)]))
    assert event.data["lines"] == [_line(1), _line(3)]
    assert event.previous == {"lines": [_line(1), _line(2)]}


def test_lines_and_document_changed_together_give_one_event() -> None:
    total = update("facturascli", _invoice(), key="idfactura", total=11.0)
    (event,) = _events(_add(_line(1)), total, facts=_facts([_invoice(total=11.0)], [_line(1)]))
    assert (event.name, event.previous) == ("invoice.updated", {"total": 10.0, "lines": []})


def test_lines_changed_with_noise_of_document_give_updated() -> None:
    noise = update("facturascli", _invoice(), key="idfactura", idasiento=2)
    assert _events(noise, facts=_facts([_invoice()], [])) == []
    (event,) = _events(noise, _add(_line(1)), facts=_facts([_invoice(idasiento=2)], [_line(1)]))
    assert (event.name, event.previous) == ("invoice.updated", {"idasiento": 1, "lines": []})


def test_unchanged_line_and_noise_of_line_give_nothing() -> None:
    facts = _facts([_invoice()], [_line(1, servido=1.0)])
    assert _events(_edit(_line(1)), facts=facts) == []
    assert _events(_edit(_line(1), servido=1.0), facts=facts) == []


def test_moved_line_updates_both_documents() -> None:
    moved = _line(1, 2)
    events = _events(_edit(_line(1), idfactura=2), facts=_facts([_invoice(), _invoice(2)], [moved]))
    assert [(event.record, event.previous) for event in events] == [
        ("facturascli:1", {"lines": [_line(1)]}),
        ("facturascli:2", {"lines": []}),
    ]
    assert len({event.id for event in events}) == 2


def test_created_and_deleted_documents_have_no_updated() -> None:
    made = (insert("facturascli", _invoice(), "idfactura"), _add(_line(1)))
    assert [event.name for event in _events(*made, facts=_facts([_invoice()], [_line(1)]))] == ["invoice.created"]
    (event,) = _events(_remove(_line(1)), delete("facturascli", _invoice(), "idfactura"), facts=_facts([], []))
    assert (event.name, event.data["lines"]) == ("invoice.deleted", [_line(1)])


def test_document_that_is_gone_has_no_updated() -> None:
    assert _events(_edit(_line(1), descripcion="b"), facts=_facts([], [])) == []


def test_document_renamed_with_its_lines_gives_one_event() -> None:
    renamed = update("facturascli", _invoice(), key="idfactura", idfactura=9)
    (event,) = _events(renamed, _edit(_line(1), idfactura=9), facts=_facts([_invoice(9)], [_line(1, 9)]))
    assert (event.record, event.renamed_from) == ("facturascli:9", "facturascli:1")
    assert event.previous == {"idfactura": 1, "lines": [_line(1)]}


def test_transactions_of_a_batch_see_their_own_moment() -> None:
    batch = (
        transaction(_edit(_line(1), descripcion="b"), token="t1"),
        transaction(update("facturascli", _invoice(), key="idfactura", total=20.0), token="t2"),
        transaction(_edit(_line(1, descripcion="b"), descripcion="c"), token="t3"),
    )
    facts = Facts(children={_LINES: {1: [_line(1, descripcion="c")]}})
    events = mapped(*batch, rules=_RULES, facts=facts).events
    assert [(event.data["total"], event.data["lines"][0]["descripcion"]) for event in events] == [
        (10.0, "b"),
        (20.0, "b"),
        (20.0, "c"),
    ]


def test_lines_read_again_read_their_document() -> None:
    read = change(Operation.READ, "lineasfacturascli", None, _line(1), key="idlinea")
    (event,) = _events(read, facts=_facts([_invoice()], [_line(1)]))
    assert (event.name, event.previous, event.data["lines"]) == ("invoice.read", None, [_line(1)])


def _parts(*parts: tuple[RowChange, ...]) -> list[Transaction]:
    last = len(parts) - 1
    return [Transaction("huge", changes, more=number < last) for number, changes in enumerate(parts)]


def _by_part(parts: list[Transaction], facts: Facts) -> tuple[list[str], dict[str, str], int]:
    """The events of parts that are stored one by one, the states after them, and how many documents were asked for."""
    states: dict[str, str] = {}
    names, asked = [], 0
    for part in parts:
        batch = _MAPPER.batch("main", [part], states)
        asked += sum(map(len, batch.facts_needed().documents.values()))
        result = batch.map(facts)
        states = applied(states, result)
        names += [f"{event.name} {event.key['idfactura']}" for event in result.events]
    return names, states, asked


def test_huge_transaction_updates_document_once() -> None:
    lines = [_line(number) for number in range(1, 10)]
    parts = _parts(*((_add(line),) for line in lines))
    names, states, asked = _by_part(parts, _facts([_invoice()], lines))
    assert names == ["invoice.updated 1"]
    assert (states, asked) == ({}, 1)


def test_huge_import_of_documents_gives_created_alone() -> None:
    lines = [_line(number) for number in range(1, 4)]
    parts = _parts(
        (insert("facturascli", _invoice(), "idfactura"), _add(lines[0])), (_add(lines[1]),), (_add(lines[2]),)
    )
    names, states, asked = _by_part(parts, _facts([_invoice()], lines))
    assert (names, states, asked) == (["invoice.created 1"], {}, 0)


_CHANGE = st.tuples(st.sampled_from("aer"), st.integers(1, 4), st.integers(1, 2), st.sampled_from("xyz"))


@settings(deadline=None)
@given(st.lists(st.lists(_CHANGE, max_size=4), max_size=4))
def test_every_former_lines_are_those_of_the_event_before(steps: list[list[tuple[str, int, int, str]]]) -> None:
    lines: dict[int, Row] = {}
    batch = []
    for number, step in enumerate(steps):
        changes = []
        for what, key, invoice, text in step:
            if what == "a" and key not in lines:
                lines[key] = _line(key, invoice, descripcion=text)
                changes.append(_add(lines[key]))
            elif what == "e" and key in lines:
                changes.append(_edit(lines[key], idfactura=invoice, descripcion=text))
                lines[key] = {**lines[key], "idfactura": invoice, "descripcion": text}
            elif what == "r" and key in lines:
                changes.append(_remove(lines.pop(key)))
        batch.append(transaction(*changes, token=str(number)))
    facts = _facts([_invoice(), _invoice(2)], [lines[key] for key in sorted(lines)])
    shown: dict[str, list[Row]] = {}
    for event in mapped(*batch, rules=_RULES, facts=facts).events:
        assert event.previous is not None
        assert event.previous["lines"] == shown.get(event.record, [])
        assert event.data["lines"] != event.previous["lines"]
        shown[event.record] = event.data["lines"]
    for invoice in (1, 2):
        left = [lines[key] for key in sorted(lines) if lines[key]["idfactura"] == invoice]
        assert shown.get(f"facturascli:{invoice}", []) == left


def _many(*changes: RowChange, former: list[Row]) -> Event:
    """The event of a document that had these lines."""
    live = {row["idlinea"]: row for row in former}
    for each in changes:
        live.pop((each.before or each.after or {})["idlinea"], None)
        live |= {each.after["idlinea"]: each.after} if each.after else {}
    (event,) = _events(*changes, facts=_facts([_invoice()], list(live.values())))
    return event


def test_of_many_former_lines_only_those_that_were_changed_are_named() -> None:
    former = [_line(number) for number in range(1, 102)]
    edited = _edit(former[4], descripcion="b")
    event = _many(edited, _add(_line(500)), _remove(former[7]), former=former)
    assert event.previous == {
        "lines_changed": {
            "added": [{"idlinea": 500}],
            "removed": [former[7]],
            "changed": [{"key": {"idlinea": 5}, "previous": {"descripcion": "a"}}],
            "more": False,
        }
    }
    assert _many(edited, former=former[:100]).previous == {"lines": former[:100]}


def test_changed_lines_that_are_named_are_bounded() -> None:
    former = [_line(number) for number in range(1, 6001)]
    event = _many(*(_edit(line, descripcion="b") for line in former), former=former)
    assert event.previous is not None
    assert len(event.previous["lines_changed"]["changed"]) == 1000
    assert event.previous["lines_changed"]["more"]
    (one,) = [_many(_edit(former[0], descripcion="b"), former=former)]
    assert len(json.dumps(one.previous)) < 200


def test_part_of_a_huge_transaction_claims_no_former_lines() -> None:
    """The lines that other parts insert are in the database already."""
    inserted = [_line(number) for number in range(1, 7)]
    first = transaction(*map(_add, inserted[:2]))._replace(more=True)
    (event,) = mapped(first, rules=_RULES, facts=_facts([_invoice()], inserted)).events
    assert event.previous == {
        "lines_changed": {"added": [{"idlinea": 1}, {"idlinea": 2}], "removed": [], "changed": [], "more": True}
    }
