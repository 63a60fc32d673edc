"""Parts of the configuration's tables: their base, and values that several of them hold."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from cdc.model.connection import ConnectionInfo
from cdc.model.errors import ConfigError


class Section(BaseModel):
    """One table of the file: no unknown keys, never changed, its content never in an error's text."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def matching(pattern: str, problem: str) -> AfterValidator:
    """Return a validator that refuses texts that do not match all of ``pattern``.  ``problem``: the rest of a sentence
    that begins with the option's name."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def _network_list(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError('is not a list of networks such as ["10.1.0.0/16", "192.168.1.5/32"]')
    for each in value:
        try:
            ip_network(each)
        except ValueError:
            raise ValueError(
                f"has {each!r}, which is no network such as 10.1.0.0/16, 192.168.1.5/32 or fd12::/48"
            ) from None
    return value


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_network_list)]


def with_password(info: ConnectionInfo, file: Path | None) -> ConnectionInfo:
    """The password of the file, where one is named.  Raises `ConfigError`."""
    return info if file is None else info.as_user(info.user, read_password(file))


def read_password(file: Path, what: str = "password") -> str:
    """``what`` it holds.  Raises `ConfigError`, which repeats nothing of it."""
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The {what} file {file} cannot be read: {reason(error)}.", f"It holds the {what} and nothing else."
        ) from error


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Return the reason why a file cannot be read, for the end of a sentence."""
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8 text"
