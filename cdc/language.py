"""The languages of people: which one is spoken to whom, and the program's own sentences in it.

Texts are written in English in the code.  Messages of the program (errors, findings, stored results) are sentences;
``locale/program.<language>.po`` holds them as templates, one sentence or phrase each, with ``{1}``, ``{2}``, … for
values.  A sentence that is no message is shown as it is.  The catalogue of English holds only sentences that name a
command: the page says what to do without one.  ``locale/terminal.<language>.po`` holds what only a terminal shows, and
the sentences that it words otherwise than the page.

Loaded by every command, so it imports little.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from heapq import merge
from pathlib import Path
from typing import Final, NamedTuple

#: By code; the first is for those who ask for none of them.
LANGUAGES: Final = {"en": "English", "es": "Español"}
DEFAULT: Final = "en"
#: The languages' signs for decimals and thousands.
_SIGNS: Final = {"en": ".,", "es": ",."}
#: Chooses the language of one command, before the configuration and the locale.
VARIABLE: Final = "CDC_LANG"
#: The first that is set is the locale's language, as for every program.
_LOCALE: Final = ("LC_ALL", "LC_MESSAGES", "LANG")


def chosen(environment: Mapping[str, str], configured: str = "") -> str:
    """Return the language of commands and mails.  ``configured``: ``language`` under ``[process]``."""
    locale = next((environment[name] for name in _LOCALE if environment.get(name)), "")
    codes = (
        re.split("[_.@-]", each, maxsplit=1)[0].lower() for each in (environment.get(VARIABLE, ""), configured, locale)
    )
    return next((code for code in codes if code in LANGUAGES), DEFAULT)


#: Longer texts (characters) are not messages of this program, nor do messages hold each other more deeply.
_LONGEST: Final = 4_000
_DEEPEST: Final = 4
#: A value that ends like a sentence may split one: so many parts are tried as one sentence.
_PARTS: Final = 4
_VALUE: Final = re.compile(r"\{(\d+)\}")
#: A number with decimals, and with its unit: one without may be a version.
_DECIMAL: Final = re.compile(r"\d+\.\d+( [a-zA-Z]+)?")
_MEASURE: Final = re.compile(r"\S+ (s|ms|min|h|kB|MB|GB|segundos|por segundo)\b")
_NOUN: Final = re.compile(" [a-z]+")
_GROUPED: Final = re.compile(r"\d{1,3}(,\d{3})+")
#: With the number of a step.
_INDENTATION: Final = re.compile(r"(\s*(?:\d+\. )?)(.*)", re.DOTALL)
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
        if start >= end or (self._counts() and not text[end - 1].isdigit()):
            return None
        return [*found, text[start:end]]

    def _counts(self) -> bool:
        """Return whether it is a number of things, ``{1} days``: the end of another text may be the same word."""
        return self.literals[0] == "" and _NOUN.fullmatch(self.literals[-1]) is not None

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

    def lines(self, text: str) -> str:
        """Return a text of several lines translated line by line, each with its indentation."""
        whole = self._texts.get(text)
        return whole or "\n".join(
            _INDENTATION.sub(lambda line: line[1] + self.translate(line[2]), each) for each in text.split("\n")
        )

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


_ENTRY: Final = re.compile(r'^msgid ((?:".*"\n)+)msgstr ((?:".*"(?:\n|\Z))+)', re.MULTILINE)


def _catalogue(name: str) -> dict[str, str]:
    """Read a file of ``locale``, as `make check` writes it: message → translation."""
    path = Path(__file__).parent / "locale" / f"{name}.po"
    entries = _ENTRY.findall(path.read_text(encoding="utf-8"))
    read = (["".join(map(json.loads, each.splitlines())) for each in entry] for entry in entries)
    return {text: translated for text, translated in read if text and translated}


@cache
def messages(language: str) -> Messages:
    """Return the program's messages as the page shows them."""
    return Messages(_catalogue(f"program.{language}"), _SIGNS[language])


@cache
def terminal_messages(language: str) -> Messages:
    """Return the program's messages and the texts of commands as a terminal shows them: with commands."""
    if language == DEFAULT:
        return Messages({})
    return Messages(_catalogue(f"program.{language}") | _catalogue(f"terminal.{language}"), _SIGNS[language])
