"""A first configuration file: the commented default with what is known already filled in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from cdc.config.rest import address_problem
from cdc.config.show import default_toml
from cdc.config.url import parse_database_url
from cdc.model.errors import UsageError


@dataclass(frozen=True, slots=True)
class Choices:
    """What is known of the configuration; None leaves a default.  ``facturascripts``, ``url`` and ``api`` exclude each
    other: a database, or the address of FacturaScripts, whose API is read with the token in ``token_file``."""

    facturascripts: Path | None = None
    url: str | None = None
    password_file: Path | None = None
    capture: str | None = None
    outbox: str | None = None
    allow_private: bool = False
    api: str | None = None
    token_file: Path | None = None


def check_choices(choices: Choices) -> None:
    """Raises `UsageError` for what excludes each other, a URL that holds a password, or is none, and an API without a
    token."""
    given = {"--facturascripts": choices.facturascripts, "--url": choices.url, "--api": choices.api}
    places = [name for name, place in given.items() if place is not None]
    if len(places) > 1:
        raise UsageError(f"{' and '.join(places)} exclude each other.", "Give one of them.")
    if choices.url is not None:
        _check_url(choices.url)
    if choices.api is not None:
        _check_api(choices, choices.api)
    elif choices.capture == "rest" or choices.token_file is not None:
        raise UsageError(
            "Where FacturaScripts' API is, is not said.", "Give its address: --api https://erp.example.com"
        )


def initial_toml(choices: Choices) -> str:
    """Raises `UsageError` as `check_choices`."""
    check_choices(choices)
    text = default_toml()
    if choices.url is not None or choices.api is not None:
        text = re.sub(r"^facturascripts = ", "# facturascripts = ", text, flags=re.MULTILINE)
    if choices.url is not None:
        text = _set(text, "source.main", "url", choices.url)
    if choices.api is not None:
        text = _set(text, "source.main", "capture", "rest")
        text = _set(text, "source.main.rest", "url", choices.api)
        text = _set(text, "source.main.rest", "token_file", str(choices.token_file))
    if choices.facturascripts is not None:
        text = _set(text, "source.main", "facturascripts", str(choices.facturascripts))
    if choices.password_file is not None:
        text = _set(text, "source.main", "password_file", str(choices.password_file))
    if choices.capture is not None and choices.api is None:
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


def _check_api(choices: Choices, api: str) -> None:
    if problem := address_problem(api):
        raise UsageError(f"What --api says {problem}.")
    if choices.capture not in (None, "rest") or choices.password_file is not None:
        raise UsageError(
            "--api is for capture by rest, without a database.", "Leave --capture and --password-file out."
        )
    if choices.token_file is None:
        raise UsageError(
            "FacturaScripts' API is read with a key, and none is given.",
            "Control panel, API keys: put one into a file, and name that: --token-file FILE.",
        )


def _set(text: str, table: str, option: str, value: str | bool) -> str:
    """The option's line in its table, whether it is a comment or not, says this."""
    head, begin, rest = text.partition(f"\n[{table}]\n")
    line = f"{option} = {json.dumps(value, ensure_ascii=False)}"
    changed, found = re.subn(rf"^(# )?{option} = .*$", lambda _: line, rest, count=1, flags=re.MULTILINE)
    assert found, f"the default has {option}"
    return f"{head}{begin}{changed}"
