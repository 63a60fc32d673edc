"""Conditions on events, in the Common Expression Language (CEL): which of the events that an endpoint names it gets.

Their variables are those of the default payload, ``id event timestamp source key data previous transaction inferred
observed``, and ``table`` and ``record``.  ``previous`` is empty unless the event tells of an update; ``inferred`` and
``observed`` are always there.

A condition that asks for what the event does not have, or takes null for a value, does not hold.  One that fails in
another way (it compares a text with a number) holds: what somebody mistyped loses no event, and the log says so once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import structlog

from cdc.condition_text import check_names, columns_of, depth, fields_of_lines, syntax_sentence
from cdc.errors import UsageError
from cdc.event import Event
from cdc.payload import format_time

#: The longest condition (characters): the parser's and the evaluation's stacks are bounded by it.
LONGEST = 2000
#: How deep ``exists`` and the like may be nested: each level multiplies the time by the number of lines, and all events
#: wait for it.
DEEPEST = 2

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
    "observed": lambda event: event.observed,
}
_ROWS = ("key", "data", "previous")
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
        import cel  # noqa: PLC0415 - a tenth of a second, and only endpoints with a condition need it

        if len(text) > LONGEST:
            raise UsageError(f"The filter has {len(text)} characters.", f"It has at most {LONGEST}.")
        if depth(text) > DEEPEST:
            raise UsageError("The filter nests exists, all, map or filter too deep.", f"{DEEPEST} levels are possible.")
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            raise UsageError(syntax_sentence(str(error)), _EXPLAINED) from None
        self.text = text
        references = self._program.references()
        check_names(text, references["variables"], references["functions"], _VARIABLES)
        self._needed = tuple((name, _VARIABLES[name]) for name in references["variables"] if name in _VARIABLES)
        self._columns = {row: _narrowing(row, text) for row in _ROWS}
        self._told = False
        self._check_result()

    def _check_result(self) -> None:
        """As far as an event without columns tells."""
        try:
            result = self._program.execute(dict.fromkeys(_VARIABLES, "") | {row: {} for row in _ROWS} | _SAMPLE)
        except Exception:  # noqa: BLE001 - what an event without columns provokes says nothing of others
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
        except Exception as error:  # noqa: BLE001 - the library has no base for what an evaluation raises
            return self._without_nulls(given) or Judgement(holds=True, problem=_problem(error))

    def _narrowed(self, name: str, value: Any) -> Any:
        """Only the columns asked for, where all that are asked for are known: the others need not be converted."""
        columns = self._columns.get(name)
        if columns is None:
            return value
        return {
            column: value[column] if fields is None else _with_fields(value[column], fields)
            for column, fields in columns.items()
            if column in value
        }

    def _without_nulls(self, given: Mapping[str, Any]) -> Judgement | None:
        """Whether null was what the evaluation failed of: then null counts as missing, as in SQL; else None."""
        without = {name: _dropped(value) if name in _ROWS else value for name, value in given.items()}
        if without == given:
            return None
        try:
            return _judged(self._program.execute(without))
        except LookupError:
            return _MISSING
        except Exception:  # noqa: BLE001 - it was not null then: the first error says what it was
            return None


_SAMPLE = {"timestamp": "2026-11-24T21:48:00.123456Z", "inferred": False, "observed": False}


def _narrowing(row: str, text: str) -> dict[str, frozenset[str] | None] | None:
    """Column → the fields of its rows, if it has rows and all that are asked for are known; None: all columns."""
    columns = columns_of(row, text)
    return None if columns is None else {column: fields_of_lines(row, column, text) for column in columns}


def _with_fields(value: Any, fields: frozenset[str]) -> Any:
    if not isinstance(value, list):
        return value
    return [
        {name: inner for name, inner in each.items() if name in fields} if isinstance(each, Mapping) else each
        for each in value
    ]


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
