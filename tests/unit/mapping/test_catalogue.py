from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time

import pytest

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.example import ROWS
from cdc.model.change import Row
from cdc.model.column import Capture
from cdc.model.errors import ConfigError
from support.row_changes import events, insert, names, update


def _tables() -> dict[str, tuple[str, ...]]:
    """A database with every table and column that the packaged catalogue names."""
    tables: dict[str, set[str]] = {}
    for reference in load_catalogue().references:
        tables.setdefault(reference.table, set()).update(reference.columns)
    return {table: tuple(sorted(columns)) for table, columns in tables.items()}


def _capture(table: str, rules: str | None = None) -> Capture | None:
    return next((capture for capture in load_catalogue(rules).captures() if capture.table == table), None)


def test_every_entity_of_the_contract_is_there() -> None:
    tables = {entity.name: entity.table for entity in load_catalogue().entities}
    assert tables == {
        "invoice": "facturascli", "estimate": "presupuestoscli", "order": "pedidoscli", "delivery_note": "albaranescli",
        "receipt": "recibospagoscli", "payment": "pagoscli", "customer": "clientes", "contact": "contactos",
        "variant": "variantes", "user": "users", "supplier_invoice": "facturasprov", "product": "productos",
        "supplier_estimate": "presupuestosprov", "supplier_order": "pedidosprov", "supplier": "proveedores",
        "supplier_delivery_note": "albaranesprov", "supplier_receipt": "recibospagosprov", "stock": "stocks",
        "supplier_payment": "pagosprov", "role": "roles",
    }  # fmt: skip


def test_the_packaged_catalogue_fits_its_own_tables() -> None:
    assert load_catalogue().check(_tables()) == ([], [])


def test_a_table_that_a_database_lacks_is_a_note() -> None:
    tables = _tables()
    del tables["stocks"]
    tables["users"] = tuple(column for column in tables["users"] if column != "enabled")
    notes, missing = load_catalogue().check(tables)
    assert missing == []
    assert "The database has no table stocks: it goes without the events stock.*." in notes
    assert "The table users has no column enabled: it goes without the event user.disabled." in notes
    assert "stocks" not in [capture.table for capture in load_catalogue().captures(tables)]


def test_secrets_are_captured_as_such_in_every_table() -> None:
    users = _capture("users")
    assert users is not None
    assert users.secrets == {"password", "logkey", "two_factor_secret_key", "iban", "swift"}
    bank = _capture("cuentasbcocli", 'tables = ["cuentasbcocli"]')
    assert bank is not None
    assert bank.secrets == {"iban", "swift"}


@pytest.mark.parametrize("reveal", ['"cuentasbcocli.iban"', '"*.iban"'])
def test_an_account_number_can_be_revealed(reveal: str) -> None:
    bank = _capture("cuentasbcocli", f'tables = ["cuentasbcocli"]\nreveal = [{reveal}]')
    assert bank is not None
    assert bank.secrets == {"swift"}


def test_secrets_of_the_user_add_to_the_packaged_ones() -> None:
    users = _capture("users", '[secret]\nusers = ["email"]')
    assert users is not None
    assert users.secrets >= {"password", "email"}


def test_tables_for_permissions_and_lines_are_captured_without_events_of_their_own() -> None:
    rules = '[entity.invoice]\ninclude = ["lines", "receipts"]'
    catalogue = load_catalogue(rules)
    captured = [capture.table for capture in catalogue.captures()]
    assert {"roles_users", "roles_access", "lineasfacturascli"} <= set(captured)
    assert len(captured) == len(set(captured))
    assert names(insert("lineasfacturascli", {"id": 1, "idfactura": 1}), rules=rules) == []
    lookups = ["estados_documentos", "roles_users", "lineasfacturascli", "recibospagoscli", "facturascli"]
    assert catalogue.lookups() == [*lookups, "recibospagosprov", "facturasprov"]  # the invoices of payments
    assert _capture("lineasfacturascli") is None


def test_a_table_of_the_users_has_events_under_its_name_or_another() -> None:
    row = {"codfamilia": "A", "descripcion": "x"}
    assert names(insert("familias", row, "codfamilia"), rules='tables = ["familias"]') == ["familias.created"]
    named = '[entity.family]\ntable = "familias"'
    assert names(insert("familias", row, "codfamilia"), rules=named) == ["family.created"]
    assert names(insert("familias", row, "codfamilia")) == []


