"""A valve for each endpoint, which follows what is changed about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta

from cdc.dispatch.flow_control import WINDOW, FlowControl
from cdc.dispatch.retry import Answer, Random, is_trouble, pause_asked
from cdc.model.clock import Clock
from cdc.model.delivery import Held
from cdc.model.endpoint import Endpoint


class Permit:
    """A request that a valve let through."""

    __slots__ = ("_flow", "_started")

    def __init__(self, flow: FlowControl, started: int) -> None:
        self._flow = flow
        self._started = started

    def ended(self, answer: Answer, clock: Clock) -> float | None:
        """Whether it is in doubt that the event itself was refused: as `cdc.dispatch.flow_control.Breaker.doubt`."""
        trouble = is_trouble(answer)
        pause = pause_asked(answer, clock.now()) if trouble else 0.0
        return self._flow.ended(self._started, clock.monotonic(), trouble=trouble, retry_after=pause)


class EndpointFlows:
    def __init__(self, clock: Clock, rand: Random) -> None:
        self._clock = clock
        self._rand = rand
        self._endpoints: Mapping[str, Endpoint] = {}
        self._flows: dict[str, FlowControl] = {}

    def follow(self, endpoints: Mapping[str, Endpoint]) -> None:
        """These are the endpoints from now on.  One that had no success for longer than a breaker looks back begins
        with a probe: perhaps its breaker was open in a process that ended."""
        self._flows = {name: self._followed(name, each) for name, each in endpoints.items()}
        self._endpoints = endpoints

    def _followed(self, endpoint_id: str, endpoint: Endpoint) -> FlowControl:
        before, flow = self._endpoints.get(endpoint_id), self._flows.get(endpoint_id)
        if before is None or flow is None:
            since = endpoint.failing_since
            failing = since is not None and self._clock.now() - since > timedelta(seconds=WINDOW)
            return FlowControl(endpoint.rate, self._rand, trying=failing)
        if endpoint.rate != before.rate:
            flow.change_rate(endpoint.rate)
        if endpoint.url != before.url or (endpoint.enabled and not before.enabled):
            flow.mended()
        return flow

    def wait(self, endpoint_id: str) -> float:
        """Seconds until a request to it may start; infinite while that depends on a probe."""
        return self._flows[endpoint_id].wait(self._clock.monotonic())

    def room(self, endpoint_id: str) -> int:
        """How many requests to it may start now."""
        return self._flows[endpoint_id].room(self._clock.monotonic())

    def start(self, endpoint_id: str) -> Permit:
        flow = self._flows[endpoint_id]
        return Permit(flow, flow.start(self._clock.monotonic()))

    def opens_at(self) -> float:
        """When (monotonic seconds) the first that is shut lets something through; infinite when time opens none."""
        now = self._clock.monotonic()
        waits = (self._flows[name].wait(now) for name, each in self._endpoints.items() if each.enabled)
        return now + min((wait for wait in waits if wait), default=math.inf)

    def held(self) -> dict[str, Held]:
        """Endpoints of which due deliveries are held back."""
        now, time = self._clock.monotonic(), self._clock.now()
        found = {}
        for name, flow in self._flows.items():
            by = flow.hold(now)
            if by is not None and self._endpoints[name].enabled:
                wait = flow.wait(now)
                found[name] = Held(by, time + timedelta(seconds=wait if wait < math.inf else 0.0))
        return found
