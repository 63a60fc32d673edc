"""Which language a visitor gets, and how it writes numbers and times."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.language import LANGUAGES
from cdc.pages.language import language, negotiate

MADRID = ZoneInfo("Europe/Madrid")
NOON = datetime(2026, 11, 24, 12, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("chosen", "accepted", "code"),
    [
        (None, "", "en"),
        (None, "es-ES,es;q=0.9,en;q=0.8", "es"),
        (None, "fr,de;q=0.9", "en"),
        (None, "en;q=0.2,es;q=0.9", "es"),
        ("es", "en", "es"),
        ("xx", "es-MX", "es"),
        (None, "es;q=nonsense,en", "en"),
        (None, "*", "en"),
    ],
)
def test_what_was_chosen_goes_before_what_the_browser_asks_for(chosen: str | None, accepted: str, code: str) -> None:
    assert negotiate(chosen, accepted) == code


@given(st.text(), st.text())
def test_whatever_a_browser_sends_there_is_a_language(chosen: str, accepted: str) -> None:
    assert negotiate(chosen, accepted) in LANGUAGES


def test_numbers_and_times_are_written_as_the_language_does() -> None:
    english, spanish = language("en", MADRID), language("es", MADRID)
    assert (english.number(1234.5, 1), spanish.number(12345.5, 1)) == ("1,234.5", "12.345,5")
    assert (english.percent(0.5), spanish.percent(0.123)) == ("50%", "12,3\xa0%")
    assert english.percent(0.99999) == "99.99%"
    assert "1:00:05" in english.moment(NOON)
    assert "13:00:05" in spanish.moment(NOON)
    assert [english.span(each) for each in (None, 0.0021, 3.25, 7200)] == ["\N{EN DASH}", "2.1 ms", "3.2 s", "2 hours"]
    assert spanish.span(7200) == "2 horas"
