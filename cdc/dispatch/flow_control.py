"""Flow control of one endpoint: its rate, the pauses that it asks for, and a circuit breaker.

Pure: time (``now``: monotonic seconds) and randomness are passed in.  Where several processes dispatch from one outbox,
each has its own, ``shared``: it detects by itself that an endpoint is down, which the others follow, and requests by a
rate, and probes, start when they are admitted for all of them (`cdc.dispatch.shared_limits`).
"""

from __future__ import annotations

import math
from collections import deque

from cdc.dispatch.retry import Random
from cdc.model.delivery import AdmissionRequest, Admitted, EndpointHold, Hold
from cdc.model.endpoint import usable_rate

#: The breaker judges results no older than this (seconds) …
WINDOW = 60.0
#: … of these the newest …
MOST_RESULTS = 20
#: … and not fewer than these; it opens when half of them are faults.  It also opens after so many faults in a row,
#: however old they are: with few events a day there is nothing else to judge by.
LEAST_RESULTS = 10
#: Seconds until the first probe; each that fails doubles them …
FIRST_PROBE = 5.0
#: … up to this.
LAST_PROBE = 60.0
#: The most that jitter adds, as a part of the time until a probe.
JITTER = 0.1
#: No ``Retry-After`` stops a whole endpoint for longer than this (seconds): it may have been about one event.  That
#: event itself waits for as long as it was asked to (`retry.LONGEST_RETRY_AFTER`).
LONGEST_PAUSE = 3600.0
#: Less than this (seconds) is no time to wait, but what adding intervals left behind.
_NO_TIME = 1e-6
#: An admitted request starts within this time (seconds), or not at all.
ADMITTED_FOR = 2.0
#: A probe has this much (seconds) beyond its endpoint's timeout until another process may probe.
CLAIM_MARGIN = 10.0
#: What `FlowControl.room` says where only the endpoint's concurrency bounds.
ANY_NUMBER = 1 << 20


def _time(seconds: float) -> float:
    return seconds if seconds > _NO_TIME else 0.0


class TokenBucket:
    """A token bucket: ``rate`` requests a second, and one second's worth (at least one) at once.

    Written as the generic cell rate algorithm: in place of tokens it counts up to when those that were started fill the
    rate, so that there is one number to keep and nothing to refill.
    """

    __slots__ = ("_booked_until", "interval", "slack")

    def __init__(self, rate: float) -> None:
        rate = usable_rate(rate)
        self.interval = 1 / rate
        self.slack = (max(rate, 1.0) - 1) * self.interval
        self._booked_until = -math.inf

    def start(self, now: float) -> None:
        self._booked_until = max(self._booked_until, now) + self.interval

    def follow(self, booked_until: float) -> None:
        """Take over until when the requests of all processes fill the rate."""
        self._booked_until = booked_until

    def wait(self, now: float) -> float:
        return _time(self._booked_until - self.slack - now)

    def room(self, now: float) -> int:
        if self.wait(now):
            return 0
        return int((now + self.slack - max(self._booked_until, now) + _NO_TIME) / self.interval) + 1


