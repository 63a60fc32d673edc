"""Endpoints.  Secret values are taken and, but for a new secret once, never shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar, get_args, get_origin

from pydantic import AliasChoices, BaseModel, Field, SecretStr, create_model

from cdc.access.model import Scope
from cdc.admin.deliveries import MOST_HURRIED
from cdc.admin.endpoint_checks import Previewed, PreviewShape
from cdc.admin.endpoints import MOST_COUNTED
from cdc.api.events import sequence_of
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.resource import (
    MOST,
    NEXT,
    SHORT_PAGES,
    AttemptResource,
    EventResource,
    Moment,
    RequestModel,
    ResponseModel,
)
from cdc.dispatch.authentication import LONGEST, SHORTEST, public_jwk
from cdc.dispatch.signing import public_key, signature_of
from cdc.dispatch.transform import preset
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import (
    OPTIONS,
    SECRET_NAMES,
    SETTINGS,
    Endpoint,
    EndpointFilter,
    EndpointOption,
    EndpointState,
    authentication_of,
    public_url,
    settings_text,
    shown_url,
)
from cdc.model.errors import UsageError

#: Names of options in the API and in files that differ from those of `Endpoint`.
FIELD_NAMES = {each.name: field for field, each in OPTIONS.items() if each.name != field}

Pattern = Annotated[str, Field(min_length=1, max_length=200, examples=["invoice.*"])]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        examples=["https://shop.example.com/webhooks", "rediss://broker.example.com/0/facturascripts.{source}"],
        description="An https URL, `mailto:` and addresses, or a place in a message broker. User and password of a "
        "broker become a header Authorization, which is never shown.",
    ),
]
Filter = Annotated[
    str, Field(max_length=4000, examples=["data.total > 1000.0"], description="A condition in CEL; empty: none.")
]
Transform = Annotated[
    str, Field(max_length=4000, examples=['{"text": message}'], description="A CEL expression that makes the body.")
]
Preset = Annotated[
    Literal["slack", "teams", "telegram", "discord", "google-chat", "mattermost"],
    Field(description="Sets `transform` to the one for this chat."),
]
Language = Annotated[Literal["en", "es"], Field(description="Language of a transform's `message`.")]
Headers = Annotated[
    Mapping[Name, SecretStr], Field(max_length=50, description="Sent with each request. Values are never shown again.")
]


Parameters = Annotated[
    Mapping[Name, Annotated[str, Field(max_length=1000)]],
    Field(max_length=20, description="More parameters of the request for a token."),
]


class AuthenticationFields(RequestModel):
    """An access token of OAuth2 (client credentials), or a JWT, that each request carries.  What is given replaces all
    settings but the secret, which stays unless the type or the origin of the token URL changes."""

    type: Annotated[Literal["none", "oauth2", "jwt"], Field(description="`none` removes it.")]
    token_url: Annotated[str | None, Field(max_length=1000, description="OAuth2: where tokens are fetched.")] = None
    client_id: Annotated[str | None, Field(max_length=1000)] = None
    client_secret: Annotated[SecretStr | None, Field(min_length=1, max_length=1000, description="Never shown.")] = None
    scope: Annotated[str | None, Field(max_length=1000)] = None
    audience: Annotated[str | None, Field(max_length=1000, description="OAuth2: a parameter; JWT: `aud`.")] = None
    parameters: Parameters | None = None
    client_authentication: Annotated[
        Literal["basic", "body"] | None, Field(description="Where client id and secret are sent.")
    ] = None
    private_key: Annotated[
        SecretStr | None, Field(min_length=1, max_length=10_000, description="JWT: PEM; Ed25519, P-256 or RSA.")
    ] = None
    issuer: Annotated[str | None, Field(max_length=1000, description="JWT: `iss`.")] = None
    key_id: Annotated[
        str | None, Field(max_length=1000, description="JWT: `kid`; null: the thumbprint of the key (RFC 7638).")
    ] = None
    lifetime: Annotated[int | None, Field(ge=SHORTEST, le=LONGEST, description="JWT: seconds.")] = None
    header: Annotated[str | None, Field(max_length=200, description="JWT: the header that carries it.")] = None

    def endpoint_fields(self) -> dict[str, Any]:
        """Fields of `Endpoint` for what was given.  Raises `UsageError`."""
        values = self.model_dump(exclude_none=True)
        secrets = {name: values.pop(name).get_secret_value() for name in SECRET_NAMES.values() if name in values}
        settings = settings_text(values)
        if others := secrets.keys() - {SECRET_NAMES.get(self.type)}:
            raise UsageError(f"Authentication of the type {self.type} has no {min(others)}.", "Remove it.")
        return {"authentication": settings} | ({"credential": next(iter(secrets.values()))} if secrets else {})


class AuthenticationResource(ResponseModel):
    """Settings that do not apply to the type are null.  ``public_jwk``: what receivers verify a JWT with."""

    type: Literal["oauth2", "jwt"]
    token_url: str | None = None
    client_id: str | None = None
    scope: str | None = None
    audience: str | None = None
    parameters: dict[str, str] | None = None
    client_authentication: Literal["basic", "body"] | None = None
    issuer: str | None = None
    key_id: str | None = None
    lifetime: int | None = None
    header: str | None = None
    public_jwk: dict[str, str] | None = None

    @classmethod
    def from_endpoint(cls, endpoint: Endpoint) -> Self | None:
        settings = authentication_of(endpoint.authentication)
        if settings is None:
            return None
        shown = {name: getattr(settings, name) for name in SETTINGS[settings.type]}
        return cls(**{"type": settings.type, "public_jwk": public_jwk(endpoint), **shown})


M = TypeVar("M", bound=BaseModel)


def _entered(each: EndpointOption) -> Any:
    """Return the type of an option as it is entered, with its limits; None where it is absent."""
    if each.name in _ENTERED:
        return _ENTERED[each.name] | None
    limits: dict[str, Any] = dict(each.limits)
    if get_origin(each.type) is not tuple:
        return Annotated[each.type | None, Field(max_length=each.longest, description=each.note, **limits)]
    item = get_args(each.type)[0]
    element = Name if item is str else Annotated[item, Field(**limits)]
    return Annotated[GenericAlias(list, element) | None, Field(max_length=each.longest, description=each.note)]


def _with_entered_options(model: type[M]) -> type[M]:
    """Return the model with a field, which may be absent, for each option."""
    made: dict[str, Any] = {}
    for each in OPTIONS.values():
        names = AliasChoices(each.name, each.former) if each.former else None
        made[each.name] = (_entered(each), Field(default=None, validation_alias=names))
        if each.name == "transform":
            made["preset"] = (Preset | None, None)
    return create_model(model.__name__, __base__=model, __module__=__name__, __doc__=model.__doc__, **made)


def _with_shown_options(model: type[M]) -> type[M]:
    """Return the model with a field for each option, as it is shown."""
    made: dict[str, Any] = {}
    for each in OPTIONS.values():
        # JSON has no tuple, only a list of the same items
        shown = GenericAlias(list, get_args(each.type)[:1]) if get_origin(each.type) is tuple else each.type
        made[each.name] = (_SHOWN.get(each.name, shown), Field(description=each.note))
        if each.former:
            about = f"The same as `{each.name}`, for programs of earlier versions."
            made[each.former] = (shown, Field(description=about, json_schema_extra={"deprecated": True}))
    return create_model(model.__name__, __base__=model, __module__=__name__, __doc__=model.__doc__, **made)


#: Fields of `Endpoint` that a body may set.
_STORED: Final = frozenset({"url", "events", "credential", *OPTIONS})
#: Options with a type of their own where they are entered, and where they are shown.
_ENTERED: Final[Mapping[str, Any]] = {
    "filter": Filter,
    "transform": Transform,
    "language": Language,
    "headers": Headers,
    "authentication": AuthenticationFields,
}
_SHOWN: Final[Mapping[str, Any]] = {
    "language": Language,
    "headers": list[str],
    "authentication": AuthenticationResource | None,
    "proxy": str | None,
    "client_certificate": str | None,
}


@_with_entered_options
class EndpointFields(RequestModel):
    """The fields of an endpoint; one that is absent has its default, or stays unchanged."""

    other_names: ClassVar[Mapping[str, str]] = {field: name for name, field in FIELD_NAMES.items()}

    def endpoint_fields(self) -> dict[str, Any]:
        """Fields of `Endpoint` for what was given."""
        values = {FIELD_NAMES.get(name, name): getattr(self, name) for name in self.model_fields_set}
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        chosen, authentication, headers = (values.pop(name, None) for name in ("preset", "authentication", "headers"))
        if chosen is not None and values.get("transform") is not None:
            raise UsageError("transform and preset exclude each other.", "Give one of them.")
        if chosen is not None:
            values["transform"] = preset(chosen)
        if authentication is not None:
            values |= authentication.endpoint_fields()
        if headers is not None:
            values["headers"] = tuple((name, value.get_secret_value()) for name, value in headers.items())
        return {name: value for name, value in values.items() if value is not None and name in _STORED}


class NewEndpoint(EndpointFields):
    url: Url
    events: Annotated[list[Pattern], Field(min_length=1, max_length=200)]
    signature: Annotated[Literal["v1", "v1a"], Field(description="By a shared secret, or by a key pair.")] = "v1"
    secret: Annotated[
        SecretStr | None, Field(max_length=200, description="Your own (`whsec_…`, `whsk_…`); else one is made.")
    ] = None


class EndpointPatch(EndpointFields):
    """The fields to change.  With a URL of another scheme, host or port, headers, the secret of the authentication,
    proxy and client certificate must be given again, or removed (`{}`, the type `none`, an empty text)."""

    url: Url | None = None
    events: Annotated[list[Pattern] | None, Field(min_length=1, max_length=200)] = None


class Disabling(RequestModel):
    reason: Annotated[str, Field(max_length=500, description="Why it is disabled, for the log.")] = "Disabled by hand."


class Rotation(RequestModel):
    signature: Annotated[Literal["v1", "v1a"] | None, Field(description="Left out: as now.")] = None
    secret: Annotated[SecretStr | None, Field(max_length=200)] = None
    overlap_hours: Annotated[float, Field(ge=0, le=8760, description="How long the former secret signs too.")] = 24.0


class TestEvent(RequestModel):
    event: Annotated[
        Name, Field(description="An example of this event is sent, marked as a test; `endpoint.test` is a greeting.")
    ] = "endpoint.test"


class PreviewWanted(RequestModel):
    """The last events that an endpoint like this one would get, and what its transform makes of them."""

    events: Annotated[list[Pattern], Field(min_length=1, max_length=200)]
    sources: list[Name] = Field(default_factory=list, max_length=100)
    filter: Filter = ""
    fields: list[Name] = Field(default_factory=list, max_length=500)
    transform: Transform = ""
    language: Language = "en"
    last: Annotated[int, Field(ge=1, le=1000)] = 100


@_with_shown_options
class _EndpointSettings(ResponseModel):
    id: str = Field(examples=["ep_5f2d1c0b9a8e7f60"])
    url: str = Field(description="For a token of scope read only scheme, host and port, with the end of the id.")
    events: list[str]


class EndpointResource(_EndpointSettings):
    """A URL that gets events.  Of its secrets and headers only that they are there."""

    enabled: bool
    disabled_reason: str | None
    failing_since: Moment | None = Field(description="Since then it has accepted nothing; null while it works.")
    filter_problem: str | None = Field(
        description="Why the filter failed for an event, which was delivered without it; null: no failure since the "
        "filter was changed.",
        examples=["The expression compares or computes with values of different types."],
    )
    signature: Literal["v1", "v1a"]
    public_key: str | None = Field(description="Of `v1a`: what receivers verify with.")
    former_public_key: str | None = Field(description="While the former secret signs too.")
    origin: str | None = Field(description="The name that we gave when it was asked whether it agrees to get events.")
    former_secret_until: Moment | None = Field(description="Until then the former secret signs too.")
    managed_by: str | None = Field(description="The file that describes it (`cdc apply`).")
    created_at: Moment
    deliveries: dict[DeliveryState, int] = Field(
        description=f"How many by state; up to {MOST_COUNTED:,} unfinished ones are counted."
    )

    @classmethod
    def from_endpoint(cls, endpoint: Endpoint, counts: Mapping[DeliveryState, int], scope: Scope) -> Self:
        """Return the endpoint as a caller of this scope may see it."""
        shown = _shown(endpoint, counts)
        if scope is Scope.MANAGE:
            return cls(**shown)
        authentication: AuthenticationResource | None = shown["authentication"]
        if authentication is not None and authentication.token_url:
            shown["authentication"] = authentication.model_copy(
                update={"token_url": public_url(authentication.token_url), "parameters": None}
            )
        return cls(**(shown | {"url": shown_url(endpoint)}))


class EndpointWithSecret(EndpointResource):
    secret: str | None = Field(description="Shown this once; null where the receiver needs only the public key.")

    @classmethod
    def revealing(cls, endpoint: Endpoint, counts: Mapping[DeliveryState, int]) -> Self:
        shown = _shown(endpoint, counts)
        return cls(**shown, secret=endpoint.secret if shown["signature"] == "v1" else None)


class EndpointsQuery(RequestModel):
    limit: Annotated[int | None, Field(ge=1, le=MOST, description="At most so many; all when it is left out.")] = None
    cursor: Annotated[str | None, Field(max_length=40, description="`next` of the page before.")] = None
    search: Annotated[
        str,
        Field(
            max_length=200,
            description="Part of the id, the name, or the URL without its path, in any case.",
        ),
    ] = ""
    state: Annotated[
        EndpointState | None, Field(description="`failing`: enabled, and accepts nothing; `dead`: has dead letters.")
    ] = None
    source: Annotated[str, Field(max_length=200, description="Only those that get events of this source.")] = ""

    def filter(self) -> EndpointFilter:
        return EndpointFilter(self.search.strip(), self.state, self.source)


class EndpointList(ResponseModel):
    items: list[EndpointResource]
    next: str | None = Field(description=NEXT)


class RetriedDeliveries(ResponseModel):
    deliveries: int = Field(description="How many are sent now.")


class TestResult(AttemptResource):
    accepted: bool


class BodyResource(ResponseModel):
    """The body that a transform makes of an event."""

    event: str = Field(description="Its id.")
    content_type: str | None
    body: str | None = Field(description="Null when the transform fails.")
    headers: dict[str, str]
    failure: str | None


class Preview(ResponseModel):
    looked_at: int
    fitting: list[EventResource]
    bodies: list[BodyResource] = Field(description="Of the fitting events, where a transform is given.")


def body_of(each: Previewed) -> BodyResource:
    body = each.body
    return BodyResource(
        event=each.event.id,
        content_type=body.content_type if body else None,
        body=body.content.decode() if body else None,
        headers=dict(body.headers) if body else {},
        failure=each.failure or None,
    )


def _shown(endpoint: Endpoint, counts: Mapping[DeliveryState, int]) -> dict[str, Any]:
    same = {name: getattr(endpoint, name) for name in EndpointResource.model_fields if hasattr(endpoint, name)}
    former = endpoint.former_secret
    return {
        **same,
        **{shown: getattr(endpoint, name) for shown, name in FIELD_NAMES.items()},
        "disabled_reason": endpoint.disabled_reason or None,
        "filter_problem": endpoint.filter_problem or None,
        "headers": [name for name, _ in endpoint.headers],
        "authentication": AuthenticationResource.from_endpoint(endpoint),
        "proxy": endpoint.proxy or None,
        "client_certificate": endpoint.client_certificate or None,
        "origin": endpoint.origin or None,
        "managed_by": endpoint.managed_by or None,
        "deliveries": {state: counts.get(state, 0) for state in DeliveryState},
        "signature": signature_of(endpoint.secret).value,
        "public_key": public_key(endpoint.secret),
        "former_public_key": None if former is None else public_key(former),
    }


_TAG = "endpoints"


async def _list(call: OperationCall[EndpointsQuery, None]) -> Response:
    admin, query = call.admin.endpoints, call.query
    page = await admin.search(query.filter(), query.limit or MOST, sequence_of(query.cursor))
    found = list(page.found)
    while query.limit is None and page.further is not None:
        page = await admin.search(query.filter(), MOST, int(page.further))
        found += page.found
    counts = await admin.counts(MOST_COUNTED, [each.id for each in found])
    shown = [EndpointResource.from_endpoint(each, counts.get(each.id, {}), call.caller.scope) for each in found]
    return Response(EndpointList(items=shown, next=page.further))


async def _create(call: OperationCall[None, NewEndpoint]) -> Response:
    body = call.body
    secret = body.secret.get_secret_value() if body.secret else None
    signature = body.signature if "signature" in body.model_fields_set else None
    made = await call.admin.endpoints.add(call.admin.endpoints.new(body.endpoint_fields(), secret, signature))
    created = EndpointWithSecret.revealing(made, {})
    return Response(created, {"Location": f"{call.request.path}/{made.id}"})


async def _show(call: OperationCall[None, None]) -> Response:
    return Response(await _resource(call, await call.admin.endpoints.get(call.path["id"])))


async def _update(call: OperationCall[None, EndpointPatch]) -> Response:
    found = await call.admin.endpoints.get(call.path["id"])
    return Response(await _resource(call, await call.admin.endpoints.change(found, call.body.endpoint_fields())))


async def _remove(call: OperationCall[None, None]) -> Response:
    await call.admin.endpoints.remove(call.path["id"])
    return Response(None)


async def _enable(call: OperationCall[None, None]) -> Response:
    return Response(await _resource(call, await call.admin.endpoints.enable(call.path["id"])))


async def _disable(call: OperationCall[None, Disabling]) -> Response:
    return Response(await _resource(call, await call.admin.endpoints.disable(call.path["id"], call.body.reason)))


async def _retry(call: OperationCall[None, None]) -> Response:
    return Response(RetriedDeliveries(deliveries=await call.admin.deliveries.hurry(call.path["id"])))


async def _rotate(call: OperationCall[None, Rotation]) -> Response:
    body, overlap = call.body, timedelta(hours=call.body.overlap_hours)
    secret = body.secret.get_secret_value() if body.secret else None
    rotated = await call.admin.endpoints.rotate_secret(call.path["id"], secret, body.signature, overlap)
    counts = await call.admin.endpoints.counts(MOST_COUNTED, [rotated.id])
    return Response(EndpointWithSecret.revealing(rotated, counts.get(rotated.id, {})))


async def _test(call: OperationCall[None, TestEvent]) -> Response:
    attempt = await call.admin.endpoints.send_test(call.path["id"], call.body.event)
    shown: dict[str, Any] = AttemptResource.from_attempt(attempt).model_dump()
    return Response(TestResult(**shown, accepted=not attempt.error))


async def _preview(call: OperationCall[None, PreviewWanted]) -> Response:
    body = call.body
    wanted = {"events": tuple(body.events), "sources": tuple(body.sources), "condition": body.filter}
    last = await call.admin.events.last(body.last)
    shape = PreviewShape(body.transform, body.language, tuple(body.fields))
    fitting = await call.admin.endpoints.fitting(wanted, last, shape)
    return Response(
        Preview(
            looked_at=len(last),
            fitting=[EventResource.from_event(each.event) for each in fitting],
            bodies=[body_of(each) for each in fitting] if body.transform else [],
        )
    )


async def _resource(call: OperationCall[Any, Any], endpoint: Endpoint) -> EndpointResource:
    counts = await call.admin.endpoints.counts(MOST_COUNTED, [endpoint.id])
    return EndpointResource.from_endpoint(endpoint, counts.get(endpoint.id, {}), call.caller.scope)


OPERATIONS = (
    ApiOperation(
        "GET",
        "/endpoints",
        "listEndpoints",
        "Endpoints, in the order in which they were added.",
        Scope.READ,
        _list,
        answer=EndpointList,
        query=EndpointsQuery,
        tag=_TAG,
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY,),
        description=f"Without a limit all of them. {SHORT_PAGES}",
    ),
    ApiOperation(
        "POST",
        "/endpoints",
        "createEndpoint",
        "Add an endpoint. The answer holds its secret, this once.",
        Scope.MANAGE,
        _create,
        answer=EndpointWithSecret,
        body=NewEndpoint,
        status=HTTPStatus.CREATED,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoint-preview",
        "previewEndpoint",
        "Which of the last events an endpoint like this one would get, and in which shape.",
        Scope.READ,
        _preview,
        answer=Preview,
        body=PreviewWanted,
        tag=_TAG,
        asks=True,
    ),
    ApiOperation(
        "GET",
        "/endpoints/{id}",
        "showEndpoint",
        "One endpoint.",
        Scope.READ,
        _show,
        answer=EndpointResource,
        tag=_TAG,
    ),
    ApiOperation(
        "PATCH",
        "/endpoints/{id}",
        "updateEndpoint",
        "Change what is given, and leave the rest.",
        Scope.MANAGE,
        _update,
        answer=EndpointResource,
        body=EndpointPatch,
        tag=_TAG,
    ),
    ApiOperation(
        "DELETE",
        "/endpoints/{id}",
        "removeEndpoint",
        "Remove an endpoint; what has not been delivered is cancelled.",
        Scope.MANAGE,
        _remove,
        status=HTTPStatus.NO_CONTENT,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/enable",
        "enableEndpoint",
        "Send again, beginning with what has waited.",
        Scope.MANAGE,
        _enable,
        answer=EndpointResource,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/disable",
        "disableEndpoint",
        "Stop sending; events wait until it is enabled again.",
        Scope.MANAGE,
        _disable,
        answer=EndpointResource,
        body=Disabling,
        body_optional=True,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/retry",
        "retryEndpoint",
        f"Send deliveries that wait for their next attempt now, up to {MOST_HURRIED:,}: the endpoint is repaired.",
        Scope.MANAGE,
        _retry,
        answer=RetriedDeliveries,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/rotate-secret",
        "rotateSecret",
        "Give it a new secret or key pair; the former one signs too until the overlap ends.",
        Scope.MANAGE,
        _rotate,
        answer=EndpointWithSecret,
        body=Rotation,
        body_optional=True,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/test",
        "testEndpoint",
        "Send one test event now; the answer says what came of it.",
        Scope.MANAGE,
        _test,
        answer=TestResult,
        body=TestEvent,
        body_optional=True,
        tag=_TAG,
    ),
)
