"""Endpoints: the list, one of them, its form, its secret, a test."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import EnumType
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args, get_origin

from aiohttp import web
from multidict import MultiMapping

from cdc.access.model import Role
from cdc.admin.deliveries import Period
from cdc.admin.endpoint_checks import GREETING, Previewed, PreviewShape
from cdc.admin.endpoints import MOST_COUNTED
from cdc.dispatch.authentication import public_jwk
from cdc.dispatch.signing import public_key, signature_of
from cdc.dispatch.transform import PRESETS, preset
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryState
from cdc.model.endpoint import (
    JWT,
    OPTIONS,
    SECRET_NAMES,
    SETTINGS,
    Endpoint,
    EndpointFilter,
    EndpointOption,
    EndpointState,
    authentication_of,
    is_pull,
    settings_text,
)
from cdc.model.errors import CredentialsNotGiven, UsageError
from cdc.model.event import check_pattern, selects
from cdc.pages.language import parsed_number
from cdc.pages.page import Page, Route
from cdc.pages.views.delivery_log import MOST_OFFERED, ShownRequest, endpoints_meant, names, names_of, request_of
from cdc.pages.views.statistics import statistics

if TYPE_CHECKING:
    from cdc.admin.deliveries import EventType


_HOUR = 3600.0
#: Options with a field of one text in the form → its name there.
_TEXTS: Final = {name: name for name in OPTIONS if name not in ("sources", "headers", "authentication")} | {
    "retry_schedule": "retries"
}


def _text(each: EndpointOption, value: Any, written: Callable[[float], str]) -> str:
    """Return the value of an option as a field of the form shows it."""
    if isinstance(value, bool):
        return _YES if value else _NO
    if each.hours:
        return written(value / _HOUR)
    if isinstance(value, float | int):
        return written(value)
    if get_args(each.type)[:1] == (float,):
        delays = list(map(written, value))
        return ("; " if any("," in delay for delay in delays) else ", ").join(delays)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


_YES: Final = "yes"
_NO: Final = "no"
#: What a form shows for a new endpoint.
_NEW: Final[Mapping[str, str]] = {
    "url": "",
    "patterns": "",
    **{shown: _text(OPTIONS[name], OPTIONS[name].default, "{:g}".format) for name, shown in _TEXTS.items()},
    "preset": "",
    "language": "",
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


def empty_form() -> EndpointForm:
    return EndpointForm(dict(_NEW))


def form_of_endpoint(endpoint: Endpoint, known: frozenset[str], written: Callable[[float], str]) -> EndpointForm:
    """``written``: how the reader's language writes a number.  ``known``: the names and patterns that have a box."""
    values = {
        "url": endpoint.url,
        "patterns": ", ".join(pattern for pattern in endpoint.events if pattern not in known),
        **{shown: _text(OPTIONS[name], getattr(endpoint, name), written) for name, shown in _TEXTS.items()},
        "preset": "",
        "language": endpoint.language if endpoint.transform else "",
        **_shown_authentication(endpoint),
    }
    ticked = frozenset(pattern for pattern in endpoint.events if pattern in known)
    return EndpointForm(values, ticked, frozenset(endpoint.sources))


async def read_form(page: Page, present: Endpoint | None = None) -> EndpointForm:
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
        "events": reader.parse(lambda: _patterns([*sorted(ticked), *_words(values["patterns"])]), "Events"),
        "sources": tuple(sorted(sources)),
        **{name: reader.option(OPTIONS[name], values[shown]) for name, shown in _TEXTS.items()},
        "language": values["language"] or page.language.code,
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

    def option(self, each: EndpointOption, text: str) -> Any:
        """Return the value of an option; a number that cannot be read counts as 0 for the other checks."""
        if each.type is bool:
            return text == _YES
        if each.type in (float, int):
            number = self.parse(lambda: parsed_number(text), each.label) or 0.0
            return each.type(number * _HOUR if each.hours else number)
        if get_args(each.type)[:1] == (float,):
            return self.parse(lambda: _delays(text), each.label)
        return (
            tuple(_words(text)) if get_origin(each.type) is tuple else self.parse(lambda: each.type(text), each.label)
        )


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


def event_groups(kinds: Sequence[EventType], form: EndpointForm) -> list[Group]:
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


_LAST = 10
_PAGE = 50
_PLACE = re.compile(r"[0-9]{1,18}")
_PREVIEW = 100


async def endpoints(page: Page) -> web.StreamResponse:
    admin, given = page.admin, {name: page.query(name) for name in ("search", "state", "source")}
    state = EndpointState(given["state"]) if given["state"] in tuple(EndpointState) else None
    which, after = EndpointFilter(given["search"], state, given["source"]), page.query("after")
    searched = await admin.endpoints.search(which, _PAGE, int(after) if _PLACE.fullmatch(after) else 0)
    shown = [each.id for each in searched.found]
    return page.render(
        "endpoints.html",
        endpoints=searched.found,
        counts=await admin.endpoints.counts(MOST_COUNTED, shown),
        figures=await admin.statistics.totals(Period.MONTH, page.language.zone, shown),
        State=DeliveryState,
        given=given,
        states=list(EndpointState),
        first=page.link("endpoints", **given) if after else "",
        more=page.link("endpoints", **given, after=searched.further) if searched.further else "",
        incomplete=searched.looked is not None,
    )


