"""Endpoints: the list, one of them, making and changing one, its secret, a test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import NamedTuple

from aiohttp import web

from cdc.access.model import Role
from cdc.admin.endpoint_preview import GREETING, Previewed, ShapeWanted
from cdc.admin.endpoints import MOST_COUNTED
from cdc.admin.statistics import Period
from cdc.dispatch.authentication import public_jwk
from cdc.dispatch.signing import public_key, signature_of
from cdc.dispatch.transform import PRESETS
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryState
from cdc.model.endpoint import Endpoint, EndpointFilter, EndpointState, Order, PayloadFormat, authentication_of, is_pull
from cdc.model.errors import CredentialsNotGiven, UsageError
from cdc.pages.page import Page, Route
from cdc.pages.views import endpoint_form
from cdc.pages.views.deliveries import ShownRequest, request_of
from cdc.pages.views.endpoint_form import EndpointForm
from cdc.pages.views.log_search import MOST_OFFERED, endpoints_meant, names, names_of
from cdc.pages.views.statistics import statistics

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


async def _consumer(page: Page, endpoint: Endpoint) -> ShownConsumer | None:
    """Return what is shown of a consumer; None for an endpoint that gets its events sent."""
    return ShownConsumer(await page.admin.consumers.waiting_since(endpoint)) if is_pull(endpoint.url) else None


async def endpoint(page: Page) -> web.StreamResponse:
    endpoint_id, admin = page.path("id"), page.admin.endpoints
    known = await admin.of([endpoint_id])
    if endpoint_id in known:
        return await _endpoint(page, known[endpoint_id])
    meant = await endpoints_meant(page, endpoint_id)
    links = [(name, page.link("endpoints", each)) for each, name in meant]
    return page.missing(page.language.text("There is no such endpoint."), links)


async def _endpoint(page: Page, found: Endpoint, trial: TestDelivery | None = None) -> web.StreamResponse:
    admin = page.admin
    last = (await admin.deliveries.search(DeliveryFilter(endpoint_id=found.id), _LAST)).found
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
        consumer=await _consumer(page, found),
        trial=trial,
        shown=await statistics(page, "endpoints", found.id, endpoint_id=found.id),
        testable=page.admin.endpoints.testable(found) if page.manages else [],
    )


async def new(page: Page) -> web.StreamResponse:
    return _form(page, endpoint_form.empty(), None)


async def create(page: Page) -> web.StreamResponse:
    form = await endpoint_form.read(page)
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
    return _form(page, endpoint_form.of_endpoint(found, _known(page), page.language.input), found)


async def update(page: Page) -> web.StreamResponse:
    found = await page.admin.endpoints.get(page.path("id"))
    form = await endpoint_form.read(page, found)
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
    shape = ShapeWanted(form.fields["transform"], form.fields["language"], form.fields["fields"])
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
    limited = page.visitor is None or bool(page.visitor.sources)  # who may not use the operator's, nor know of them
    return page.render(
        "endpoint_form.html",
        status or (HTTPStatus.UNPROCESSABLE_ENTITY if problems else HTTPStatus.OK),
        form=form,
        endpoint=found,
        wrong=problems,
        preview=preview,
        names=names(page, [each.event for each in preview[1]] if preview else ()),
        presets=PRESETS,
        groups=endpoint_form.groups(page.admin.events.event_types(), form),
        sources=[name for name in config.source if page.admin.sources.visible(name)],
        offered=MOST_OFFERED,
        formats=list(PayloadFormat),
        orders=list(Order),
        proxies=[] if limited else list(config.dispatch.proxies),
        certificates=[] if limited else list(config.dispatch.client_certificates),
    )


def _known(page: Page) -> frozenset[str]:
    kinds = page.admin.events.event_types()
    return frozenset(box for kind in kinds for box in (kind.name, endpoint_form.whole_of(kind.entity)))


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
        reason = f"Disabled by {page.visitor_name}."
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
