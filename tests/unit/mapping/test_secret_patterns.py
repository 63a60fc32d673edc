"""Columns of plugins that are secret by their names: which, and who decides otherwise."""

from __future__ import annotations

import pytest

from cdc.facturascripts.schema import tables
from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.mapping.schema import columns_of
from cdc.model.column import Capture, Column, ColumnKind, Table
from cdc.model.errors import ConfigError
from support.row_changes import transaction, update

HIDDEN = [
    *("password", "smtp_password", "ContraseñaCorreo", "contrasenia", "passwd", "pwd", "pass", "mailpass", "user_pass"),
    *("token", "apiToken", "refresh_token", "secret", "clientsecret", "stripe_secret_key", "credentials"),
    *("apikey", "api_key", "private_key", "clave_privada", "claveprivada", "clave_api", "consumer_key", "accesskey"),
]
SHOWN = [
    *("secretario", "secretaria", "compass", "bypass", "passport", "pasaporte", "compas", "clave", "claveoperacion"),
    *("codcliente", "observaciones", "keyword", "capital", "iban_titular", "numero", "nombre"),
]


def rules(text: str = "") -> Catalogue:
    return load_catalogue(f'tables = ["mi_*"]\n{text}')


def hidden(catalogue: Catalogue, *columns: str, key: str = "id") -> frozenset[str]:
    return catalogue.capture_of("mi_a").hidden.of(columns, (key,)) & set(columns)


def test_names_that_mean_a_secret_are_hidden_and_others_are_not() -> None:
    assert hidden(rules(), *HIDDEN, *SHOWN) == set(HIDDEN)


def test_no_column_of_facturascripts_is_meant_that_is_not_named() -> None:
    """Else an event of its own tables would lose a column."""
    catalogue = load_catalogue()
    for table in tables().values():
        capture, names = catalogue.capture_of(table.name), [column.name for column in table.columns]
        assert capture.within(names, table.key) == capture, table.name


def test_a_primary_key_is_not_hidden() -> None:
    assert hidden(rules(), "idtoken", "token", key="idtoken") == {"token"}


@pytest.mark.parametrize("reveal", ["mi_a.access_token", "*.access_token"])
def test_a_column_is_revealed_by_name(reveal: str) -> None:
    catalogue = rules(f'reveal = ["{reveal}"]')
    assert hidden(catalogue, "access_token", "refresh_token") == {"refresh_token"}
    other = catalogue.capture_of("mi_b").hidden.of(["access_token"])
    assert ("access_token" in other) is not reveal.startswith("*")


def test_the_configuration_adds_patterns_and_exceptions() -> None:
    catalogue = rules('[secret]\n"*" = ["*clave*", "!*token_count*"]\nmi_a = ["*nota*"]')
    assert hidden(catalogue, "claveoperacion", "token_count", "token", "notas") == {"claveoperacion", "token", "notas"}
    assert "notas" not in catalogue.capture_of("mi_b").hidden.of(["notas"])


@pytest.mark.parametrize("reveal", ["users.password", "mi_a.nombre", "mi_a.clave"])
def test_what_is_no_secret_of_any_table_cannot_be_revealed(reveal: str) -> None:
    with pytest.raises(ConfigError, match="cannot be revealed"):
        rules(f'reveal = ["{reveal}"]')


def test_a_source_that_leaves_a_secret_in_is_corrected_in_events() -> None:
    """Triggers that were installed before a column was secret."""
    mapper = Mapper(rules())
    before = {"id": 1, "nota": "a", "access_token": "S3cr3t1"}
    change = update("mi_a", before, nota="b", access_token="S3cr3t2")
    for _ in range(2):
        (event,) = mapper.batch("main", [transaction(change)], {}).map().events
        assert event.data == {"id": 1, "nota": "b"}
        assert event.previous == {"nota": "a"}


def test_schemas_of_events_do_not_promise_hidden_columns() -> None:
    columns = tuple(Column(name, ColumnKind.TEXT) for name in ("id", "nota", "access_token"))
    described = columns_of(Table("mi_a", columns, ("id",)), rules().capture_of("mi_a").hidden)
    assert list(described) == ["id", "nota"]


def test_captures_with_the_same_names_are_the_same() -> None:
    """An installation records names, and no patterns."""
    wanted = rules().capture_of("mi_a").within(["id", "access_token"], ("id",))
    assert wanted == Capture("mi_a", wanted.secrets)
    assert {"access_token", "iban", "swift"} == wanted.secrets
