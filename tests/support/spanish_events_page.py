"""Makes docs/es/events.md of catalogue and translations: ``python -m support.spanish_events_page`` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC
from itertools import groupby

from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.mapping.schema import event_types, operation_event_types
from cdc.pages.language import language

_INTRODUCTION = """
# Eventos

<!-- Generado por `make docs` a partir de cdc/mapping/catalogue.toml y cdc/pages/locale/es.po: modifíquelo allí, o en
tests/support/spanish_events_page.py. -->

Cada cambio de un registro capturado produce uno o varios eventos, llamados `entidad.hecho`. Un destino los pide por su
nombre o con patrones: `invoice.paid`, `receipt.*`, `*.deleted`, `*` para todos. `cdc event kinds` y la página
(*Catálogo de eventos*) muestran también los de sus propias reglas. Hay un ejemplo de cada uno en la [página en
inglés](../events.md#every-event).

| campo | contenido |
| --- | --- |
| `id` | `evt_…`, el mismo en cada repetición: guárdelo para procesar cada evento una sola vez |
| `event` | el nombre |
| `timestamp` | cuándo cambió el registro, en UTC |
| `source` | el nombre del origen en `cdc.toml` |
| `key` | la clave primaria del registro |
| `data` | el registro completo después del cambio; si se eliminó, como estaba |
| `previous` | solo en las modificaciones: los valores anteriores de las columnas que han cambiado |
| `related` | los registros relacionados; en los pagos, siempre la factura |
| `transaction` | la transacción: los eventos con el mismo valor se confirmaron juntos |
| `days` | solo en los [eventos por fecha](due.md): los días desde la fecha, negativos antes de ella |

Los eventos de un registro llegan en orden. Varios cambios de un registro en una transacción son uno solo. Un evento
como `invoice.paid` se produce cuando el registro *llega* a ese estado, también si se crea ya en él.

## De todas las entidades

| evento | cuándo |
| --- | --- |
"""
_OPERATIONS = """
## De funcionamiento

Avisan de problemas del propio programa; `*` no los incluye ([supervisión](monitoring.md)).
"""
_END = "Siga con [los destinos](delivery.md) o con [el receptor](receiving.md).\n"


def document(catalogue: Catalogue) -> str:
    """Return the whole page as Markdown."""
    here = language("es", UTC)
    kinds = {entity: list(group) for entity, group in groupby(event_types(catalogue), key=lambda kind: kind.entity)}
    first = next(iter(kinds.values()))
    common = [kind for kind in first if kind.name.removeprefix(f"{kind.entity}.") in _EVERY]
    parts = [_INTRODUCTION.strip() + "\n" + _rows((kind.name.rpartition(".")[2], kind.when) for kind in common)]
    for entity, group in kinds.items():
        title = here.text(group[0].title)
        own = [(kind.name, kind.when) for kind in group if kind.name.removeprefix(f"{kind.entity}.") not in _EVERY]
        parts.append(f"## {entity}\n\n{title[:1].upper()}{title[1:]}: tabla `{group[0].table}`." + _table(own))
    parts.append(_OPERATIONS.strip() + _table((kind.name, kind.when) for kind in operation_event_types()))
    return "\n\n".join([*parts, _END])


_EVERY = ("created", "updated", "deleted", "read", "existing", "truncated")


def _table(events: Iterable[tuple[str, str]]) -> str:
    rows = _rows(events)
    return f"\n\n| evento | cuándo |\n| --- | --- |\n{rows}" if rows else ""


def _rows(events: Iterable[tuple[str, str]]) -> str:
    here = language("es", UTC)
    return "\n".join(f"| `{name}` | {here.text(when)} |" for name, when in events)


if __name__ == "__main__":
    sys.stdout.write(document(load_catalogue()))
