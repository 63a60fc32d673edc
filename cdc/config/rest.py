"""``[source.NAME.rest]``: capture through FacturaScripts' API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from yarl import URL

from cdc.config.section import Section, read_password
from cdc.model.errors import ConfigError

Seconds = Annotated[float, Field(ge=1.0, le=86_400.0)]


def address_problem(text: str) -> str:
    """Why this is no address of a FacturaScripts, without repeating it; empty: it is one."""
    problem = 'is not the address of a FacturaScripts such as "https://erp.example.com"'
    try:
        url = URL(text)
    except ValueError:
        return problem
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        return problem
    if url.user is not None or url.password is not None:
        return "holds a user or password; the API knows only a token"
    return ""


class RestResource(Section):
    """What differs for one table; ``path``, ``key`` and ``numbered`` are known of FacturaScripts' own."""

    path: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]+$")
    key: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    numbered: bool | None = None
    interval_seconds: Seconds | None = None
    compare_seconds: Seconds | None = None


class RestConfig(Section):
    """Without a ``url`` it is not used."""

    url: str | None = Field(default=None, repr=False)
    token: str | None = Field(default=None, repr=False)
    token_file: Path | None = None
    requests_per_minute: Annotated[int, Field(ge=6, le=6000)] = 60
    page_size: Annotated[int, Field(ge=10, le=5000)] = 500
    interval_seconds: Seconds = 60.0
    compare_seconds: Seconds = 300.0
    existing: Literal["skip", "read"] = "skip"
    resources: dict[str, RestResource] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        problem = "" if value is None else address_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("token")
    @classmethod
    def _a_token(cls, value: str | None) -> str | None:
        if value is not None and not (value and value.isascii() and value.isprintable() and " " not in value):
            raise ValueError("is no token: it has spaces or signs that no header can hold")
        return value

    def read_token(self, source: str) -> str:
        """Reads its file now, if it is in one; raises `ConfigError`."""
        if self.token_file is None:
            assert self.token is not None, "guaranteed by SourceConfig"
            return self.token
        token = read_password(self.token_file, "token").strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigError(
                f"The file {self.token_file} of source {source!r} holds no token.",
                "It holds the token and nothing else.",
            )
        return token
