"""The configuration for people: the commented default file, and the effective values with passwords masked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from cdc.config.model import Config
from cdc.config.url import MASK, mask_url
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
