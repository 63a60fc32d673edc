"""``make databases``: the servers and the browser that the tests need, installed where they are missing; one line for
each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.browser import chromium
from support.programs import (
    BROKERS,
    IMAGE_VERSIONS,
    TITLES,
    UNPACKED,
    UNPACKED_MARIADB_VERSION,
    NoServerError,
    docker_answers,
    find,
    find_broker,
    version_of,
)
from support.programs import wanted_version as wanted

#: The programs without the package that starts a service; the installer script needs one of the client's.
MARIADB_PACKAGES = ("mariadb-server-core", "mariadb-client-core")
#: With a font: without one a page has no letters.
CHROMIUM_PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")


def main() -> int:
    try:
        for flavour in TITLES:
            print(provide(flavour), file=sys.stderr)
        for name in BROKERS:
            print(provide_broker(name), file=sys.stderr)
        print(provide_chromium(), file=sys.stderr)
    except NoServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def provide(flavour: str) -> str:
    """Have the server here; what is said of it."""
    title = TITLES[flavour]
    if docker_answers():
        return f"{title} {wanted(flavour) or IMAGE_VERSIONS[flavour]}: in a container"
    try:
        program = find(flavour)
    except NoServerError:
        if flavour == "mariadb" and wanted(flavour) == UNPACKED_MARIADB_VERSION:
            _unpack(flavour)
        elif wanted(flavour) or flavour == "postgresql":  # a wheel of the dev group: there once that is installed
            raise
        elif flavour == "mariadb":
            _install_mariadb()
        else:
            _unpack(flavour)
        program = find(flavour)
    return f"{title} {version_of(program.server)}: {program.server} ({program.origin})"


def provide_broker(name: str) -> str:
    """Have the message broker here; what is said of it."""
    try:
        program = find_broker(name)
    except NoServerError:
        _unpack(name)
        program = find_broker(name)
    return f"{BROKERS[name][0]}: {program}"


def provide_chromium() -> str:
    """Have a browser here; what is said of it."""
    program = chromium()
    if program is None:
        _install("Chromium", CHROMIUM_PACKAGES, otherwise="")
        program = chromium()
    if program is None:
        message = f"Chromium was installed ({' '.join(CHROMIUM_PACKAGES)}), and no program of that name is here."
        raise NoServerError(message)
    return f"Chromium: {program}"


def _install_mariadb() -> None:
    _install("MariaDB", MARIADB_PACKAGES, otherwise=", or start Docker")


def _install(title: str, packages: tuple[str, ...], *, otherwise: str) -> None:
    """``otherwise``: what may be done instead."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        message = f"{title} is missing: install it (Debian: apt-get install {' '.join(packages)}){otherwise}."
        raise NoServerError(message)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *packages]
    for command in (["apt-get", "-qq", "update"], install):
        _run(command, f"{title} cannot be installed", environment)


def _unpack(flavour: str) -> None:
    script = Path(__file__).with_name("unpack_from_debian.sh")
    command = ["bash", str(script), flavour, str(UNPACKED[flavour])]
    title = TITLES.get(flavour) or BROKERS[flavour][0]
    _run(command, f"{title} cannot be unpacked", dict(os.environ))


def _run(command: list[str], failure: str, environment: dict[str, str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        message = f"{failure}: {' '.join(command)} ended with {done.returncode}: {said[-1] if said else 'no message'}"
        raise NoServerError(message)


if __name__ == "__main__":
    sys.exit(main())
