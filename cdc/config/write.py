"""Writes configuration files (the commented default, a first one, sources for the installations of FacturaScripts that
are found, accounts of their own) and shows the effective values."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import chain, count
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from cdc.config.load import load_config, resolved
from cdc.config.model import Config
from cdc.config.php import LARGEST, read_config_php
from cdc.config.section import SQLITE
from cdc.config.source import address_problem
from cdc.config.url import MASK, mask_url, parse_database_url
from cdc.files import keep_owner, read_regular, replace_durably
from cdc.model.connection import LONGEST, AccountRole, ConnectionInfo, Engine, new_password, own_name
from cdc.model.errors import ConfigError, UsageError
from cdc.model.event import OPERATIONS
from cdc.model.toml_lines import TomlLines, TomlPath

_URL_OPTIONS = ("url", "admin_url")


def default_toml() -> str:
    """The file that ``cdc config init`` prints: every option, explained, with its default."""
    return (files("cdc.config") / "default.toml").read_text(encoding="utf-8")


def masked(config: Config) -> dict[str, Any]:
    """All values as JSON knows them, passwords replaced by ``***``."""
    values: dict[str, Any] = config.model_dump(mode="json")
    for source in values["source"].values():
        if source["rest"]["token"] is not None:
            source["rest"]["token"] = MASK
        if source["nats"]["url"] is not None:
            source["nats"]["url"] = mask_url(source["nats"]["url"])
    for table in [*values["source"].values(), values["outbox"]]:
        for option in _URL_OPTIONS:
            if table.get(option) is not None:
                table[option] = mask_url(table[option])
    proxies = values["dispatch"]["proxies"]
    values["dispatch"]["proxies"] = {name: mask_url(url) for name, url in proxies.items()}
    return values


def effective_toml(config: Config) -> str:
    """`masked` as TOML; after each value, where it was set."""
    return "\n".join(_lines(masked(config), config.origins))


def _lines(values: Mapping[str, Any], origins: Mapping[TomlPath, str]) -> Iterator[str]:
    tables: dict[tuple[str, ...], Any] = {("source", name): table for name, table in values["source"].items()}
    tables |= {(name,): table for name, table in values.items() if name != "source"}
    for path, table in tables.items():
        yield f"[{'.'.join(path)}]"
        for option, value in table.items():
            if value is not None:
                yield f"{option} = {_toml(value)}  # {origins.get((*path, option), 'default')}"
        yield ""


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (
            f"{json.dumps(name, ensure_ascii=False)} = {_toml(inner)}"
            for name, inner in value.items()
            if inner is not None
        )
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)  # TOML writes texts, numbers and booleans as JSON does


@dataclass(frozen=True, slots=True)
class Choices:
    """Choices for a new configuration; None leaves a default.  ``facturascripts``, ``url`` and ``api`` exclude each
    other: a database, or the address of FacturaScripts, whose API is read with the token in ``token_file``."""

    facturascripts: Path | None = None
    url: str | None = None
    password_file: Path | None = None
    capture: str | None = None
    outbox: str | None = None
    allow_private: bool = False
    api: str | None = None
    token_file: Path | None = None
    accounts: Path | None = None

    @property
    def account_options(self) -> dict[str, str]:
        """The options that name accounts of its own for the database; ``accounts`` is the folder of their passwords."""
        if self.accounts is None:
            return {}
        return account_options("main", Engine.MYSQL, self.capture, self.accounts)  # short enough for each engine


def check_choices(choices: Choices) -> None:
    """Raises `UsageError` for what excludes each other, a URL that holds a password, or is none, and an API without a
    token."""
    options = {"--facturascripts": choices.facturascripts, "--url": choices.url, "--api": choices.api}
    places = [name for name, place in options.items() if place is not None]
    if len(places) > 1:
        raise UsageError(f"{' and '.join(places)} exclude each other.", "Give one of them.")
    if choices.url is not None and parse_database_url(choices.url, "The URL").password:
        raise UsageError(
            "The command line is no place for a database's password: other users see it.",
            "Leave it out of the URL, and name a file that holds it: --password-file FILE.",
        )
    if choices.api is not None:
        if choices.accounts is not None:
            raise UsageError("--accounts is for a database, and --api for none.", "Leave one of them out.")
        if problem := address_problem(choices.api):
            raise UsageError(f"What --api says {problem}.")
        if choices.capture not in (None, "rest") or choices.password_file is not None:
            raise UsageError(
                "--api is for capture by rest, without a database.", "Leave --capture and --password-file out."
            )
        if choices.token_file is None:
            raise UsageError(
                "FacturaScripts' API is read with a key, and none is given.",
                "Control panel, API keys: put one into a file, and name that: --token-file FILE.",
            )
    elif choices.capture == "rest" or choices.token_file is not None:
        raise UsageError(
            "Where FacturaScripts' API is, is not said.", "Give its address: --api https://erp.example.com"
        )


def initial_toml(choices: Choices) -> str:
    """Raises `UsageError` as `check_choices`."""
    check_choices(choices)
    text = default_toml()
    if choices.url is not None or choices.api is not None:
        text = re.sub(r"^facturascripts = ", "# facturascripts = ", text, flags=re.MULTILINE)
    if choices.url is not None:
        text = _set(text, "source.main", "url", choices.url)
    if choices.api is not None:
        text = _set(text, "source.main", "capture", "rest")
        text = _set(text, "source.main.rest", "url", choices.api)
        text = _set(text, "source.main.rest", "token_file", str(choices.token_file))
    if choices.facturascripts is not None:
        text = _set(text, "source.main", "facturascripts", str(choices.facturascripts))
    if choices.password_file is not None:
        text = _set(text, "source.main", "password_file", str(choices.password_file))
    for option, value in choices.account_options.items():
        text = _set(text, "source.main", option, value)
    if choices.capture is not None and choices.api is None:
        text = _set(text, "source.main", "capture", choices.capture)
    if choices.outbox is not None:
        text = _set(text, "outbox", "url", choices.outbox)
    return _set(text, "dispatch", "allow_private", True) if choices.allow_private else text


def short_toml(choices: Choices) -> str:
    """Return a configuration with nothing but the choices.  Raises `UsageError` as `check_choices`."""
    check_choices(choices)
    source = {
        "facturascripts": choices.facturascripts,
        "url": choices.url,
        "password_file": choices.password_file,
        "capture": "rest" if choices.api is not None else choices.capture,
        **choices.account_options,
    }
    tables: dict[str, Mapping[str, object]] = {
        "source.main": source,
        "source.main.rest": {} if choices.api is None else {"url": choices.api, "token_file": choices.token_file},
        "outbox": {"url": choices.outbox},
        "dispatch": {"allow_private": choices.allow_private or None},  # receivers on this machine and in its networks
    }
    text = [_SHORT]
    for table, options in tables.items():
        lines = [
            f"{name} = {_toml(value if isinstance(value, bool) else str(value))}\n"
            for name, value in options.items()
            if value is not None
        ]
        text += [f"\n[{table}]\n", *lines] if lines else []
    return "".join(text)


_SHORT: Final = """\
# What was chosen; every other option has its default.
# `cdc config init` prints them all with their meaning, `cdc config show` those in force.
"""


def with_option(text: str, table: str, option: str, value: str | bool) -> str:
    """Return the text of a configuration with this value of an option; its table is added where it is missing."""
    line = f"{option} = {json.dumps(value, ensure_ascii=False)}"
    header = re.search(rf"^\[{re.escape(table)}\][^\n]*\n", text, re.MULTILINE)
    if header is None:
        return f"{text.rstrip()}\n\n[{table}]\n{line}\n".lstrip()
    head, rest = text[: header.end()], text[header.end() :]
    inner, *following = re.split(r"^(?=\[)", rest, maxsplit=1, flags=re.MULTILINE)
    changed, found = re.subn(rf"^[ \t]*{option}[ \t]*=.*$", lambda _: line, inner, count=1, flags=re.MULTILINE)
    return head + (changed if found else f"{line}\n{inner}") + "".join(following)


#: A string of TOML on one line.
_STRING: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'')


def relocated(text: str, base: Path, moved: Mapping[Path, Path]) -> str:
    """Return the text of the configuration in the folder ``base`` for another folder: its paths are absolute, and those
    of ``moved`` are the new ones."""
    values = tomllib.loads(text)
    for path, raw in _texts(values):
        new = _relocated(path, raw, base, moved)
        if new == raw:
            continue
        start = sum(map(len, text.splitlines(keepends=True)[: (TomlLines(text).of(path) or 1) - 1]))
        strings = _STRING.finditer(text, start)
        found = next((each for each in strings if tomllib.loads(f"x = {each[0]}")["x"] == raw), None)
        if found is not None:
            text = f"{text[: found.start()]}{_text(new)}{text[found.end() :]}"
    outbox = moved.get(base / "cdc.db")
    if outbox is not None and "url" not in values.get("outbox", {}):
        text = with_option(text, "outbox", "url", f"{SQLITE}{outbox}")
    return text


def _texts(table: Mapping[str, Any], around: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and the value of each text in the tables of a configuration."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _texts(value, (*around, name))
        elif isinstance(value, str):
            yield (*around, name), value


def _relocated(path: tuple[str, ...], raw: str, base: Path, moved: Mapping[Path, Path]) -> str:
    *table, option = path
    if path[:-1] == ("dispatch", "client_certificates"):
        text = str(resolved(("dispatch",), "client_certificates", {option: raw}, base)[option])
    else:
        text = str(resolved(tuple(table), option, raw, base))
    if text.startswith(SQLITE):
        file = Path(text.removeprefix(SQLITE))
        return f"{SQLITE}{moved.get(file, file)}"
    if option in _URL_OPTIONS:  # with files of TLS among its parameters
        for old, new in moved.items():
            text = text.replace(f"={old}", f"={new}")
        return text
    return str(moved.get(Path(text), text)) if text.startswith("/") else text


def _set(text: str, table: str, option: str, value: str | bool) -> str:
    """The option's line in its table, whether it is a comment or not, says this."""
    head, begin, rest = text.partition(f"\n[{table}]\n")
    line = f"{option} = {json.dumps(value, ensure_ascii=False)}"
    changed, found = re.subn(rf"^(# )?{option} = .*$", lambda _: line, rest, count=1, flags=re.MULTILINE)
    assert found, f"the default has {option}"
    return f"{head}{begin}{changed}"


