"""The form of an endpoint: what it shows of one, and what fields of `cdc.model.endpoint.Endpoint` come back of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from multidict import MultiMapping

from cdc.dispatch.transform import PRESETS, preset
from cdc.model.endpoint import (
    DISABLE_AFTER,
    JWT,
    SECRET_NAMES,
    SETTINGS,
    Endpoint,
    Order,
    PayloadFormat,
    authentication_of,
    settings_text,
)
from cdc.model.errors import UsageError
from cdc.model.event import check_pattern, selects
from cdc.pages.language import parsed_number
from cdc.pages.page import Page

if TYPE_CHECKING:
    from cdc.admin.events import EventType

_HOUR = 3600.0
#: What a form shows for a new endpoint.
_NEW = {
    "url": "",
    "description": "",
    "patterns": "",
    "condition": "",
    "preset": "",
    "transform": "",
    "language": "",
    "format": PayloadFormat.FACTURASCRIPTS.value,
    "order": Order.RECORD.value,
    "timeout": "10",
    "retries": "5, 25, 125, 625, 3125",
    "concurrency": "16",
    "rate": "0",
    "batch_size": "1",
    "batch_wait": "1",
    "fields": "",
    "proxy": "",
    "client_certificate": "",
    "authentication": "",
    "token_url": "",
    "client_id": "",
    "client_authentication": "basic",
    "scope": "",
    "parameters": "",
    "audience": "",
    "issuer": "",
    "key_id": "",
    "lifetime": "60",
    "header": "Authorization",
    "disable_after": f"{DISABLE_AFTER / _HOUR:g}",
    "signature": "v1",
}
#: Fields that the form shows as chosen before.
_CHOSEN = ("proxy", "client_certificate")


@dataclass(frozen=True, slots=True)
class EndpointForm:
    """``values``: what each text field shows.  ``events``, ``sources``: ticked boxes.  ``wrong``: sentences.
    ``again``: it asks for proxy and certificate again, as they belong to another origin than the URL's."""

    values: dict[str, str]
    events: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    wrong: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    again: bool = False

    def asking_again(self, endpoint: Endpoint) -> EndpointForm:
        """Return the form with proxy and certificate left open where they are as before."""
        left_open = {name: "" for name in _CHOSEN if self.values[name] == getattr(endpoint, name)}
        return replace(self, values=self.values | left_open, again=True)


def empty() -> EndpointForm:
    return EndpointForm(dict(_NEW))


def of_endpoint(endpoint: Endpoint, known: frozenset[str], written: Callable[[float], str]) -> EndpointForm:
    """``written``: how the reader's language writes a number.  ``known``: the names and patterns that have a box."""
    values = {
        "url": endpoint.url,
        "description": endpoint.description,
        "patterns": ", ".join(pattern for pattern in endpoint.events if pattern not in known),
        "condition": endpoint.condition,
        "preset": "",
        "transform": endpoint.transform,
        "language": endpoint.language if endpoint.transform else "",
        "format": endpoint.format.value,
        "order": endpoint.order.value,
        "timeout": written(endpoint.timeout),
        "retries": _schedule([written(delay) for delay in endpoint.retry_schedule]),
        "concurrency": str(endpoint.concurrency),
        "rate": written(endpoint.rate),
        "batch_size": str(endpoint.batch_size),
        "batch_wait": written(endpoint.batch_wait),
        "fields": ", ".join(endpoint.fields),
        "proxy": endpoint.proxy,
        "client_certificate": endpoint.client_certificate,
        **_shown_authentication(endpoint),
        "disable_after": written(endpoint.disable_after / _HOUR),
    }
    ticked = frozenset(pattern for pattern in endpoint.events if pattern in known)
    return EndpointForm(values, ticked, frozenset(endpoint.sources))


async def read(page: Page, present: Endpoint | None = None) -> EndpointForm:
    """Read the form: its fields where all of it is right, else the problems.  ``present``: the endpoint that is
    changed.  A proxy or certificate that is as before counts as entered only where the form asked for it again."""
    sent = await page.form()
    values = {name: sent.get(name, default).strip() for name, default in _NEW.items()}
    ticked = frozenset(sent.getall("events", []))
    sources = frozenset(name for text in sent.getall("sources", []) for name in _source_names(page, text))
    if values["preset"] in PRESETS:
        values |= {"preset": "", "transform": preset(values["preset"])}
    reader = _FormReader(page)
    fields: dict[str, Any] = {
        "url": values["url"],
        "description": values["description"],
        "events": reader.parse(lambda: _patterns([*sorted(ticked), *_words(values["patterns"])]), "Events"),
        "sources": tuple(sorted(sources)),
        "condition": values["condition"],
        "transform": values["transform"],
        "language": values["language"] or page.language.code,
        "format": reader.parse(lambda: PayloadFormat(values["format"]), "Format"),
        "order": reader.parse(lambda: Order(values["order"]), "Order"),
        "timeout": reader.number(values["timeout"], "Timeout"),
        "retry_schedule": reader.parse(lambda: _delays(values["retries"]), "Retries"),
        "concurrency": int(reader.number(values["concurrency"], "Concurrent requests")),
        "rate": reader.number(values["rate"], "Requests a second"),
        "batch_size": int(reader.number(values["batch_size"], "Events in one request")),
        "batch_wait": reader.number(values["batch_wait"], "Longest wait for a batch"),
        "fields": tuple(_words(values["fields"])),
        "proxy": values["proxy"],
        "client_certificate": values["client_certificate"],
        "disable_after": reader.number(values["disable_after"], "Disable after") * _HOUR,
    }
    if "authentication" in sent:
        fields |= reader.parse(lambda: _authentication(values, sent), "Authentication") or {}
    headers = reader.parse(lambda: _headers(sent), "Headers")
    if headers is not None:
        fields["headers"] = headers
    if present is not None and "credential" not in fields and fields.get("authentication") == present.authentication:
        del fields["authentication"]  # unchanged: the endpoint keeps the sources of the user who set it
    again = bool(sent.get("again"))
    if present is not None and not again:
        fields = {
            name: value for name, value in fields.items() if name not in _CHOSEN or value != getattr(present, name)
        }
    return EndpointForm(values, ticked, sources, tuple(reader.wrong), fields, again)


