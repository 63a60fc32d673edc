"""Makes docs/events.md of the catalogue: ``python -m support.events_page`` prints it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.mapping.schema import EventType, event_types, operation_event_types
from support.events_text import EVERY_EVENT, INTRODUCTION, MODEL_EVENTS, OPERATIONS, ORDER, PAYMENTS, RULES, SESSIONS

DASH = "\N{EN DASH}"


def document(catalogue: Catalogue) -> str:
    """The whole page as Markdown; the same catalogue gives the same text."""
    types = event_types(catalogue)
    sections = [
        INTRODUCTION,
        _overview(types),
        ORDER,
        PAYMENTS,
        SESSIONS,
        RULES.replace("@NOISE@", _columns(catalogue.noise)).replace("@SECRET@", _columns(_secrets(catalogue))),
        MODEL_EVENTS,
        OPERATIONS + _described(operation_event_types()),
        EVERY_EVENT,
        *(_entity(list(group)) for _, group in groupby(types, key=lambda kind: kind.entity)),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _secrets(catalogue: Catalogue) -> Mapping[str, Iterable[str]]:
    patterns = catalogue.secret_patterns
    return {table: (*sorted(names), *patterns.get(table, ())) for table, names in catalogue.secrets.items()}


def _overview(types: Iterable[EventType]) -> str:
    lines = ["## Entities", "", "| entity | table | events, beside those of every entity |", "| --- | --- | --- |"]
    for (entity, table), group in groupby(types, key=lambda kind: (kind.entity, kind.table)):
        own = ", ".join(f"`{_what(kind)}`" for kind in group if _what(kind) not in _EVERY)
        lines.append(f"| [`{entity}`](#{entity}) | `{table}` | {own or DASH} |")
    return "\n".join(lines)


_EVERY = ("created", "updated", "deleted", "read", "existing", "truncated")


def _what(kind: EventType) -> str:
    return kind.name.removeprefix(f"{kind.entity}.")


def _entity(types: list[EventType]) -> str:
    first = types[0]
    return f"### {first.entity}\n\nThe {first.title}: table `{first.table}`.\n\n{_described(types)}"


def _described(types: Sequence[EventType]) -> str:
    """A table of when each fires, and an example of each."""
    lines = ["| event | when |", "| --- | --- |"]
    lines += [f"| `{kind.name}` | {kind.when} |" for kind in types]
    for kind in types:
        lines += ["", f"`{kind.name}`", "", "```json", _payload(kind.example), "```"]
    return "\n".join(lines)


def _payload(payload: Mapping[str, Any]) -> str:
    """JSON with one line for each of the payload's own keys."""
    lines = (f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in payload.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _columns(columns: Mapping[str, Iterable[str]]) -> str:
    return "\n".join(
        f"| {'any table' if table == '*' else f'`{table}`'} | {', '.join(f'`{name}`' for name in sorted(names))} |"
        for table, names in columns.items()
    )


if __name__ == "__main__":
    sys.stdout.write(document(load_catalogue()))
