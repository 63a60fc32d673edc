"""Conditions on events, in the Common Expression Language (CEL): which of the events that an endpoint names it gets.

Their variables are those of the default payload, ``id event timestamp source key data previous related links
transaction inferred observed``, and ``table`` and ``record``.  ``previous`` is empty unless the event is an
update, ``related`` and ``links`` where the event has none; ``inferred`` and ``observed`` are always there; ``days`` is
there in events by time.

A condition that asks for what the event does not have, or takes null for a value, does not hold.  One that fails in
another way (it compares a text with a number) holds: what somebody mistyped loses no event.  The log says so once, and
`FAILED` has it, so that its endpoint shows it.  So does one that takes more steps than
`cdc.model.filter.values.STEPS`; `EXCEEDED` then has it, and its endpoint is disabled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple

import structlog

from cdc.model.errors import UsageError
from cdc.model.event import Event, format_time
from cdc.model.filter.parser import Name, Node, Select, parse, tokens
from cdc.model.filter.program import Program, problem
from cdc.model.filter.values import AVERAGE, BURST, ERRORS, STEPS, FilterLimit, Meter, OutOfSteps, without_nulls


class Filtered(NamedTuple):
    """An endpoint with its filter; another one with the same filter gets other events."""

    endpoint: str
    filter: str


class FilterProblems:
    """``reasons``: a sentence each."""

    def __init__(self) -> None:
        self.reasons: dict[Filtered, str] = {}
        self._listeners: list[Callable[[], object]] = []

    @staticmethod
    def explains(reason: str) -> bool:
        """Return whether an endpoint was disabled for this reason because its filter exceeded a limit."""
        return reason.startswith(("The filter takes more than", "The expression ", "The regular expression"))

    def add(self, which: Filtered, reason: str) -> None:
        """Add the endpoint, from any thread."""
        self.reasons[which] = reason
        for listener in self._listeners:
            listener()

    def forget(self, which: Filtered) -> None:
        self.reasons.pop(which, None)

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call it whenever a filter is added, in the thread that adds it."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


#: Steps of each evaluation of a filter that exceeded a limit: enough for the head of a document.
_STEPS_AFTER: Final = 2_000

_log = structlog.get_logger()

#: What expressions on events may name.
VARIABLES: dict[str, Callable[[Event], Any]] = {
    "id": lambda event: event.id,
    "event": lambda event: event.name,
    "timestamp": lambda event: format_time(event.time),
    "source": lambda event: event.source,
    "table": lambda event: event.table,
    "record": lambda event: event.record,
    "key": lambda event: event.key,
    "data": lambda event: event.data,
    "previous": lambda event: event.previous or {},
    "related": lambda event: event.related or {},
    "links": lambda event: {"record": event.link} if event.link else {},
    "transaction": lambda event: event.transaction,
    "inferred": lambda event: event.inferred,
    "observed": lambda event: event.observed,
    "days": lambda event: event.days,
}
_ROWS = ("key", "data", "previous", "related", "links")
_EXPLAINED = "The language: https://cel.dev; its variables here: " + ", ".join(VARIABLES) + "."


class Judgement(NamedTuple):
    """``problem``: a sentence, without any value of the event, when the condition could not be evaluated; it holds
    then.  ``boolean``: False when that is because it gave something else.  ``missing``: it asked for something that the
    event does not have.  ``exceeded``: it took too many steps."""

    holds: bool
    problem: str = ""
    boolean: bool = True
    missing: bool = False
    exceeded: bool = False


_MISSING = Judgement(holds=False, missing=True)
_EXCEEDED = Judgement(holds=True, problem=f"The filter takes more than {STEPS:,} steps for one event.", exceeded=True)
_TOO_DEEP = Judgement(holds=True, problem="The filter compares values that are nested too deeply.")
_TOO_OFTEN = f"The filter takes more than {AVERAGE:,} steps an event on average."


class Condition:
    def __init__(self, text: str) -> None:
        """Raises `UsageError` when it is no condition, of the kind `FilterLimit` when it is too large."""
        self._program = Program(text, VARIABLES)
        self.text = text
        self._needed = tuple((name, VARIABLES[name]) for name in self._program.variables)
        self._check_result()

    def _check_result(self) -> None:
        """Raise `UsageError` when the condition is not true or false for a sample event without columns; `FilterLimit`
        when it takes too many steps."""
        empty = dict.fromkeys(VARIABLES, "") | {row: {} for row in _ROWS} | _SAMPLE
        try:
            result = self._program.execute(empty, Meter())
        except OutOfSteps:
            raise FilterLimit(_EXCEEDED.problem, _CHEAPER) from None
        except ERRORS:  # what an event without columns provokes says nothing of others
            return
        if not isinstance(result, bool):
            raise UsageError(_neither(result), _EXPLAINED)

    def judge(self, event: Event, meter: Meter | None = None) -> Judgement:
        given = {name: value for name, get in self._needed if (value := get(event)) is not None}
        meter = meter or Meter()
        try:
            return self._judged(given, meter)
        except ERRORS as error:
            return self._without_nulls(given, meter) or Judgement(holds=True, problem=problem(error))

    def _judged(self, given: Mapping[str, Any], meter: Meter) -> Judgement:
        """Raises what the expression raises, but for what is missing."""
        try:
            result = self._program.execute(given, meter)
        except LookupError:
            return _MISSING
        except OutOfSteps:
            return _EXCEEDED
        except RecursionError:
            return _TOO_DEEP
        if isinstance(result, bool):
            return Judgement(result)
        return Judgement(holds=True, problem=_neither(result), boolean=False)

    def _without_nulls(self, given: Mapping[str, Any], meter: Meter) -> Judgement | None:
        """Judge it again with nulls that count as missing; None when it fails all the same."""
        without = {name: without_nulls(value, meter) if name in _ROWS else value for name, value in given.items()}
        try:
            return self._judged(without, meter)
        except ERRORS:  # the first error says what it was
            return None


_SAMPLE = {"timestamp": "2026-11-24T21:48:00.123456Z", "inferred": False, "observed": False, "days": 0}
_CHEAPER: Final = "Ask for fewer rows, or for less of each: docs/delivery.md, Limits of filters."


def _neither(result: Any) -> str:
    return f"The filter is neither true nor false, but {_kind(result)}."


def _kind(value: Any) -> str:
    names = {str: "a text", int: "a number", float: "a number", type(None): "null", list: "a list", dict: "a row"}
    return names.get(type(value), f"a {type(value).__name__.lower()}")


def unmet(text: str, event: Event) -> tuple[str, dict[str, Any]] | None:
    """Return the parts of a condition, joined by ``&&``, that do not hold for an event, and what the event has of the
    fields that they name (None: nothing).  None where the condition lets the event pass."""
    condition = _understood(text)
    if isinstance(condition, UsageError) or condition.judge(event).holds:
        return None
    parts, depth, start = list[str](), 0, 0
    for token in tokens(text):
        if token.kind == "sign":
            depth += (token.text in "([{") - (token.text in ")]}")
            if not depth and token.text in ("||", "?"):
                parts, start = [], 0
                break
            if not depth and token.text == "&&":
                parts.append(text[start : token.place].strip())
                start = token.place + len(token.text)
    parts.append(text[start:].strip())
    failing = [part for part in parts if not Condition(part).judge(event).holds] or [text]
    held: dict[str, Any] = {}
    nodes: list[Node] = [parse(part) for part in failing]
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, Select) and isinstance(node.operand, Name) and node.operand.name in VARIABLES:
            value: Any = VARIABLES[node.operand.name](event)
            for field in node.fields:
                value = value.get(field) if isinstance(value, Mapping) else None
            held[".".join((node.operand.name, *node.fields))] = value
        elif isinstance(node, Name) and node.name in VARIABLES and node.name not in _ROWS:
            held[node.name] = VARIABLES[node.name](event)
        else:
            nodes += node.children()
    return " && ".join(failing), held


class StepAllowance:
    """The steps of many evaluations of one filter: `BURST`, and `AVERAGE` more with each evaluation."""

    def __init__(self) -> None:
        self._left = BURST

    def spend(self, steps: int) -> bool:
        """Spend the steps of an evaluation; whether there were so many."""
        self._left = min(BURST, self._left + AVERAGE - steps)
        if self._left >= 0:
            return True
        self._left = BURST
        return False


class ConditionTest:
    """A condition that somebody tries with many events, before an endpoint has it."""

    def __init__(self, text: str) -> None:
        """Raises `UsageError` when it is no condition."""
        self._condition = Condition(text)
        self._allowance = StepAllowance()

    def judge(self, event: Event) -> Judgement:
        """Raises `FilterLimit`: an endpoint with this condition would be disabled."""
        meter = Meter()
        judgement = self._condition.judge(event, meter)
        if judgement.exceeded:
            raise FilterLimit(judgement.problem, _CHEAPER)
        if not self._allowance.spend(STEPS - meter.left):
            raise FilterLimit(_TOO_OFTEN, _CHEAPER)
        return judgement


#: Filters of this process's endpoints that exceeded a limit: `cdc.dispatch.auto_disable` disables the endpoints.
EXCEEDED: Final = FilterProblems()
#: Those that failed, whose events were delivered: it notes that on the endpoints.
FAILED: Final = FilterProblems()


class StoredCondition:
    """The filter of an endpoint that was saved."""

    def __init__(self, which: Filtered) -> None:
        self._which = which
        self._allowance = StepAllowance()
        self._told = False

    def holds(self, event: Event) -> bool:
        """Return whether the event is to be delivered; warns of the first that it cannot be evaluated for.

        A condition that this version does not understand, or that exceeds a limit, holds."""
        condition = _understood(self._which.filter)
        if isinstance(condition, UsageError):
            if isinstance(condition, FilterLimit):
                self._exceed(condition.message)
            elif not self._told:
                self._told = True
                _log.error("filter not understood, all events delivered", **self._which._asdict(), error=str(condition))
                FAILED.add(self._which, condition.message)
            return True
        meter = Meter(_STEPS_AFTER if self._which in EXCEEDED.reasons else STEPS)
        before = meter.left
        judgement = condition.judge(event, meter)
        if judgement.exceeded:
            self._exceed(judgement.problem)
        elif not self._allowance.spend(before - meter.left):
            self._exceed(_TOO_OFTEN)
        elif judgement.problem and not self._told:
            self._told = True
            about = self._which._asdict() | {"event_name": event.name}
            _log.warning("filter failed, event delivered", **about, error=judgement.problem)
            FAILED.add(self._which, judgement.problem)
        return judgement.holds

    def _exceed(self, reason: str) -> None:
        if self._which not in EXCEEDED.reasons:
            _log.error("filter exceeds a limit, events delivered", **self._which._asdict(), error=reason)
            EXCEEDED.add(self._which, reason)


#: A filter as large as can be takes 0.3 MB.
@lru_cache(maxsize=512)
def _understood(text: str) -> Condition | UsageError:
    """The condition, or why it is none."""
    try:
        return Condition(text)
    except UsageError as error:
        return error.with_traceback(None)  # its frames would be kept


@lru_cache(maxsize=4096)
def stored(endpoint_id: str, text: str) -> StoredCondition:
    return StoredCondition(Filtered(endpoint_id, text))
