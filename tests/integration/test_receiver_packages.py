"""The packages for receivers, each by its own tests; the receivers of ``docs/examples`` use them on real requests.

One whose language is not on this machine is named by a skipped test.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.snippets import snippet
from support.waiting import HANG_SECONDS

PACKAGES = Path(__file__).resolve().parents[2] / "docs" / "packages"


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("php", ["php", "tests/run.php"]),
        ("typescript", ["node", "--test", "test.js"]),
        ("typescript", ["tsc", "--project", "."]),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else given,
)
def test_the_packages_own_tests_pass(package: str, words: list[str]) -> None:
    program = shutil.which(words[0])
    if program is None:
        pytest.skip(f"{package}: not tested, for there is no {words[0]} on this machine.")
    done = subprocess.run(
        [program, *words[1:]],
        cwd=PACKAGES / package,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("title", "file"), [("PHP", "php/src/webhook_is_genuine.php"), ("Node", "typescript/index.js")]
)
def test_the_packages_verify_as_the_document_does(title: str, file: str) -> None:
    """There is one text of each function, which `test_signing_snippets.py` runs."""
    _, keyword, function = snippet(title).partition("function ")
    assert keyword + function.rstrip() in (PACKAGES / file).read_text(encoding="utf-8")


def test_the_packages_name_the_files_that_they_have() -> None:
    composer = json.loads((PACKAGES / "php" / "composer.json").read_text(encoding="utf-8"))
    assert composer["require"].keys() == {"php"}, "no dependency"
    ((namespace, folder),) = composer["autoload"]["psr-4"].items()
    files, declared = composer["autoload"]["files"], "\nnamespace " + namespace.rstrip("\\") + ";\n"
    for path in (PACKAGES / "php" / folder).iterdir():
        text = path.read_text(encoding="utf-8")
        assert declared in text
        assert f"{folder}{path.name}" in files or f"\nfinal class {path.stem}" in text
    npm = json.loads((PACKAGES / "typescript" / "package.json").read_text(encoding="utf-8"))
    assert "dependencies" not in npm
    exported = {path.removeprefix("./") for path in npm["exports"]["."].values()}
    assert exported < set(npm["files"]) <= {path.name for path in (PACKAGES / "typescript").iterdir()}