class _FormReader:
    """Notes fields that cannot be read, and continues."""

    def __init__(self, page: Page) -> None:
        self._language = page.language
        self.wrong: list[str] = []

    def parse(self, read: Callable[[], Any], name: str) -> Any:
        try:
            return read()
        except UsageError as error:
            self.wrong.append(self._language.error(error))
        except ValueError:
            self.wrong.append(self._language.text("%(name)s: invalid value.", name=self._language.text(name)))
        return None

    def number(self, text: str, name: str) -> float:
        value: float | None = self.parse(lambda: parsed_number(text), name)
        return 0.0 if value is None else value


def _patterns(words: Sequence[str]) -> tuple[str, ...]:
    if not words:
        raise UsageError("No event is chosen.")
    return tuple(dict.fromkeys(check_pattern(word) for word in words))


def _headers(sent: MultiMapping[str]) -> tuple[tuple[str, str], ...] | None:
    """One ``Name: value`` a line.  None: nothing is said of them, so they stay."""
    text = sent.get("headers", "").strip()
    if not text:
        return () if sent.get("no_headers") else None
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def _shown_authentication(endpoint: Endpoint) -> dict[str, str]:
    settings = authentication_of(endpoint.authentication)
    if settings is None:
        return {name: _NEW[name] for name in ("authentication", *_SETTING_NAMES)}
    shown = {name: str(getattr(settings, name)) for name in _SETTING_NAMES}
    lines = [f"{name}={value}" for name, value in settings.parameters.items()]
    return shown | {"authentication": settings.type, "parameters": "\n".join(lines)}


_SETTING_NAMES: Final = frozenset().union(*SETTINGS.values())


def _authentication(values: Mapping[str, str], sent: MultiMapping[str]) -> dict[str, Any]:
    """The secret stays where none is entered.  Raises `UsageError`, `ValueError`."""
    kind = values["authentication"]
    if kind not in SETTINGS:
        return {"authentication": ""}
    given: dict[str, Any] = {name: values[name] for name in SETTINGS[kind] if values[name]}
    if kind == JWT:
        given["lifetime"] = int(parsed_number(values["lifetime"]))
    elif values["parameters"]:
        pairs = [line.partition("=") for line in values["parameters"].splitlines() if line.strip()]
        given["parameters"] = {name.strip(): value.strip() for name, _, value in pairs}
    secret = sent.get(SECRET_NAMES[kind], "").strip()
    return {"authentication": settings_text({"type": kind, **given})} | ({"credential": secret} if secret else {})


def _schedule(delays: Sequence[str]) -> str:
    return ("; " if any("," in each for each in delays) else ", ").join(delays)


def _delays(text: str) -> tuple[float, ...]:
    """Seconds with commas, semicolons or spaces between; between semicolons a comma is that of decimals."""
    return tuple(parsed_number(word) for word in (text.replace(";", " ").split() if ";" in text else _words(text)))


def _source_names(page: Page, text: str) -> list[str]:
    """Return the source of a ticked box, or the names of a list with commas."""
    if text in page.site.service.config.source:
        return [text]
    return [each.strip() for each in text.split(",") if each.strip()]


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


@dataclass(frozen=True, slots=True)
class Group:
    """The events of one entity.  ``whole``: the pattern of all of them.  ``selected``: name → the pattern that selects
    it, which is the name itself where its own box is ticked."""

    entity: str
    kinds: Sequence[EventType]
    whole: str
    selected: Mapping[str, str]


def groups(kinds: Sequence[EventType], form: EndpointForm) -> list[Group]:
    patterns = (*sorted(form.events, key=lambda each: "*" not in each), *_words(form.values["patterns"]))
    grouped = [(entity, list(group)) for entity, group in groupby(kinds, key=lambda kind: kind.entity)]
    return [Group(entity, each, whole_of(entity), _selected(each, patterns)) for entity, each in grouped]


def whole_of(entity: str) -> str:
    return f"{entity}.*"


def _selected(kinds: Sequence[EventType], patterns: Sequence[str]) -> dict[str, str]:
    """An operational event is selected by those who name it: ``*`` does not."""
    found: dict[str, str] = {}
    for kind in kinds:
        meant = [each for each in patterns if (each != "*" or kind.table) and selects(kind.name, (each,))]
        if meant:
            found[kind.name] = meant[0]
    return found
