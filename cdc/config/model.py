"""The configuration as the program reads it: every option, its type, its default and its limits.

`cdc.config.load` makes it from files and the environment; what each option means to its user is written once, in
``default.toml`` beside this file.  Paths and SQLite URLs are absolute here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from cdc.config.section import (
    DEFAULT_LIMITS,
    LimitsConfig,
    Networks,
    OutboxConfig,
    RetentionConfig,
    Section,
    matching,
    read_password,
)
from cdc.config.source import NatsConfig, RestConfig, SourceConfig
from cdc.model.colour import LIGHT_SURFACE, READABLE, contrast
from cdc.model.endpoint import is_address
from cdc.model.errors import ConfigError
from cdc.model.toml_lines import TomlPath


class DispatchConfig(Section):
    """The table ``[dispatch]``: sending of deliveries."""

    allow_private: bool = False
    allow_networks: Networks = ()
    allow_http: bool = False
    proxies: dict[str, str] = Field(default_factory=dict, repr=False)
    proxy_resolves: bool = False
    client_certificates: dict[str, Path] = Field(default_factory=dict)
    secret_folder: Path | None = None
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


#: Characters that a bearer token may have; fewer of them could be guessed.
_BEARER = r"[A-Za-z0-9._~+/=-]{16,}"
#: Content type of a logo → its first bytes; SVG could hold scripts.
_LOGOS: Mapping[str, bytes] = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/webp": rb"RIFF....WEBP",
}
_LARGEST_LOGO = 256 * 1024


class WebConfig(Section):
    """The table ``[web]``: health, metrics and pages."""

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
    require_2fa: Literal["none", "managers", "all"] = "none"
    public_catalogue: bool = False
    url: Annotated[
        str, matching(r"(https?://[A-Za-z0-9.\[\]:-]+)?", "is not an address such as https://cdc.example.com")
    ] = ""
    frame_ancestors: tuple[
        Annotated[
            str,
            matching(
                r"https://[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?", "is not a site such as https://panel.example.com"
            ),
        ],
        ...,
    ] = ()

    brand_name: Annotated[str, matching(r"[^\x00-\x1f\x7f]{0,60}", "is longer than 60 characters, or not one line")] = (
        ""
    )
    brand_accent: Annotated[str, matching(r"(#[0-9a-fA-F]{6})?", "is not a colour such as #0b5fb0")] = ""
    brand_logo: Path | None = None

    @field_validator("brand_accent")
    @classmethod
    def _accent_is_readable(cls, value: str) -> str:
        found = contrast(value, LIGHT_SURFACE) if value else READABLE
        if found < READABLE:
            raise ValueError(f"is hard to read on a light page: its contrast is {found:.1f}, and {READABLE} is needed")
        return value

    def logo(self) -> tuple[str, bytes] | None:
        """Return content type and bytes of the host's logo.  Read now; raises `ConfigError`."""
        if self.brand_logo is None:
            return None
        try:
            with self.brand_logo.open("rb") as file:
                content = file.read(_LARGEST_LOGO + 1)
        except OSError as error:
            raise ConfigError(f"The logo {self.brand_logo} cannot be read: {error.strerror}.") from error
        kind = next((kind for kind, start in _LOGOS.items() if re.match(start, content, re.DOTALL)), None)
        if kind is None or len(content) > _LARGEST_LOGO:
            raise ConfigError(
                f"The logo {self.brand_logo} cannot be used.", "It is a PNG, JPEG or WebP image of 256 KiB at most."
            )
        return kind, content

    @property
    def address(self) -> str:
        """Return the address of the page for browsers; empty when it is not served."""
        served = f"https://{self.hosts[0]}" if self.hosts else f"http://{self.listen}"
        return self.url or (served if self.listen else "")

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


class OidcGroup(Section):
    """The rights of the members of a group."""

    role: Literal["viewer", "manager"]
    sources: tuple[str, ...] = ()


