"""Finds FacturaScripts' ``config.php`` files, in usual places or below given folders, as sources to be written."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Final

from cdc.config.load import load_config
from cdc.config.model import Config
from cdc.config.php import LARGEST, read_config_php
from cdc.files import read_regular, replace_durably
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import ConfigError
from cdc.model.event import OPERATIONS

CONFIG_PHP: Final = "config.php"
#: A file of this name that holds these letters is FacturaScripts'.
_MARK: Final = b"FS_DB_NAME"
#: Folders in which no installation is, or too much to look through.
_SKIPPED: Final = frozenset({"node_modules", "vendor", "Core", "Plugins", "Dinamic", "MyFiles"})
#: Folders whose names say nothing of whose installation it is.
_NAMELESS: Final = frozenset(
    {"facturascripts", "html", "htdocs", "httpdocs", "public", "public_html", "site", "src", "web", "www"}
)


@dataclass(frozen=True, slots=True)
class ScannedInstallation:
    """``name``: of the source that it becomes; empty when it becomes none: ``why`` then says so."""

    path: Path
    name: str
    database: str = ""
    why: str = ""
    engine: Engine = Engine.MYSQL


def scan(roots: Iterable[Path], present: Config, depth: int) -> list[ScannedInstallation]:
    """Every installation below these folders, by path.  ``depth``: folders below each root.  Raises `ConfigError` for a
    root that is not there."""
    names = set(present.source)
    known = dict(_known(present))
    found: list[ScannedInstallation] = []
    for path in sorted(set(_all_paths(roots, depth))):
        each = _found(path, known, names)
        if each.name:
            names.add(each.name)
        found.append(each)
    return found


def _all_paths(roots: Iterable[Path], depth: int) -> Iterator[Path]:
    for root in roots:
        if not root.exists():
            raise ConfigError(f"There is no {root}.", "Name folders below which FacturaScripts is installed.")
        yield from _paths(root.resolve(), depth)


def _paths(root: Path, depth: int) -> Iterator[Path]:
    """Symbolic links are not followed: they may lead round in a circle."""
    if root.is_file():
        yield root
        return
    for folder, inner, files in os.walk(root):
        path = Path(folder)
        if CONFIG_PHP in files and _is_theirs(path / CONFIG_PHP):
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


def _found(path: Path, known: dict[object, str], names: Collection[str]) -> ScannedInstallation:
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
    name = _free(_name_of(path, info.database), names)
    known[path] = known[place] = name
    return ScannedInstallation(path, name, info.describe(), engine=info.engine)


def _name_of(path: Path, database: str) -> str:
    """Return the name of the nearest folder above that says whose it is, else of its database."""
    folders = (each.name for each in path.parents if each.name and each.name.lower() not in _NAMELESS)
    return _slug(next(folders, "")) or _slug(database) or "main"


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")


def _free(name: str, names: Collection[str]) -> str:
    taken = {*names, OPERATIONS}
    return next(each for each in chain([name], (f"{name}-{n}" for n in count(2))) if each not in taken)


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
            shutil.copymode(file, draft)
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