@dataclass(frozen=True, slots=True)
class ShownSignature:
    """``kind``: ``v1`` or ``v1a``; with the latter there is a public key."""

    kind: str
    public_key: str | None


def _signature(endpoint: Endpoint) -> ShownSignature:
    return ShownSignature(signature_of(endpoint.secret).value, public_key(endpoint.secret))


@dataclass(frozen=True, slots=True)
class TestDelivery:
    """``request``: None where it was a mail."""

    attempt: Attempt
    request: ShownRequest | None


@dataclass(frozen=True, slots=True)
class ShownConsumer:
    """``waiting_since``: of its oldest due event; None while none is due."""

    waiting_since: datetime | None


async def endpoint(page: Page) -> web.StreamResponse:
    endpoint_id, admin = page.path("id"), page.admin.endpoints
    known = await admin.by_ids([endpoint_id])
    if endpoint_id in known:
        return await _endpoint(page, known[endpoint_id])
    meant = await endpoints_meant(page, endpoint_id)
    links = [(name, page.link("endpoints", each)) for each, name in meant]
    return page.missing(page.language.text("There is no such endpoint."), links)


#: Options that the template of an endpoint shows in its own words, or not at all; others have a row with their label.
_OWN_ROWS: Final = frozenset(
    (
        *("format", "timeout", "retry_schedule", "concurrency", "order", "rate", "batch_size", "batch_wait", "fields"),
        "disable_after",
    )
)


async def _endpoint(page: Page, found: Endpoint, trial: TestDelivery | None = None) -> web.StreamResponse:
    admin = page.admin
    last = (await admin.deliveries.search(DeliveryFilter(endpoint_id=found.id), _LAST)).found
    others = [(name, each) for name, each in OPTIONS.items() if each.label and name not in _OWN_ROWS]
    others = [(name, each) for name, each in others if getattr(found, name) != each.default]
    return page.render(
        "endpoint.html",
        endpoint=found,
        counts=(await admin.endpoints.counts(MOST_COUNTED, [found.id])).get(found.id, {}),
        State=DeliveryState,
        last=last,
        names=await names_of(page, (each.event_id for each in last)),
        signature=_signature(found),
        authentication=authentication_of(found.authentication),
        jwk=public_jwk(found),
        others=[(each, _text(each, getattr(found, name), page.language.input)) for name, each in others],
        consumer=ShownConsumer(await page.admin.consumers.waiting_since(found)) if is_pull(found.url) else None,
        trial=trial,
        shown=await statistics(page, "endpoints", found.id, endpoint_id=found.id),
        testable=page.admin.endpoints.testable(found) if page.manages else [],
    )


async def new(page: Page) -> web.StreamResponse:
    return _form(page, empty_form(), None)


async def create(page: Page) -> web.StreamResponse:
    form = await read_form(page)
    if form.wrong or "preview" in await page.form():
        return await _preview(page, form, None)
    try:
        made = page.admin.endpoints.new(form.fields, signature=form.values["signature"])
    except UsageError as error:
        return _form(page, form, None, wrong=(page.language.error(error),))
    await page.admin.endpoints.add(made)
    if is_pull(made.url):  # nothing is signed for it
        return page.see(page.link("endpoints", made.id), notice="saved")
    return _secret(page, made, HTTPStatus.CREATED)


async def edit(page: Page) -> web.StreamResponse:
    found = await page.admin.endpoints.get(page.path("id"))
    kinds = page.admin.events.event_types()
    boxes = frozenset(box for kind in kinds for box in (kind.name, whole_of(kind.entity)))
    return _form(page, form_of_endpoint(found, boxes, page.language.input), found)


async def update(page: Page) -> web.StreamResponse:
    found = await page.admin.endpoints.get(page.path("id"))
    form = await read_form(page, found)
    if form.wrong or "preview" in await page.form():
        return await _preview(page, form, found)
    try:
        await page.admin.endpoints.change(found, form.fields)
    except CredentialsNotGiven as error:
        return _form(page, form.asking_again(found), found, wrong=(page.language.error(error),))
    except UsageError as error:
        return _form(page, form, found, wrong=(page.language.error(error),))
    return page.see(page.link("endpoints", found.id), notice="saved")


async def _preview(page: Page, form: EndpointForm, found: Endpoint | None) -> web.StreamResponse:
    """The form again, with which of the last events would have come, unless something is wrong."""
    if form.wrong:
        return _form(page, form, found)
    last = await page.admin.events.last(_PREVIEW)
    wanted = {name: form.fields[name] for name in ("events", "sources", "condition")}
    shape = PreviewShape(form.fields["transform"], form.fields["language"], form.fields["fields"])
    try:
        fitting = await page.admin.endpoints.fitting(wanted, last, shape)
    except UsageError as error:
        return _form(page, form, found, wrong=(page.language.error(error),))
    return _form(page, form, found, preview=(len(last), fitting[::-1]), status=HTTPStatus.OK)


