"""The configuration as the program reads it: every option, its type, its default and its limits.

`cdc.config.load` makes these from files and the environment; what each option means to its user is written once, in
``default.toml`` beside this file.  Paths and SQLite URLs are absolute here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from cdc.config.php import read_config_php
from cdc.config.url import parse_database_url
from cdc.connection import ConnectionInfo
from cdc.errors import ConfigError
from cdc.mail_address import is_address
from cdc.toml_lines import TomlPath

SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgres://")
#: The variable that holds the key (after a change of keys: the new and the old one) that seals secrets in the outbox.
KEY_VARIABLE = "CDC_SECRET_KEY"
LATER_CAPTURES = ("rest",)


class Section(BaseModel):
    """One table of the file: no unknown keys, never changed, its content never in an error's text."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RulesText(NamedTuple):
    """The user's rules: a TOML text, the path of its file for errors, and where in it the rules are (empty: all of it).
    These are the arguments of `cdc.mapping.catalogue.load_catalogue`."""

    text: str
    path: str
    section: tuple[str, ...] = ()


class SecretKeys(NamedTuple):
    """The arguments of `cdc.outbox.secret_box.SecretBox`: keys, the present one first, and where they are from."""

    keys: tuple[str, ...] = ()
    where: str = "The key"


class SourceConfig(Section):
    """One FacturaScripts database."""

    url: str | None = Field(default=None, repr=False)
    facturascripts: Path | None = None
    password_file: Path | None = None
    admin_url: str | None = Field(default=None, repr=False)
    admin_password_file: Path | None = None
    capture: Literal["triggers", "binlog", "logical"] = "triggers"
    reader: Literal["native", "mysql-replication"] = "native"
    on_purged: Literal["stop", "reread"] = "stop"
    slot_limit_mb: Annotated[int, Field(ge=0)] = 0
    html: Literal["decode", "raw"] = "decode"
    rules: Path | dict[str, Any] | None = None
    include: tuple[Literal["lines", "receipts"], ...] = ()
    repair: bool = True
    _name: str = PrivateAttr(default="")
    _inline_rules: RulesText | None = PrivateAttr(default=None)

    @field_validator("capture", mode="before")
    @classmethod
    def _captures_of_later_versions(cls, value: object) -> object:
        if value in LATER_CAPTURES:
            known = 'write capture = "triggers", "binlog" or "logical"'
            raise ValueError(f"{value!r} is not available in this version; {known}")
        return value

    @model_validator(mode="after")
    def _one_way_to_connect(self) -> Self:
        if (self.url is None) == (self.facturascripts is None):
            count = "neither" if self.url is None else "both"
            raise ValueError(f"needs `url` or `facturascripts` (the path of its config.php), and has {count}")
        if self.admin_password_file is not None and self.admin_url is None:
            raise ValueError("has an `admin_password_file` but no `admin_url` that it belongs to")
        return self

    @property
    def name(self) -> str:
        return self._name

    def rules_text(self) -> RulesText | None:
        """The user's own rules, from their file (read now; raises `ConfigError`) or from the configuration itself."""
        if not isinstance(self.rules, Path):
            return self._inline_rules
        try:
            return RulesText(self.rules.read_text(encoding="utf-8-sig"), str(self.rules))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The rules of source {self.name!r} in {self.rules} cannot be read: {_reason(error)}.",
                "`rules` is the path of a TOML file, relative to the configuration's.",
            ) from error

    def connection(self) -> ConnectionInfo:
        """The consumer's account.  Reads ``config.php`` and the password file now; raises `ConfigError`."""
        if self.url is not None:
            info = parse_database_url(self.url, f"The url of source {self.name!r}")
        else:
            assert self.facturascripts is not None, "guaranteed by _one_way_to_connect"
            info = read_config_php(self.facturascripts)
        return _with_password(info, self.password_file)

    def admin_connection(self) -> ConnectionInfo:
        """The account that installs and removes triggers: ``admin_url`` when given, else the consumer's."""
        if self.admin_url is None:
            return self.connection()
        info = parse_database_url(self.admin_url, f"The admin_url of source {self.name!r}")
        return _with_password(info, self.admin_password_file)


class OutboxConfig(Section):
    """Where events and deliveries are kept."""

    url: str = Field(default=f"{SQLITE}cdc.db", repr=False)
    password_file: Path | None = None
    secret_key_file: Path | None = None
    _secret_key: str = PrivateAttr(default="")  # of the environment; never in a file that may be shown

    @field_validator("url")
    @classmethod
    def _a_place_to_write_to(cls, url: str) -> str:
        if not url.startswith((SQLITE, *POSTGRESQL)) or url == SQLITE:
            raise ValueError(
                f"is not a place that this version can write to; write {SQLITE} and the path of a file, or "
                "postgresql://user:password@host:5432/database"
            )
        return url

    @property
    def path(self) -> Path | None:
        """The SQLite file; None when the outbox is in PostgreSQL."""
        return Path(self.url.removeprefix(SQLITE)) if self.url.startswith(SQLITE) else None

    def connection(self) -> ConnectionInfo:
        """To PostgreSQL.  Reads the password file now; raises `ConfigError`."""
        return _with_password(parse_database_url(self.url, "The url of [outbox]"), self.password_file)

    def describe(self) -> str:
        """For people; never the password."""
        return str(self.path or self.connection().describe())

    def secret_keys(self) -> SecretKeys:
        """From the environment, else from the file (read now).  Raises `ConfigError`."""
        if self._secret_key:
            return SecretKeys(_words(self._secret_key), KEY_VARIABLE)
        if self.secret_key_file is None:
            return SecretKeys()
        where = f"The secret key file {self.secret_key_file}"
        hint = (
            "It holds the key and nothing else: cdc outbox new-key makes one. After a change of keys: the new, the old."
        )
        try:
            keys = _words(self.secret_key_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where} cannot be read: {_reason(error)}.", hint) from error
        if not keys:
            raise ConfigError(f"{where} is empty.", hint)
        return SecretKeys(keys, where)


