"""The index finds exactly the subscribers that would answer for themselves that they want an event."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from cdc.model.event import OPERATIONS
from cdc.outbox.shared import Subscriber, SubscriberCache, SubscriberIndex
from support.outboxes import event

NAMES = ("invoice.created", "invoice.existing", "stock.changed", "endpoint.disabled")
SOURCES = ("main", "other", "third", OPERATIONS)
PATTERNS = ("*", "invoice.*", "*.existing", "invoice.existing", "stock.changed", "endpoint.*")
subscribers = st.lists(
    st.tuples(
        st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(tuple),
        st.lists(st.sampled_from(SOURCES[:3]), max_size=3).map(tuple),
    ),
    max_size=8,
)


@given(subscribers)
def test_the_index_finds_the_subscribers_that_want_an_event(
    drawn: list[tuple[tuple[str, ...], tuple[str, ...]]],
) -> None:
    made = [Subscriber(n, patterns, sources, id=f"ep_{n}") for n, (patterns, sources) in enumerate(drawn)]
    index = SubscriberIndex(made)
    for name, source, only in product(NAMES, SOURCES, ("", "ep_0", "ep_gone")):
        each = event(1, name=name, source=source, only_to=only)
        wanted = [subscriber for subscriber in made if subscriber.wants(each)]
        assert list(index.of(each)) == wanted
        assert list(index.of(each)) == wanted  # remembered


async def test_subscribers_are_read_once_for_each_version() -> None:
    reads: list[int] = []

    async def read() -> Sequence[Subscriber]:
        reads.append(len(reads))
        return [Subscriber(len(reads), ("*",))]

    cache = SubscriberCache()
    seen = [[each.number for each in (await cache.at(version, read)).of(event(1))] for version in (7, 7, 8, 7)]
    assert seen == [[1], [1], [2], [3]]
    assert (await cache.at(None, read)) is not (await cache.at(None, read)), "an unknown version is no version"
