"""Delivery ids, lanes, who wants an event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.model.endpoint import Order
from cdc.model.event import OPERATIONS
from cdc.outbox.shared import Subscriber, delivery_id, delivery_number, ordering_key, record_key
from support.outboxes import event


@given(st.integers(1, 10**18 - 1))
def test_a_delivery_id_reads_back(number: int) -> None:
    assert delivery_number(delivery_id(number)) == number


@pytest.mark.parametrize(
    "text", ["", "dlv_", "dlv_0", "dlv_01", "dlv_-1", "dlv_1 ", "dlv_٣", "7", "evt_7", "dlv_" + "9" * 19]
)
def test_other_texts_are_no_delivery_ids(text: str) -> None:
    assert delivery_number(text) is None


def test_a_lane_is_the_same_in_every_process_and_version() -> None:
    assert record_key("main", "facturascli:12") == -74_433_157_213_181_263
    assert record_key("main", "clientes:é") == 824_367_104_290_468_624


@given(st.text(), st.text())
def test_a_lane_fits_a_column_of_sqlite(source: str, record: str) -> None:
    assert -(2**63) <= record_key(source, record) < 2**63


@pytest.mark.parametrize(
    ("patterns", "sources", "wanted"),
    [
        (("invoice.*",), (), True),
        (("stock.*", "*.updated"), ("shop", "main"), True),
        (("invoice.paid",), (), False),
        (("*",), ("shop",), False),
        ((), (), False),
    ],
)
def test_patterns_and_sources_both_must_fit(patterns: tuple[str, ...], sources: tuple[str, ...], wanted: bool) -> None:
    assert Subscriber(1, patterns, sources).wants(event(1)) is wanted


@pytest.mark.parametrize("last", ["read", "existing"])
@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*", False),
        ("invoice.*", False),
        ("*d", False),
        ("*.{}", True),
        ("invoice.{}", True),
        ("order.{}", False),
    ],
)
def test_events_of_unchanged_rows_are_for_those_who_write_them_out(last: str, pattern: str, wanted: bool) -> None:
    subscriber = Subscriber(1, (pattern.format(last), "order.*"), ())
    assert subscriber.wants(event(1)._replace(name=f"invoice.{last}")) is wanted


@pytest.mark.parametrize(
    ("patterns", "sources", "wanted"),
    [
        (("*",), (), False),
        (("endpoint.failing",), (), True),
        (("*", "endpoint.*"), ("shop",), True),
        (("source.*",), (), False),
    ],
)
def test_operational_events_are_for_those_who_name_them(
    patterns: tuple[str, ...], sources: tuple[str, ...], wanted: bool
) -> None:
    told = event(1)._replace(name="endpoint.failing", source=OPERATIONS)
    assert Subscriber(1, patterns, sources).wants(told) is wanted


def test_lanes_follow_the_order_of_the_endpoint() -> None:
    one, two = ("main", "facturascli:12", "evt_1"), ("main", "facturascli:12", "evt_2")
    other = ("shop", "clientes:1", "evt_3")
    assert ordering_key(Order.RECORD, *one) == ordering_key(Order.RECORD, *two) != ordering_key(Order.RECORD, *other)
    assert len({ordering_key(Order.NONE, *each) for each in (one, two, other)}) == 3
    assert len({ordering_key(Order.ENDPOINT, *each) for each in (one, two, other)}) == 1
