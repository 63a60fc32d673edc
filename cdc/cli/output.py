"""How results are printed and questions asked: data on standard output, talk on standard error.

Tables are drawn with rich on a terminal, and as plain aligned text otherwise.  Everything printed passes this module,
so that foreign text cannot control the terminal (`cdc.model.printable`).  Text and JSON are always escaped; scripts
are escaped on a terminal only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdc.model.errors import UsageError
from cdc.model.printable import printable, printable_line

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
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
    """To the person, on standard error."""
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
    """One JSON document on one line, flushed: whoever follows sees it at once."""
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
        table = Table(*titles, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in cells:
            table.add_row(*(Text(cell, overflow="fold") for cell in row))
        Console(file=sys.stdout, highlight=False).print(table)
    else:
        echo("\n".join(_aligned([[title.upper() for title in titles], *cells])))


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """One thing, a line for each of its fields."""
    echo("\n".join(_aligned([[name, _cell(value)] for name, value in fields])))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return ", ".join(map(_cell, value)) or "-"
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
    asked.  Without a terminal the command continues: scripts and cron jobs of former versions have no ``--yes``."""
    if not yes and _somebody_there():
        _ask(question())


def _ask(question: str) -> None:
    if not click.confirm(printable(question), err=True):
        say("Nothing was changed.")
        raise click.Abort


def _somebody_there() -> bool:
    return sys.stdin.isatty()
