"""Conditions on events, in the Common Expression Language (CEL): which of the events that an endpoint names it gets.

Their variables are those of the default payload, ``id event timestamp source key data previous transaction inferred``,
and ``table`` and ``record``.  ``previous`` is empty unless the event tells of an update; ``inferred`` is always there.

A condition that asks for what the event does not have, or takes null for a value, does not hold.  One that fails in
another way (it compares a text with a number) holds: what somebody mistyped loses no event, and the log says so once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

import structlog

from cdc.errors import UsageError
from cdc.event import Event
from cdc.payload import format_time

#: The longest condition (characters): the parser's and the evaluation's stacks are bounded by it.
LONGEST = 2000

_log = structlog.get_logger()

_VARIABLES: dict[str, Callable[[Event], Any]] = {
    "id": lambda event: event.id,
    "event": lambda event: event.name,
    "timestamp": lambda event: format_time(event.time),
    "source": lambda event: event.source,
    "table": lambda event: event.table,
    "record": lambda event: event.record,
    "key": lambda event: event.key,
    "data": lambda event: event.data,
    "previous": lambda event: event.previous or {},
    "transaction": lambda event: event.transaction,
    "inferred": lambda event: event.inferred,
}
_ROWS = ("key", "data", "previous")
_TYPES = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
_FUNCTIONS = (
    *("size", "contains", "startsWith", "endsWith", "matches"),
    *("string", "bytes", "int", "uint", "double", "timestamp", "duration", "type", "dyn"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
)
#: ``rows.exists(row, …)`` makes a variable ``row``.
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_PARSE_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): ((?:Syntax error: )?)(.*?)(?: expecting .*)?$", re.MULTILINE)
_EXPLAINED = "The language: https://cel.dev; its variables here: " + ", ".join(_VARIABLES) + "."


class Judgement(NamedTuple):
    """``problem``: a sentence, without any value of the event, when the condition could not be evaluated; it holds
    then.  ``boolean``: False when that is because it gave something else.  ``missing``: it asked for something that the
    event does not have."""

    holds: bool
    problem: str = ""
    boolean: bool = True
    missing: bool = False


_MISSING = Judgement(holds=False, missing=True)


class Condition:
    def __init__(self, text: str) -> None:
        """Raises `UsageError` when it is no condition."""
        import cel  # noqa: PLC0415 -- a tenth of a second, and only endpoints with a condition need it

        if len(text) > LONGEST:
            raise UsageError(f"The filter has {len(text)} characters.", f"It has at most {LONGEST}.")
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            raise UsageError(_syntax(str(error)), _EXPLAINED) from None
        self.text = text
        references = self._program.references()
        _check_names(text, references["variables"], references["functions"])
        self._needed = tuple((name, _VARIABLES[name]) for name in references["variables"] if name in _VARIABLES)
        self._columns = {row: columns for row in _ROWS if (columns := _columns_of(row, text)) is not None}
        self._told = False
        self._check_result()

    def _check_result(self) -> None:
        """As far as an event without columns tells."""
        try:
            result = self._program.execute(dict.fromkeys(_VARIABLES, "") | {row: {} for row in _ROWS} | _SAMPLE)
        except Exception:  # noqa: BLE001 -- what an event without columns provokes says nothing of others
            return
        if not isinstance(result, bool):
            raise UsageError(f"The filter is neither true nor false, but {_kind(result)}.", _EXPLAINED)

    def holds(self, event: Event) -> bool:
        """Whether the event is to be delivered; warns of the first that it cannot be evaluated for."""
        judgement = self.judge(event)
        if judgement.problem and not self._told:
            self._told = True
            _log.warning(
                "filter failed, event delivered", filter=self.text, event_name=event.name, error=judgement.problem
            )
        return judgement.holds

    def judge(self, event: Event) -> Judgement:
        given = {name: self._narrowed(name, get(event)) for name, get in self._needed}
        try:
            return _judged(self._program.execute(given))
        except LookupError:
            return _MISSING
        except Exception as error:  # noqa: BLE001 -- the library has no base for what an evaluation raises
            return self._without_nulls(given) or Judgement(holds=True, problem=_problem(error))

    def _narrowed(self, name: str, value: Any) -> Any:
        """Only the columns asked for, where all that are asked for are known: the others need not be converted."""
        columns = self._columns.get(name)
        return value if columns is None else {column: value[column] for column in columns if column in value}

    def _without_nulls(self, given: Mapping[str, Any]) -> Judgement | None:
        """Whether null was what the evaluation failed of: then null counts as missing, as in SQL; else None."""
        without = {name: _dropped(value) if name in _ROWS else value for name, value in given.items()}
        if without == given:
            return None
        try:
            return _judged(self._program.execute(without))
        except LookupError:
            return _MISSING
        except Exception:  # noqa: BLE001 -- as above: it was not null, the first error says what it was
            return None


_SAMPLE = {"timestamp": "2026-11-24T21:48:00.123456Z", "inferred": False}


def _dropped(value: Any) -> Any:
    """Without what is null, in lists of rows as well."""
    if isinstance(value, Mapping):
        return {name: _dropped(inner) for name, inner in value.items() if inner is not None}
    return [_dropped(each) for each in value] if isinstance(value, list) else value


def _judged(result: Any) -> Judgement:
    if isinstance(result, bool):
        return Judgement(result)
    return Judgement(holds=True, problem=f"The filter is neither true nor false, but {_kind(result)}.", boolean=False)


def _kind(value: Any) -> str:
    names = {str: "a text", int: "a number", float: "a number", type(None): "null", list: "a list", dict: "a row"}
    return names.get(type(value), f"a {type(value).__name__}")


def _problem(error: Exception) -> str:
    """Never the library's own words, which may quote values."""
    if isinstance(error, TypeError):
        return "The filter compares or computes with values of different types."
    if isinstance(error, ArithmeticError):
        return "The filter computes a number that there is not."
    return "The filter gives a function a value that it does not take."


