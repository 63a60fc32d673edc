"""The page's languages: texts from the catalogues in ``locale``, dates and numbers as each language writes them.

Texts are written in English in the code and the templates; ``locale/<language>.po`` translates them.  The catalogues
are read as they are: nothing has to be compiled for an installation.

Messages of the program (errors, findings, stored results) are sentences in English.  ``locale/program.<language>.po``
holds them as templates, one sentence or phrase each, with ``{1}``, ``{2}``, … for values.  A sentence that is no
message is shown as it is.  The catalogue of English holds only sentences that name a command: the page says what to do
without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cache, lru_cache
from heapq import merge
from importlib.resources import files
from io import BytesIO
from typing import Final, NamedTuple

from babel import Locale, negotiate_locale
from babel.dates import format_datetime, format_skeleton, format_time, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent, get_decimal_symbol, get_group_symbol
from babel.support import NullTranslations, Translations

from cdc.dispatch.message import event_title, occasion
from cdc.model.errors import CdcError

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


#: By code; the first is for those who ask for none of them.
LANGUAGES = {"en": "English", "es": "Español"}
DEFAULT = "en"
#: Keeps what a principal has chosen.
LANGUAGE_COOKIE = "cdc_language"
#: Keeps the browser's time zone.
ZONE_COOKIE = "cdc_zone"
_NOTHING = "–"  # noqa: RUF001 - an en dash is meant
#: 100 % is all of it.
_NEARLY_ALL = 0.9999
#: Seconds below which parts of a millisecond are shown, and from which on minutes.
_SHORT, _LONG = 0.01, 120.0


def parsed_number(text: str) -> float:
    """Return the number of a form's field, with a decimal comma or point.  Raises `ValueError`."""
    return float(text.replace(",", "."))


@dataclass(frozen=True)
class Language:
    """One language, with the time zone that times are shown in."""

    code: str
    translations: NullTranslations
    zone: tzinfo

    @property
    def locale(self) -> Locale:
        return _locale(self.code)

    @property
    def zone_name(self) -> str:
        """``Europe/Madrid``."""
        return str(self.zone)

    def text(self, message: str, **values: object) -> str:
        """Translate a message; ``values`` for its ``%(name)s``."""
        translated = self.translations.ugettext(message) if message else ""  # for an empty text it returns its own head
        return translated % values if values else translated

    def message(self, text: str) -> str:
        """A message of the program in this language: of an error, a finding, or the result of an attempt."""
        return messages(self.code).translate(text)

    def error(self, error: CdcError) -> str:
        """The message of an error and how to fix it."""
        return " ".join(self.message(part) for part in (error.message, error.hint) if part)

    def plural(self, one: str, many: str, number: int, **values: object) -> str:
        """The form for ``number``, which is also ``%(number)s``."""
        return self.translations.ungettext(one, many, number) % {"number": self.number(number), **values}

    def when(self, event: str) -> str:
        """Return when an event, or one of a pattern, happens: ``se paga una factura``; empty: there are no words."""
        return occasion(event, self.code)

    def event(self, name: str) -> str:
        """Return an event in a few words, ``Factura pagada``; its name where there are none for it."""
        return event_title(name, self.code)

    def number(self, value: float, digits: int = 0) -> str:
        return _number(self.code, round(value, digits))

    def input(self, value: float) -> str:
        """A number for a field of a form, which `parsed_number` reads again: ``2,5``, never with groups."""
        return f"{value:.10g}".replace(".", get_decimal_symbol(self.locale))

    def percent(self, part: float) -> str:
        """``part``: 0 to 1.  Not rounded up to 100 %."""
        shown = min(part, _NEARLY_ALL) if part < 1 else part
        return format_percent(round(shown, 4), locale=self.locale, decimal_quantization=False)

    def moment(self, time: datetime | None) -> str:
        """Date and time to the second."""
        return _NOTHING if time is None else format_datetime(time, "medium", tzinfo=self.zone, locale=self.locale)

    def clock(self, time: datetime) -> str:
        return format_time(time, "short", tzinfo=self.zone, locale=self.locale)

    def day(self, time: datetime) -> str:
        """Day and month."""
        return format_skeleton("MMMd", time, tzinfo=self.zone, locale=self.locale)

    def span(self, seconds: float | None) -> str:
        """Return a duration: ``20 ms``, ``3.5 s``, ``2 hours``."""
        if seconds is None:
            return _NOTHING
        if seconds < 1:
            return f"{self.number(seconds * 1000, 1 if seconds < _SHORT else 0)} ms"
        if seconds < _LONG:
            return f"{self.number(seconds, 1)} s"
        return format_timedelta(timedelta(seconds=seconds), threshold=1.5, locale=self.locale)


@cache
def _locale(code: str) -> Locale:
    return Locale.parse(code)


@lru_cache(4096)  # a page with a plot writes hundreds, most of them in its table again
def _number(code: str, value: float) -> str:
    return format_decimal(value, locale=_locale(code))


def language(code: str, zone: tzinfo) -> Language:
    return Language(code if code in LANGUAGES else DEFAULT, _translations(code), zone)


@cache
def _translations(code: str) -> NullTranslations:
    if code == DEFAULT or code not in LANGUAGES:
        return NullTranslations()
    with (files(__package__) / "locale" / f"{code}.po").open("rb") as file:
        catalogue = read_po(file, locale=code)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def negotiate(chosen: str | None, accepted: str) -> str:
    """``chosen``: by the principal, if ever.  ``accepted``: the header ``Accept-Language``."""
    if chosen in LANGUAGES:
        return chosen
    wanted = sorted(_accepted(accepted), key=lambda each: -each[1])
    return negotiate_locale([code for code, _ in wanted], list(LANGUAGES), sep="-") or DEFAULT


def _accepted(header: str) -> list[tuple[str, float]]:
    found = []
    for part in header[:500].split(","):
        code, _, quality = part.strip().partition(";q=")
        try:
            found.append((code.strip(), float(quality or 1)))
        except ValueError:
            continue  # a browser's mistake is not a reason to ask for nothing
    return found
