"""``make databases``: the servers that the tests need, installed where they are missing; one line for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.programs import IMAGE_VERSIONS, TITLES, UNPACKED_MYSQL, NoServerError, docker_answers, find, version_of
from support.programs import wanted_version as wanted

#: The programs without the package that starts a service; the installer script needs one of the client's.
MARIADB_PACKAGES = ("mariadb-server-core", "mariadb-client-core")


def main() -> int:
    try:
        for flavour in TITLES:
            print(provide(flavour), file=sys.stderr)
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
        if wanted(flavour) or flavour == "postgresql":  # a wheel of the dev group: not missing once that is installed
            raise
        _install_mariadb() if flavour == "mariadb" else _unpack_mysql()
        program = find(flavour)
    return f"{title} {version_of(program.server)}: {program.server} ({program.origin})"


def _install_mariadb() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        message = (
            f"MariaDB is missing: install it (Debian: apt-get install {' '.join(MARIADB_PACKAGES)}), or start Docker."
        )
        raise NoServerError(message)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *MARIADB_PACKAGES]
    for command in (["apt-get", "-qq", "update"], install):
        _run(command, "MariaDB cannot be installed", environment)


def _unpack_mysql() -> None:
    script = Path(__file__).with_name("mysql_from_debian.sh")
    _run(["bash", str(script), str(UNPACKED_MYSQL)], "MySQL cannot be unpacked", dict(os.environ))


def _run(command: list[str], failure: str, environment: dict[str, str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        message = f"{failure}: {' '.join(command)} ended with {done.returncode}: {said[-1] if said else 'no message'}"
        raise NoServerError(message)


if __name__ == "__main__":
    sys.exit(main())