class DispatchConfig(Section):
    """How deliveries are sent."""

    allow_private: bool = False
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    allow_http: bool = False
    proxies: Annotated[dict[str, str], Field(repr=False)] = {}
    client_certificates: dict[str, Path] = {}
    worker: str = ""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    lease_seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    max_timeout_seconds: Annotated[float, Field(gt=0, le=3_600, allow_inf_nan=False)] = 30.0
    origin: str = ""
    stop_seconds: Annotated[float, Field(ge=0, le=3_600, allow_inf_nan=False)] = 8.0

    @field_validator("allow_networks", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return _network_list(value)

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

    @field_validator("worker")
    @classmethod
    def _worker_is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._:-]{0,100}", value):
            raise ValueError("is not a name of A-Z, a-z, 0-9 and . _ : - such as dispatch-2")
        return value

    @field_validator("origin")
    @classmethod
    def _origin_is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9.-]*", value):
            raise ValueError("is not a host name such as events.example.com")
        return value

    @model_validator(mode="after")
    def _lease_outlives_request(self) -> Self:
        if self.lease_seconds <= self.max_timeout_seconds:
            raise ValueError(
                f"has lease_seconds = {self.lease_seconds:g}, which must be more than max_timeout_seconds = "
                f"{self.max_timeout_seconds:g}: a delivery still on its way would be sent twice"
            )
        return self


class WebConfig(Section):
    """Where health, metrics and pages are served."""

    listen: str = "127.0.0.1:8600"
    stalled_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 60.0
    overdue_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 300.0
    timezone: str = ""
    session_hours: Annotated[float, Field(gt=0, le=720, allow_inf_nan=False)] = 12.0
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
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

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _proxies(cls, value: object) -> object:
        return _network_list(value)

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


class MailConfig(Section):
    """The server that takes what goes to ``mailto:`` endpoints."""

    host: str = ""
    port: Annotated[int, Field(ge=0, lt=2**16)] = 0
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: Path | None = None
    sender: str = ""
    ca_file: Path | None = None

    @field_validator("host")
    @classmethod
    def _host_is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._:-]*", value):
            raise ValueError("is not the name or address of a mail server such as mail.example.com")
        return value

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
        return _password(self.password_file) if self.user and self.password_file is not None else ""


class RetentionConfig(Section):
    """How long what was sent is kept."""

    days: Annotated[int, Field(ge=0, le=36_500)] = 30
    events: Annotated[int, Field(ge=0)] = 0
    payload_days: Annotated[int, Field(ge=0, le=36_500)] = 0


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


class LogConfig(Section):
    """How the consumer talks."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """The whole configuration; ``file`` is where it was read from (None: the environment alone)."""

    source: dict[str, SourceConfig] = {}
    outbox: OutboxConfig = OutboxConfig()
    dispatch: DispatchConfig = DispatchConfig()
    mail: MailConfig = MailConfig()
    web: WebConfig = WebConfig()
    retention: RetentionConfig = RetentionConfig()
    tracing: TracingConfig = TracingConfig()
    log: LogConfig = LogConfig()
    _file: Path | None = PrivateAttr(default=None)
    _origins: dict[TomlPath, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _name_sources(self) -> Self:
        for name, source in self.source.items():
            source._name = name  # noqa: SLF001 - a source's name is its key here; nobody else sets it
        return self

    @field_validator("web")
    @classmethod
    def _login_names_a_source(cls, web: WebConfig, info: ValidationInfo) -> WebConfig:
        sources = info.data.get("source")  # absent when they are wrong themselves
        if web.facturascripts_login and sources is not None and web.facturascripts_login not in sources:
            there_are = ", ".join(sorted(sources)) or "none at all"
            raise ValueError(f"has facturascripts_login = {web.facturascripts_login!r}; the sources are: {there_are}")
        return web

    @property
    def file(self) -> Path | None:
        return self._file

    @property
    def origins(self) -> dict[TomlPath, str]:
        """Path of an option that was given → where (``cdc.toml line 4``, ``CDC_OUTBOX_URL``)."""
        return self._origins

    def select_source(self, name: str) -> SourceConfig:
        """Raises `ConfigError` naming the sources that there are."""
        if name not in self.source:
            there_are = ", ".join(sorted(self.source)) or "none at all"
            raise ConfigError(f"There is no source {name!r} in the configuration.", f"There are: {there_are}.")
        return self.source[name]


#: Name of each table of the file → what may stand in it ("source": in each source).
SECTIONS: Mapping[str, type[Section]] = {
    "source": SourceConfig,
    "outbox": OutboxConfig,
    "dispatch": DispatchConfig,
    "mail": MailConfig,
    "web": WebConfig,
    "retention": RetentionConfig,
    "tracing": TracingConfig,
    "log": LogConfig,
}


def _with_password(info: ConnectionInfo, file: Path | None) -> ConnectionInfo:
    return info if file is None else info.as_user(info.user, _password(file))


def _password(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The password file {file} cannot be read: {_reason(error)}.", "It holds the password and nothing else."
        ) from error


def _is_proxy(url: str) -> bool:
    try:
        port = urlsplit(url).port  # parsed, and refused, only when asked for
    except ValueError:
        return False
    return re.fullmatch(r"http://([^/?#@\s]+@)?[^/?#@\s]+/?", url) is not None and port != 0


def _network_list(value: object) -> object:
    """Raises `ValueError`, as validators do."""
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


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8 text"
