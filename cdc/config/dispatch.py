"""``[dispatch]`` and ``[mail]``: how deliveries are sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from cdc.config.section import Networks, Section, matching, read_password
from cdc.model.mail_address import is_address


class DispatchConfig(Section):
    """How deliveries are sent."""

    allow_private: bool = False
    allow_networks: Networks = ()
    allow_http: bool = False
    proxies: dict[str, str] = Field(default_factory=dict, repr=False)
    proxy_resolves: bool = False
    client_certificates: dict[str, Path] = Field(default_factory=dict)
    worker: Annotated[
        str,
        matching(r"[A-Za-z0-9._:-]{0,100}", "is not a name of A-Z, a-z, 0-9 and . _ : - such as dispatch-2"),
    ] = ""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    lease_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 60.0
    max_timeout_seconds: Annotated[float, Field(ge=0.1, le=3_600, allow_inf_nan=False)] = 30.0
    origin: Annotated[str, matching(r"[A-Za-z0-9.-]*", "is not a host name such as events.example.com")] = ""
    stop_seconds: Annotated[float, Field(ge=0, le=3_600, allow_inf_nan=False)] = 8.0

    @field_validator("proxies")
    @classmethod
    def _proxies_are_http(cls, value: dict[str, str]) -> dict[str, str]:
        for name, url in value.items():
            if not _is_proxy(url):
                raise ValueError(
                    f"has no usable URL for {name!r}: write http://host:port or http://user:password@host:port"
                )
        return value

    @property
    def http_allowed(self) -> bool:
        """Receivers inside have no certificate, as a rule."""
        return self.allow_http or self.allow_private

    @model_validator(mode="after")
    def _lease_outlives_request(self) -> Self:
        if self.lease_seconds <= self.max_timeout_seconds:
            raise ValueError(
                f"has lease_seconds = {self.lease_seconds:g}, which must be more than max_timeout_seconds = "
                f"{self.max_timeout_seconds:g}: a delivery still on its way would be sent twice"
            )
        return self


class MailConfig(Section):
    """The server that takes what goes to ``mailto:`` endpoints."""

    host: Annotated[
        str,
        matching(r"[A-Za-z0-9._:-]*", "is not the name or address of a mail server such as mail.example.com"),
    ] = ""
    port: Annotated[int, Field(ge=0, lt=2**16)] = 0
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: Path | None = None
    sender: str = ""
    ca_file: Path | None = None

    @field_validator("sender")
    @classmethod
    def _sender_is_an_address(cls, value: str) -> str:
        if value and not is_address(value):
            raise ValueError("is not an e-mail address such as cdc@example.com")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.host) != bool(self.sender):
            raise ValueError("needs both `host`, the mail server, and `sender`, the address that mail comes from")
        if self.user and self.password_file is None:
            raise ValueError("has a `user` and no `password_file` with its password")
        if self.user and self.security == "none":
            raise ValueError('has a `user` and security = "none": its password could be read on the way')
        return self

    def password(self) -> str:
        """Read now; raises `ConfigError`."""
        return read_password(self.password_file) if self.user and self.password_file is not None else ""


def _is_proxy(url: str) -> bool:
    try:
        port = urlsplit(url).port  # parsed, and refused, only when asked for
    except ValueError:
        return False
    return re.fullmatch(r"http://([^/?#@\s]+@)?[^/?#@\s]+/?", url) is not None and port != 0