def test_noise_of_a_table_without_entity_applies_once_it_is_captured() -> None:
    row: Row = {"id": 1, "saldo": 0.0, "concepto": "x"}
    rules = 'tables = ["partidas"]'
    assert names(update("partidas", row, saldo=2.0), rules=rules) == []
    assert names(update("partidas", row, saldo=2.0), rules=f"{rules}\n[noise]\npartidas = []") == ["partidas.updated"]


def test_accounting_entries_are_off_until_named() -> None:
    entry: Row = {"idasiento": 1, "concepto": "x"}
    assert names(insert("asientos", entry, "idasiento")) == []
    assert not any("asientos" in note or "partidas" in note for note in load_catalogue().check({})[0])
    for rules in ('tables = ["asientos"]', 'tables = ["asien*"]'):  # as before there was such an entity
        assert names(insert("asientos", entry, "idasiento"), rules=rules) == ["asientos.created"]
    named = '[entity.accounting_entry]\ninclude = ["lines"]'
    assert names(insert("asientos", entry, "idasiento"), rules=named) == ["accounting_entry.created"]
    assert {"asientos", "partidas"} <= {capture.table for capture in load_catalogue(named).captures()}
    with pytest.raises(ConfigError, match="line 1: The database has no table asientos"):
        raise load_catalogue(named).check({})[1][0]


def test_an_unknown_column_of_a_comparison_is_an_error_with_its_line() -> None:
    rules = "[[event]]\nentity = 'stock'\nname = 'x'\nbecomes = { disponible = { less_than = { column = 'stockmn' } } }"
    with pytest.raises(ConfigError, match="line 4: The table stocks has no column stockmn"):
        raise load_catalogue(rules).check({"stocks": ["disponible", "stockmin"]})[1][0]


def test_rules_by_time_are_off_until_they_have_days() -> None:
    assert load_catalogue().due_rules() == []
    rules = "[[event]]\nentity = ['receipt', 'supplier_receipt']\nname = 'due'\ndays = [7, -7, 7]"
    assert load_catalogue(rules).due_rules() == [
        ("receipt.due", "recibospagoscli", "vencimiento", (-7, 7)),
        ("supplier_receipt.due", "recibospagosprov", "vencimiento", (-7, 7)),
    ]
    assert load_catalogue(f"disable = ['receipt.due']\n{rules}").due_rules()[0].event == "supplier_receipt.due"
    (rule,) = (each for each in load_catalogue(rules).rules if each.event == "receipt.due")
    assert list(rule.where) == ["pagado"]  # of the packaged one
    assert rule.when.startswith("its due date")
    assert names(insert("recibospagoscli", {"id": 1, "pagado": False}), rules=rules) == ["receipt.created"]
    other = "[[event]]\nentity = 'receipt'\nname = 'due'\ndate = 'fecha'\ndays = [1]"
    assert load_catalogue(other).due_rules() == [("receipt.due", "recibospagoscli", "fecha", (1,))]
    with pytest.raises(ConfigError, match="line 4: The table recibospagoscli has no column fechas"):
        raise load_catalogue(other.replace("fecha", "fechas")).check({"recibospagoscli": ["fecha"]})[1][0]


def test_the_hour_of_rules_by_time() -> None:
    assert (load_catalogue().due_at, load_catalogue().due_zone) == (time(6), "")
    set_ = load_catalogue("[due]\nat = '00:30'\ntimezone = 'Atlantic/Canary'")
    assert (set_.due_at, set_.due_zone) == (time(0, 30), "Atlantic/Canary")


def test_disabled_events_and_entities() -> None:
    row = {"id": 1, "vencido": True, "pagado": False}
    assert names(insert("recibospagoscli", row), rules='disable = ["*.overdue"]') == ["receipt.created"]
    assert names(insert("recibospagoscli", row), rules='disable = ["receipt.created"]') == ["receipt.overdue"]
    assert _capture("variantes", 'disable = ["variant.*"]') is None
    assert _capture("variantes", "[entity.variant]\nenabled = false") is None
    assert _capture("roles_users", 'disable = ["user.permissions_changed"]') is None


def test_a_rule_of_the_same_name_replaces_the_packaged_one() -> None:
    rules = '[[event]]\nentity = "stock"\nname = "changed"\nchanged = ["ubicacion"]'
    row: Row = {"id": 1, "cantidad": 1.0, "ubicacion": None}
    assert names(update("stocks", row, cantidad=2.0), rules=rules) == ["stock.updated"]
    assert names(update("stocks", row, ubicacion="A"), rules=rules) == ["stock.updated", "stock.changed"]


