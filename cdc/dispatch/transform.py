"""Payloads in the receiver's shape: an expression in the language of filters, whose value is the body of the request.

A map or list becomes JSON, a text is sent as it is.  A map that has ``body``, and beside it nothing but
``content_type`` and ``headers``, says these too.  Beside the variables of filters there are ``message`` (a sentence for
people), ``title`` (the record's name) and ``test``.

An evaluation has the limits of a filter's.  What fails is a failed attempt; an endpoint whose transform exceeds a limit
is disabled, and its deliveries wait.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson

from cdc.dispatch.authentication import check_headers
from cdc.model.endpoint import Header
from cdc.model.errors import CdcError, UsageError
from cdc.model.event import Labels, no_labels
from cdc.model.filter.functions import text_of_span, text_of_time
from cdc.model.filter.program import Program, problem
from cdc.model.filter.values import AVERAGE, ERRORS, STEPS, FilterLimit, Meter, OutOfSteps, Span, Time
from cdc.model.selection import VARIABLES, StepAllowance

PRESETS: Final = ("slack", "teams", "telegram", "discord", "google-chat", "mattermost")
#: The variables of filters, and those that only transforms have.
_NAMES: Final = (*VARIABLES, "message", "title", "test")
#: Values (texts, numbers, rows …) of a body, and its bytes.
_VALUES, _BYTES = 50_000, 1_000_000
_OWN_KEYS: Final = frozenset({"body", "content_type", "headers"})
_CONTENT_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(; ?[\w-]+=[\w.+-]+)*", re.ASCII)
_LONGEST_TYPE: Final = 200
_TOO_LARGE: Final = f"The transform makes more than {_VALUES:,} values or {_BYTES:,} bytes of one event."


class Body(NamedTuple):
    """``content``: exactly the bytes to sign and to send.  ``headers``: beside those of each delivery."""

    content_type: str
    content: bytes
    headers: tuple[Header, ...] = ()


class TransformFailed(Exception):
    """``reason``: one sentence, without any value of the event.  ``exceeded``: it takes too much."""

    def __init__(self, reason: str, *, exceeded: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.exceeded = exceeded


class Shape(NamedTuple):
    """The options of an endpoint that shape its payload.  ``endpoint``: its id; empty while they are tried."""

    transform: str
    language: str
    endpoint: str = ""


def preset(name: str) -> str:
    """Return the expression of a preset.  Raises `UsageError`."""
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}.", f"There are: {', '.join(PRESETS)}.")
    return (files("cdc.dispatch") / "presets" / f"{name}.cel").read_text("utf-8").strip()


def check_transform(text: str) -> None:
    """Raises `UsageError` when it is no expression, of the kind `FilterLimit` when it is too large."""
    Program(text, _NAMES)


def shaped(event: Mapping[str, Any], record: str, shape: Shape, labels: Labels = no_labels) -> Body:
    """Return the body of an event.  ``event``: the default payload; ``record``: its name.  Raises `TransformFailed`."""
    program = _understood(shape.transform)
    if isinstance(program, UsageError):
        raise TransformFailed(program.message, exceeded=isinstance(program, FilterLimit))
    meter, plain = Meter(), _Plain()
    try:
        body = _made(program.execute(_variables(program, event, record, shape.language, labels), meter), plain)
    except OutOfSteps:
        raise TransformFailed(f"The transform takes more than {STEPS:,} steps for one event.", exceeded=True) from None
    except ERRORS as error:
        raise TransformFailed(problem(error)) from None
    except RecursionError:
        raise TransformFailed("The transform nests values too deeply.") from None
    except CdcError as error:
        raise TransformFailed(error.message) from None
    if not _allowance(shape).spend(STEPS - meter.left + plain.values):
        raise TransformFailed(f"The transform takes more than {AVERAGE:,} steps an event on average.", exceeded=True)
    return body


def _variables(
    program: Program, event: Mapping[str, Any], record: str, language: str, labels: Labels
) -> Mapping[str, Any]:
    from cdc.dispatch.message import message, record_title  # noqa: PLC0415 - of transforms alone, which most endpoints lack

    given: dict[str, Any] = {
        "previous": {},
        "related": {},
        "links": {},
        "transaction": "",
        "inferred": False,
        "observed": False,
        "test": False,
    }
    given |= event
    given |= {"record": record, "table": record.partition(":")[0]}
    if not {"message", "title"}.isdisjoint(program.variables):
        label = labels(event["source"], event["event"])
        given["message"] = message(event, record, label, language)
        given["title"] = record_title(label, event["data"], language, record)
    return given


def _made(value: Any, plain: _Plain) -> Body:
    if isinstance(value, Mapping) and "body" in value and _OWN_KEYS.issuperset(value):
        body = _body(value["body"], plain)
        return Body(_content_type(value, body.content_type), body.content, _headers(value.get("headers", {})))
    return _body(value, plain)


def _body(value: Any, plain: _Plain) -> Body:
    if type(value) is str:
        body = Body("text/plain; charset=utf-8", value.encode("utf-8", "replace"))
    elif type(value) is list or isinstance(value, Mapping):
        body = Body("application/json", orjson.dumps(plain.of(value)))
    else:
        raise TransformFailed("The transform gives neither a map, nor a list, nor a text.")
    if len(body.content) > _BYTES:
        raise TransformFailed(_TOO_LARGE, exceeded=True)
    return body


def _content_type(value: Mapping[str, Any], otherwise: str) -> str:
    wanted = value.get("content_type", otherwise)
    if type(wanted) is not str or len(wanted) > _LONGEST_TYPE or not _CONTENT_TYPE.fullmatch(wanted):
        raise TransformFailed("The content_type of the transform is not a media type such as application/xml.")
    return wanted


def _headers(value: Any) -> tuple[Header, ...]:
    if not isinstance(value, Mapping) or not all(type(each) is str for pair in value.items() for each in pair):
        raise TransformFailed("The headers of the transform are not a map of texts.")
    if any(name.lower() == "authorization" for name in value):  # a secret is stored sealed, and a transform is not
        raise TransformFailed(
            "The transform sets the header Authorization, which belongs to the endpoint's own headers."
        )
    try:
        return check_headers(value.items())
    except UsageError as error:
        raise TransformFailed(error.message) from None


class _Plain:
    """Copies a value as JSON has it, up to a bound: what an expression repeats takes no memory before."""

    def __init__(self) -> None:
        self.values = 0
        self._characters = 0

    def of(self, value: Any) -> Any:
        kind = type(value)
        self.values += 1
        if kind is str:
            self._characters += len(value)
        if self.values > _VALUES or self._characters > _BYTES:
            raise TransformFailed(_TOO_LARGE, exceeded=True)
        if kind is list:
            return [self.of(each) for each in value]
        if isinstance(value, Mapping):
            return {self.of(str(name)): self.of(each) for name, each in value.items()}
        if kind is Time:
            return text_of_time(value)
        if kind is Span:
            return text_of_span(value)
        if value is None or kind in (str, bool, float):
            return value
        if isinstance(value, int):
            return int(value)
        raise TransformFailed("The transform puts bytes or a type into JSON.")


#: A transform as large as can be takes 0.3 MB.
@lru_cache(maxsize=512)
def _understood(text: str) -> Program | UsageError:
    try:
        return Program(text, _NAMES)
    except UsageError as error:
        return error.with_traceback(None)  # its frames would be kept


@lru_cache(maxsize=4096)
def _allowance(_shape: Shape) -> StepAllowance:
    return StepAllowance()
