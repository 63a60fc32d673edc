"""Endpoints: the list, one of them, making and changing one, its secret, a test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from aiohttp import web

from cdc.access.model import Role
from cdc.api.desk import ShownRequest
from cdc.model.delivery import Attempt, DeliveryState
from cdc.model.endpoint import Endpoint, EndpointChange, Order, PayloadFormat
from cdc.model.errors import CredentialsNotGiven, UsageError
from cdc.model.log_filter import DeliveryFilter
from cdc.outbox.shared import no_endpoint
from cdc.pages.page import Page, Route
from cdc.pages.snippets import snippets
from cdc.pages.views import endpoint_form
from cdc.pages.views.endpoint_form import EndpointForm

_LAST = 10
_PREVIEW = 100
_OVERLAP = timedelta(hours=24)


async def endpoints(page: Page) -> web.StreamResponse:
    store = page.site.desk.store
    return page.render(
        "endpoints.html", endpoints=await store.endpoints(), counts=await store.counts(), State=DeliveryState
    )


@dataclass(frozen=True, slots=True)
class TestDelivery:
    """``request``: None where it was a mail."""

    attempt: Attempt
    request: ShownRequest | None


async def endpoint(page: Page) -> web.StreamResponse:
    return await _endpoint(page, await _found(page))


async def _endpoint(page: Page, found: Endpoint, trial: TestDelivery | None = None) -> web.StreamResponse:
    store = page.site.desk.store
    return page.render(
        "endpoint.html",
        endpoint=found,
        counts=(await store.counts()).get(found.id, {}),
        State=DeliveryState,
        last=await store.deliveries(DeliveryFilter(endpoint_id=found.id), _LAST),
        signature=page.site.desk.signature(found),
        trial=trial,
    )


async def new(page: Page) -> web.StreamResponse:
    return _form(page, endpoint_form.empty(), None)


async def create(page: Page) -> web.StreamResponse:
    form = await endpoint_form.read(page)
    if form.wrong or "preview" in await page.form():
        return await _preview(page, form, None)
    try:
        made = page.site.desk.made(form.fields, None, form.values["signature"])
    except UsageError as error:
        return _form(page, form, None, wrong=(str(error),))
    await page.site.desk.store.add_endpoint(made, page.note("endpoint.add", made.id))
    return _secret(page, made, HTTPStatus.CREATED)


async def edit(page: Page) -> web.StreamResponse:
    found = await _found(page)
    return _form(page, endpoint_form.of_endpoint(found, _known(page)), found)


async def update(page: Page) -> web.StreamResponse:
    found = await _found(page)
    form = await endpoint_form.read(page, found)
    if form.wrong or "preview" in await page.form():
        return await _preview(page, form, found)
    try:
        fields = page.site.desk.checked(form.fields, found)
        note = page.note("endpoint.update", found.id)
        await page.site.desk.store.change_endpoint(found.id, EndpointChange(**fields), note)
    except CredentialsNotGiven as error:
        return _form(page, form.asking_again(found), found, wrong=(str(error),))
    except UsageError as error:
        return _form(page, form, found, wrong=(str(error),))
    return page.see(page.link("endpoints", found.id), notice="saved")


async def _preview(page: Page, form: EndpointForm, found: Endpoint | None) -> web.StreamResponse:
    """The form again, with which of the last events would have come, unless something is wrong."""
    if form.wrong:
        return _form(page, form, found)
    last = await page.site.desk.store.events(_PREVIEW)
    wanted = {name: form.fields[name] for name in ("events", "sources", "condition")}
    try:
        fitting = await page.site.desk.fitting(wanted, last)
    except UsageError as error:
        return _form(page, form, found, wrong=(str(error),))
    return _form(page, form, found, preview=(len(last), fitting[::-1]), status=HTTPStatus.OK)


def _form(
    page: Page,
    form: EndpointForm,
    found: Endpoint | None,
    *,
    wrong: tuple[str, ...] = (),
    preview: object = None,
    status: HTTPStatus | None = None,
) -> web.StreamResponse:
    told = (*form.wrong, *wrong)
    return page.render(
        "endpoint_form.html",
        status or (HTTPStatus.UNPROCESSABLE_ENTITY if told else HTTPStatus.OK),
        form=form,
        endpoint=found,
        wrong=told,
        preview=preview,
        groups=endpoint_form.groups(page.site.desk.event_kinds(), form.events),
        sources=page.site.desk.source_names(),
        formats=list(PayloadFormat),
        orders=list(Order),
        proxies=page.site.desk.proxies(),
        certificates=page.site.desk.certificates(),
    )


def _known(page: Page) -> frozenset[str]:
    return frozenset(kind.name for kind in page.site.desk.event_kinds())


async def rotate(page: Page) -> web.StreamResponse:
    found = await _found(page)
    until = page.site.desk.clock.now() + _OVERLAP
    secret = page.site.desk.secret(None, None, found)
    change = EndpointChange(secret=secret, former_secret_until=until)
    note = page.note("endpoint.rotate-secret", found.id)
    rotated = await page.site.desk.store.change_endpoint(found.id, change, note)
    return _secret(page, rotated, HTTPStatus.OK)


def _secret(page: Page, made: Endpoint, status: HTTPStatus) -> web.StreamResponse:
    """The only page that ever shows it."""
    signature = page.site.desk.signature(made)
    shown = signature.public_key or made.secret
    return page.render(
        "endpoint_secret.html", status, endpoint=made, signature=signature, shown=shown, snippets=snippets()
    )


async def switch(page: Page) -> web.StreamResponse:
    endpoint_id, enabled = page.path("id"), page.path("state") == "enable"
    reason = "" if enabled else page.language.text("Disabled by %(name)s.", name=page.visitor_name)
    change = EndpointChange(enabled=enabled, disabled_reason=reason)
    note = page.note("endpoint.enable" if enabled else "endpoint.disable", endpoint_id)
    await page.site.desk.store.change_endpoint(endpoint_id, change, note)
    return page.see(page.link("endpoints", endpoint_id), notice="enabled" if enabled else "disabled")


async def remove(page: Page) -> web.StreamResponse:
    endpoint_id = page.path("id")
    note = page.note("endpoint.remove", endpoint_id)
    await page.site.desk.store.remove_endpoint(endpoint_id, page.site.desk.clock.now(), note)
    return page.see("/endpoints", notice="removed")


async def test(page: Page) -> web.StreamResponse:
    """Shown at once: what was sent and what came back."""
    found = await _found(page)
    attempt = await page.site.desk.send_test(found.id, "endpoint.test", page.note("endpoint.test", found.id))
    store = page.site.desk.store
    view, event = await store.delivery(attempt.delivery_id), await store.event(attempt.event_id)
    sent = page.site.desk.request_of(view, event, found, attempt.started_at) if view and event else None
    return await _endpoint(page, await _found(page), TestDelivery(attempt, sent))


async def _found(page: Page) -> Endpoint:
    endpoint_id = page.path("id")
    found = await page.site.desk.store.endpoint(endpoint_id)
    if found is None:
        raise no_endpoint(endpoint_id)
    return found


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
