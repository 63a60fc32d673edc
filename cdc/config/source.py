"""``[source.NAME]`` and its table ``rest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, PrivateAttr, field_validator, model_validator
from yarl import URL

from cdc.config.php import read_config_php, read_timezone
from cdc.config.section import Section, read_password, reason, with_password
from cdc.config.url import parse_database_url
from cdc.model.broker import StreamUrl, source_subject_problem, stream_url, subject_problem
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import ConfigError, UsageError

Seconds = Annotated[float, Field(ge=1.0, le=86_400.0)]


def address_problem(text: str) -> str:
    """Return the reason why this is no address of a FacturaScripts, without repeating it; empty: it is one."""
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


def _an_address(text: str) -> str:
    if problem := address_problem(text):
        raise ValueError(problem)
    return text


Address = Annotated[str, AfterValidator(_an_address)]


class RestResource(Section):
    """Settings of one table; ``path``, ``key`` and ``numbered`` of FacturaScripts' own tables are known."""

    path: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]+$")
    key: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    numbered: bool | None = None
    interval_seconds: Seconds | None = None
    compare_seconds: Seconds | None = None


class RestConfig(Section):
    """The API of a FacturaScripts; without a ``url`` it is not used."""

    url: Address | None = Field(default=None, repr=False)
    token: str | None = Field(default=None, repr=False)
    token_file: Path | None = None
    requests_per_minute: Annotated[int, Field(ge=6, le=6000)] = 60
    page_size: Annotated[int, Field(ge=10, le=5000)] = 500
    interval_seconds: Seconds = 60.0
    compare_seconds: Seconds = 300.0
    existing: Literal["skip", "read"] = "skip"
    resources: dict[str, RestResource] = Field(default_factory=dict)

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