class OidcConfig(Section):
    """The table ``[oidc]``: sign-in by an OpenID Connect provider."""

    issuer: str = ""
    name: Annotated[str, matching(r"[^\x00-\x1f\x7f]{0,60}", "is longer than 60 characters, or not one line")] = ""
    client_id: Annotated[str, matching(r"[!-~]*", "is not printable ASCII")] = ""
    client_secret_file: Path | None = None
    scopes: tuple[Annotated[str, matching(r"[!#-\[\]-~]+", "is not the name of a scope such as groups")], ...] = (
        "profile",
        "groups",
    )
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    groups: dict[str, OidcGroup] = Field(default_factory=dict)
    session_minutes: Annotated[float, Field(gt=0, le=43_200, allow_inf_nan=False)] = 60.0
    second_factor: tuple[str, ...] = ("mfa",)
    allow_networks: Networks = ()
    ca_file: Path | None = None

    @field_validator("issuer")
    @classmethod
    def _issuer_is_an_address(cls, value: str) -> str:
        local = re.fullmatch(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?(/[!->@-~]*)?", value)
        if value and not local and not re.fullmatch(r"https://[A-Za-z0-9.\[\]:-]+(/[!\"$->@-~]*)?", value):
            raise ValueError("is not an https address such as https://sso.example.com/realms/main")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.issuer and not (self.client_id and self.groups):
            raise ValueError("needs `client_id`, and `groups`: without one nobody may sign in")
        return self

    def client_secret(self) -> str:
        """Read now; raises `ConfigError`."""
        return "" if self.client_secret_file is None else read_password(self.client_secret_file, "client secret")


class TracingConfig(Section):
    """The table ``[tracing]``: the collector of traces."""

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


class LogConfig(Section):
    """The table ``[log]``: format and level of the consumer's log."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class ProcessConfig(Section):
    """The table ``[process]``: its language for people, and consideration for other processes of the machine."""

    language: Literal["", "en", "es"] = ""
    nice: int = Field(default=5, ge=0, le=19)


class Config(Section):
    """The whole configuration; ``file`` is where it was read from (None: the environment alone)."""

    source: dict[str, SourceConfig] = Field(default_factory=dict)
    outbox: OutboxConfig = OutboxConfig()
    dispatch: DispatchConfig = DispatchConfig()
    mail: MailConfig = MailConfig()
    web: WebConfig = WebConfig()
    oidc: OidcConfig = OidcConfig()
    retention: RetentionConfig = RetentionConfig()
    limits: LimitsConfig = DEFAULT_LIMITS
    tracing: TracingConfig = TracingConfig()
    log: LogConfig = LogConfig()
    process: ProcessConfig = ProcessConfig()
    _file: Path | None = PrivateAttr(default=None)
    _origins: dict[TomlPath, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _name_sources(self) -> Self:
        for name, source in self.source.items():
            source.call(name)
        return self

    @field_validator("web")
    @classmethod
    def _login_names_a_source(cls, web: WebConfig, info: ValidationInfo) -> WebConfig:
        sources = info.data.get("source")  # absent when they are wrong themselves
        if web.facturascripts_login and sources is not None and web.facturascripts_login not in sources:
            there_are = ", ".join(sorted(sources)) or "none at all"
            raise ValueError(f"has facturascripts_login = {web.facturascripts_login!r}; the sources are: {there_are}")
        return web

    @model_validator(mode="after")
    def _groups_name_sources(self) -> Self:
        for group, rights in self.oidc.groups.items():
            try:
                self.known_sources(rights.sources)
            except ConfigError as error:
                raise ValueError(f"has under [oidc] a group {group!r} with an unknown source: {error}") from error
        return self

    def read_from(self, file: Path | None, origins: dict[TomlPath, str]) -> None:
        """Note the file of the configuration and the origins of its options; called once by the loader."""
        self._file, self._origins = file, origins

    @property
    def file(self) -> Path | None:
        return self._file

    @property
    def origins(self) -> dict[TomlPath, str]:
        """Path of an option that was set → where (``cdc.toml line 4``, ``CDC_OUTBOX_URL``)."""
        return self._origins

    def select_source(self, name: str) -> SourceConfig:
        """Raises `ConfigError` naming the sources that there are."""
        if name not in self.source:
            there_are = ", ".join(sorted(self.source)) or "none at all"
            raise ConfigError(f"There is no source {name!r} in the configuration.", f"There are: {there_are}.")
        return self.source[name]

    def known_sources(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names, each once.  Raises `ConfigError` for one that is no source of events here; the events of a
        stream have the names of the sources that were captured."""
        if any(source.capture == "nats" for source in self.source.values()):
            return tuple(dict.fromkeys(names))
        return tuple(self.select_source(name).name for name in dict.fromkeys(names))


#: Tables within the table of a source.
SOURCE_TABLES: Mapping[str, type[Section]] = {"rest": RestConfig, "nats": NatsConfig}
#: Name of each table of the file → what may stand in it ("source": in each source).
SECTIONS: Mapping[str, type[Section]] = {
    "source": SourceConfig,
    "outbox": OutboxConfig,
    "dispatch": DispatchConfig,
    "mail": MailConfig,
    "web": WebConfig,
    "oidc": OidcConfig,
    "retention": RetentionConfig,
    "limits": LimitsConfig,
    "tracing": TracingConfig,
    "log": LogConfig,
    "process": ProcessConfig,
}
