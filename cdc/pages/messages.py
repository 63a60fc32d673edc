"""Translates messages of the program: errors, findings and stored results, which are sentences in English.

``locale/program.<language>.po`` holds them as templates, one sentence or phrase each, with ``{1}``, ``{2}``, … for
values.  A sentence that is no message is shown as it is.  The catalogue of English holds only sentences that name a
command: the page says what to do without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from heapq import merge
from importlib.resources import files
from typing import Final, NamedTuple

from babel.messages.pofile import read_po
from babel.numbers import get_decimal_symbol, get_group_symbol

#: Longer texts (characters) are not messages of this program, nor do messages hold each other more deeply.
_LONGEST: Final = 4_000
_DEEPEST: Final = 4
#: A value that ends like a sentence may split one: so many parts are tried as one sentence.
_PARTS: Final = 4
_VALUE: Final = re.compile(r"\{(\d+)\}")
#: A number with decimals, and with its unit: one without may be a version.
_DECIMAL: Final = re.compile(r"\d+\.\d+( [a-zA-Z]+)?")
_MEASURE: Final = re.compile(r"\S+ (s|ms|min|h|kB|MB|GB|segundos|por segundo)\b")
_GROUPED: Final = re.compile(r"\d{1,3}(,\d{3})+")
_SENTENCE_END: Final = re.compile(r"(?<=[^\s.?!][.?!]) +(?=\S)")


class Template(NamedTuple):
    """``literals``: the text around the values.  ``translated``: with the numbers of the values in its own order."""

    literals: tuple[str, ...]
    translated: str

    def values(self, text: str) -> list[str] | None:
        """Return the values in a text, each of them as short as possible; None where the text is another one.
        Linear: nothing is tried twice."""
        first, *middle, last = self.literals
        if not text.startswith(first) or not text.endswith(last) or (self._is_phrase() and text.endswith(".")):
            return None
        found, start, end = [], len(first), len(text) - len(last)
        for literal in middle:
            at = text.find(literal, start + 1, end)
            if at < 0:
                return None
            found.append(text[start:at])
            start = at + len(literal)
        return [*found, text[start:end]] if start < end else None

    def _is_phrase(self) -> bool:
        """Return whether it is a part of a sentence: it ends with a value that is not another message."""
        return not self.literals[-1] and not self.literals[-2].endswith(": ")


class Messages:
    """Translates by a catalogue: message → translation.  ``signs``: the language's for decimals and thousands."""

    def __init__(self, catalogue: Mapping[str, str], signs: str = ".,") -> None:
        self._signs = str.maketrans(".,", signs)
        self._texts = {text: translated for text, translated in catalogue.items() if not _VALUE.search(text)}
        self._templates: dict[str, list[Template]] = {}  # by first word; "" for those that begin with a value
        found = [Template(tuple(_VALUE.split(text)[::2]), to) for text, to in catalogue.items() if _VALUE.search(text)]
        for template in sorted(found, key=_vagueness):
            self._templates.setdefault(_first_word(template.literals[0]), []).append(template)
        self.translate = lru_cache(maxsize=4096)(self._translate)

    def _translate(self, text: str) -> str:
        return self._sentences(text, _DEEPEST) if len(text) <= _LONGEST else text

    def _sentences(self, text: str, depth: int) -> str:
        whole = self._texts.get(text)
        if whole is not None or not depth:
            return whole or text
        return " ".join(self._each(sentences(text), depth))

    def _each(self, parts: list[str], depth: int) -> Iterator[str]:
        while parts:
            for number in range(1, min(len(parts), _PARTS) + 1):
                translated = self._phrase(" ".join(parts[:number]), depth)
                if translated is not None:
                    yield translated
                    parts = parts[number:]
                    break
            else:
                yield parts.pop(0)

    def _phrase(self, text: str, depth: int) -> str | None:
        """Return the translation of one sentence, or of a phrase within one."""
        known = self._texts.get(text)
        if known is not None:
            return known
        candidates = self._templates.get(_first_word(text), ()), self._templates.get("", ())
        for template in merge(*candidates, key=_vagueness):
            values = template.values(text)
            if values is not None:
                listed = self._listed(text, depth) if any("; " in value for value in values) else None
                put = [self._value(each, depth - 1) for each in values]
                return listed or _filled(template.translated, values, put, self._signs)
        return self._listed(text, depth)

    def _value(self, value: str, depth: int) -> str:
        """A single word is a name or a number, never a message."""
        return value if " " not in value else self._listed(value, depth) or self._sentences(value, depth)

    def _listed(self, text: str, depth: int) -> str | None:
        """Return the translation of a list of phrases; None where the text is no list, or something in it no phrase."""
        each = [self._phrase(part, depth) for part in text.split("; ")] if "; " in text else []
        known = [phrase for phrase in each if phrase is not None]
        return "; ".join(known) if known and len(known) == len(each) else None


def _vagueness(template: Template) -> int:
    """Return a number that is less for a template with more text of its own."""
    return -sum(map(len, template.literals))


def sentences(text: str) -> list[str]:
    return _SENTENCE_END.split(text)


def _first_word(text: str) -> str:
    """Return the word at the start of a text, if it is there to its end."""
    word, space, _ = text.partition(" ")
    return word if space else ""


def _filled(translated: str, values: list[str], put: list[str], signs: Mapping[int, int]) -> str:
    """Return the translation with ``put`` for ``values``; a phrase that begins the sentence gets a capital letter."""

    def written(place: re.Match[str]) -> str:
        value = put[int(place[1]) - 1]
        measured = _DECIMAL.fullmatch(value) and _MEASURE.match(value + translated[place.end() :])
        return value.translate(signs) if measured or _GROUPED.fullmatch(value) else value

    filled = _VALUE.sub(written, translated)
    first = _VALUE.match(translated)
    begun = first is not None and put[int(first[1]) - 1] != values[int(first[1]) - 1]
    return filled[:1].upper() + filled[1:] if begun else filled


@cache
def messages(language: str) -> Messages:
    with (files(__package__) / "locale" / f"program.{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    translations = {str(each.id): str(each.string) for each in catalogue if each.id and each.string}
    return Messages(translations, get_decimal_symbol(language) + get_group_symbol(language))
