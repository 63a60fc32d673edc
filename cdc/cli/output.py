"""Output, questions and secrets: data on standard output, talk on standard error.

Tables fit the terminal; otherwise they are plain aligned text, a line a row.  Everything printed passes this module,
so that foreign text cannot control the terminal (`cdc.model.errors`), and so that texts are translated in one place.
Text and JSON are always escaped, JSON and scripts never translated; scripts are escaped on a terminal only.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from textwrap import TextWrapper
from typing import Any, Final

import click
import orjson

from cdc.cli.app import translate
from cdc.model.errors import UsageError, printable, printable_line
from cdc.model.event import format_time

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
#: Between columns; in a table; before the lines of a card, and between its values.
_GAP, _EMPTY, _INDENT, _DOT = "  ", "-", "  ", " · "
#: Characters of a column below which wrapped text, and text without its middle, is not readable.
_NARROWEST, _SHORTEST = 24, 8

#: Values of one word that are no names.
_WORDS = ("all", "never", "none")

yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


@dataclass(frozen=True, slots=True)
class Styled:
    """Text that a terminal shows in a colour; None: bold, empty: plain."""

    text: str
    colour: str | None = None


def echo(*parts: str | Styled, err: bool = False) -> None:
    """Print one line, or several, to standard output, in the language of the command.  ``parts``: translated by
    themselves."""
    click.echo("".join(map(_shown, parts)), err=err)


def say(*parts: str | Styled) -> None:
    """Print for people, on standard error."""
    echo(*parts, err=True)


def print_script(text: str) -> None:
    """Print text for another program, exactly as it is unless it goes to a terminal."""
    click.echo(printable(text) if sys.stdout.isatty() else text, nl=False)


def with_comments(text: str) -> str:
    """Return SQL or TOML with its comments in the language of the command: each sentence of one is on a line."""
    return re.sub("^(-- |# )(.+)$", lambda line: line[1] + translate(line[2]), text, flags=re.MULTILINE)


def _shown(part: str | Styled) -> str:
    styled = part if isinstance(part, Styled) else Styled(part, "")
    return _styled(replace(styled, text=translate(styled.text)))


def _styled(part: Styled) -> str:
    if part.colour == "":
        return printable(part.text)
    return click.style(printable(part.text), fg=part.colour, bold=part.colour is None or None)


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(_json(value, orjson.OPT_INDENT_2))


def print_json_line(value: Any) -> None:
    """Print a JSON document on one line, flushed, so that a following reader sees it at once."""
    click.echo(_json(value))


def _json(value: Any, option: int | None = None) -> bytes:
    """Return UTF-8, whatever the locale."""
    return printable(orjson.dumps(value, option=option, default=list).decode()).encode()


#: Each state and operation that lists show, with its colour.
STATES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("cancelled", "create", "change", "update", "remove", "delete", "read", "truncate"), ""),
    "delivered": "green",
    "done": "green",
    "enabled": "green",
    "working": "green",
    "waiting": "yellow",
    "pending": "yellow",
    "leased": "yellow",
    "running": "yellow",
    "paused": "yellow",
    "draining": "yellow",
    "failing": "yellow",
    "dead": "red",
    "failed": "red",
    "disabled": "red",
    "gone": "red",
}


def state_word(state: str) -> str:
    """Return a state in the language of the command.  Catalogues have it as ``state:dead``: the title of a column may
    be the same word."""
    return translate(f"state:{state}").removeprefix("state:") if state in STATES else state


def coloured(state: str, detail: object = None) -> Styled:
    """Return a state in its colour and the language of the command.  ``detail``: printed after its word."""
    word = state_word(state)
    return Styled(word if detail is None else f"{word}{detail}", STATES.get(state, ""))


def print_table(
    titles: Sequence[str], rows: Iterable[Sequence[object]], nothing: str, *, cut: Sequence[str] = ()
) -> None:
    """``nothing``: what to say (on standard error) when there are no rows.  ``cut``: the columns whose values a
    terminal may show without their middle, so that each row is one line."""
    cells = [[_cell(value) for value in row] for row in rows]
    titles, cut = [translate(title) for title in titles], [translate(title) for title in cut]
    if not cells:
        say(nothing)
        return
    heads, widths = [Styled(title) for title in titles], [0] * len(titles)
    for row in [heads, *cells]:
        widths = [max(width, len(cell.text)) for width, cell in zip(widths, row, strict=True)]
    if not sys.stdout.isatty():
        for row in [[Styled(title.upper(), "") for title in titles], *cells]:
            _print_row(row, widths)
        return
    room = shutil.get_terminal_size().columns - len(_GAP) * (len(widths) - 1)
    columns_cut = [titles.index(title) for title in cut]
    while sum(widths) > room and (long := [index for index in columns_cut if widths[index] > _SHORTEST]):
        widths[max(long, key=widths.__getitem__)] -= 1
    wide = widths.index(max(widths))
    needed = min(_NARROWEST, widths[wide])
    widths[wide] -= max(0, sum(widths) - room)
    if widths[wide] < needed:
        for row in cells:
            _print_card(titles, row, room + len(_GAP) * (len(widths) - 1))
        return
    _print_row(heads, widths)
    echo("─" * (sum(widths) + len(_GAP) * (len(widths) - 1)))
    for row in cells:
        columns = [
            [_cut(cell.text, size)] if title in cut else _wrapped(cell.text, size)
            for title, cell, size in zip(titles, row, widths, strict=True)
        ]
        for line in zip_longest(*columns, fillvalue=""):
            _print_row([replace(cell, text=part) for cell, part in zip(row, line, strict=True)], widths)


def _print_row(cells: Sequence[Styled], widths: Sequence[int]) -> None:
    parts = [replace(cell, text=cell.text.ljust(width) + _GAP) for cell, width in zip(cells, widths, strict=True)]
    while parts and not parts[-1].text.strip():
        parts.pop()
    if parts:
        parts[-1] = replace(parts[-1], text=parts[-1].text.rstrip())
    click.echo("".join(map(_styled, parts)))


def _print_card(titles: Sequence[str], row: Sequence[Styled], width: int) -> None:
    """Print one row: its first value, and below it the others that are not empty, each with its title."""
    first = row[0].text
    echo(Styled(f"{titles[0]} {first}" if first.isdigit() else first))
    line = ""
    for title, cell in zip(titles[1:], row[1:], strict=True):
        if cell.text == _EMPTY:
            continue
        part = f"{title}: {cell.text}"
        if line and len(_INDENT) + len(line) + len(_DOT) + len(part) > width:
            echo(_INDENT + line)
            line = ""
        line += (_DOT if line else "") + part
    for each in _wrapped(line, width - len(_INDENT)):
        echo(_INDENT + each)


def _cut(text: str, size: int) -> str:
    """Return a text of this size: names and ids that begin alike differ at their ends."""
    return text if len(text) <= size else f"{text[: size // 2]}…{text[len(text) - (size - 1) // 2 :]}"


def _wrapped(text: str, width: int) -> list[str]:
    return TextWrapper(width, break_on_hyphens=False).wrap(text)


def fitting(text: str, indent: str, *, err: bool = False) -> str:
    """Return a long line wrapped for the terminal, ``indent`` before its further lines; elsewhere as it is."""
    text = translate(text)
    if not (sys.stderr if err else sys.stdout).isatty():
        return text
    width = shutil.get_terminal_size().columns
    wrapper = TextWrapper(width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    return wrapper.fill(printable_line(text))


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """One thing, a line for each of its fields."""
    rows = [(Styled(translate(name), ""), _cell(value)) for name, value in fields]
    width = max(len(name.text) for name, _ in rows)
    for row in rows:
        _print_row(row, (width, 0))


def _cell(value: object) -> Styled:
    if isinstance(value, Styled):
        return replace(value, text=printable_line(value.text))
    if isinstance(value, StrEnum):
        return coloured(value)
    if value is None or value == "":
        return Styled(_EMPTY, "")
    if isinstance(value, bool):
        return Styled(translate("yes" if value else "no"), "")
    if isinstance(value, datetime):
        return Styled(local_time(value), "")
    if isinstance(value, float):
        return Styled(f"{value:g}", "")
    if isinstance(value, tuple | list):
        return Styled(", ".join(_cell(each).text for each in value) or _EMPTY, "")
    text = str(value)  # one word is a name or an identifier, which options and other programs take, but for these
    return Styled(printable_line(translate(text) if " " in text or text in _WORDS else text), "")


def one_line(answer: str, most: int = 80) -> str:
    """Return a receiver's answer in one line, without its end where it is long."""
    text = " ".join("".join(c if c.isprintable() else " " for c in answer).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def local_time(time: datetime) -> str:
    """Return a time for people: in this machine's zone (``TZ``), with its offset, as options for times accept it."""
    return time.astimezone().isoformat(" ", "seconds")


def short_time(time: datetime, now: datetime) -> str:
    """Return a local time for a row that has little room: without the date today, without the year in this year."""
    there, here = time.astimezone(), now.astimezone()
    if there.date() == here.date():
        return f"{there:%H:%M:%S}"
    return f"{there:%m-%d %H:%M}" if there.year == here.year else f"{there:%Y-%m-%d}"


def confirm(question: str, *, yes: bool) -> None:
    """Ask before an action.  Without a terminal only ``--yes`` allows it: raises `UsageError`."""
    if yes:
        return
    if not _somebody_there():
        raise UsageError(f"{question} There is no terminal to ask on.", "Add --yes.")
    _ask(question)


def confirm_loss(question: Callable[[], str], *, yes: bool) -> None:
    """Ask before something is removed.  ``question``: names what will be lost, counted; it is made only when it is
    asked, and empty where nothing is lost.  Without a terminal the command continues: scripts and cron jobs of former
    versions have no ``--yes``."""
    if not yes and _somebody_there() and (text := question()):
        _ask(text)


def _ask(question: str) -> None:
    if not agreed(question, default=False):
        say("Nothing was changed.")
        raise click.Abort


def agreed(question: str, *, default: bool) -> bool:
    """Ask a question that yes or no answers, in the language of the command or in English."""
    letters = translate("Y/n" if default else "y/N")
    answers = {"": default, "y": True, "yes": True, "n": False, "no": False}
    answers |= {translate("yes"): True, letters[0].lower(): True}
    while True:
        prompt = f"{printable(translate(question))} [{letters}]"
        answer = str(click.prompt(prompt, default="", show_default=False, err=True)).strip().lower()
        if answer in answers:
            return answers[answer]
        say("Answer yes or no.")


def hidden_answer(prompt: str) -> str:
    """Ask for a secret, without showing it."""
    return str(click.prompt(printable(translate(prompt)), hide_input=True, err=True))


def _somebody_there() -> bool:
    return sys.stdin.isatty()


def time_as_json(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)


#: As the help writes them.
PLACES = "@FILE|env:NAME|-"
_PLACES_HINT = "Write @ and a file, env: and a variable, or - for standard input (a prompt on a terminal)."


def is_place(text: str) -> bool:
    """Return whether the text names the place of a secret, and is none itself."""
    return text == "-" or text.startswith(("@", "env:"))


def secret_from(place: str, what: str) -> str:
    """``what``: for the prompt and for errors.  Raises `UsageError`, which does not repeat what is no place."""
    if place == "-" and sys.stdin.isatty():
        return hidden_answer(what[:1].upper() + what[1:])
    if place == "-":
        line = sys.stdin.readline().rstrip("\r\n")
        if not line:
            raise UsageError(f"Standard input is empty: it should hold {what}.", _PLACES_HINT)
        return line
    if place.startswith("@"):
        return read_text_file(Path(place[1:]), what)
    if place.startswith("env:"):
        name = place.removeprefix("env:")
        if not os.environ.get(name):
            raise UsageError(f"The variable {name} for {what} is not set.", _PLACES_HINT)
        return os.environ[name]
    raise UsageError(f"Do not write {what} on the command line: other users see it.", _PLACES_HINT)


def read_text_file(path: Path, what: str, hint: str = _PLACES_HINT) -> str:
    """Raises `UsageError`."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The file {path} with {what} cannot be read: {reason}.", hint) from error


def counted(number: int, one: str, several: str = "") -> str:
    """``1 waiting delivery``, ``4,310 waiting deliveries``; without ``several``: one with an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def question(about: str, *lines: str) -> str:
    """Return a question for `confirm_loss`: the facts indented below their subject, the question itself last."""
    return "\n".join([about, *(f"  {fact}" for fact in lines[:-1]), lines[-1]])


def minute(time: datetime) -> str:
    """Return a time as questions name it, to the minute."""
    return time.astimezone().isoformat(" ", "minutes")
