"""The catalogues hold exactly the texts of the page, each translated, with the same values in it."""

from __future__ import annotations

import re

import pytest

from cdc.language import DEFAULT, LANGUAGES
from support.messages import catalogue, used

_VALUE = re.compile(r"%\(\w+\)s")


@pytest.fixture(params=[code for code in LANGUAGES if code != DEFAULT])
def code(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_text_is_translated_and_none_is_left_over(code: str) -> None:
    """Else: ``PYTHONPATH=tests python -m support.messages``, and translate what is empty."""
    found = catalogue(code)
    untranslated = [message.id for message in found if message.id and not all(_each(message.string))]
    assert not untranslated
    assert {message.id for message in found if message.id} == used()


def test_translations_hold_the_same_values(code: str) -> None:
    for message in catalogue(code):
        for original, translated in zip(_each(message.id), _each(message.string), strict=True):
            assert sorted(_VALUE.findall(original)) == sorted(_VALUE.findall(translated)), original


def _each(text: str | tuple[str, ...] | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)
