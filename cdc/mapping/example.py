"""Example events: made by the mapper itself from example rows, so that they cannot differ from real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final

from cdc.mapping.catalogue import MEMBERS_TABLE, Catalogue
from cdc.mapping.facts import Facts
from cdc.mapping.mapper import Mapper
from cdc.mapping.rule import STATE_COLUMN, Child, ColumnCondition, Condition, Rule, all_hold
from cdc.model.backfill import EXISTING, backfill_token
from cdc.model.change import DueDay, Existing, Operation, Row, RowChange, Transaction, Value
from cdc.model.column import Table
from cdc.model.event import event_payload
from cdc.model.normal import FORMS, DecimalText, decimal_of

_DOCUMENT: dict[str, bool | int | float | str | None] = {
    "cifnif": "B03567891",
    "codalmacen": "ALG",
    "codcliente": "14",
    "coddivisa": "EUR",
    "codigo": "",
    "codpago": "TRANS30",
    "codserie": "A",
    "editable": True,
    "fecha": "2026-11-24",
    "femail": None,
}
_TOTALS: dict[str, bool | int | float | str | None] = {
    "neto": 350.0,
    "nick": "lola",
    "nombrecliente": "Talleres Ruiz & Hijos, S.L.",
    "observaciones": "Entregar por la mañana",
    "total": 423.5,
    "totaliva": 73.5,
}


def _sales(key: str, code: str, state: int, **more: bool | float | str | None) -> Row:
    row = {**_DOCUMENT, "codigo": code, "idestado": state, "idestado_ant": None, key: 12, **_TOTALS, **more}
    return dict(sorted(row.items()))


def _purchase(key: str, code: str, state: int, **more: bool | float | str | None) -> Row:
    row = dict(_sales(key, code, state, cifnif="A08112233", observaciones="Según albarán", **more))
    del row["nombrecliente"]
    del row["codcliente"]
    row.update({"codproveedor": "3", "nombre": "Aceros del Vallès, S.A."})
    return dict(sorted(row.items()))


_INVOICE: dict[str, bool | int | str | None] = {
    "idasiento": 431,
    "idfacturarect": None,
    "pagada": False,
    "vencida": False,
}

#: Table → an example row.
ROWS: dict[str, Row] = {
    "facturascli": _sales("idfactura", "FAC2026A12", 10, **_INVOICE),
    "facturasprov": _purchase("idfactura", "FP2026A12", 21, **_INVOICE),
    "presupuestoscli": _sales("idpresupuesto", "PRE2026A12", 1),
    "presupuestosprov": _purchase("idpresupuesto", "PP2026A12", 12),
    "pedidoscli": _sales("idpedido", "PED2026A12", 4),
    "pedidosprov": _purchase("idpedido", "PEP2026A12", 15),
    "albaranescli": _sales("idalbaran", "ALB2026A12", 7),
    "albaranesprov": _purchase("idalbaran", "AP2026A12", 18),
    "recibospagoscli": {
        "codcliente": "14", "coddivisa": "EUR", "codigofactura": "FAC2026A12", "codpago": "TRANS30",
        "fecha": "2026-11-24", "fechapago": None, "idfactura": 12, "idrecibo": 27, "importe": 423.5, "numero": 1,
        "pagado": False, "vencido": False, "vencimiento": "2026-12-24",
    },
    "recibospagosprov": {
        "coddivisa": "EUR", "codigofactura": "FP2026A12", "codpago": "TRANS30", "codproveedor": "3",
        "fecha": "2026-11-24", "fechapago": None, "idfactura": 12, "idrecibo": 19, "importe": 423.5, "numero": 1,
        "pagado": False, "vencido": False, "vencimiento": "2026-12-24",
    },
    "pagoscli": {
        "codpago": "TRANS30", "fecha": "2026-12-02", "gastos": 0.0, "hora": "10:15:00", "idasiento": 452, "idpago": 33,
        "idrecibo": 27, "importe": 423.5, "nick": "lola",
    },
    "pagosprov": {
        "codpago": "TRANS30", "fecha": "2026-12-02", "hora": "10:20:00", "idasiento": 453, "idpago": 21, "idrecibo": 19,
        "importe": 423.5, "nick": "lola",
    },
    "clientes": {
        "cifnif": "B03567891", "codcliente": "14", "codpago": "TRANS30", "debaja": False,
        "email": "taller@talleresruiz.example", "fechaalta": "2026-03-02", "idcontactofact": 31,
        "nombre": "Talleres Ruiz", "razonsocial": "Talleres Ruiz & Hijos, S.L.", "riesgoalcanzado": 423.5,
        "telefono1": "965 000 000",
    },
    "proveedores": {
        "acreedor": False, "cifnif": "A08112233", "codpago": "TRANS30", "codproveedor": "3", "debaja": False,
        "email": "pedidos@acerosvalles.example", "idcontacto": 40, "nombre": "Aceros del Vallès",
        "telefono1": "938 000 000",
        "razonsocial": "Aceros del Vallès, S.A.",
    },
    "contactos": {
        "apellidos": "Ruiz Ferrer", "ciudad": "Elche", "codcliente": "14", "codpais": "ESP", "codpostal": "03202",
        "direccion": "Calle Mayor 8", "email": "ana@talleresruiz.example", "idcontacto": 31, "nombre": "Ana",
        "provincia": "Alicante",
    },
    "productos": {
        "actualizado": "2026-11-24T09:30:00", "bloqueado": False, "codfamilia": "TORN", "codimpuesto": "IVA21",
        "descripcion": "Tornillo M4, acero", "idproducto": 210, "precio": 0.35,
        "referencia": "TOR-M4-20", "stockfis": 1200.0,
    },
    "variantes": {
        "codbarras": "8400000002103", "coste": 0.12, "idproducto": 210, "idvariante": 344, "precio": 0.35,
        "referencia": "TOR-M4-20", "stockfis": 1200.0,
    },
    "stocks": {
        "cantidad": 1200.0, "codalmacen": "ALG", "disponible": 1150.0, "idproducto": 210, "idstock": 95,
        "pterecibir": 500.0, "referencia": "TOR-M4-20", "reservada": 50.0, "stockmax": 5000.0, "stockmin": 300.0,
        "ubicacion": "A-03",
    },
    "asientos": {
        "codejercicio": "2026", "concepto": "Factura de Cliente FAC2026A12 - Talleres Ruiz", "documento": "FAC2026A12",
        "editable": True, "fecha": "2026-11-24", "idasiento": 431, "idempresa": 1, "importe": 423.5, "numero": 218,
    },
    "partidas": {
        "codsubcuenta": "4300000014", "concepto": "Factura de Cliente FAC2026A12", "debe": 423.5, "haber": 0.0,
        "idasiento": 431, "idpartida": 902, "idsubcuenta": 77, "orden": 1, "saldo": 423.5,
    },
    "users": {
        "admin": False, "codalmacen": "ALG", "email": "lola@empresa.example", "enabled": True,
        "homepage": "ListCliente", "langcode": "es_ES", "lastactivity": "2026-11-24T09:12:40", "lastbrowser": "Firefox",
        "lastip": "192.0.2.17", "level": 2, "nick": "lola",
    },
    "roles": {"codrole": "ventas", "descripcion": "Ventas y facturación"},
    "roles_users": {"codrole": "ventas", "id": 6, "nick": "lola"},
    "lineasfacturascli": {
        "cantidad": 1000.0, "descripcion": "Tornillo M4", "idfactura": 12, "idlinea": 51, "pvptotal": 350.0,
        "pvpunitario": 0.35, "referencia": "TOR-M4-20",
    },
}  # fmt: skip

#: Table → its primary key, where that is not the example row's only ``id…`` column.
KEYS: dict[str, str] = {
    "facturascli": "idfactura", "facturasprov": "idfactura", "presupuestoscli": "idpresupuesto",
    "presupuestosprov": "idpresupuesto", "pedidoscli": "idpedido", "pedidosprov": "idpedido",
    "albaranescli": "idalbaran", "albaranesprov": "idalbaran", "recibospagoscli": "idrecibo",
    "recibospagosprov": "idrecibo", "pagoscli": "idpago", "pagosprov": "idpago", "clientes": "codcliente",
    "proveedores": "codproveedor", "contactos": "idcontacto", "productos": "idproducto", "variantes": "idvariante",
    "stocks": "idstock", "asientos": "idasiento", "partidas": "idpartida",
    "users": "nick", "roles": "codrole", "roles_users": "id", "lineasfacturascli": "idlinea",
}  # fmt: skip

#: What follows a document's first state in a new FacturaScripts: distance of its id → the state.
STATES: dict[int, Row] = {
    1: {"nombre": "Pedido", "editable": False, "generadoc": "PedidoCliente"},
    2: {"nombre": "Rechazado", "editable": False, "generadoc": None},
}

#: Table → the column and value that an example of ``updated`` changes.
EDITS: dict[str, tuple[str, bool | float | str]] = {
    "recibospagoscli": ("importe", 300.0),
    "recibospagosprov": ("importe", 300.0),
    "pagoscli": ("gastos", 1.5),
    "pagosprov": ("importe", 300.0),
    "clientes": ("telefono1", "966 111 111"),
    "proveedores": ("email", "ventas@acerosvalles.example"),
    "contactos": ("ciudad", "Alicante"),
    "productos": ("descripcion", "Tornillo M4, acero inoxidable"),
    "variantes": ("codbarras", "8400000002110"),
    "stocks": ("ubicacion", "B-11"),
    "asientos": ("concepto", "Factura de Cliente FAC2026A12 (corregida)"),
    "users": ("homepage", "ListProducto"),
    "roles": ("descripcion", "Ventas"),
}

#: Name of a transition → what else usually changes with it (only where the example row has the column).
COMPANIONS: dict[str, Row] = {
    "paid": {"vencida": False, "vencido": False, "fechapago": "2026-12-02"},
    "unpaid": {"fechapago": None},
    "login": {"lastip": "192.0.2.55", "lastactivity": "2026-11-25T08:01:10"},
    "session_changed": {"lastactivity": "2026-11-25T14:00:30"},
    "password_changed": {"lastactivity": "2026-11-25T08:05:00"},
}


#: The address of the examples' FacturaScripts.
_SITE: Final = "https://erp.example.com"
_TIME = datetime(2026, 11, 24, 21, 48, 0, 123456, tzinfo=UTC)


class Examples:
    """Example payloads of one catalogue; ``tables``: real ones, for those that have no example row here."""

    def __init__(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> None:
        self._mapper = Mapper(catalogue)
        self._catalogue = catalogue
        self._tables = tables

    def of_row_event(self, name: str, table: str, operation: Operation) -> dict[str, Any]:
        row = self._row(table)
        before = row if operation in (Operation.DELETE, Operation.UPDATE) else None
        after = row if operation in (Operation.CREATE, Operation.READ) else None
        if operation is Operation.UPDATE:
            column, value = EDITS.get(table) or self._edit(table, row)
            after = {**row, column: value}
        existing = Existing("bf_5d0c2a7e9b1f4836") if name.endswith(f".{EXISTING}") else None
        return self._payload(name, self._change(table, operation, before, after), existing)

    def of_rule(self, rule: Rule) -> dict[str, Any]:
        if rule.infer == "permissions":
            return self._payload(
                rule.event, self._change(MEMBERS_TABLE, Operation.CREATE, None, self._row(MEMBERS_TABLE))
            )
        if rule.date:
            day, days = _TIME.date(), rule.days or (-7,)
            row = {**self._row_of(rule), rule.date: str(day - timedelta(days=days[0]))}
            row |= {column: _example(column, condition, row) for column, condition in rule.where.items()}
            existing = Existing(f"due/{rule.event}/{day}", due=DueDay(rule.event, rule.date, days, day))
            return self._payload(rule.event, self._change(rule.table, Operation.READ, None, row), existing)
        before, after = _images(rule, self._row_of(rule))
        secrets = frozenset({"logkey"} if rule.infer else rule.changed & self._catalogue.secrets_of(rule.table))
        operation = _operation(rule)
        images: tuple[Row | None, Row | None] = (before, after)
        if operation is not Operation.UPDATE:
            images = (None, after) if operation is Operation.CREATE else (after, None)
        return self._payload(rule.event, self._change(rule.table, operation, *images, secrets=secrets))

    def _row(self, table: str) -> Row:
        """Return a row with every known column of a table."""
        chosen, known = ROWS.get(table, {}), self._tables.get(table)
        if known is None:
            return chosen or {"id": 1, "nombre": "Ejemplo"}
        secrets = self._catalogue.capture_of(table).hidden.of([c.name for c in known.columns], known.key)
        columns = {c.name: FORMS[c.kind].example for c in known.columns if c.name not in secrets}
        return {**columns, **chosen}

    def _row_of(self, rule: Rule) -> Row:
        """Return a row that has, too, each column with which the rule compares others."""
        conditions = chain(*(group.values() for group in (rule.becomes, rule.from_, rule.to, rule.where)))
        compared = {each.column: 1 for each in conditions if isinstance(each, ColumnCondition)}
        return {**compared, **self._row(rule.table)}

    def _edit(self, table: str, row: Row) -> tuple[str, Value]:
        quiet = self._catalogue.noise_of(table) | set(self._key(table))
        column = (
            "observaciones" if "observaciones" in row else next((c for c in row if c not in quiet), next(iter(row)))
        )
        return column, _other(row[column])

    def _key(self, table: str) -> tuple[str, ...]:
        if table in KEYS:
            return (KEYS[table],)
        known = self._tables.get(table)
        return known.key if known is not None else ("id",)

    def _change(
        self,
        table: str,
        operation: Operation,
        before: Row | None,
        after: Row | None,
        secrets: frozenset[str] = frozenset(),
    ) -> RowChange:
        row = after or before or {}
        key = {column: row[column] for column in self._key(table)} if row else {}
        return RowChange(operation, table, key, before, after, _TIME, 1, secrets)

    def _payload(self, name: str, change: RowChange, existing: Existing | None = None) -> dict[str, Any]:
        first = ROWS.get(change.table, {}).get(STATE_COLUMN)
        near = STATES if isinstance(first, int) else {}
        facts = Facts(
            {int(first or 0) + distance: state for distance, state in near.items()},
            children=self._children(),
            documents={table: (KEYS[table], {row[KEYS[table]]: row}) for table, row in ROWS.items()},
        )
        token = "7301" if existing is None else backfill_token(existing)
        transaction = Transaction(token, (change,), existing=existing)
        mapped = self._mapper.batch("main", [transaction], {}, _SITE).map(facts)
        released = self._mapper.release("main", {key: value for key, value in mapped.states_changed.items() if value})
        event = next((event for event in (*mapped.events, *released.events) if event.name == name), None)
        payload: dict[str, Any] = json.loads(event_payload(event)) if event is not None else {}
        return payload

    def _children(self) -> dict[Child, dict[Value, list[Row]]]:
        """One row for each kind of child that is included, whichever example owns it."""
        found: dict[Child, dict[Value, list[Row]]] = {}
        for entity in self._catalogue.entities:
            for child in entity.included.values():
                owner = self._row(entity.table)[child.column]
                found[child] = {owner: [{**self._row(child.table), child.column: owner}]}
            for child in entity.origin[:1]:
                other = next(each for each in self._catalogue.entities if each.document not in ("", entity.document))
                (mine,), (its,) = self._key(entity.table), self._key(other.table)
                owner, former = self._row(entity.table)[mine], self._row(other.table)[its]
                row = {"iddoc1": former, "model1": other.document, "iddoc2": owner, "model2": entity.document}
                found[child] = {owner: [row]}
        return found


def _operation(rule: Rule) -> Operation:
    inserted = Operation.CREATE in rule.operations and rule.name == "refunded"
    if Operation.UPDATE in rule.operations and not inserted:
        return Operation.UPDATE
    return Operation.CREATE if Operation.CREATE in rule.operations else Operation.DELETE


#: The invoice that the refund of an example corrects.
_CORRECTED: Row = {"idfacturarect": 7, "codigorect": "FAC2026A7"}


def _images(rule: Rule, row: Row) -> tuple[Row, Row]:
    """Rows before and after that make the rule fire."""
    row = {**row, **_CORRECTED} if "idfacturarect" in rule.columns else row
    before, after = dict(row), dict(row)
    after.update({column: value for column, value in COMPANIONS.get(rule.name, {}).items() if column in row})
    if STATE_COLUMN in row and {STATE_COLUMN, "editable"} & rule.columns:
        _move_state(rule, before, after)
    elif rule.changed:
        column = min(rule.changed)
        after.update({column: _other(row[column])} if column in row else {})
    for column, condition in rule.becomes.items():
        after[column] = _example(column, condition, row)
        before[column] = _opposite(column, condition, row)
    before.update({column: _example(column, condition, row) for column, condition in rule.from_.items()})
    after.update(
        {column: _example(column, condition, row) for column, condition in (*rule.to.items(), *rule.where.items())}
    )
    return before, after


def _move_state(rule: Rule, before: dict[str, Value], after: dict[str, Value]) -> None:
    """Move the document from its first state to the one that the rule wants, or back when it wants an editable
    document."""
    first = before[STATE_COLUMN]
    assert isinstance(first, int)
    distance = next((d for d, state in STATES.items() if all_hold(rule.state)(state)), 1)
    moved = {STATE_COLUMN: first + distance, "idestado_ant": first, "editable": False}
    if "editable" in rule.to and all_hold(rule.to)({**before, "editable": True}):
        before.update(moved)
        after.update({"idestado_ant": first + distance})
    else:
        after.update(moved)


def _example(column: str, condition: Condition, row: Row) -> Value:
    """Return a value that satisfies the condition in this row."""
    if column in _CORRECTED:
        return _CORRECTED[column]
    if not isinstance(condition, ColumnCondition):
        return _alike(condition.example(), row.get(column))
    other = row.get(condition.column)
    if condition.compared == "less_than" and (number := decimal_of(other)) is not None:
        return _alike(float(number - 1) if isinstance(other, float) else int(number - 1), other)
    return _other(other) if condition.compared == "not" else other


def _opposite(column: str, condition: Condition, row: Row) -> Value:
    if isinstance(condition, ColumnCondition):
        opposites = {"is": "not", "not": "is", "at_least": "less_than", "less_than": "at_least"}
        return _example(column, ColumnCondition(condition.column, opposites[condition.compared]), row)
    if condition.present is False:
        return "x"
    example = condition.example()
    return (not example) if isinstance(example, bool) else None


def _alike(value: Value, present: Value) -> Value:
    """Return a number as the text of a decimal where the column has such."""
    number = decimal_of(value)
    return DecimalText(f"{number:f}") if type(present) is DecimalText and number is not None else value


def _other(value: Value) -> Value:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return round(value * 1.1, 4)
        case None:
            return "texto"
    number = decimal_of(value)
    return f"{value} (corregido)" if number is None else DecimalText(f"{number + 1:f}")
