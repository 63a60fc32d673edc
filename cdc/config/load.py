"""Finds and reads the configuration: a TOML file, then the environment on top; errors name the place and the fix.

Which file: ``--config``, else ``CDC_CONFIG``, else ``cdc.toml`` in the current folder, else none.

Variables: ``CDC_<SECTION>_<OPTION>`` and ``CDC_SOURCE_<NAME>_<OPTION>``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cdc.config.model import SECTIONS, SOURCE_TABLES, Config
from cdc.config.section import KEY_VARIABLE, SQLITE
from cdc.config.source import RestResource, RulesText
from cdc.config.url import parse_database_url
from cdc.model.errors import ConfigError
from cdc.model.event import OPERATIONS
from cdc.model.toml_lines import TomlLines

PREFIX = "CDC_"
#: Says where the file is, and is no option in it.
WHICH_FILE = "CDC_CONFIG"
#: Kubernetes sets these for every service, and one may well be called ``cdc-web``.
_KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)\Z")

Options = Mapping[str, Collection[str]]  # section → its options; the section "source" has those of each source


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of ours: its name, the option that it sets, and its text."""

    name: str
    path: tuple[str, ...]
    value: str


def read_variables(environment: Mapping[str, str], options: Options, sources: Collection[str]) -> list[Variable]:
    """Our variables, by name.  ``sources``: those that the file has.  An empty variable counts as not set."""
    return [
        Variable(name, path, value)
        for name, value in sorted(environment.items())
        if value and name.startswith(PREFIX) and name != WHICH_FILE
        for path in _paths(name, options, sources)
    ]


def variable_name(path: tuple[str, ...]) -> str:
    """The variable that sets the option at ``path``."""
    return PREFIX + "_".join(path).upper().replace("-", "_")


def _paths(name: str, options: Options, sources: Collection[str]) -> Iterator[tuple[str, ...]]:
    """The option that ``name`` sets, if it is one of ours at all.  Raises `ConfigError` for a misspelt one."""
    section, _, rest = name.removeprefix(PREFIX).partition("_")
    section = section.lower()
    if section not in options:
        near = get_close_matches(section, options, n=1, cutoff=0.8)
        if near and rest and not _KUBERNETES.match(name):
            raise ConfigError(
                f"The environment variable {name} sets nothing.", f"Did you mean CDC_{near[0].upper()}_…?"
            )
        return
    path = _source_path(rest, options["source"], sources) if section == "source" else (section, rest.lower())
    if path is not None and (section == "source" or path[-1] in options[section]):
        yield path
    elif not _KUBERNETES.match(name):
        middle = "<NAME>_" if section == "source" else ""
        known = [f"{PREFIX}{section.upper()}_{middle}{_spelt(option)}" for option in sorted(options[section])]
        close = get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
        raise ConfigError(f"The environment variable {name} sets nothing.", hint)


def _source_path(rest: str, options: Collection[str], sources: Collection[str]) -> tuple[str, ...] | None:
    """``MAIN_ADMIN_URL`` → the source ``main``, option ``admin_url``: a source that the file has wins, then the longest
    option.  ``MAIN_REST_URL`` → option ``url`` of its table ``rest``."""
    splits = [
        (rest.removesuffix(f"_{_spelt(option)}"), option)
        for option in sorted(options, key=len, reverse=True)
        if rest.endswith(f"_{_spelt(option)}") and len(rest) > len(option) + 1
    ]
    spelt = {_spelt(source): source for source in sources}
    for name, option in splits:
        if name in spelt:
            return ("source", spelt[name], *option.split("."))
    return ("source", splits[0][0].lower(), *splits[0][1].split(".")) if splits else None


