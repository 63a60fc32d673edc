"""Receivers on a simulated network, and the sender of each process."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from support.simulated.history import Delivery, Request
from support.simulated.loop import Process
from support.simulated.network import NOWHERE, Machine, Service


class Mood(StrEnum):
    """The reaction of a receiver to requests.  ``LATE``: it accepts them, and answers after the timeout.  ``LOST``: it
    accepts them, and the answer is lost.  ``TWICE``: the network gives it each request twice.  ``FLAKY``: another of
    these for each request."""

    WELL = "well"
    REFUSES = "refuses"
    HANGS = "hangs"
    LATE = "late"
    LOST = "lost"
    TWICE = "twice"
    BROKEN = "broken"
    BUSY = "busy"
    GONE = "gone"
    REJECTS = "rejects"
    FLAKY = "flaky"


_MOODS = [mood for mood in Mood if mood not in (Mood.FLAKY, Mood.GONE)]
_STATUS = {Mood.BROKEN: 500, Mood.BUSY: 429, Mood.GONE: 410, Mood.REJECTS: 400}


@dataclass
class Receiver:
    """``until``: when its mood ends."""

    endpoint: str
    mood: Mood = Mood.WELL
    until: float = 0.0

    def mood_at(self, now: float, choice: random.Random) -> Mood:
        if now >= self.until:
            return Mood.WELL
        return choice.choice(_MOODS) if self.mood is Mood.FLAKY else self.mood


@dataclass
class Network:
    """``receivers``: by URL.  ``service``: the network's delay and faults."""

    machine: Machine
    service: Service
    receivers: dict[str, Receiver] = field(default_factory=dict)


class SimulatedSender:
    """A `cdc.dispatch.sender.Sender` of one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    async def send(self, request: WebhookRequest) -> Answer:
        network, process = self._network, self._process
        machine, receiver = network.machine, network.receivers[request.url]
        if process.dead:
            raise asyncio.CancelledError
        started, history = machine.loop.time(), machine.history
        sent = Request(
            len(history.requests),
            process.name,
            receiver.endpoint,
            request.headers["webhook-id"],
            _deliveries(request.body),
            started,
        )
        history.requests.append(sent)
        history.note(
            f"{process.name} request {sent.number} to {sent.endpoint}: {[each.text for each in sent.deliveries]}"
        )
        reply: asyncio.Future[Answer] = machine.loop.create_future()
        machine.loop.call_later(self._delay(), self._arrive, receiver, sent, reply, request.timeout, context=NOWHERE)
        try:
            async with asyncio.timeout(request.timeout):
                answer = await reply
        except TimeoutError:
            answer = Answer(None, machine.loop.time() - started, error="The endpoint did not answer in time.")
        finally:
            sent.ended, sent.died = machine.loop.time(), process.dead
        sent.status = answer.status
        sent.retry_after = None if answer.retry_after is None else int(answer.retry_after)
        history.note(f"{process.name} request {sent.number}: {answer.status} {answer.error}")
        return answer._replace(duration=machine.loop.time() - started)

    def _delay(self) -> float:
        service, machine = self._network.service, self._network.machine
        slow = service.slow if machine.loop.time() < service.slow_until else 1.0
        return service.delay * slow * (0.1 + machine.random.random())

    def _arrive(self, receiver: Receiver, sent: Request, reply: asyncio.Future[Answer], timeout: float) -> None:
        machine = self._network.machine
        now = machine.loop.time()
        mood = Mood.REFUSES if now < self._network.service.refuses_until else receiver.mood_at(now, machine.random)
        machine.history.note(f"request {sent.number} arrives: {mood}")
        if mood is Mood.HANGS:
            return
        if mood in (Mood.WELL, Mood.LATE, Mood.LOST, Mood.TWICE):
            sent.accepted.append(now)
        if mood is Mood.TWICE:
            again = machine.random.uniform(0.0, 3.0)
            machine.loop.call_later(again, lambda: sent.accepted.append(machine.loop.time()), context=NOWHERE)
        answer = Answer(_STATUS.get(mood, 204), 0.0)
        if mood is Mood.BUSY:
            answer = answer._replace(retry_after=str(machine.random.randrange(4)))
        elif mood in (Mood.REFUSES, Mood.LOST):
            answer = Answer(None, 0.0, error="The connection broke.")
        delay = timeout * 1.5 if mood is Mood.LATE else self._delay()
        machine.loop.call_later(delay, _answer, reply, answer, context=NOWHERE)


def _answer(reply: asyncio.Future[Answer], answer: Answer) -> None:
    if not reply.done():
        reply.set_result(answer)


def _deliveries(body: bytes) -> list[Delivery]:
    read: Any = orjson.loads(body)
    events: list[dict[str, Any]] = read if isinstance(read, list) else [read]
    return [
        Delivery(str(each["key"]["codcliente"]), each["event"], str(each["data"]["nombre"]), each["id"])
        for each in events
    ]