class Breaker:
    """Opens when half of the last results speak of trouble, or many in a row; then lets one probe at a time through,
    ever more rarely, until one succeeds.

    ``trying``: begin with a probe.  A result counts only in the ``turn`` in which its request started: what started
    before the breaker opened says nothing new.
    """

    __slots__ = ("_in_a_row", "_probe_at", "_rand", "_results", "_sure_at", "failed_probes", "probing", "turn")

    def __init__(self, rand: Random, *, trying: bool = False) -> None:
        self._rand = rand
        self._results: deque[tuple[float, bool]] = deque(maxlen=MOST_RESULTS)  # when, trouble
        self._probe_at: float | None = -math.inf if trying else None  # None: it is closed
        self.probing = False
        self.failed_probes = 0
        self._in_a_row = 0
        self._sure_at = -math.inf
        self.turn = 0

    @property
    def closed(self) -> bool:
        return self._probe_at is None

    def wait(self, now: float) -> float:
        if self._probe_at is None:
            return 0.0
        return math.inf if self.probing else _time(self._probe_at - now)

    def start(self) -> int:
        """The turn."""
        if self._probe_at is not None:
            self.probing = True
            self.turn += 1
        return self.turn

    def ended(self, turn: int, now: float, *, trouble: bool) -> None:
        if turn != self.turn:
            return
        if self._probe_at is None:
            self._results.append((now, trouble))
            self._in_a_row = self._in_a_row + 1 if trouble else 0
            if trouble and self._too_many(now):
                self._open(now)
        elif trouble:
            self.failed_probes += 1
            self._open(now)
        else:
            self._close(now)

    def probe_at_once(self) -> None:
        """An open breaker: look again now, whatever is on its way."""
        if self._probe_at is not None:
            self._probe_at, self.probing, self.failed_probes = -math.inf, False, 0
            self.turn += 1

    def follow(self, probe_at: float | None, failed_probes: int, now: float) -> None:
        """Take over the state of all processes: when a probe may start, None where it is closed."""
        if probe_at is None:
            if self._probe_at is not None:
                self._close(now)
            return
        if self._probe_at is None:
            self._forget_results()
        self._probe_at, self.failed_probes = probe_at, failed_probes

    def doubt(self, now: float) -> float | None:
        """Return None where a failure is due to its event.  Else the endpoint may be the cause: the seconds until the
        next probe, infinite when the breaker has not been closed for long enough to decide."""
        if self._probe_at is not None:
            return _time(self._probe_at - now)
        return math.inf if now < self._sure_at else None

    def _too_many(self, now: float) -> bool:
        if self._in_a_row >= LEAST_RESULTS:
            return True
        recent = [trouble for when, trouble in self._results if when > now - WINDOW]
        return len(recent) >= LEAST_RESULTS and 2 * sum(recent) >= len(recent)

    def _open(self, now: float) -> None:
        seconds = min(FIRST_PROBE * 2 ** min(self.failed_probes, 10), LAST_PROBE)
        self._probe_at, self.probing = now + seconds * (1 + JITTER * self._rand()), False
        self._forget_results()

    def _forget_results(self) -> None:
        self._results.clear()
        self._in_a_row = 0
        self.turn += 1

    def _close(self, now: float) -> None:
        self._probe_at, self.probing, self.failed_probes = None, False, 0
        self._sure_at = now + WINDOW
        self.turn += 1


