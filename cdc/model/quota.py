"""Limits of what one source (a tenant), and one principal, may have: stored objects, and work in progress.

Stored objects are counted by the outbox in the transaction that adds one: its audit entry carries the `Quota`s, and is
stored last, under the lock of the audit log.  So processes that add at the same time never exceed a limit together.
Work in progress is counted in each process (`InUse`).  `cdc.config.section` has the numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from cdc.model.errors import LimitReached


class Limited(StrEnum):
    """The kinds of objects and work that have a limit.  ``REPLAYS`` and ``BACKFILLS``: unfinished ones.
    ``PORTAL_LINKS``: links that can be opened, and open sessions.  ``IDEMPOTENCY_KEYS``: of the last 24 hours."""

    ENDPOINTS = "endpoints"
    CONSUMERS = "consumers"
    TOKENS = "tokens"
    PORTAL_LINKS = "portal_links"
    REPLAYS = "replays"
    BACKFILLS = "backfills"
    IDEMPOTENCY_KEYS = "idempotency_keys"
    STREAMS = "streams"
    LIVE_PAGES = "live_pages"
    PREVIEWS = "previews"


#: Counted while they last, by each process: later there is room again.
IN_PROGRESS: Final = frozenset({Limited.STREAMS, Limited.LIVE_PAGES, Limited.PREVIEWS})
#: Seconds after which a request that was refused for work in progress may be repeated.
RETRY_AFTER: Final = 10
#: The same for a tenant's idempotency keys, which expire after a day.
KEY_RETRY_AFTER: Final = 3_600


class Quota(NamedTuple):
    """The most that one holder may have.  ``source``: its name, empty for what is of all sources; ``principal``: the
    one that added it, as in the audit log.  One of both is None.  ``following``: so many more that will be added."""

    kind: Limited
    most: int
    source: str | None = None
    principal: str | None = None
    following: int = 0

    @property
    def option(self) -> str:
        return f"{self.kind}_per_{'source' if self.principal is None else 'principal'}"

    def refusal(self) -> LimitReached:
        if self.source:
            message = f"The source {self.source} has reached the limit {self.option} = {self.most} under [limits]."
        elif self.source is not None:
            message = f"What is for all sources has reached the limit {self.option} = {self.most} under [limits]."
        else:
            message = f"{self.principal} has reached the limit {self.option} = {self.most} under [limits]."
        if self.kind in IN_PROGRESS:
            hint = "Try again when one has ended, or have the operator raise the limit."
            return LimitReached(message, hint, limit=self.kind, retry_after=RETRY_AFTER)
        if self.kind is Limited.IDEMPOTENCY_KEYS:
            hint = "Send the request without a key, or have the operator raise the limit."
            return LimitReached(message, hint, limit=self.kind, retry_after=KEY_RETRY_AFTER)
        return LimitReached(message, "Remove or end one, or have the operator raise the limit.", limit=self.kind)


class Usage(NamedTuple):
    """The number of stored objects of a kind that a source, or a principal, has; the other one is None."""

    kind: Limited
    source: str | None
    principal: str | None
    number: int


class QuotaLimits(Protocol):
    def for_kind(self, kind: Limited) -> tuple[int, int]:
        """Return the most of one source, and of one principal."""
        ...


def quotas(limits: QuotaLimits, kind: Limited, sources: Sequence[str], principal: str) -> list[Quota]:
    """Return the limits that one more object must respect.  ``sources``: its sources; none: it is for all."""
    per_source, per_principal = limits.for_kind(kind)
    return [
        *(Quota(kind, per_source, source=each) for each in dict.fromkeys(sources or [""])),
        *([Quota(kind, per_principal, principal=principal)] if principal else []),
    ]


def at_limit(limits: QuotaLimits, usage: Sequence[Usage]) -> list[Quota]:
    """Return the limits that are reached."""
    reached = []
    for kind, source, principal, number in usage:
        most = limits.for_kind(kind)[principal is not None]
        if 0 < most <= number:
            reached.append(Quota(kind, most, source, principal))
    return reached


class InUse:
    """Counts work in progress in this process."""

    def __init__(self, limits: QuotaLimits) -> None:
        self.limits = limits
        self._count: Counter[tuple[Limited, str | None, str | None]] = Counter()

    @contextmanager
    def counted(self, kind: Limited, sources: Sequence[str], principal: str) -> Iterator[None]:
        """Count one while this lasts.  Raises `LimitReached`."""
        wanted = quotas(self.limits, kind, sources, principal)
        for quota in wanted:
            if self._count[quota.kind, quota.source, quota.principal] >= quota.most:
                raise quota.refusal()
        held = [(quota.kind, quota.source, quota.principal) for quota in wanted]
        self._count.update(held)
        try:
            yield
        finally:
            self._count.subtract(held)
            self._count += Counter()  # drops those at 0
