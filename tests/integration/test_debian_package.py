"""The Debian package of `docker/debian/build.sh`: installed, upgraded, removed and purged by dpkg, below a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "facturascripts-cdc"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("dpkg-deb") is None or not Path("/usr/bin/python3").exists(),
    reason="installs as root, by Debian's tools: CI does",
)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The package, and the same as a later version."""
    folder = tmp_path_factory.mktemp("deb")
    environment = os.environ | {
        "PIP": str(Path(sys.executable).with_name("pip")),
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    pip = [sys.executable, "-m", "pip"]
    wheel = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(wheel, check=True, env=environment)
    (built,) = folder.glob("*.whl")
    subprocess.run(["bash", str(ROOT / "docker/debian/build.sh"), str(built), str(folder)], check=True, env=environment)
    (package,) = folder.glob("*.deb")
    later = folder / "later"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(later)], check=True)
    control = later / "DEBIAN/control"
    control.write_text(control.read_text("utf-8").replace("\nVersion: ", "\nVersion: 1:"), encoding="utf-8")
    newer = folder / "newer.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(later), str(newer)], check=True)
    return [package, newer]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder with as much of a system as dpkg and useradd need."""
    (tmp_path / "var/lib/dpkg/info").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").touch()
    (tmp_path / "etc").mkdir()
    for name, line in {
        "passwd": "root:x:0:0::/root:/bin/sh",
        "group": "root:x:0:",
        "shadow": "",
        "gshadow": "",
    }.items():
        (tmp_path / "etc" / name).write_text(f"{line}\n" if line else "", encoding="ascii")
    return tmp_path


def dpkg(root: Path, *arguments: str) -> None:
    command = ["dpkg", f"--root={root}", "--force-script-chrootless,depends,not-root", "--log=/dev/null", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def account(root: Path) -> list[str]:
    lines = (root / "etc/passwd").read_text("ascii").splitlines()
    return next((line.split(":") for line in lines if line.startswith(f"{NAME}:")), [])


def test_package_is_installed_upgraded_removed_and_purged(packages: list[Path], root: Path) -> None:
    first, second = packages
    dpkg(root, "--install", str(first))
    state, configuration = root / "var/lib" / NAME, root / "etc" / NAME
    uid = int(account(root)[2])
    assert account(root)[6] == "/usr/sbin/nologin"
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (uid, 0o700)
    unit = (root / f"usr/lib/systemd/system/{NAME}.service").read_text("utf-8")
    assert f"ExecStart=/usr/bin/cdc --config /etc/{NAME}/cdc.toml" in unit
    assert f"\nUser={NAME}\n" in unit
    (state / "cdc.db").write_text("outbox", encoding="ascii")
    (configuration / "cdc.toml").write_text("# ours\n", encoding="ascii")

    dpkg(root, "--install", str(second))
    assert int(account(root)[2]) == uid
    assert (state / "cdc.db").exists()
    assert (configuration / "cdc.toml").exists()

    dpkg(root, "--remove", NAME)
    assert not (root / "usr/bin/cdc").exists()
    assert not (root / "usr/lib" / NAME).exists()
    assert (state / "cdc.db").exists(), "a removal keeps what would be lost"
    assert (configuration / "cdc.toml").exists()

    dpkg(root, "--purge", NAME)
    assert not state.exists()
    assert not configuration.exists()
    assert account(root) == []


def test_installed_program_starts_without_writing(packages: list[Path], root: Path) -> None:
    dpkg(root, "--install", str(packages[0]))
    library = root / "usr/lib" / NAME
    before = sorted(each for each in library.rglob("*"))
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cdc.cli import main; main()"
    command = ["/usr/bin/python3", "-I", "-c", program, str(library), "config", "init"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert "[source.main]" in done.stdout, done.stderr
    assert sorted(each for each in library.rglob("*")) == before, "its bytecode is in the package"


def test_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    def notes(version: str) -> str:
        command = ["bash", str(ROOT / ".ci/notes.sh"), version]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    sections = dict(each.split("\n", 1) for each in changelog.split("\n## ")[1:])
    released = next(title for title in sections if title.startswith("["))
    assert notes(released[1:].partition("]")[0]).strip() == sections[released].strip()
    if "Unreleased" in sections:
        assert notes("99.0.0").strip() == sections["Unreleased"].strip()
