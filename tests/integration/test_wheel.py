"""The wheel, built without a network and installed into a folder of its own, has all that it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    int(version("setuptools").partition(".")[0]) < 77,
    reason="a setuptools that reads pyproject.toml: make test has one",
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is in the repository: building writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in _tracked():
        target = folder / "src" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    _pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "src"))
    (built,) = folder.glob("*.whl")
    return built


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = ("cdc/", "sql/", "pyproject.toml", "README.md", "LICENSE")
    return [name for name in listed.stdout.split("\0") if name.startswith(wanted) and (ROOT / name).is_file()]


def _pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {name if name.startswith("cdc/") else f"cdc/{name}" for name in _tracked() if "/" in name}
    assert wanted - names == set()


def test_wheel_compiles_without_a_warning_on_each_python_at_hand(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    found = [shutil.which(f"python{version}") for version in ("3.11", "3.12", "3.13", "3.14")]
    for python in {sys.executable, *filter(None, found)}:
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode != 0:
            continue  # pyenv's placeholder of a version that is not chosen
        words = [python, "-W", "error", "-m", "compileall", "-q", "-f", str(tmp_path / "cdc")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (python, done.stdout + done.stderr)


def test_demo_and_help_of_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    _pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    environment = os.environ | {"PYTHONPATH": str(site)}

    def run(*command: str) -> str:
        words = [sys.executable, *command]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("-c", "import cdc; print(cdc.__file__)").strip() == str(site / "cdc" / "__init__.py")
    program = str(site / "bin" / "cdc")
    assert "setup" in run(program, "--help")
    output = run(program, "demo", "--once")
    assert "every signature verified." in output
    assert "Invoice FAC2026A1 paid · O'Brien & Sons SL · €121.00" in output, "a message for Slack"