def _form(
    page: Page,
    form: EndpointForm,
    found: Endpoint | None,
    *,
    wrong: tuple[str, ...] = (),
    preview: tuple[int, Sequence[Previewed]] | None = None,
    status: HTTPStatus | None = None,
) -> web.StreamResponse:
    problems, config = (*form.wrong, *wrong), page.site.service.config
    limited = page.principal is None or bool(page.principal.sources)  # who may not use the operator's, nor know of them
    return page.render(
        "endpoint_form.html",
        status or (HTTPStatus.UNPROCESSABLE_ENTITY if problems else HTTPStatus.OK),
        form=form,
        endpoint=found,
        wrong=problems,
        preview=preview,
        names=names(page, [each.event for each in preview[1]] if preview else ()),
        presets=PRESETS,
        groups=event_groups(page.admin.events.event_types(), form),
        sources=[name for name in config.source if page.admin.sources.visible(name)],
        offered=MOST_OFFERED,
        options=[
            (shown, OPTIONS[name], _choices(OPTIONS[name])) for name, shown in _TEXTS.items() if OPTIONS[name].label
        ],
        proxies=[] if limited else list(config.dispatch.proxies),
        certificates=[] if limited else list(config.dispatch.client_certificates),
    )


def _choices(each: EndpointOption) -> dict[str, str]:
    """Return the values of an option that is chosen → their labels; empty for one that is written."""
    values = [_YES, _NO] if each.type is bool else each.type if isinstance(each.type, EnumType) else ()
    return {str(value): each.choices.get(value, "") or str(value) for value in values}


async def rotate(page: Page) -> web.StreamResponse:
    return _secret(page, await page.admin.endpoints.rotate_secret(page.path("id")), HTTPStatus.OK)


def _secret(page: Page, made: Endpoint, status: HTTPStatus) -> web.StreamResponse:
    """The only page that ever shows it."""
    signature = _signature(made)
    shown = signature.public_key or made.secret
    return page.render(
        "endpoint_secret.html", status, endpoint=made, signature=signature, shown=shown, snippets=snippets()
    )


async def switch(page: Page) -> web.StreamResponse:
    endpoint_id, enabled = page.path("id"), page.path("state") == "enable"
    if enabled:
        await page.admin.endpoints.enable(endpoint_id)
    else:
        reason = f"Disabled by {page.principal_name}."
        await page.admin.endpoints.disable(endpoint_id, reason)
    return page.see(page.link("endpoints", endpoint_id), notice="enabled" if enabled else "disabled")


async def remove(page: Page) -> web.StreamResponse:
    await page.admin.endpoints.remove(page.path("id"))
    return page.see("/endpoints", notice="removed")


async def test(page: Page) -> web.StreamResponse:
    """Shown at once: what was sent and what came back."""
    found = await page.admin.endpoints.get(page.path("id"))
    attempt = await page.admin.endpoints.send_test(found.id, (await page.form()).get("event", GREETING))
    store = page.site.store
    view, event = await store.delivery(attempt.delivery_id), await store.event(attempt.event_id)
    labels = page.admin.events.label
    sent = request_of(view, event, found, attempt.started_at, labels) if view and event else None
    return await _endpoint(page, await page.admin.endpoints.get(found.id), TestDelivery(attempt, sent))


ROUTES = (
    Route("GET", "/endpoints", endpoints),
    Route("GET", "/endpoints/new", new, Role.MANAGER),
    Route("POST", "/endpoints/new", create, Role.MANAGER),
    Route("GET", "/endpoints/{id}", endpoint),
    Route("GET", "/endpoints/{id}/edit", edit, Role.MANAGER),
    Route("POST", "/endpoints/{id}/edit", update, Role.MANAGER),
    Route("POST", "/endpoints/{id}/{state:enable|disable}", switch, Role.MANAGER),
    Route("POST", "/endpoints/{id}/rotate-secret", rotate, Role.MANAGER),
    Route("POST", "/endpoints/{id}/remove", remove, Role.MANAGER),
    Route("POST", "/endpoints/{id}/test", test, Role.MANAGER),
)


#: Title → file of ``snippets``, in the order shown.
_FILES = {
    "PHP": "verify.php",
    "Python": "verify.py.txt",
    "Node.js": "verify.mjs",
    "Go": "verify.go",
    "C#": "Verify.cs",
    "n8n": "n8n.js",
}


class Snippet(NamedTuple):
    title: str
    code: str


@cache
def snippets() -> tuple[Snippet, ...]:
    folder = files("cdc.pages") / "snippets"
    return tuple(Snippet(title, (folder / name).read_text("utf-8")) for title, name in _FILES.items())