class FlowControl:
    """``rate``: requests a second, 0 for any.  ``trying``: nothing is known of the endpoint but that it failed: begin
    with a probe.  ``shared``: with other processes.  ``unpublished``: its breaker opened or closed, a probe failed, or
    the endpoint asked for a pause, and the other processes do not know."""

    __slots__ = (
        "_admitted",
        "_admitted_until",
        "_breaker",
        "_pace",
        "_paused_until",
        "_probed",
        "_shared",
        "unpublished",
    )

    def __init__(self, rate: float, rand: Random, *, trying: bool = False, shared: bool = False) -> None:
        self._breaker = Breaker(rand, trying=trying and not shared)  # what is shared is known at the start
        self._pace = TokenBucket(rate) if rate else None
        self._paused_until = -math.inf
        self._shared = shared
        self._admitted = 0  # requests, by all processes …
        self._admitted_until = -math.inf  # … to start before
        self._probed = False
        self.unpublished = False

    def change_rate(self, rate: float) -> None:
        self._pace = TokenBucket(rate) if rate else None

    def reset(self) -> None:
        """Send at once to an endpoint that was changed or enabled: end its pause and probe.  The rate stays.  (What is
        shared the outbox resets by itself.)"""
        self._paused_until = -math.inf
        self._breaker.probe_at_once()
        self._admitted, self._probed, self.unpublished = 0, False, False

    # -- shared with other processes ---------------------------------------------------------------------------------

    def take(self, now: float) -> EndpointHold:
        """Return what is unpublished; `put_back` where publishing failed."""
        wait = None if self._breaker.closed or self._breaker.probing else self._breaker.wait(now)
        hold = EndpointHold(wait, self._breaker.failed_probes, _time(self._paused_until - now), self._probed)
        self.unpublished = self._probed = False
        return hold

    def put_back(self, hold: EndpointHold) -> None:
        self.unpublished, self._probed = True, self._probed or hold.probed

    def follow(self, hold: EndpointHold, now: float) -> None:
        """Take over what is published, unless there is something newer here."""
        if self.unpublished or self._breaker.probing:
            return
        self._paused_until = now + min(hold.paused, LONGEST_PAUSE) if hold.paused else -math.inf
        probe_at = None if hold.held is None else now + min(hold.held, LONGEST_PAUSE)
        self._breaker.follow(probe_at, hold.failed_probes, now)

    def request(self, requests: int, timeout: float, now: float) -> AdmissionRequest | None:
        """Return what must be admitted so that so many requests may start now; None: nothing, or they may not."""
        if not self._shared or (self._pace is None and self._breaker.closed) or self.unpublished or self.wait(now):
            return None
        missing = (requests if self._breaker.closed else min(requests, 1)) - self._left(now)
        if missing <= 0:
            return None
        spacing, slack = (self._pace.interval, self._pace.slack) if self._pace else (0.0, 0.0)
        return AdmissionRequest(missing, spacing, slack, timeout + CLAIM_MARGIN)

    def admit(self, admitted: Admitted, now: float) -> None:
        """Count requests that were admitted; their times by the rate follow those of requests admitted before."""
        if self.unpublished:
            return
        self.follow(admitted.hold, now)
        left = self._left(now)
        if self._pace:
            self._pace.follow(now + admitted.booked - left * self._pace.interval)
        self._admitted, self._admitted_until = left + admitted.requests, now + ADMITTED_FOR

    def _left(self, now: float) -> int:
        return self._admitted if now < self._admitted_until else 0

    # -- requests ----------------------------------------------------------------------------------------------------

    def may_start(self, now: float) -> bool:
        """Return whether a request may start now."""
        if self._pace is None and self._breaker.closed and self._paused_until <= now:
            return True  # nearly always, and asked for each request
        return not self.wait(now) and (not self._shared or self._left(now) > 0)

    def wait(self, now: float) -> float:
        """Seconds until a request may start, if it is admitted; infinite while a probe is on its way."""
        if self._pace is None and self._breaker.closed and self._paused_until <= now:
            return 0.0
        seconds = max(_time(self._paused_until - now), self._breaker.wait(now))
        return max(seconds, self._pace.wait(now)) if self._pace else seconds

    def room(self, now: float) -> int:
        """Return the number of requests that may start now."""
        if self.wait(now):
            return 0
        if not self._breaker.closed:
            return 1
        return self._pace.room(now) if self._pace else ANY_NUMBER

    def start(self, now: float) -> int:
        """Count a request, which `may_start` must allow now; `ended` wants what comes back."""
        if self._pace:
            self._pace.start(now)
        if self._admitted:
            self._admitted -= 1
        return self._breaker.start()

    def ended(self, started: int, now: float, *, trouble: bool, retry_after: float = 0.0) -> float | None:
        """Count what came of a request.  ``trouble``: it speaks of the endpoint, not of the event; ``retry_after``: the
        pause (seconds) that the endpoint asked for.  Whether it is in doubt that the event was refused: as
        `Breaker.doubt`."""
        self._judge(started, now, trouble=trouble)
        if retry_after:
            self._paused_until = max(self._paused_until, now + min(retry_after, LONGEST_PAUSE))
            self.unpublished = self._shared
        return self._breaker.doubt(now) if trouble else None

    def unsent(self, started: int, now: float) -> None:
        """Count that no request could be made.  That says nothing about the endpoint: an open breaker stays open."""
        if not self._breaker.closed:
            self._judge(started, now, trouble=True)

    def _judge(self, started: int, now: float, *, trouble: bool) -> None:
        turn, probe = self._breaker.turn, not self._breaker.closed
        self._breaker.ended(started, now, trouble=trouble)
        if self._shared and self._breaker.turn != turn:
            self.unpublished, self._probed = True, self._probed or probe

    def hold(self, now: float) -> Hold | None:
        """Return the reason why requests are held back, None without any.  An open breaker is one also while it waits
        for a delivery to probe with."""
        if not self._breaker.closed:
            return Hold.BREAKER
        if self._paused_until > now:
            return Hold.PAUSE
        return Hold.RATE if self._pace and self._pace.wait(now) else None
