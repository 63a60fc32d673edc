"""``[source.NAME]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, model_validator

from cdc.config.php import read_config_php
from cdc.config.rest import RestConfig
from cdc.config.section import Section, reason, with_password
from cdc.config.url import parse_database_url
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import ConfigError


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
    admin_url: str | None = Field(default=None, repr=False)
    admin_password_file: Path | None = None
    capture: Literal["triggers", "binlog", "logical", "rest"] = "triggers"
    reader: Literal["native", "mysql-replication"] = "native"
    on_purged: Literal["stop", "reread"] = "stop"
    slot_limit_mb: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    html: Literal["decode", "raw"] = "decode"
    rules: Path | dict[str, Any] | None = None
    tables: tuple[str, ...] = ()
    new_tables_seconds: Annotated[float, Field(ge=0.2, le=86_400.0)] = 5.0
    include: tuple[Literal["lines", "receipts"], ...] = ()
    repair: bool = True
    rest: RestConfig = RestConfig()
    _name: str = PrivateAttr(default="")
    _inline_rules: RulesText | None = PrivateAttr(default=None)

    def call(self, name: str) -> None:
        """Said by the configuration, once: a source's name is its key there."""
        self._name = name

    def write_rules(self, rules: RulesText) -> None:
        """Said by the loader, once: the text of the rules that stand in the configuration itself."""
        self._inline_rules = rules

    @model_validator(mode="after")
    def _one_way_to_connect(self) -> Self:
        neither = self.url is None and self.facturascripts is None
        if self.url is not None and self.facturascripts is not None:
            raise ValueError("needs `url` or `facturascripts` (the path of its config.php), and has both")
        if neither and self.capture != "rest":
            raise ValueError("needs `url` or `facturascripts` (the path of its config.php), and has neither")
        if self.capture == "rest":
            self._check_api()
        if self.admin_password_file is not None and self.admin_url is None:
            raise ValueError("has an `admin_password_file` but no `admin_url` that it belongs to")
        return self

    def _check_api(self) -> None:
        if self.rest.url is None:
            raise ValueError('has capture = "rest" and no `url` below [source.….rest]: the address of FacturaScripts')
        if (self.rest.token is None) == (self.rest.token_file is None):
            count = "neither" if self.rest.token is None else "both"
            raise ValueError(f"needs `token` or `token_file` below [source.….rest], and has {count}")

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
                f"The rules of source {self.name!r} in {self.rules} cannot be read: {reason(error)}.",
                "`rules` is the path of a TOML file, relative to the configuration's.",
            ) from error

    def connection(self) -> ConnectionInfo:
        """The consumer's account.  Reads ``config.php`` and the password file now; raises `ConfigError`."""
        if self.url is None and self.facturascripts is None:
            raise ConfigError(
                f"Source {self.name!r} is read through the API: its database is not known.",
                "This needs the database itself: give the source a `url`, or `facturascripts`.",
            )
        if self.url is not None:
            info = parse_database_url(self.url, f"The url of source {self.name!r}")
        else:
            assert self.facturascripts is not None, "just looked at"
            info = read_config_php(self.facturascripts)
        return with_password(info, self.password_file)

    def admin_connection(self) -> ConnectionInfo:
        """The account that installs and removes triggers: ``admin_url`` when given, else the consumer's."""
        if self.admin_url is None:
            return self.connection()
        info = parse_database_url(self.admin_url, f"The admin_url of source {self.name!r}")
        return with_password(info, self.admin_password_file)
