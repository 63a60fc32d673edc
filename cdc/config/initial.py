"""A first configuration file: the commented default with what is known already filled in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from cdc.config.show import default_toml
from cdc.config.url import parse_database_url
from cdc.errors import UsageError


@dataclass(frozen=True, slots=True)
class Choices:
    """What is known of the configuration; None leaves a default.  ``facturascripts`` and ``url`` exclude each other."""

    facturascripts: Path | None = None
    url: str | None = None
    password_file: Path | None = None
    capture: str | None = None
    outbox: str | None = None
    allow_private: bool = False


def initial_toml(choices: Choices) -> str:
    """Raises `UsageError` for a URL that holds a password, or is none."""
    if choices.facturascripts is not None and choices.url is not None:
        raise UsageError("--facturascripts and --url exclude each other.", "Give one of them.")
    text = default_toml()
    if choices.url is not None:
        _check_url(choices.url)
        text = re.sub(r"^facturascripts = ", "# facturascripts = ", text, flags=re.MULTILINE)
        text = _set(text, "source.main", "url", choices.url)
    if choices.facturascripts is not None:
        text = _set(text, "source.main", "facturascripts", str(choices.facturascripts))
    if choices.password_file is not None:
        text = _set(text, "source.main", "password_file", str(choices.password_file))
    if choices.capture is not None:
        text = _set(text, "source.main", "capture", choices.capture)
    if choices.outbox is not None:
        text = _set(text, "outbox", "url", choices.outbox)
    return _set(text, "dispatch", "allow_private", True) if choices.allow_private else text


def _check_url(url: str) -> None:
    if parse_database_url(url, "The URL").password:
        raise UsageError(
            "The command line is no place for a database's password: other users see it.",
            "Leave it out of the URL, and name a file that holds it: --password-file FILE.",
        )


def _set(text: str, table: str, option: str, value: str | bool) -> str:
    """The option's line in its table, whether it is a comment or not, says this."""
    head, begin, rest = text.partition(f"\n[{table}]\n")
    line = f"{option} = {json.dumps(value, ensure_ascii=False)}"
    changed, found = re.subn(rf"^(# )?{option} = .*$", lambda _: line, rest, count=1, flags=re.MULTILINE)
    assert found, f"the default has {option}"
    return f"{head}{begin}{changed}"
