"""Which fields of an endpoint go together."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.dispatch.transform import preset
from cdc.model.endpoint import LARGEST_BATCH, LONGEST_BATCH_WAIT, Order, check
from cdc.model.errors import UsageError
from support.outboxes import endpoint


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"order": Order.ENDPOINT},
        {"order": Order.NONE, "batch_size": 2},
        {"batch_size": LARGEST_BATCH, "batch_wait": LONGEST_BATCH_WAIT},
        {"batch_size": 2, "batch_wait": 0.0},
        {"url": "https://api.telegram.org/bot12:AbC/sendMessage?chat_id=-100123&message_thread_id=4"},
        {"url": "https://api.telegram.org/bot12:AbC/sendMessage", "transform": '{"chat_id": 7, "text": message}'},
        {"url": "https://robots.example.com/bottles/sendMessage"},
    ],
)
def test_what_goes_together(fields: dict[str, Any]) -> None:
    check(endpoint(**fields))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"batch_size": 0}, "A batch of 0 events is not possible."),
        ({"batch_size": LARGEST_BATCH + 1}, "A batch of 1001 events is not possible."),
        ({"batch_size": 2, "batch_wait": -0.5}, "A batch cannot wait for -0.5 s."),
        ({"batch_size": 2, "batch_wait": 60.5}, "A batch cannot wait for 60.5 s."),
        ({"batch_size": 2, "batch_wait": float("nan")}, "A batch cannot wait for nan s."),
        ({"batch_size": 2, "order": Order.ENDPOINT}, "one event at a time"),
        ({"url": "https://api.telegram.org/bot12:AbC/sendMessage"}, "no chat of Telegram"),
        ({"url": "https://api.telegram.org/bot12:AbC/sendMessage?chat_id="}, "no chat of Telegram"),
        (
            {"url": "https://api.telegram.org/bot12:A/sendMessage", "transform": preset("telegram")},
            "no chat of Telegram",
        ),
        ({"url": "https://bots.example.com/bot12:AbC/sendmessage?text=chat_id"}, "no chat of Telegram"),
    ],
)
def test_what_does_not(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace(".", r"\.")):
        check(endpoint(**fields))


def test_one_event_a_request_is_no_batch() -> None:
    assert not endpoint().batched
    assert endpoint(batch_size=2).batched
