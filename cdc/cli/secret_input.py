"""Secrets that commands take: from a file, the environment, a prompt or standard input; not from the command line,
which other users of the machine, and its shell's history, see."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from cdc.model.errors import UsageError

#: As the help writes them.
PLACES = "@FILE|env:NAME|-"
_HINT = "Write @ and a file, env: and a variable, or - for standard input (a prompt on a terminal)."


def is_place(text: str) -> bool:
    """Whether it says where a secret is, and is none itself."""
    return text == "-" or text.startswith(("@", "env:"))


def secret_from(place: str, what: str) -> str:
    """``what``: for the prompt and for errors.  Raises `UsageError`, which does not repeat what is no place."""
    if place == "-":
        return _asked_for(what)
    if place.startswith("@"):
        return _from_file(Path(place[1:]), what)
    if place.startswith("env:"):
        name = place.removeprefix("env:")
        if not os.environ.get(name):
            raise UsageError(f"The environment has no {name}, which is to hold {what}.", _HINT)
        return os.environ[name]
    raise UsageError(f"The command line is no place for {what}: other users see it.", _HINT)


def _asked_for(what: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(what[:1].upper() + what[1:], hide_input=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise UsageError(f"Standard input does not hold {what}.", _HINT)
    return line


def _from_file(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The file {path}, which is to hold {what}, cannot be read: {reason}.", _HINT) from error
