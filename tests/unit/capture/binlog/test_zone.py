"""The server's zone is found by asking it, whatever its history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cdc.capture.binlog.inspector import Zone, measure


def server_in(name: str, last: int = 2**32) -> tuple[Zone, list[int]]:
    """What is measured of a server in this zone, and how many moments each question had."""
    zone = ZoneInfo(name)
    questions = []

    def ask(moments: Sequence[int]) -> list[int | None]:
        questions.append(len(moments))
        return [_offset(zone, moment) if moment < last else None for moment in moments]

    return measure(ask), questions


def _offset(zone: ZoneInfo, moment: int) -> int:
    offset = datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Madrid",
        "Atlantic/Canary",
        "UTC",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "America/Caracas",
        "Africa/Casablanca",
    ],
)
def test_every_change_of_offset_is_found_to_the_second(name: str) -> None:
    zone, questions = server_in(name)
    reference = ZoneInfo(name)
    for start in zone.starts:
        for moment in (start - 1, start, start + 1):
            assert zone.offset(moment) == _offset(reference, moment), moment
    for moment in range(0, 2**32, 86_400 * 5 + 1234):
        assert zone.offset(moment) == _offset(reference, moment), moment
    assert len(questions) <= 22


def test_moments_that_the_server_cannot_show_keep_the_last_offset() -> None:
    zone, _ = server_in("Europe/Madrid", 2**31)
    assert zone.offset(2**31 - 1) == zone.offset(2**32 - 1) == 3600
    assert zone.offset(0) == 3600


def test_a_server_that_says_nothing_is_in_utc() -> None:
    assert measure(lambda moments: [None for _ in moments]).offset(1_700_000_000) == 0
