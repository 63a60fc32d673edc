"""``[web]`` and ``[tracing]``: what is served, and what is told to others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from cdc.config.section import Networks, Section, matching, read_password
from cdc.model.errors import ConfigError

#: Characters that a bearer token may have; fewer of them could be guessed.
_BEARER = r"[A-Za-z0-9._~+/=-]{16,}"


class WebConfig(Section):
    """Where health, metrics and pages are served."""

    listen: str = "127.0.0.1:8600"
    stalled_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 60.0
    overdue_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 300.0
    timezone: str = ""
    session_hours: Annotated[float, Field(gt=0, le=720, allow_inf_nan=False)] = 12.0
    connections: Annotated[int, Field(ge=8, le=10_000)] = 256
    connections_per_address: Annotated[int, Field(ge=4, le=10_000)] = 64
    request_seconds: Annotated[float, Field(ge=1, le=300, allow_inf_nan=False)] = 15.0
    metrics_token_file: Path | None = None
    hosts: tuple[Annotated[str, matching(r"[A-Za-z0-9._-]+", "is not a host name such as cdc.example.com")], ...] = ()
    trusted_proxies: Networks = ()
    trusted_header: str = ""
    facturascripts_login: str = ""

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        if value in ("", "off"):
            return ""
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) >= 2**16:
            raise ValueError("is not HOST:PORT, such as 127.0.0.1:8600 or [::1]:8600 (or 'off')")
        return value

    @field_validator("timezone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        if value and value not in available_timezones():
            raise ValueError("is not a time zone such as Europe/Madrid")
        return value

    @field_validator("trusted_header")
    @classmethod
    def _header_is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9-]*", value) or value.lower() in ("authorization", "cookie"):
            raise ValueError("is not the name of a header such as X-Remote-User")
        return value

    @model_validator(mode="after")
    def _a_header_needs_its_proxies(self) -> Self:
        if self.trusted_header and not self.trusted_proxies:
            raise ValueError(
                "has a trusted_header and no trusted_proxies: anybody could send it; name the proxy's address"
            )
        if any(network.prefixlen == 0 for network in self.trusted_proxies):
            raise ValueError("has trusted_proxies that hold every address: anybody would be believed")
        return self

    def metrics_token(self) -> str:
        """The token that requests for metrics must carry; empty: none.  Read now; raises `ConfigError`."""
        if self.metrics_token_file is None:
            return ""
        token = read_password(self.metrics_token_file, "metrics token").strip()
        if not re.fullmatch(_BEARER, token):
            raise ConfigError(
                f"The metrics token file {self.metrics_token_file} holds no token.",
                "Write at least 16 letters and digits into it, for example with: openssl rand -hex 32",
            )
        return token


class TracingConfig(Section):
    """Where traces are sent."""

    endpoint: str = ""
    sample: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0

    @field_validator("endpoint")
    @classmethod
    def _http_without_credentials(cls, value: str) -> str:
        if value and (not re.match(r"https?://[^/]", value) or "@" in value):
            raise ValueError(
                "is not the URL of an OTLP collector such as http://127.0.0.1:4318/v1/traces; credentials go into "
                "OTEL_EXPORTER_OTLP_HEADERS"
            )
        return value
