"""``[outbox]`` and ``[retention]``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, PrivateAttr, field_validator

from cdc.config.section import Section, reason, with_password
from cdc.config.url import parse_database_url
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import ConfigError

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
