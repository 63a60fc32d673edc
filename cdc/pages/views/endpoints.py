"""Endpoints: the list, one of them, its form, its secret, a test."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Final, NamedTuple

from aiohttp import web

from cdc.access.model import Allowance, Role
from cdc.admin.deliveries import MOST_HURRIED, Period
from cdc.admin.endpoint_checks import GREETING, Previewed, Sample
from cdc.admin.endpoints import MOST_COUNTED
from cdc.dispatch.authentication import public_jwk
from cdc.dispatch.signing import public_key, signature_of
from cdc.language import chosen
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryState, DeliveryView
from cdc.model.endpoint import (
    OPTIONS,
    Endpoint,
    EndpointFilter,
    EndpointState,
    authentication_of,
    is_pull,
)
from cdc.model.errors import CredentialsNotGiven, UsageError
from cdc.pages.language import language
from cdc.pages.page import Page, Route
from cdc.pages.views.delivery_log import MOST_OFFERED, ShownRequest, endpoints_meant, names, names_of, request_of
from cdc.pages.views.endpoint_form import (
    KINDS,
    EndpointForm,
    EndpointKind,
    ShownMessage,
    empty_form,
    event_groups,
    form_of_endpoint,
    kind_of,
    option_groups,
    option_text,
    read_form,
    shown_message,
    whole_of,
)
from cdc.pages.views.statistics import sparkline, statistics

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
        kinds={each.id: KINDS[kind_of(each.url, each.transform)] for each in searched.found},
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
class WaitingDeliveries:
    """The deliveries that wait for an endpoint.  ``due``: of the oldest delivery that waits for no other; None: none.
    ``last``: a delivery that failed; None: none.  ``answer``: the receiver's words, for those who may see them."""

    due: datetime | None
    last: DeliveryView | None = None
    answer: str = ""


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
    counts = (await admin.endpoints.counts(MOST_COUNTED, [found.id])).get(found.id, {})
    others = [(name, each) for name, each in OPTIONS.items() if each.label and name not in _OWN_ROWS]
    others = [(name, each) for name, each in others if getattr(found, name) != each.default]
    return page.render(
        "endpoint.html",
        endpoint=found,
        kind=KINDS[kind_of(found.url, found.transform)],
        counts=counts,
        State=DeliveryState,
        last=last,
        names=await names_of(page, (each.event_id for each in last)),
        signature=_signature(found),
        authentication=authentication_of(found.authentication),
        jwk=public_jwk(found),
        others=[(each, option_text(each, getattr(found, name), page.language.input)) for name, each in others],
        consumer=is_pull(found.url),
        waiting=await _waiting(page, found, counts),
        hours=sparkline((await admin.statistics.hourly([found.id]))[found.id]),
        now=page.site.clock.now(),
        trial=trial,
        later=await admin.deliveries.later(found.id) if page.manages else 0,
        most_hurried=MOST_HURRIED,
        shown=await statistics(page, "endpoints", found.id, endpoint_id=found.id),
        testable=page.admin.endpoints.testable(found) if page.manages else [],
    )


async def _waiting(page: Page, found: Endpoint, counts: Mapping[DeliveryState, int]) -> WaitingDeliveries:
    deliveries, due = page.admin.deliveries, await page.admin.endpoints.due(found)
    for state in (DeliveryState.PENDING, DeliveryState.DEAD):
        which = DeliveryFilter(endpoint_id=found.id, state=state)
        newest = (await deliveries.search(which, _LAST)).found if counts.get(state) else []
        failed = next((each for each in newest if each.last_error), None)
        if failed is not None:
            attempts = await deliveries.attempts(failed) if page.manages else []
            return WaitingDeliveries(due, failed, attempts[-1].answer if attempts else "")
    return WaitingDeliveries(due)


async def new(page: Page) -> web.StreamResponse:
    kind = page.query("kind")
    if kind in KINDS:
        return _form(page, empty_form(kind, page.language), None)
    return page.render(
        "endpoint_kinds.html", kinds={name: each for name, each in KINDS.items() if _offered(page, each)}
    )


def _offered(page: Page, kind: EndpointKind) -> bool:
    """Return whether the principal may add this kind of endpoint."""
    principal = page.principal
    if kind.destination != "mail" or principal is None or not principal.sources:
        return True
    return principal.portal is not None and Allowance.MAIL in principal.portal.allowed