class NatsConfig(Section):
    """A stream of NATS, to which another cell publishes; without a ``url`` it is not used."""

    url: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    ca_file: Path | None = None
    subject: str = ""
    source_subject: str = "facturascripts.{source}.>"
    sources: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    existing: Literal["read", "skip"] = "read"

    @field_validator("url")
    @classmethod
    def _a_stream(cls, value: str | None) -> str | None:
        try:
            _ = value is None or stream_url(value)
        except UsageError as error:
            raise ValueError(f"is no stream of NATS. {error.hint}") from None
        return value

    @field_validator("subject")
    @classmethod
    def _a_subject(cls, value: str) -> str:
        if value and (problem := subject_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("source_subject")
    @classmethod
    def _a_source_subject(cls, value: str) -> str:
        if problem := source_subject_problem(value):
            raise ValueError(problem)
        return value

    def stream(self) -> StreamUrl:
        """Read the password's file now, if it is in one; raises `ConfigError`."""
        assert self.url is not None, "guaranteed by SourceConfig"
        stream = stream_url(self.url)
        return stream if self.password_file is None else stream._replace(password=read_password(self.password_file))


class RulesText(NamedTuple):
    """The user's rules: a TOML text, the path of its file for errors, and where in it the rules are (empty: all of it).
    These are the arguments of `cdc.mapping.catalogue.load_catalogue`."""

    text: str
    path: str
    section: tuple[str, ...] = ()


class SourceConfig(Section):
    """One FacturaScripts database."""

    url: str | None = Field(default=None, repr=False)
    facturascripts: Path | None = None
    password_file: Path | None = None
    user: Annotated[str, Field(min_length=1)] | None = None
    admin_url: str | None = Field(default=None, repr=False)
    admin_user: Annotated[str, Field(min_length=1)] | None = None
    admin_password_file: Path | None = None
    capture: Literal["triggers", "binlog", "logical", "rest", "nats"] = "triggers"
    reader: Literal["native", "mysql-replication"] = "native"
    on_purged: Literal["stop", "reread"] = "stop"
    replica: Literal["refuse", "accept"] = "refuse"
    slot_limit_mb: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    html: Literal["decode", "raw"] = "decode"
    rules: Path | dict[str, Any] | None = None
    tables: tuple[str, ...] = ()
    new_tables_seconds: Annotated[float, Field(ge=0.2, le=86_400.0)] = 5.0
    include: tuple[Literal["lines", "receipts", "customer", "supplier", "original", "origin"], ...] = ()
    site_url: Address | None = None
    repair: bool = True
    rest: RestConfig = RestConfig()
    nats: NatsConfig = NatsConfig()
    _name: str = PrivateAttr(default="")
    _inline_rules: RulesText | None = PrivateAttr(default=None)

    def call(self, name: str) -> None:
        """Set the source's name, its key in the configuration; called once."""
        self._name = name

    def write_rules(self, rules: RulesText) -> None:
        """Set the text of the rules in the configuration itself; called once by the loader."""
        self._inline_rules = rules

    @model_validator(mode="after")
    def _one_way_to_connect(self) -> Self:
        neither = self.url is None and self.facturascripts is None
        if self.url is not None and self.facturascripts is not None:
            raise ValueError("needs `url` or `facturascripts` (the path of its config.php), and has both")
        if neither and self.has_database:
            raise ValueError("needs `url` or `facturascripts` (the path of its config.php), and has neither")
        if self.capture == "rest":
            if self.rest.url is None:
                raise ValueError(
                    'has capture = "rest" and no `url` below [source.….rest]: the address of FacturaScripts'
                )
            if (self.rest.token is None) == (self.rest.token_file is None):
                count = "neither" if self.rest.token is None else "both"
                raise ValueError(f"needs `token` or `token_file` below [source.….rest], and has {count}")
        if self.capture == "nats" and self.nats.url is None:
            raise ValueError('has capture = "nats" and no `url` below [source.….nats]: the stream')
        if self.capture == "nats" and not self.nats.sources:
            raise ValueError(
                'has capture = "nats" and no `sources` below [source.….nats]: the names of the sources whose events it '
                'may carry, such as ["acme", "shop-*"]'
            )
        if self.admin_password_file is not None and self.admin_url is None and self.admin_user is None:
            raise ValueError("has an `admin_password_file` but no `admin_url` or `admin_user` that it belongs to")
        return self

    @property
    def name(self) -> str:
        return self._name

    @property
    def has_database(self) -> bool:
        """Return whether it is read from FacturaScripts' database."""
        return self.capture not in ("rest", "nats")

    def rules_text(self) -> RulesText | None:
        """The user's own rules, from their file (read now; raises `ConfigError`) or from the configuration itself."""
        if not isinstance(self.rules, Path):
            return self._inline_rules
        try:
            return RulesText(self.rules.read_text(encoding="utf-8-sig"), str(self.rules))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The rules of source {self.name!r} in {self.rules} cannot be read: {reason(error)}.",
                "`rules` is the path of a TOML file, relative to the configuration's.",
            ) from error

    def connection(self) -> ConnectionInfo:
        """The consumer's account: ``user`` when set, else that of ``config.php`` or ``url``.  Reads ``config.php``
        and the password file now; raises `ConfigError`."""
        info = self.place()
        return with_password(info if self.user is None else info.as_user(self.user, ""), self.password_file)

    def place(self) -> ConnectionInfo:
        """The database, with the account of ``config.php`` or ``url``; raises `ConfigError`."""
        if self.url is None and self.facturascripts is None and self.capture == "nats":
            raise ConfigError(
                f"Source {self.name!r} is read from a stream of NATS: it has no database.",
                "Run this in the cell that captures.",
            )
        if self.url is None and self.facturascripts is None:
            raise ConfigError(
                f"Source {self.name!r} is read through the API: its database is not known.",
                "This needs the database itself: give the source a `url`, or `facturascripts`.",
            )
        if self.url is not None:
            return parse_database_url(self.url, f"The url of source {self.name!r}")
        assert self.facturascripts is not None, "checked above"
        return read_config_php(self.facturascripts)

    def timezone(self) -> str:
        """The time zone of FacturaScripts; empty where it is not known."""
        if self.facturascripts is None:
            return ""
        try:
            return read_timezone(self.facturascripts)
        except ConfigError:  # reported when the source connects; the page shows times all the same
            return ""

    def admin_connection(self) -> ConnectionInfo:
        """The account that installs and removes triggers: ``admin_url`` or ``admin_user`` when set, else the
        consumer's."""
        if self.admin_url is None and self.admin_user is None:
            return self.connection()
        if self.admin_url is None:
            info = self.place()
        else:
            info = parse_database_url(self.admin_url, f"The admin_url of source {self.name!r}")
        if self.admin_user is not None:
            info = info.as_user(self.admin_user, "")
        return with_password(info, self.admin_password_file)
