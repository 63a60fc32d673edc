"""The page's languages: texts from the catalogues in ``locale``, dates and numbers as each language writes them.

Texts are written in English in the code and the templates; ``locale/<language>.po`` translates them.  The catalogues
are read as they are: nothing has to be compiled for an installation.  `cdc.language` has the messages of the program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Final, Literal

from babel import Locale, negotiate_locale
from babel.dates import format_datetime, format_skeleton, format_time, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent, get_decimal_symbol
from babel.support import NullTranslations, Translations

from cdc.dispatch.message import event_title, noun, occasion
from cdc.language import DEFAULT, LANGUAGES, messages
from cdc.model.errors import CdcError

#: A time in a message.
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?) UTC")
#: Keeps what a principal has chosen.
LANGUAGE_COOKIE = "cdc_language"
#: Keeps the browser's time zone.
ZONE_COOKIE = "cdc_zone"
_NOTHING = "\N{EN DASH}"
#: 100 % is all of it.
_NEARLY_ALL = 0.9999
#: Seconds below which parts of a millisecond are shown, and from which on minutes.
_SHORT, _LONG = 0.01, 120.0
#: Seconds below which a time is shown by how long ago it is.
_RELATIVE: Final = 7 * 86_400


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
        """A message of the program in this language, with times of the zone: of an error, a finding, or the result of
        an attempt."""
        translated = messages(self.code).translate(text)
        return _MOMENT.sub(lambda found: self._local(found[1]), translated) if " UTC" in text else translated

    def _local(self, moment: str) -> str:
        return self.moment(datetime.fromisoformat(moment).replace(tzinfo=UTC))

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

    def noun(self, entity: str) -> str:
        """Return what the events of an entity are about, ``Factura``; empty: there is no word for it."""
        return noun(entity, self.code)

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

    def ago(self, time: datetime, now: datetime) -> str:
        """Return how long ago a time is, or how far ahead: ``hace 3 min``; after a week its day."""
        seconds = (time - now).total_seconds()
        if abs(seconds) >= _RELATIVE:
            skeleton = "MMMd" if time.year == now.year else "yMMMd"
            return format_skeleton(skeleton, time, tzinfo=self.zone, locale=self.locale)
        span = timedelta(seconds=seconds if abs(seconds) >= 1 else -1)
        form: Literal["narrow", "short"] = "narrow" if self.code == DEFAULT else "short"
        return format_timedelta(span, threshold=1, add_direction=True, format=form, locale=self.locale)

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