_OPTIONS = {
    AccountRole.CONSUMER: ("user", "password_file"),
    AccountRole.INSTALLER: ("admin_user", "admin_password_file"),
}


def account_options(source: str, engine: Engine, capture: str | None, folder: Path) -> dict[str, str]:
    """Return the options that name the accounts of a source, and the files of their passwords in a folder.  Capture by
    the binlog installs nothing."""
    options: dict[str, str] = {}
    for role, (user, file) in _OPTIONS.items():
        if role is AccountRole.CONSUMER or capture != "binlog":
            name = own_name(source, role, LONGEST[engine])
            options |= {user: name, file: str(folder.absolute() / name)}
    return options


def write_passwords(options: dict[str, str]) -> None:
    """Write a new password into each file that is not there, for its owner only.  Raises `ConfigError`."""
    for _, option in _OPTIONS.values():
        if option not in options:
            continue
        file = Path(options[option])
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                number = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
                with os.fdopen(number, "w", encoding="utf-8") as out:
                    out.write(new_password())
        except OSError as error:
            raise ConfigError(
                f"The password file {file} cannot be written: {error.strerror}.",
                "Name another folder.",
            ) from error


CONFIG_PHP: Final = "config.php"
#: A file of this name that holds these letters is FacturaScripts'.
_MARK: Final = b"FS_DB_NAME"
#: Folders in which no installation is, or too much to look through.
_SKIPPED: Final = frozenset({"node_modules", "vendor", "Core", "Plugins", "Dinamic", "MyFiles"})
#: Names of folders, hosts and databases that say nothing of whose installation it is, also with a number.
_NAMELESS: Final = re.compile(
    "(apps?|current|docroot|domains|erp|factura|facturacion|facturas|facturascripts|fs|home|htdocs|html|https?docs|live|"
    "opt|prod|production|public|public_html|releases?|sites?|src|srv|usr|var|vhosts|web|www|www-data)?[0-9_-]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ScannedInstallation:
    """``name``: of the source that it becomes; empty when it becomes none: ``why`` then says so.  ``folder``: the
    nearest one that says whose it is; ``schema``: the database's own name."""

    path: Path
    name: str
    database: str = ""
    why: str = ""
    engine: Engine = Engine.MYSQL
    folder: str = ""
    schema: str = ""


class InstallationFacts(NamedTuple):
    """The answers of an installation's database: FacturaScripts' address and its first company, empty where not known;
    and why its changes cannot be captured, empty where they can."""

    site: str = ""
    company: str = ""
    problem: str = ""


def scan(roots: Iterable[Path], present: Config, depth: int) -> list[ScannedInstallation]:
    """Every installation below these folders, by path.  ``depth``: folders below each root.  Raises `ConfigError` for a
    root that is not there."""
    paths: dict[Path, Path] = {}  # → the root, whose parents say something only where it is an installation itself
    for root in roots:
        if not root.exists():
            raise ConfigError(f"There is no {root}.", "Name folders below which FacturaScripts is installed.")
        paths |= dict.fromkeys(_paths(root.resolve(), depth), root.resolve())
    known = dict(_known(present))
    return with_names([_found(path, paths[path], known) for path in sorted(paths)], present.source)


def with_names(
    found: Iterable[ScannedInstallation],
    taken: Collection[str],
    pattern: str = "",
    facts: Mapping[Path, InstallationFacts] = {},
) -> list[ScannedInstallation]:
    """Return the installations, each that becomes a source with a name of its own: by its folder, its site or its
    company, else by its database; or by a pattern of these words, such as ``{company}-{database}``.  ``taken``: names
    of other sources.  Raises `UsageError` for a pattern with other words."""
    names, named = {*taken, OPERATIONS}, []
    for each in found:
        if each.why:
            named.append(each)
            continue
        known = facts.get(each.path, InstallationFacts())
        database = each.schema.lower().removeprefix("facturascripts_").removeprefix("fs_")
        words = {
            "folder": each.folder,
            "site": _site_word(known.site),
            "company": known.company,
            "database": database,
        }
        if unknown := [word for word in re.findall(r"\{(.*?)\}", pattern) if word not in words]:
            raise UsageError(f"--name has {{{unknown[0]}}}.", f"It knows {', '.join(f'{{{word}}}' for word in words)}.")
        if pattern:
            text = pattern
            for word, value in words.items():
                text = text.replace(f"{{{word}}}", value)
            proposed = [_slug(text)]
        else:
            telling = [_slug(words[word]) for word in ("folder", "site", "company")]
            proposed = list(filter(None, telling)) or ["" if _NAMELESS.fullmatch(database) else _slug(database)]
        first = proposed[0] or "main"
        numbered = (f"{first}-{number}" for number in count(2))
        name = next(word for word in chain(filter(None, proposed), [first], numbered) if word not in names)
        names.add(name)
        named.append(replace(each, name=name))
    return named


def _site_word(site: str) -> str:
    """``https://erp.acme.com.es/`` → ``acme``: the host without what says nothing of whose it is."""
    labels = (urlsplit(site).hostname or "").split(".")
    if labels[-1].isdecimal() or len(labels) == 1:
        return ""  # an address, or a name of this machine
    while len(labels) > 1 and _NAMELESS.fullmatch(labels[0]):
        del labels[0]
    del labels[-1]
    if len(labels) > 1 and labels[-1] in _SECOND_LEVEL:
        del labels[-1]
    return "-".join(labels)


#: Labels of hosts under which countries register names.
_SECOND_LEVEL: Final = frozenset({"co", "com", "edu", "gob", "gov", "net", "nom", "org"})


def _paths(root: Path, depth: int) -> Iterator[Path]:
    """Symbolic links are not followed: they may lead round in a circle."""
    if root.is_file():
        yield root
        return
    for folder, inner, names in os.walk(root):
        path = Path(folder)
        if CONFIG_PHP in names and _is_theirs(path / CONFIG_PHP):
            yield path / CONFIG_PHP
        deep = len(path.relative_to(root).parts) >= depth
        inner[:] = [] if deep else sorted(each for each in inner if each not in _SKIPPED and not each.startswith("."))


def _is_theirs(path: Path) -> bool:
    """Return whether it is FacturaScripts' file, also where it cannot be read: that is reported."""
    try:
        return _MARK in read_regular(path, LARGEST)
    except OSError:
        return True


def _known(present: Config) -> Iterator[tuple[object, str]]:
    """File or database of each source → its name."""
    for name, source in present.source.items():
        if source.facturascripts is not None:
            yield source.facturascripts.resolve(), name
        try:
            yield _place(source.connection()), name
        except ConfigError:
            continue  # it is wrong, which is not what is asked here


def _place(info: ConnectionInfo) -> object:
    return info.engine, info.socket or (info.host, info.port), info.database


def _found(path: Path, root: Path, known: dict[object, str]) -> ScannedInstallation:
    """``known`` is added to: two installations on one database are one source."""
    if path in known:
        return ScannedInstallation(path, "", why=f"it is the source {known[path]} already")
    if not _is_text(str(path)):
        return ScannedInstallation(path, "", why="its path is no text in UTF-8, as a configuration file is")
    try:
        info = read_config_php(path)
    except ConfigError as error:
        return ScannedInstallation(path, "", why=error.message)
    place = _place(info)
    if place in known:
        return ScannedInstallation(path, "", info.describe(), f"the source {known[place]} reads this database already")
    known[path] = known[place] = f"of {path}"
    folders = [each for each in path.parents if each.is_relative_to(root) or path in (root, root / CONFIG_PHP)]
    folder = next((each.name for each in folders if not _NAMELESS.fullmatch(each.name)), "")
    return ScannedInstallation(path, "", info.describe(), "", info.engine, folder, info.database)


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")


def as_toml(
    found: Iterable[ScannedInstallation], options: Mapping[str, str], of_source: Mapping[str, Mapping[str, str]] = {}
) -> str:
    """The sources, as the configuration file has them.  ``options``: more of each; ``of_source``: of one, by name."""
    tables = []
    for each in found:
        if each.name:
            own = {**of_source.get(each.name, {}), **options}
            more = [f"{option} = {_text(value)}" for option, value in own.items()]
            tables.append("\n".join([f"[source.{each.name}]", f"facturascripts = {_text(str(each.path))}", *more]))
    return "\n\n".join(tables) + "\n" if tables else ""


def _is_text(value: str) -> bool:
    """Names of files may be any bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: str) -> str:
    """JSON's escapes are TOML's."""
    return f"'{value}'" if "'" not in value and value.isprintable() else json.dumps(value)


def append(file: Path, text: str) -> None:
    """Add to the configuration file, which is made if it is not there.  Raises as `rewrite`."""
    try:
        before = file.read_text(encoding="utf-8") if file.exists() else ""
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", "Choose another: --config PATH.") from error
    rewrite(file, before + ("" if not before else "\n" if before.endswith("\n") else "\n\n") + text)


def rewrite(file: Path, text: str) -> None:
    """Replace the configuration file, at once or not at all.  Raises `ConfigError` when it is not valid, or cannot
    be written."""
    file = file.resolve()
    try:
        number, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        draft = Path(name)
    except OSError as error:
        raise ConfigError(f"{file} cannot be changed: {error.strerror}.", "Choose another: --config PATH.") from error
    try:
        with os.fdopen(number, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        load_config(draft)
        if file.exists():
            keep_owner(file, draft)
        replace_durably(draft, file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


#: Where web servers, panels and people put it.
_PLACES: Final = (
    "var/www/config.php",
    "var/www/*/config.php",
    "var/www/html/*/config.php",
    "var/www/*/public/config.php",
    "var/www/*/public_html/config.php",
    "var/www/*/htdocs/config.php",
    "var/www/vhosts/*/httpdocs/config.php",
    "srv/www/*/config.php",
    "srv/http/*/config.php",
    "srv/*/config.php",
    "srv/*/public/config.php",
    "srv/*/public_html/config.php",
    "usr/share/nginx/html/config.php",
    "usr/share/nginx/html/*/config.php",
    "home/*/public_html/config.php",
    "home/*/public_html/*/config.php",
    "home/*/www/config.php",
    "opt/lampp/htdocs/*/config.php",
)


def find_facturascripts(here: Path, root: Path = Path("/")) -> list[Path]:
    """Installations, also those that this account may not read: in the folder ``here`` first, then by path."""
    found = {path for place in _PLACES for path in root.glob(place)}
    return [
        path
        for path in (here / "config.php", *sorted(found - {here / "config.php"}))
        if os.path.lexists(path) and _is_theirs(path)
    ]
