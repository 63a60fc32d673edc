"""Output, questions and secrets: data on standard output, talk on standard error.

Tables fit the terminal; otherwise they are plain aligned text, a line a row.  Everything printed passes this module,
so that foreign text cannot control the terminal (`cdc.model.errors`).  Text and JSON are always escaped; scripts
are escaped on a terminal only.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

import click
import orjson

from cdc.model.errors import UsageError, printable, printable_line
from cdc.model.event import format_time

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
#: Between columns; in a table; before the lines of a card, and between its values.
_GAP, _EMPTY, _INDENT, _DOT = "  ", "-", "  ", " · "
#: Characters of a column below which wrapped text is not readable.
_NARROWEST = 24

yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


@dataclass(frozen=True, slots=True)
class Styled:
    """Text that a terminal shows in a colour, or bold when it has none."""

    text: str
    colour: str | None = None


def echo(*parts: str | Styled, err: bool = False) -> None:
    """Print one line, or several, to standard output."""
    click.echo("".join(map(_shown, parts)), err=err)


def say(*parts: str | Styled) -> None:
    """Print for people, on standard error."""
    echo(*parts, err=True)


def print_script(text: str) -> None:
    """Print text for another program, exactly as it is unless it goes to a terminal."""
    click.echo(printable(text) if sys.stdout.isatty() else text, nl=False)


def _shown(part: str | Styled) -> str:
    if isinstance(part, str):
        return printable(part)
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


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]], nothing: str) -> None:
    """``nothing``: what to say (on standard error) when there are no rows."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        say(nothing)
    elif sys.stdout.isatty():
        _print_fitting(titles, cells, shutil.get_terminal_size().columns)
    else:
        echo("\n".join(_aligned([[title.upper() for title in titles], *cells])))


def _print_fitting(titles: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> None:
    """Print a table; where it is too wide, its widest column is wrapped, and where that is too narrow, a card a row."""
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    wrapped = widths.index(max(widths))
    widths[wrapped] -= max(0, sum(widths) + len(_GAP) * (len(widths) - 1) - width)
    if widths[wrapped] < min(_NARROWEST, max(len(row[wrapped]) for row in [titles, *cells])):
        for row in cells:
            _print_card(titles, row, width)
        return
    echo(Styled(_GAP.join(title.ljust(size) for title, size in zip(titles, widths, strict=True)).rstrip()))
    echo("─" * (sum(widths) + len(_GAP) * (len(widths) - 1)))
    for row in cells:
        columns = [_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)]
        for line in zip_longest(*columns, fillvalue=""):
            echo(_GAP.join(part.ljust(size) for part, size in zip(line, widths, strict=True)).rstrip())


def _print_card(titles: Sequence[str], row: Sequence[str], width: int) -> None:
    """Print one row: its first value, and below it the others that are not empty, each with its title."""
    echo(Styled(f"{titles[0]} {row[0]}" if row[0].isdigit() else row[0]))
    line = ""
    for title, cell in zip(titles[1:], row[1:], strict=True):
        if cell == _EMPTY:
            continue
        part = f"{title}: {cell}"
        if line and len(_INDENT) + len(line) + len(_DOT) + len(part) > width:
            echo(_INDENT + line)
            line = ""
        line += (_DOT if line else "") + part
    for each in _wrapped(line, width - len(_INDENT)):
        echo(_INDENT + each)


def _wrapped(text: str, width: int) -> list[str]:
    return TextWrapper(width, break_on_hyphens=False).wrap(text)


def fitting(text: str, indent: str, *, err: bool = False) -> str:
    """Return a long line wrapped for the terminal, ``indent`` before its further lines; elsewhere as it is."""
    if not (sys.stderr if err else sys.stdout).isatty():
        return text
    width = shutil.get_terminal_size().columns
    wrapper = TextWrapper(width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    return wrapper.fill(printable_line(text))


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """One thing, a line for each of its fields."""
    echo("\n".join(_aligned([[name, _cell(value)] for name, value in fields])))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(value: object) -> str:
    if value is None or value == "":
        return _EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return ", ".join(map(_cell, value)) or _EMPTY
    return printable_line(str(value))


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
    if not click.confirm(printable(question), err=True):
        say("Nothing was changed.")
        raise click.Abort


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
        return str(click.prompt(what[:1].upper() + what[1:], hide_input=True, err=True))
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
    return time.strftime("%Y-%m-%d %H:%M UTC")
