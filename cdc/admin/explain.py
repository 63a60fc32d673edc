"""Why an event did not reach an endpoint, or when it did: one reason with its evidence and the next step.

`explain` goes through `CHECKS` in order, on facts from outbox, configuration and source that `Explanations` has read;
the first check that knows the reason gives it.  Page, API and command line show the same `Explanation`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from cdc.admin.base import UseCases
from cdc.admin.deliveries import Deliveries, Events
from cdc.admin.endpoint_checks import near_events
from cdc.admin.endpoints import Endpoints
from cdc.config.rules import catalogue
from cdc.mapping.catalogue import RETIRED, USERS_TABLE, Catalogue, load_catalogue
from cdc.mapping.plan import unmet
from cdc.mapping.rule import PLACE_COLUMNS, ROW_EVENTS, RuleInput
from cdc.model.change import Operation, Quarantined
from cdc.model.delivery import DeliveryFilter, DeliveryState, DeliveryView, EventFilter
from cdc.model.endpoint import Endpoint, EndpointFilter, Order, shown_url
from cdc.model.errors import CdcError, NotFound, UsageError
from cdc.model.event import UNCHANGED, check_pattern, format_time, matches, record_name
from cdc.model.finding import NO_KEY, NOT_INNODB
from cdc.model.selection import unmet as unmet_condition
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import no_endpoint, restored, subscriber_of

if TYPE_CHECKING:
    from cdc.admin.process import ReportedSource

#: A change is searched so long before and after the time that is asked for.
WINDOW: Final = timedelta(hours=1)
#: Events within this time of the one that is asked for are of the same change.
_SOON: Final = timedelta(minutes=1)
#: Seconds that the source's database may take.
INSPECTION: Final = 0.8
#: Events of a record, deliveries of an event, and skipped changes of a source that are read.
_MOST: Final = 50
_SKIPPED: Final = 200
#: Characters of one value in a sentence.
_LONGEST: Final = 200
_ROW_OPERATIONS: Final = {"created": Operation.CREATE, "updated": Operation.UPDATE, "deleted": Operation.DELETE}


class Reason(StrEnum):
    """Stable keys, each with its sentence and what to do, which have places for values of an `Explanation`.  The first
    ones are about the change, the others about an event that is stored."""

    sentence: str
    step: str

    def __new__(cls, key: str, sentence: str, step: str) -> Self:
        made = str.__new__(cls, key)
        made._value_, made.sentence, made.step = key, sentence, step
        return made

    NO_RULE = (
        "no_rule",
        "No rule makes the event %(event)s of rows of %(table)s. Events of this table: %(known)s.",
        "Check the event's name in the catalogue, or add the table to the source or a rule of your own.",
    )
    RULE_OFF = (
        "rule_off",
        "The event %(event)s of %(table)s is switched off in the rules.",
        "Switch it on in the rules of the source, and reload.",
    )
    TABLE_EXCLUDED = (
        "table_excluded",
        "The table %(table)s is not captured: the rules exclude %(pattern)s.",
        "Name the table in full in the rules to capture it.",
    )
    TABLE_NOT_CAPTURED = (
        "table_not_captured",
        "The table %(table)s is not captured: %(why)s.",
        "Install the triggers, or repair the table; then send the existing rows.",
    )
    ROW_SKIPPED = (
        "row_skipped",
        "The change of %(at)s could not be processed and was skipped: %(why)s",
        "Report the defect; after a fix, read the row again from quarantine.",
    )
    NOT_READ_YET = (
        "not_read_yet",
        "The source %(source)s has not been read since %(since)s: %(why)s",
        "Repair the source; nothing is lost, its changes are read then.",
    )
    RULE_NOT_MET = (
        "rule_not_met",
        "%(near)s at %(at)s does not meet the rule of %(event)s: «%(condition)s» does not hold of %(held)s.",
        "Check the record in FacturaScripts, or change the rule.",
    )
    ALREADY_SO = (
        "already_so",
        "%(event)s reports an arrival, and the record was there before %(near)s at %(at)s: %(held)s.",
        "Search for an earlier event of this record.",
    )
    NOISE = (
        "noise",
        "Only columns that count as noise changed (%(columns)s): %(near)s at %(at)s reports that, not %(event)s.",
        "Choose that event, or take the column out of the rules' noise.",
    )
    MERGED = (
        "merged",
        "The transaction's changes of this record became one event, %(near)s at %(at)s, and no %(event)s.",
        "Choose that event: it has the record as the transaction left it.",
    )
    REMOVED = (
        "removed",
        "Events of that time are no longer stored: the oldest of %(source)s is from %(oldest)s.",
        "Raise the retention to store them longer, or send the existing rows.",
    )
    BEFORE_INSTALLATION = (
        "before_installation",
        "The change is older than the installation: the first event of %(source)s is from %(oldest)s.",
        "Send the existing rows.",
    )
    NOT_SEEN = (
        "not_seen",
        "Nothing is known of such a change of %(record)s. Searched: %(searched)s.",
        "Check record and time in FacturaScripts, then run the checks of the source.",
    )
    EXPUNGED = (
        "expunged",
        "%(event)s of %(at)s is stored without its data, which were expunged: it cannot be sent.",
        "Send the record again by reading its row.",
    )
    DELIVERED = (
        "delivered",
        "%(event)s was delivered to %(endpoint)s at %(at)s. The answer: %(answer)s.",
        "Search for %(event_id)s in the receiver's log; send the delivery again if it was lost there.",
    )
    FAILED = (
        "failed",
        "%(event)s failed for good at %(at)s. Attempts: %(attempts)s. The last answer of %(endpoint)s: %(answer)s",
        "Repair the receiver, then send the delivery again.",
    )
    CANCELLED = (
        "cancelled",
        "The delivery of %(event)s to %(endpoint)s was cancelled at %(at)s: its endpoint was removed.",
        "Add the endpoint again, then replay its events.",
    )
    ENDPOINT_OFF = (
        "endpoint_off",
        "%(endpoint)s is disabled, and its deliveries wait. %(why)s",
        "Repair the receiver, then enable the endpoint: what waits is sent.",
    )
    WAITING = (
        "waiting",
        "%(event)s waits until %(endpoint)s accepts %(ahead_event)s of %(ahead_record)s, since %(since)s: %(answer)s",
        "Repair the receiver for that delivery, or retry it now.",
    )
    RETRYING = (
        "retrying",
        "%(event)s is tried again at %(due)s. Attempts: %(attempts)s. The last answer of %(endpoint)s: %(answer)s",
        "Repair the receiver, then retry the delivery now.",
    )
    QUEUED = (
        "queued",
        "%(event)s is about to be sent to %(endpoint)s: due since %(due)s.",
        "Wait a moment. If it stays so, check that a process dispatches.",
    )
    OTHER_SOURCE = (
        "other_source",
        "%(endpoint)s gets events of the sources %(sources)s only; this one is of %(source)s.",
        "Add the source to the endpoint.",
    )
    NOT_CHOSEN = (
        "not_chosen",
        "%(endpoint)s has not chosen %(event)s. It has chosen: %(patterns)s.",
        "Add the event to the endpoint, then replay it.",
    )
    FILTERED = (
        "filtered",
        "The filter of %(endpoint)s stops %(event)s of %(at)s: «%(condition)s» does not hold. The event has: %(held)s.",
        "Change the filter, then replay the event.",
    )
    CHOSEN_LATER = (
        "chosen_later",
        "%(endpoint)s chooses %(event)s now, but was added or changed after the event was stored at %(at)s.",
        "Replay the event to the endpoint.",
    )
    NO_ENDPOINT = (
        "no_endpoint",
        "%(event)s of %(at)s is stored, and no endpoint has chosen it.",
        "Name the endpoint that should have it, or add the event to one.",
    )


class Sentence(str):
    """A value that is a message of this program, to be translated."""

    __slots__ = ()


#: Phrases among the values, besides messages of errors.
NO_TABLE, NOT_INSTALLED = "the database does not have it", "what captures it is not installed"
NO_ATTEMPT, NONE_KNOWN, STALLED = "no attempt yet", "none", "It is being opened."
SEARCHED: Final = ("stored events, skipped changes, rules", "its database", "its database did not answer in time")
NEAREST: Final = "Nearest event: %(near)s, %(at)s."
PHRASES: Final = (NEAREST, NO_TABLE, NOT_INSTALLED, NO_ATTEMPT, NONE_KNOWN, STALLED, NO_KEY, NOT_INNODB, *SEARCHED)


@dataclass(frozen=True, slots=True)
class Explanation:
    """``values``: for the texts of the reason: moments, messages, texts, and lists and mappings of them.  The ids are
    empty where there is none."""

    reason: Reason
    values: Mapping[str, Any]
    source: str = ""
    record: str = ""
    event_id: str = ""
    delivery_id: str = ""
    endpoint_id: str = ""
    ahead_id: str = ""

    def texts(
        self,
        text: Callable[[str], str] = str,
        message: Callable[[str], str] = str,
        moment: Callable[[datetime], str] = format_time,
    ) -> tuple[str, str]:
        """Return the sentence and what to do.  ``text``, ``message``: translate a text of the page, and a message.
        ``moment``: writes a time."""

        def written(value: Any) -> str:
            if isinstance(value, Mapping):
                return ", ".join(f"{name} = {written(each)}" for name, each in value.items()) or written(None)
            if isinstance(value, tuple | list):
                return ", ".join(map(written, value)) or written(None)
            if isinstance(value, datetime):
                return moment(value)
            if isinstance(value, Sentence):
                return message(text(value))
            if value is None:
                return "\N{EN DASH}"
            shown = value if isinstance(value, str) else orjson.dumps(value).decode()
            return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"

        values = {name: written(value) for name, value in self.values.items()}
        sentences = [self.reason.sentence]
        if self.reason is Reason.NOT_SEEN and self.values["near"]:
            sentences.append(NEAREST)
        return " ".join(text(each) % values for each in sentences), text(self.reason.step) % values


@dataclass(frozen=True, slots=True)
class Question:
    """``record``: ``facturascli:12``, ``invoice:12``, or a code or the beginning of a name.  ``event``: a name, pattern
    or id; ``endpoint``: an id or part of a name; ``at``: about when; ``source``: empty fields do not narrow."""

    record: str = ""
    event: str = ""
    endpoint: str = ""
    at: datetime | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class KnownFacts:
    """``event``: the one asked for; ``near``: others of its record, the nearest first.  ``oldest``: of the source.
    ``whole``: no event of the time that is asked for has been removed.  ``obstacle``: why the database does not capture
    the table; None: it was not asked; ``reached``: it answered.  ``reveal``: the asker may see the content of events.
    """

    question: Question
    now: datetime
    rules: Catalogue
    source: str = ""
    event: StoredEvent | None = None
    near: Sequence[StoredEvent] = ()
    endpoint: Endpoint | None = None
    endpoint_name: str = ""
    delivery: DeliveryView | None = None
    ahead: DeliveryView | None = None
    skipped: Quarantined | None = None
    oldest: StoredEvent | None = None
    whole: bool = False
    reported: ReportedSource | None = None
    obstacle: str | None = None
    reached: bool = True
    reveal: bool = True
    entity: str = field(init=False)
    table: str = field(init=False)

    def __post_init__(self) -> None:
        table, colon, _ = self.question.record.partition(":")
        table = table if colon else ""
        known = next((each for each in self.rules.entities if each.table == table), None) or self.rules.matched(table)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "entity", "" if known is None else known.name)

    def because(self, reason: Reason, **values: Any) -> Explanation:
        event, delivery, endpoint = self.event, self.delivery, self.endpoint
        known = {
            "event": self.question.event if event is None else event.name,
            "event_id": "" if event is None else event.id,
            "at": None if event is None else event.time,
            "record": self.question.record,
            "table": self.table,
            "source": self.source,
            "endpoint": self.endpoint_name,
        }
        return Explanation(
            reason, known | values, self.source, self.question.record,
            "" if event is None else event.id, "" if delivery is None else delivery.id,
            "" if endpoint is None else endpoint.id, "" if self.ahead is None else self.ahead.id,
        )  # fmt: skip

    def seen(self, values: Mapping[str, Any]) -> Mapping[str, Any] | list[str]:
        """Return values of a row, or only their names for those who may not see them."""
        return values if self.reveal else list(values)


# -- checks about the change ------------------------------------------------------------------------------------------


def _check_rules(facts: KnownFacts) -> Explanation | None:
    rules, table, asked = facts.rules, facts.table, facts.question.event
    if facts.event is not None or not table:
        return None
    if not facts.entity:
        known = rules.patterns.entities.get(table)
        excluded = next((each for each in rules.patterns.excluded if matches(table, [each])), None)
        if known is not None:
            return facts.because(Reason.RULE_OFF, event=asked or f"{known.name}.*")
        if excluded is not None:
            return facts.because(Reason.TABLE_EXCLUDED, pattern=excluded)
        return facts.because(Reason.NO_RULE, event=asked or "*", known=Sentence(NONE_KNOWN))
    names = [f"{facts.entity}.{each}" for each in ROW_EVENTS] + [rule.event for rule in rules.rules_of(facts.entity)]
    if not asked or any(matches(name, [asked]) and _is_on(rules, name) for name in names):
        return None
    off = [*names, *load_catalogue().event_names()]
    if asked.rpartition(".")[0] == facts.entity and any(matches(name, [asked]) for name in off):
        return facts.because(Reason.RULE_OFF)
    near = [each for each in near_events(asked, names, {table: facts.entity}) if each != asked]
    return facts.because(Reason.NO_RULE, known=Sentence(RETIRED[asked]) if asked in RETIRED else near or names)


def _is_on(rules: Catalogue, name: str) -> bool:
    rule = next((each for each in rules.rules if each.event == name), None)
    return rules.enabled(name) and (rule is None or not rule.date or bool(rule.days))


def _check_capture(facts: KnownFacts) -> Explanation | None:
    if facts.event is not None:
        return None
    if facts.obstacle:
        return facts.because(Reason.TABLE_NOT_CAPTURED, why=Sentence(facts.obstacle))
    if facts.skipped is not None:
        return facts.because(Reason.ROW_SKIPPED, at=facts.skipped.changed_at, why=Sentence(facts.skipped.reason))
    reported, at = facts.reported, facts.question.at or facts.now
    if reported is not None and reported.state not in ("reading", "standby") and reported.since <= at + WINDOW:
        why = Sentence(reported.error or STALLED)
        return facts.because(Reason.NOT_READ_YET, since=reported.since, why=why)
    return None


def _check_other_events(facts: KnownFacts) -> Explanation | None:
    """The events that the change made, or changes around it."""
    asked, rules = facts.question.event, facts.rules
    near = next((each for each in facts.near if each.name.rpartition(".")[2] not in UNCHANGED and each.payload), None)
    if facts.event is not None or near is None or not asked or "*" in asked:
        return None
    shown = {"near": near.name, "at": near.time, "near_id": near.id}
    data, former = near.payload["data"], near.payload.get("previous")
    last, made = asked.rpartition(".")[2], near.name.rpartition(".")[2]
    if last == "updated" and former is not None:
        noise = rules.noise_of(facts.table) | (PLACE_COLUMNS if facts.table == USERS_TABLE else frozenset())
        return facts.because(Reason.NOISE, columns=list(former), **shown) if noise.issuperset(former) else None
    if last in _ROW_OPERATIONS:
        exact = facts.question.at is not None and abs(facts.question.at - near.time) <= _SOON
        merged = exact or (facts.question.at is None and (last, made) == ("updated", "created"))
        return facts.because(Reason.MERGED, **shown) if merged else None
    rule = next((each for each in rules.rules if each.event == asked and not each.date), None)
    operation = _ROW_OPERATIONS.get(made, Operation.CREATE if former is None else Operation.UPDATE)
    before = None if former is None else {**data, **former}
    seen = RuleInput(operation, data, before, frozenset(former or ()), {})
    missed = None if rule is None else unmet(rule, seen)
    if missed is None:
        return None
    held = facts.seen({column: value for column, (_, value) in missed.columns.items()})
    reason = Reason.ALREADY_SO if missed.already else Reason.RULE_NOT_MET
    return facts.because(reason, condition=missed.part, held=held, **shown)


def _check_age(facts: KnownFacts) -> Explanation | None:
    at, oldest = facts.question.at, facts.oldest
    if facts.event is not None or at is None or oldest is None or at >= oldest.time:
        return None
    return facts.because(Reason.BEFORE_INSTALLATION if facts.whole else Reason.REMOVED, oldest=oldest.time)


def _check_nothing(facts: KnownFacts) -> Explanation | None:
    if facts.event is not None:
        return None
    asked = facts.obstacle is not None or not facts.reached
    searched = [Sentence(each) for each in (SEARCHED[0], *([SEARCHED[1 if facts.reached else 2]] if asked else []))]
    near = facts.near[0] if facts.near else None
    found = {"near": near and near.name, "at": near and near.time, "searched": searched}
    return facts.because(Reason.NOT_SEEN, **found, record=facts.question.record or facts.question.event)


# -- checks about an event that is stored -----------------------------------------------------------------------------


def _check_delivery(facts: KnownFacts) -> Explanation | None:
    delivery, event, endpoint = facts.delivery, facts.event, facts.endpoint
    if delivery is None or event is None:
        return None
    values = {"attempts": delivery.attempts, "answer": _answer(delivery), "due": delivery.due_at}
    match delivery.state:
        case DeliveryState.DELIVERED:
            return facts.because(Reason.DELIVERED, **values | {"at": delivery.finished_at})
        case _ if event.expunged:
            return facts.because(Reason.EXPUNGED)
        case DeliveryState.DEAD:
            return facts.because(Reason.FAILED, **values | {"at": delivery.finished_at})
        case DeliveryState.CANCELLED:
            return facts.because(Reason.CANCELLED, at=delivery.finished_at)
        case _ if endpoint is not None and not endpoint.enabled:
            return facts.because(Reason.ENDPOINT_OFF, why=Sentence(endpoint.disabled_reason))
        case DeliveryState.WAITING:
            ahead = facts.ahead or delivery  # just finished, or of a record that was renamed
            first = {"ahead_event": ahead.event_name, "ahead_record": ahead.record, "since": ahead.created_at}
            return facts.because(Reason.WAITING, **values | first | {"answer": _answer(ahead)})
    if delivery.last_error:
        return facts.because(Reason.RETRYING, **values | {"due": delivery.due_at or facts.now})
    return facts.because(Reason.QUEUED, due=delivery.due_at or delivery.created_at)


def _answer(delivery: DeliveryView) -> Sentence:
    status = NO_ATTEMPT if delivery.last_status is None else f"HTTP {delivery.last_status}"
    return Sentence(delivery.last_error or status)


def _check_choice(facts: KnownFacts) -> Explanation | None:
    endpoint, event = facts.endpoint, facts.event
    if event is None:
        return None
    if event.expunged:
        return facts.because(Reason.EXPUNGED)
    if endpoint is None:
        return facts.because(Reason.NO_ENDPOINT)
    subscriber = subscriber_of(endpoint)
    if endpoint.sources and event.source not in endpoint.sources:
        return facts.because(Reason.OTHER_SOURCE, sources=list(endpoint.sources))
    if not subscriber.names(event.name, event.source):
        return facts.because(Reason.NOT_CHOSEN, patterns=list(endpoint.events))
    missed = unmet_condition(endpoint.condition, restored(event)) if endpoint.condition else None
    if missed is not None:
        return facts.because(Reason.FILTERED, condition=missed[0], held=facts.seen(missed[1]))
    return facts.because(Reason.CHOSEN_LATER)


CHECKS: Final = (
    _check_rules, _check_capture, _check_other_events, _check_age, _check_nothing, _check_delivery, _check_choice,
)  # fmt: skip


def explain(facts: KnownFacts) -> Explanation:
    return next(found for check in CHECKS if (found := check(facts)) is not None)


# -- reading the facts ------------------------------------------------------------------------------------------------


class Explanations(UseCases):
    async def explain(self, question: Question, *, inspect: bool = False, reveal: bool = True) -> Explanation:
        """Return the reason.  ``inspect``: ask the source's database too, for a moment.  ``reveal``: the asker may see
        the content of events.  Raises `NotFound` for a source or endpoint, `UsageError` where several are possible."""
        asked, events = question.event.strip(), Events(self._service, self._principal)
        sources = [each for each in self._config.source if self._principal.sees(each)]
        if question.source and question.source not in sources:
            raise NotFound(f"There is no source {question.source!r}.")
        sources = [question.source] if question.source else sources
        endpoint = await self._endpoint(question.endpoint) if question.endpoint else None
        event, near = None, list[StoredEvent]()
        if asked.startswith("evt_"):
            event = await events.get(asked)
            question = replace(question, record=event.record if event else question.record)
        elif not question.record:
            raise UsageError(
                "No record and no event is named.", "Name a record such as facturascli:12, or an event's id."
            )
        else:
            question = replace(question, record=await self._record(question.record.strip(), sources, reveal=reveal))
            near = await self._near(question, "")
            found = await self._near(question, asked) if asked else near
            event = found[0] if found else None
        source = event.source if event else near[0].source if near else sources[0] if len(sources) == 1 else ""
        if not source and len(sources) > 1 and not asked.startswith("evt_"):
            raise UsageError("Several sources may have this record.", f"Name one of {', '.join(sources[:10])}.")
        rules = catalogue(self._config.source[source]) if source in self._config.source else load_catalogue()
        facts = KnownFacts(replace(question, event=asked), self._clock.now(), rules, source, event, near, reveal=reveal)
        if event is not None:
            return explain(await self._delivery(facts, event, endpoint))
        return explain(await self._capture(facts, inspect=inspect))

    async def _record(self, text: str, sources: Sequence[str], *, reveal: bool) -> str:
        """Return the record that a text names: by table, by entity, or by code or name in its newest event."""
        name, colon, key = text.partition(":")
        if colon:
            rules = [catalogue(self._config.source[each]) for each in sources] or [load_catalogue()]
            return next((f"{e.table}:{key}" for each in rules for e in each.entities if e.name == name), text)
        events = Events(self._service, self._principal)
        found = (await events.search(EventFilter(text=text), 1, oldest_first=False)).found if reveal else []
        return found[0].record if found else text

    async def _near(self, question: Question, pattern: str) -> list[StoredEvent]:
        """Return events of the record, the nearest to the time that is asked for first, without one the newest."""
        at = question.at
        which = EventFilter(
            record=question.record,
            source=question.source or None,
            event_pattern=check_pattern(pattern) if pattern else None,
            since=at and at - WINDOW,
            until=at and at + WINDOW,
        )
        found = (await Events(self._service, self._principal).search(which, _MOST, oldest_first=False)).found
        return found if at is None else sorted(found, key=lambda each: abs(each.time - at))

    async def _delivery(self, facts: KnownFacts, event: StoredEvent, endpoint: Endpoint | None) -> KnownFacts:
        """Add the event's delivery: to the endpoint that is named, else the one that needs attention the most."""
        deliveries = Deliveries(self._service, self._principal)
        which = DeliveryFilter(event_id=event.id, endpoint_id=endpoint.id if endpoint else None)
        found = (await deliveries.search(which, _MOST)).found
        delivery = min(found, key=lambda each: (each.state.final, each.state is DeliveryState.DELIVERED), default=None)
        endpoints = Endpoints(self._service, self._principal)
        if endpoint is None and delivery is not None:
            endpoint = (await endpoints.by_ids([delivery.endpoint_id])).get(delivery.endpoint_id)
            if endpoint is None:
                removed = await endpoints.removed([delivery.endpoint_id])
                name = removed.get(delivery.endpoint_id, delivery.endpoint_id)
                return replace(facts, delivery=delivery, endpoint_name=name)
        elif endpoint is None:
            every = (await endpoints.search(EndpointFilter(), 2)).found
            endpoint = every[0] if len(every) == 1 else None
        name = "" if endpoint is None else endpoint.description or shown_url(endpoint)
        facts = replace(facts, endpoint=endpoint, endpoint_name=name, delivery=delivery)
        if delivery is None or endpoint is None or delivery.state is not DeliveryState.WAITING:
            return facts
        lane = DeliveryFilter(endpoint_id=endpoint.id)
        if endpoint.order is not Order.ENDPOINT:
            lane = replace(lane, record=delivery.record, source=delivery.source)
        ahead = [
            each
            for state in (DeliveryState.PENDING, DeliveryState.LEASED)
            for each in (await deliveries.search(replace(lane, state=state), 1)).found
        ]
        return replace(facts, ahead=ahead[0] if ahead else None)

    async def _endpoint(self, text: str) -> Endpoint:
        """Return the endpoint with this id, or the only one with this text.  Raises `NotFound`, `UsageError`."""
        endpoints = Endpoints(self._service, self._principal)
        if text in (known := await endpoints.by_ids([text])):
            return known[text]
        found = (await endpoints.search(EndpointFilter(text), 2)).found
        if not found:
            raise no_endpoint(text)
        if len(found) > 1:
            raise UsageError(f"Several endpoints have {text!r} in their name.", "Name one by its id.")
        return found[0]

    async def _capture(self, facts: KnownFacts, *, inspect: bool) -> KnownFacts:
        """Add what is known of the source and of changes that made no event."""
        question, name = facts.question, facts.source
        which = replace(self._principal.narrowed(EventFilter()), source=name or None)
        events = Events(self._service, self._principal)
        oldest = (await events.search(which, 1, oldest_first=True)).found
        log = await self._store.events(1, after=0)
        at = question.at
        whole = not log or log[0].sequence <= 1 or (at is not None and log[0].time <= at)
        skipped = [
            each
            for each in await self._store.quarantined(_SKIPPED, source=name or None)
            if each.key is not None
            and record_name(each.table, each.key) == question.record
            and (at is None or abs(each.changed_at - at) <= WINDOW)
        ]
        process, obstacle, reached = self._service.process, None, True
        if inspect and facts.table and name in self._config.source:
            try:
                async with asyncio.timeout(INSPECTION):
                    obstacle = await self._service.table_obstacle(self._config.source[name], facts.table)
            except (CdcError, TimeoutError):
                reached = False  # said with the answer
        return replace(
            facts,
            oldest=oldest[0] if oldest else None,
            whole=whole,
            skipped=skipped[0] if skipped else None,
            reported=process.source(name) if process is not None and name in process.sources() else None,
            obstacle=obstacle,
            reached=reached,
        )
