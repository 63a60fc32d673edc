"""One sentence about an event, for people: ``Factura FAC2026A12 pagada · Talleres Ruiz · 423,50 €``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from cdc.model.event import OPERATIONS, TESTS, Label

#: The languages of messages; the first is for endpoints that name none.
LANGUAGES: Final = ("en", "es")
#: The column in which FacturaScripts says what money an amount is.
_CURRENCY: Final = "coddivisa"
#: Characters of a code or a name that are shown.
_LONGEST: Final = 80


@cache
def _words() -> Mapping[str, Any]:
    return tomllib.loads((files("cdc.dispatch") / "messages.toml").read_text("utf-8"))


def message(event: Mapping[str, Any], record: str, label: Label, language: str) -> str:
    """Return what happened to which record.  ``event``: the default payload; ``record``: its name."""
    name, data, words = event["event"], event["data"], _words()[language]
    if name in words["events"]:
        shown = {field: _text(value) for field, value in data.items()}
        return str(words["events"][name].format_map(_Fields(shown)))
    if event["source"] in (OPERATIONS, TESTS) and isinstance(data.get("message"), str):
        return str(data["message"])
    entity, _, what = name.rpartition(".")
    noun, *ending = words["nouns"].get(entity, ("",))
    parts = _parts(label, data, language)
    if not noun:
        return _joined(name, *(parts if any(parts) else [record.partition(":")[2]]))
    code, *others = parts
    verb = words["verbs"].get(what) or _by_time(words["days"], what, event.get("days"))
    if not verb:
        return f"{_joined(_spaced(noun, code), *others)} ({name})"
    return _joined(_spaced(noun, code, verb.replace("*", "".join(ending))), *others)


def occasion(name: str, language: str) -> str:
    """Return when an event, or one of a pattern, happens: ``an invoice is paid``; empty: there are no words for it."""
    words, (entity, _, what) = _words()[language], name.rpartition(".")
    clause, entity = words["when"].get(name) or words["when"].get(what), entity or "*"
    if not clause or ("*" in entity and entity != "*"):
        return ""
    return str(clause.format(words["one"].get(entity) or words["one"]["table"].format(entity)))


def noun(entity: str, language: str) -> str:
    """Return what an entity is called, ``Invoice``; empty: there is no word for it."""
    return str(_words()[language]["nouns"].get(entity, ("",))[0])


def event_title(name: str, language: str) -> str:
    """Return an event in a few words, ``Invoice paid``; its name where there are none for it."""
    words, (entity, _, what) = _words()[language], name.rpartition(".")
    noun, *ending = words["nouns"].get(entity, ("",))
    if noun and what in words["verbs"]:
        return f"{noun} {words['verbs'][what].replace('*', ''.join(ending))}"
    sentence = occasion(name, language)
    return f"{sentence[:1].upper()}{sentence[1:]}" if sentence else name


def _by_time(words: Mapping[str, Any], what: str, days: int | None) -> str:
    """Return what happens so many days after its date, negative before it; empty: there are no words for it."""
    if days is None or what not in words:
        return ""
    before, today, after = words[what]
    span = words["one"] if abs(days) == 1 else words["many"].format(abs(days))
    return str(today if days == 0 else (before if days < 0 else after).replace("%", span))


class _Fields(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


def record_title(label: Label, data: Mapping[str, Any], language: str, key: str = "") -> str:
    """Return ``FAC2026A12 · Talleres Ruiz · 423,50 €``, or what the row has.  ``key``: comes before an amount alone."""
    code, name, amount = _parts(label, data, language)
    if amount and not (code or name):
        code = key
    return _joined(code, name, amount)


def _parts(label: Label, data: Mapping[str, Any], language: str) -> list[str]:
    """Return code, name and amount; empty for those that the row does not have."""
    total = data.get(label.total)
    amount = _money(total, _text(data.get(_CURRENCY)), language) if isinstance(total, int | float) else ""
    return [_text(data.get(label.code)), _text(data.get(label.name)), amount]


def _money(amount: float, currency: str, language: str) -> str:
    """Return ``423,50 €``; without a sign where the currency is none that is known."""
    from babel.numbers import format_currency, format_decimal, is_currency  # noqa: PLC0415 - Babel is large, and most endpoints send no amounts in words

    if is_currency(currency):
        return format_currency(amount, currency, locale=language)
    return format_decimal(amount, "#,##0.00", locale=language)


def _text(value: object) -> str:
    text = value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _spaced(*parts: str) -> str:
    return " ".join(filter(None, parts))
