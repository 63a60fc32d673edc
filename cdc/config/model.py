"""The configuration as the program reads it: every option, its type, its default and its limits.

`cdc.config.load` makes it from files and the environment; what each option means to its user is written once, in
``default.toml`` beside this file.  Paths and SQLite URLs are absolute here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from cdc.config.dispatch import DispatchConfig, MailConfig
from cdc.config.outbox import OutboxConfig, RetentionConfig
from cdc.config.rest import RestConfig
from cdc.config.section import Section
from cdc.config.source import SourceConfig
from cdc.config.web import TracingConfig, WebConfig
from cdc.model.errors import ConfigError
from cdc.model.toml_lines import TomlPath


class LogConfig(Section):
    """How the consumer talks."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class ProcessConfig(Section):
    """How `cdc run` gets on with the other processes of its machine."""

    nice: int = Field(default=5, ge=0, le=19)


class Config(Section):
    """The whole configuration; ``file`` is where it was read from (None: the environment alone)."""

    source: dict[str, SourceConfig] = Field(default_factory=dict)
    outbox: OutboxConfig = OutboxConfig()
    dispatch: DispatchConfig = DispatchConfig()
    mail: MailConfig = MailConfig()
    web: WebConfig = WebConfig()
    retention: RetentionConfig = RetentionConfig()
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

    def read_from(self, file: Path | None, origins: dict[TomlPath, str]) -> None:
        """Said by the loader, once: where it was read from, and `origins`."""
        self._file, self._origins = file, origins

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


#: Tables within the table of a source.
SOURCE_TABLES: Mapping[str, type[Section]] = {"rest": RestConfig}
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
    "process": ProcessConfig,
}