def test_a_rule_can_name_a_table_instead_of_an_entity() -> None:
    rules = '[[event]]\ntable = "agentes"\nname = "hired"\noperations = ["create"]\n'
    rules += '[[event]]\ntable = "clientes"\nname = "hired"\noperations = ["create"]'
    assert names(insert("agentes", {"id": 1}), rules=rules) == ["agentes.created", "agentes.hired"]
    assert names(insert("clientes", {"id": 1}), rules=rules) == ["customer.created", "customer.hired"]


def test_raw_text() -> None:
    row = {"codcliente": "1", "nombre": "A &amp; B"}
    (event,) = events(insert("clientes", row, "codcliente"), rules='html = "raw"')
    assert event.data["nombre"] == "A &amp; B"


_WRONG: Mapping[str, tuple[str, str]] = {
    "colour = 1": ("line 1", "no key 'colour'"),
    "\n[[event]]\nentity = 'invoice'\nname = 'x'\nbecome = { pagada = true }": ("line 5", "no key 'become'"),
    "[entity.invoice]\ntabel = 'x'": ("line 2", "no key 'tabel'"),
    "[[event]]\nentity = 'invoice'": ("line 1", "'name' is missing"),
    "[[event]]\nentity = 'invoice'\nname = 'Big'\nchanged = ['total']": ("line 3", "cannot be the name"),
    "[[event]]\nentity = 'invoice'\nname = 'updated'\nchanged = ['total']": ("line 3", "cannot be the name"),
    "[[event]]\nentity = 'bill'\nname = 'x'\nchanged = ['total']": ("line 2", "no entity 'bill'"),
    "[[event]]\nentity = 'receipt'\nname = 'soon'\ndays = [1]": ("line 1", "the key 'date' is missing"),
    "[[event]]\nentity = 'receipt'\nname = 'soon'\ndate = 'fecha'": ("line 1", "the key 'days' is missing"),
    "[[event]]\nentity = 'receipt'\nname = 'paid'\ndays = [1]": ("line 1", "the key 'date' is missing"),
    "[[event]]\nentity = 'receipt'\nname = 'due'\ndays = [1]\nchanged = ['x']": ("line 1", "changed makes no sense"),
    "[[event]]\nentity = 'receipt'\nname = 'due'\ndays = ['x']": ("line 4", "days is wrong"),
    "[[event]]\nentity = 'receipt'\nname = 'due'\ndays = [5000]": ("line 4", "days is wrong"),
    "[[event]]\nentity = 'receipt'\nname = 'due'\ndate = 'x y'\ndays = [5]": ("line 4", "date is wrong"),
    "[due]\nat = '6'": ("line 2", "at is wrong"),
    "[due]\nat = '25:00'": ("line 2", "at is wrong"),
    "[due]\ntimezone = 'Madrid'": ("line 2", "timezone is wrong"),
    "[[event]]\nentity = []\nname = 'x'\nchanged = ['total']": ("line 2", "no entity is named"),
    "[[event]]\nname = 'x'\nchanged = ['total']": ("line 1", "either an entity or a table"),
    "[[event]]\nentity = 'invoice'\nname = 'x'": ("line 1", "nothing says when"),
    "[[event]]\nentity = 'invoice'\nname = 'x'\noperations = []": ("line 1", "operations is empty"),
    "[[event]]\nentity = 'invoice'\nname = 'x'\noperations = ['drop']": ("line 4", "operations"),
    "[[event]]\nentity = 'invoice'\nname = 'x'\nchanged = []": ("line 4", "at least one column"),
    "[[event]]\nentity = 'invoice'\nname = 'x'\nfrom = { pagada = [] }": ("line 4", "a condition is"),
    "[[event]]\nentity = 'role'\nname = 'x'\noperations = ['create']\nfrom = { a = true }": ("line 1", "from only"),
    "[[event]]\nentity = 'role'\nname = 'x'\noperations = ['delete']\nbecomes = { a = true }": ("line 1", "deleted"),
    "[[event]]\nentity='role'\nname='x'\nchanged=['a']\n[[event]]\nentity='role'\nname='x'\nchanged=['b']": (
        "line 5", "role.x is there already (rules.toml, line 1)",
    ),
    "tables = [\n  'familias',\n  'clientes',\n]": ("line 3", "already captured as customer"),
    "tables = ['Mi-Tabla']": ("line 1", "cannot be an event name"),
    "[entity.Cliente]\ntable = 'x'": ("line 1", "not an entity name"),
    "[entity.client]\ntable = 'clientes'": ("line 2", "already the entity customer"),
    "[entity.order]\ninclude = ['receipts']": ("line 2", "nothing says where the receipts of order are"),
    "[entity.order]\ninclude = ['lineas']": ("line 2", "include"),
    "disable = ['invoice.*', 'bill.*']": ("line 1", "no event is called bill.*"),
    "disable = ['Bill']": ("line 1", "not an event pattern"),
    "reveal = ['iban']": ("line 1", "does not say of which table"),
    "reveal = ['users.password']": ("line 1", "cannot be revealed"),
    "reveal = ['users.email']": ("line 1", "cannot be revealed"),
    "html = 'off'": ("line 1", "html"),
    "tables = [1]": ("line 1", "tables"),
    "a = \n": ("line 1", "not valid TOML"),
}  # fmt: skip