async def create(page: Page) -> web.StreamResponse:
    sent = await page.form()
    kind = page.query("kind")
    shown = empty_form(kind if kind in KINDS else kind_of(sent.get("url", ""), ""), page.language)
    form = await read_form(page, shown)
    if form.errors or "preview" in sent:
        return await _preview(page, form, None)
    try:
        made = page.admin.endpoints.new(form.fields, signature=form.values["signature"])
        if "try" in sent:
            return await _try_out(page, form, None, made)
        await page.admin.endpoints.add(made)
    except UsageError as error:
        return _form(page, form.refused(error, page.language), None)
    if form.about.signed:
        return _secret(page, made, HTTPStatus.CREATED)
    return page.see(page.link("endpoints", made.id), notice="saved")


async def edit(page: Page) -> web.StreamResponse:
    found = await page.admin.endpoints.get(page.path("id"))
    return _form(page, _shown(page, found), found)


def _shown(page: Page, found: Endpoint) -> EndpointForm:
    """Return the form as it shows an endpoint."""
    kinds = page.admin.events.event_types()
    boxes = frozenset(box for kind in kinds for box in (kind.name, whole_of(kind.entity)))
    return form_of_endpoint(found, boxes, page.language.input)


async def update(page: Page) -> web.StreamResponse:
    found = await page.admin.endpoints.get(page.path("id"))
    form, sent = await read_form(page, _shown(page, found), found), await page.form()
    if form.errors or "preview" in sent:
        return await _preview(page, form, found)
    try:
        if "try" in sent:
            return await _try_out(page, form, found, page.admin.endpoints.changed(found, form.fields))
        await page.admin.endpoints.change(found, form.fields)
    except CredentialsNotGiven as error:
        return _form(page, form.asking_again(found).refused(error, page.language), found)
    except UsageError as error:
        return _form(page, form.refused(error, page.language), found)
    return page.see(page.link("endpoints", found.id), notice="saved")


@dataclass(frozen=True, slots=True)
class ShownPreview:
    """The last events, ``all`` of them, that would have been sent, newest first; and what is sent of one event, or
    of an example.  ``message``: None where the transform makes nothing of it."""

    all: int
    fitting: Sequence[Previewed]
    sample: Sample | None
    message: ShownMessage | None


async def _preview(page: Page, form: EndpointForm, found: Endpoint | None) -> web.StreamResponse:
    """Return the form with the message that would be sent, unless something is wrong."""
    if form.errors:
        return _form(page, form, found)
    last = await page.admin.events.last(_PREVIEW)
    which = {name: form.fields[name] for name in ("events", "sources")}
    present = found.condition if found else ""
    try:
        wanted = which | {"condition": form.fields.get("condition", present)}
        fitting = await page.admin.endpoints.fitting(wanted, last)
        names = ("url", "transform", "language", "fields", "format", "batch_size")
        shape = {name: form.fields[name] for name in names if name in form.fields}
        sample = await page.admin.endpoints.sample(which | shape, found, fitting)
    except UsageError as error:
        return _form(page, form.refused(error, page.language), found)
    mails = chosen(os.environ, page.site.service.config.process.language)
    message = shown_message(form.about, sample.body, mails) if sample and sample.body is not None else None
    return _form(page, form, found, preview=ShownPreview(len(last), fitting[::-1], sample, message))


async def _try_out(page: Page, form: EndpointForm, found: Endpoint | None, entered: Endpoint) -> web.StreamResponse:
    """Return the form with the result of a test of the endpoint as it was entered."""
    attempt = await page.admin.endpoints.try_out(entered, page.admin.endpoints.testable(entered)[0])
    return _form(page, form, found, attempt=attempt)


def _form(
    page: Page,
    form: EndpointForm,
    found: Endpoint | None,
    *,
    preview: ShownPreview | None = None,
    attempt: Attempt | None = None,
) -> web.StreamResponse:
    config = page.site.service.config
    limited = page.principal is None or bool(page.principal.sources)  # who may not use the operator's, nor know of them
    return page.render(
        "endpoint_form.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK,
        form=form,
        endpoint=found,
        preview=preview,
        attempt=attempt,
        names=names(page, [each.event for each in preview.fitting] if preview else ()),
        groups=event_groups(page.admin.events.event_types(), form),
        english=language("en", page.language.zone),
        sources=[name for name in config.source if page.admin.sources.visible(name)],
        offered=MOST_OFFERED,
        more=option_groups(form),
        proxies=[] if limited else [(each, each) for each in config.dispatch.proxies],
        certificates=[] if limited else [(each, each) for each in config.dispatch.client_certificates],
    )


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
