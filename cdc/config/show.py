"""The configuration for people: the commented default file, a first one, and the effective values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from cdc.config.accounts import account_options
from cdc.config.model import Config
from cdc.config.source import address_problem
from cdc.config.url import MASK, mask_url, parse_database_url
from cdc.model.connection import Engine
from cdc.model.errors import UsageError
from cdc.model.toml_lines import TomlPath

_URL_OPTIONS = ("url", "admin_url")


def default_toml() -> str:
    """The file that ``cdc config init`` prints: every option, explained, with its default."""
    return (files("cdc.config") / "default.toml").read_text(encoding="utf-8")


def masked(config: Config) -> dict[str, Any]:
    """All values as JSON knows them, passwords replaced by ``***``."""
    values: dict[str, Any] = config.model_dump(mode="json")
    for source in values["source"].values():
        if source["rest"]["token"] is not None:
            source["rest"]["token"] = MASK
        if source["nats"]["url"] is not None:
            source["nats"]["url"] = mask_url(source["nats"]["url"])
    for table in [*values["source"].values(), values["outbox"]]:
        for option in _URL_OPTIONS:
            if table.get(option) is not None:
                table[option] = mask_url(table[option])
    proxies = values["dispatch"]["proxies"]
    values["dispatch"]["proxies"] = {name: mask_url(url) for name, url in proxies.items()}
    return values


def effective_toml(config: Config) -> str:
    """`masked` as TOML; behind each value, where it was set."""
    return "\n".join(_lines(masked(config), config.origins))


def _lines(values: Mapping[str, Any], origins: Mapping[TomlPath, str]) -> Iterator[str]:
    tables: dict[tuple[str, ...], Any] = {("source", name): table for name, table in values["source"].items()}
    tables |= {(name,): table for name, table in values.items() if name != "source"}
    for path, table in tables.items():
        yield f"[{'.'.join(path)}]"
        for option, value in table.items():
            if value is not None:
                yield f"{option} = {_toml(value)}  # {origins.get((*path, option), 'default')}"
        yield ""


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (
            f"{json.dumps(name, ensure_ascii=False)} = {_toml(inner)}"
            for name, inner in value.items()
            if inner is not None
        )
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)  # TOML writes texts, numbers and booleans as JSON does


@dataclass(frozen=True, slots=True)
class Choices:
    """Choices for a new configuration; None leaves a default.  ``facturascripts``, ``url`` and ``api`` exclude each
    other: a database, or the address of FacturaScripts, whose API is read with the token in ``token_file``."""

    facturascripts: Path | None = None
    url: str | None = None
    password_file: Path | None = None
    capture: str | None = None
    outbox: str | None = None
    allow_private: bool = False
    api: str | None = None
    token_file: Path | None = None
    accounts: Path | None = None

    @property
    def account_options(self) -> dict[str, str]:
        """The options that name accounts of its own for the database; ``accounts`` is the folder of their passwords."""
        if self.accounts is None:
            return {}
        return account_options("main", Engine.MYSQL, self.capture, self.accounts)  # short enough for each engine


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
        if choices.accounts is not None:
            raise UsageError("--accounts is for a database, and --api for none.", "Leave one of them out.")
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
    for option, value in choices.account_options.items():
        text = _set(text, "source.main", option, value)
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


def allowing_private(text: str) -> str:
    """The text of a configuration, with receivers inside allowed."""
    line = "allow_private = true"
    table = re.search(r"^\[dispatch\][^\n]*\n", text, re.MULTILINE)
    if table is None:
        return f"{text.rstrip()}\n\n[dispatch]\n{line}\n"
    head, rest = text[: table.end()], text[table.end() :]
    inner, *following = re.split(r"^(?=\[)", rest, maxsplit=1, flags=re.MULTILINE)
    changed, found = re.subn(r"^[ \t]*allow_private[ \t]*=.*$", line, inner, count=1, flags=re.MULTILINE)
    return head + (changed if found else f"{line}\n{inner}") + "".join(following)


def _set(text: str, table: str, option: str, value: str | bool) -> str:
    """The option's line in its table, whether it is a comment or not, says this."""
    head, begin, rest = text.partition(f"\n[{table}]\n")
    line = f"{option} = {json.dumps(value, ensure_ascii=False)}"
    changed, found = re.subn(rf"^(# )?{option} = .*$", lambda _: line, rest, count=1, flags=re.MULTILINE)
    assert found, f"the default has {option}"
    return f"{head}{begin}{changed}"
