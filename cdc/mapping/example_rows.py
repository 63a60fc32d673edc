"""Rows of a small Spanish company, for the example payloads of the documentation: each table's main columns."""

from __future__ import annotations

from cdc.model.change import Row

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
    "stocks": "idstock", "users": "nick", "roles": "codrole", "roles_users": "id", "lineasfacturascli": "idlinea",
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
