"""Tables of the configuration: their base, values that several of them hold, and ``[outbox]``, ``[retention]`` and
``[limits]``."""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator

from cdc.config.url import parse_database_url
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import ConfigError
from cdc.model.quota import Limited


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


SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgres://")
#: The variable that holds the key (after a change of keys: the new and the old one) that seals secrets in the outbox.
KEY_VARIABLE = "CDC_SECRET_KEY"


class SecretKeys(NamedTuple):
    """The arguments of `cdc.outbox.secret_box.SecretBox`: keys, the present one first, where they are from, and whether
    payloads are sealed."""

    keys: tuple[str, ...] = ()
    where: str = "The key"
    seal_payloads: bool = False


class OutboxConfig(Section):
    """The table ``[outbox]``: the store of events and deliveries."""

    url: str = Field(default=f"{SQLITE}cdc.db", repr=False)
    password_file: Path | None = None
    secret_key_file: Path | None = None
    seal_payloads: bool = False
    synchronous: bool = False
    _secret_key: str = PrivateAttr(default="")  # of the environment; never in a file that may be shown

    def seal_with(self, secret_key: str) -> None:
        """Set the key of the environment, empty without one; called once by the loader."""
        self._secret_key = secret_key

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
        """Return the connection to PostgreSQL.  Reads the password file now; raises `ConfigError`."""
        return with_password(parse_database_url(self.url, "The url of [outbox]"), self.password_file)

    def describe(self) -> str:
        """Return a description for people, never the password."""
        return str(self.path or self.connection().describe())

    def fingerprint(self) -> str:
        """Return what distinguishes this outbox from others without naming it: 16 hexadecimal digits."""
        path = self.path
        where = path.resolve() if path else parse_database_url(self.url, "The url of [outbox]").describe()
        return hashlib.sha256(str(where).encode()).hexdigest()[:16]

    def secret_keys(self) -> SecretKeys:
        """Return the keys from the environment, else from the file (read now).  Raises `ConfigError`."""
        if self._secret_key:
            return SecretKeys(_words(self._secret_key), KEY_VARIABLE, self.seal_payloads)
        if self.secret_key_file is None:
            if self.seal_payloads:
                raise ConfigError(
                    "[outbox] seal_payloads is true, and there is no key to encrypt payloads with.",
                    "cdc outbox new-key makes one: for CDC_SECRET_KEY, or the file of [outbox] secret_key_file.",
                )
            return SecretKeys()
        where = f"The secret key file {self.secret_key_file}"
        hint = (
            "It holds the key and nothing else: cdc outbox new-key makes one. After a change of keys: the new, the old."
        )
        try:
            keys = _words(self.secret_key_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where} cannot be read: {reason(error)}.", hint) from error
        if not keys:
            raise ConfigError(f"{where} is empty.", hint)
        return SecretKeys(keys, where, self.seal_payloads)


class RetentionConfig(Section):
    """The table ``[retention]``: how long finished deliveries and payloads are stored."""

    days: Annotated[int, Field(ge=0, le=36_500)] = 30
    events: Annotated[int, Field(ge=0, le=1_000_000_000_000)] = 0
    payload_days: Annotated[int, Field(ge=0, le=36_500)] = 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


_Most = Annotated[int, Field(ge=1, le=1_000_000)]


class LimitsConfig(Section):
    """The table ``[limits]``: the most of each kind (`cdc.model.quota.Limited`) that one source, and one principal, may
    have."""

    endpoints_per_source: _Most = 1_000
    endpoints_per_principal: _Most = 10_000
    consumers_per_source: _Most = 100
    consumers_per_principal: _Most = 1_000
    tokens_per_source: _Most = 100
    portal_links_per_source: _Most = 1_000
    portal_links_per_principal: _Most = 10_000
    replays_per_source: _Most = 20
    replays_per_principal: _Most = 20
    backfills_per_source: _Most = 1_000
    backfills_per_principal: _Most = 10_000
    idempotency_keys_per_source: _Most = 10_000
    idempotency_keys_per_principal: _Most = 2_000
    streams_per_source: _Most = 20
    streams_per_principal: _Most = 5
    live_pages_per_source: _Most = 20
    live_pages_per_principal: _Most = 10
    previews_per_source: _Most = 8
    previews_per_principal: _Most = 4

    def for_kind(self, kind: Limited) -> tuple[int, int]:
        """Implement `cdc.model.quota.QuotaLimits`.  Tokens have none: administrators add them."""
        values = self.model_dump()
        per_source: int = values[f"{kind}_per_source"]
        return per_source, values.get(f"{kind}_per_principal", 0)


DEFAULT_LIMITS: Final = LimitsConfig()