@pytest.mark.parametrize("text", _WRONG)
def test_what_is_wrong_is_named_with_file_and_line(text: str) -> None:
    line, reason = _WRONG[text]
    with pytest.raises(ConfigError) as raised:
        load_catalogue(text, "rules.toml")
    message = raised.value.message
    assert reason in message
    assert re.search(rf"rules\.toml.*\b{line}\b", message)
    assert raised.value.hint


_UNKNOWN: Mapping[str, tuple[str, str]] = {
    "tables = [\n  'familas',\n]": ("line 2", "no table familas"),
    "[entity.family]\ntable = 'familas'": ("line 2", "no table familas"),
    "[[event]]\nentity = 'invoice'\nname = 'x'\nchanged = [\n  'pagada',\n  'totl',\n]": ("line 6", "no column totl"),
    "[[event]]\nentity = 'invoice'\nname = 'x'\nbecomes = { pagda = true }": ("line 4", "no column pagda"),
    "[[event]]\nentity = 'invoice'\nname = 'x'\nfrom = { pagda = true }": ("line 4", "no column pagda"),
    "[[event]]\nentity = 'order'\nname = 'x'\nchanged = ['idestado']\nstate = { color = 'red' }": (
        "line 5",
        "no column color",
    ),
    "# noise\n[noise]\nclientes = ['riesgo']": ("line 3", "no column riesgo"),
    "[secret]\ncliente = ['x']": ("line 2", "no table cliente"),
    "[entity.order]\nlines = { table = 'lineas', column = 'id' }": ("line 2", "no table lineas"),
    "tables = ['familias']\nreveal = ['familias.iban']": ("line 2", "no column iban"),
}


@pytest.mark.parametrize("text", _UNKNOWN)
def test_what_the_database_does_not_have_is_named_with_file_and_line(text: str) -> None:
    line, reason = _UNKNOWN[text]
    with pytest.raises(ConfigError) as raised:
        raise load_catalogue(text, "rules.toml").check({**_tables(), "familias": ("codfamilia",)})[1][0]
    assert reason in raised.value.message
    assert f"rules.toml, {line}:" in raised.value.message


def test_a_spelling_mistake_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as raised:
        raise load_catalogue("tables = ['familas']").check({**_tables(), "familias": ()})[1][0]
    assert raised.value.hint == "Did you mean familias?"


def test_rules_can_stand_in_a_section_of_another_file() -> None:
    section = ("source", "main", "rules")
    text = '[source.main]\nurl = "x"\n[source.main.rules]\ntables = ["familias"]\n'
    text += '[[source.main.rules.event]]\nname = "a"\n'
    with pytest.raises(ConfigError, match=r"cdc\.toml, line 5: nothing says when"):
        load_catalogue(text, "cdc.toml", section)
    good = load_catalogue(text + 'entity = "role"\nchanged = ["descripcion"]', "cdc.toml", section)
    assert "familias" in [capture.table for capture in good.captures()]
    assert "role.a" in [rule.event for rule in good.rules]
    assert load_catalogue("[outbox]\n", "cdc.toml", section).rules == load_catalogue().rules


def test_example_rows_hold_no_secret() -> None:
    catalogue = load_catalogue()
    assert [table for table, row in ROWS.items() if catalogue.secrets_of(table) & row.keys()] == []