def _spelt(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_")


DEFAULT_FILE = "cdc.toml"
#: The file of the service that `cdc service install` made, for commands in any folder.
SERVICE_FILE = Path("/etc/facturascripts-cdc") / DEFAULT_FILE
_SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
_PATH_OPTIONS = (
    "facturascripts",
    "password_file",
    "admin_password_file",
    "rules",
    "secret_key_file",
    "ca_file",
    "token_file",
    "metrics_token_file",
    "client_secret_file",
    "brand_logo",
)
_LIST_OPTIONS = (
    *("tables", "include", "allow_networks", "hosts", "trusted_proxies", "frame_ancestors"),
    *("scopes", "second_factor"),
)
#: Tables of names and values: in the environment ``name=value,name=value``.
_TABLE_OPTIONS = ("proxies", "client_certificates")
_OTHER_WAY = {"url": "facturascripts", "facturascripts": "url"}
#: Section → its options, in the order in which they are documented; those of a table within it as ``table.option``.
OPTIONS = {
    name: (
        *(option for option in model.model_fields if name != "source" or option not in SOURCE_TABLES),
        *(
            f"{table}.{option}"
            for table, inner in SOURCE_TABLES.items()
            if name == "source"
            for option in inner.model_fields
        ),
    )
    for name, model in SECTIONS.items()
}


def find_config(named: Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    """Return the file to read, or None.  ``named``: the value of ``--config``.  A named one may not exist."""
    if named is not None:
        return folder / named
    if environment.get(WHICH_FILE):
        return folder / environment[WHICH_FILE]
    return next((each for each in (folder / DEFAULT_FILE, SERVICE_FILE) if os.path.isfile(each)), None)  # noqa: PTH113 - False where the folder is closed


def load_config(
    named: Path | None = None, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Config:
    """Read, merge and check everything.  ``folder``: the current one, to which the environment's paths are relative;
    the file's paths are relative to the file.  Raises `ConfigError`."""
    environment = os.environ if environment is None else environment
    folder = folder or Path.cwd()
    draft = _Draft(folder=folder, secret_key=environment.get(KEY_VARIABLE, ""))
    path = find_config(named, environment, folder)
    if path is not None:
        draft.read_file(path)
    draft.apply(read_variables(environment, OPTIONS, draft.source_names()))
    draft.set_default_outbox()
    return draft.finish()


@dataclass
class _Draft:
    """The configuration while it is put together: plain values, and where each came from."""

    folder: Path
    secret_key: str = field(default="", repr=False)
    file: Path | None = None
    text: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    lines: TomlLines = field(default_factory=lambda: TomlLines(""))
    variables: dict[tuple[str, ...], str] = field(default_factory=dict)

    def read_file(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            hint = f"Write one with: cdc config init > {path.name}"
            raise ConfigError(f"There is no configuration file {path}.", hint) from error
        except OSError as error:
            raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"The configuration file {path} is not UTF-8 text.", "Save it as UTF-8.") from error
        try:
            self.values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            hint = "TOML wants texts in quotes and one `option = value` a line; `cdc config init` shows a whole file."
            raise ConfigError(f"{path} is not valid TOML: {error}.", hint) from error
        self.file = path
        self.text = text
        self.lines = TomlLines(text)
        self._resolve_paths(path.parent)

    def source_names(self) -> list[str]:
        sources = self.values.get("source")
        return list(sources) if isinstance(sources, dict) else []

    def apply(self, variables: list[Variable]) -> None:
        """The environment wins; giving one way to connect replaces the other."""
        for variable in variables:
            *sections, option = variable.path
            table = self.values
            for section in sections:
                inner = table.setdefault(section, {})
                if not isinstance(inner, dict):
                    return  # the file is wrong there, which `finish` says
                table = inner
            value: Any = variable.value
            if option in _LIST_OPTIONS:
                value = [part.strip() for part in variable.value.split(",") if part.strip()]
            elif option in _TABLE_OPTIONS:
                pairs = (part.partition("=") for part in variable.value.split(",") if part.strip())
                value = {name.strip(): inner.strip() for name, _, inner in pairs}
            table[option] = resolved(tuple(sections), option, value, self.folder)
            other = _OTHER_WAY.get(option) if sections[0] == "source" else None
            if other is not None and (*sections, other) not in self.variables:
                table.pop(other, None)
            self.variables[variable.path] = variable.name

    def set_default_outbox(self) -> None:
        """The default outbox lies beside the configuration file."""
        outbox = self.values.setdefault("outbox", {})
        if isinstance(outbox, dict) and "url" not in outbox:
            base = self.file.parent if self.file else self.folder
            outbox["url"] = f"{SQLITE}{base / 'cdc.db'}"

    def finish(self) -> Config:
        self._check_source_names()
        try:
            config = Config.model_validate(self.values)
        except ValidationError as error:
            problems = [self._sentence(detail) for detail in error.errors(include_url=False, include_input=False)]
            message, hint = problems[0]
            if len(problems) > 1:
                message += f" (And {len(problems) - 1} more: {' '.join(other for other, _ in problems[1:])})"
            raise ConfigError(message, hint) from None  # pydantic's own text would add nothing but noise
        config.outbox.seal_with(self.secret_key)
        config.read_from(self.file, {path: f"line {line}" for path, line in self.lines.lines.items()} | self.variables)
        if config.outbox.path is None:
            parse_database_url(config.outbox.url, self._where(("outbox", "url")))
        for name, source in config.source.items():
            if isinstance(source.rules, dict):
                source.write_rules(RulesText(self.text, str(self.file), ("source", name, "rules")))
            for option in ("url", "admin_url"):
                url = getattr(source, option)
                if url is not None:
                    parse_database_url(url, self._where(("source", name, option)))
        return config

    def _resolve_paths(self, base: Path) -> None:
        sources = [("source", name) for name in self.source_names()]
        inner = [(*source, table) for source in sources for table in SOURCE_TABLES]
        for path in [*sources, *inner, ("outbox",), ("dispatch",), ("mail",), ("web",), ("oidc",)]:
            table: Any = self.values
            for part in path:
                table = table.get(part) if isinstance(table, dict) else None
            if isinstance(table, dict):
                for option, value in table.items():
                    table[option] = resolved(path, option, value, base)

    def _check_source_names(self) -> None:
        for name in self.source_names():
            if not _SOURCE_NAME.match(name):
                raise ConfigError(
                    f"{self._where(('source', name))}: {name!r} cannot be the name of a source.",
                    "Names are made of a-z, 0-9, _ and -, and begin with a letter or digit.",
                )
            if name == OPERATIONS:
                raise ConfigError(
                    f"{self._where(('source', name))}: no source may be called {name!r}, as operational events are.",
                    "Give it another name, such as main.",
                )

    def _where(self, path: tuple[str, ...]) -> str:
        """``/etc/cdc.toml line 7, [source.main] url``, or the variable."""
        if path in self.variables:
            return f"The environment variable {self.variables[path]}"
        table, option = (path[:-1], f" {path[-1]}") if _is_option(path) else (path, "")
        section = f"[{'.'.join(table)}]{option}"
        line = self.lines.of(path)
        if self.file is None or line is None:
            via = next((name for at, name in self.variables.items() if at[: len(path)] == path), None)
            return f"{section} (from {via} …)" if via else section
        return f"{self.file} line {line}, {section}"

    def _sentence(self, detail: ErrorDetails) -> tuple[str, str]:
        path = tuple(str(part) for part in detail["loc"])
        path = path[: _depth(path)]
        if detail["type"] == "extra_forbidden":
            return self._unknown_key(path)
        if detail["type"] in ("dict_type", "model_type"):
            return f"{self._where(path)} is not a table.", "Write the options of a source below [source.main]."
        text = detail["msg"].removeprefix("Value error, ").rstrip(".")
        is_own = detail["type"] == "value_error"
        hint = f"`cdc config init` explains every option; the variable {variable_name(path)} would win over the file."
        if path in self.variables or not _is_option(path):
            hint = ""
        return f"{self._where(path)}{' ' if is_own else ': '}{text}.", hint

    def _unknown_key(self, path: tuple[str, ...]) -> tuple[str, str]:
        section = path[0] if len(path) > 1 else ""
        match path:
            case ("source", _, "rest", "resources", *_):
                known = tuple(RestResource.model_fields)
            case ("source", _, inner, _) if inner in SOURCE_TABLES:
                known = tuple(SOURCE_TABLES[inner].model_fields)
            case _:
                known = tuple(SECTIONS[section].model_fields if section else OPTIONS)
        place = f"[{'.'.join(path[:-1])}]" if section else "the file"
        near = get_close_matches(path[-1], known, n=1, cutoff=0.5)
        line = self.lines.of(path)
        kind = "option" if section else "section"
        message = f"{self.file} line {line}: there is no {kind} {path[-1]!r} in {place}."
        return message, f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."


def _depth(path: tuple[str, ...]) -> int:
    """Return how many parts of a path name tables and an option; deeper ones name members of unions and lists."""
    match path:
        case ("source", _, "rest", "resources", *_):
            return 6
        case ("source", _, inner, *_) if inner in SOURCE_TABLES:
            return 4
        case ("source", *_):
            return 3
    return 2


def _is_option(path: tuple[str, ...]) -> bool:
    return len(path) > (2 if path[0] == "source" else 1)


def resolved(table: tuple[str, ...], option: str, value: Any, base: Path) -> Any:
    """Paths and SQLite URLs made absolute, so that nothing later depends on the current folder."""
    if option == "client_certificates" and isinstance(value, dict):
        paths = {name: path for name, path in value.items() if isinstance(path, str)}
        return value | {name: str(base / Path(path).expanduser()) for name, path in paths.items()}
    if not isinstance(value, str):
        return value
    if table == ("outbox",) and option == "url" and value.startswith(SQLITE) and value != SQLITE:
        return f"{SQLITE}{base / Path(value.removeprefix(SQLITE)).expanduser()}"
    if option in _PATH_OPTIONS and table[0] in ("source", "outbox", "mail", "web", "oidc"):
        return str(base / Path(value).expanduser())
    return value