def _columns_of(row: str, text: str) -> frozenset[str] | None:
    """The columns of ``data`` (…) that the text asks for; None when it may ask for others (``size(data)``)."""
    columns = re.findall(rf"\b{row}\.([A-Za-z_]\w*)\b(?!\s*\()", text)
    return frozenset(columns) if len(columns) == len(re.findall(rf"\b{row}\b", text)) else None


def _syntax(told: str) -> str:
    """The sentence for what the parser says; of several places, the one that it calls a syntax error."""
    found = sorted(_PARSE_ERROR.findall(told), key=lambda place: not place[2])
    if not found:
        return "The filter is no expression."
    line, column, _, what = found[0]
    what = what.replace("mismatched input '<EOF>'", "it ends where more is needed").rstrip(".")
    return f"The filter is no expression: {what} (line {line}, character {column})."


def _check_names(text: str, variables: list[str], functions: list[str]) -> None:
    known = {*_VARIABLES, *_TYPES, *_BOUND.findall(text)}
    for name in variables:
        if name not in known:
            raise UsageError(f"The filter asks for {name}, which events do not have.", _near(name, _VARIABLES))
    for name in functions:
        if name.isidentifier() and not name.startswith("_") and name not in _FUNCTIONS:
            raise UsageError(f"The filter calls {name}(), which there is not.", _near(name, _FUNCTIONS))


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, tuple(known), n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."


@lru_cache(maxsize=1024)
def compiled(text: str) -> Condition:
    """Raises `UsageError` when it is no condition."""
    return Condition(text)


@lru_cache(maxsize=1024)
def stored(text: str) -> Condition | None:
    """The condition of an endpoint that was saved; None, and a line in the log, for one that this version does not
    understand: every event is delivered then."""
    try:
        return compiled(text)
    except UsageError as error:
        _log.error("filter not understood, all events delivered", filter=text, error=str(error))
        return None
