"""`support.again`: failed tests are run once more, and only few of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.again import MOST, run_again

ONCE = """
from pathlib import Path
def test_it():
    assert Path(__file__).with_suffix('.ran').exists()
"""


@pytest.fixture(autouse=True)
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the runs of these tests what only other tests need: most of their time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def _failed(tmp_path: Path, *names: str) -> Path:
    list_of = tmp_path / "lastfailed"
    list_of.write_text(json.dumps(dict.fromkeys(names, True)))
    return list_of


def test_test_that_passes_by_itself_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    test = tmp_path / "test_once.py"
    test.write_text(ONCE)
    (tmp_path / "test_once.ran").touch()
    assert run_again(_failed(tmp_path, str(test))) == 0
    assert f"Passed only by themselves, to be fixed:\n  {test}" in capfd.readouterr().out


def test_test_that_fails_again_fails_the_run(tmp_path: Path) -> None:
    test = tmp_path / "test_once.py"
    test.write_text(ONCE)
    assert run_again(_failed(tmp_path, str(test))) == 1


def test_many_failures_are_not_run_again(tmp_path: Path) -> None:
    test = tmp_path / "test_once.py"
    test.write_text("def test_it(): pass\n")
    assert run_again(_failed(tmp_path, *(f"{test}?{number}" for number in range(MOST)), str(test))) == 1


def test_failure_without_a_failed_test_fails_the_run(tmp_path: Path) -> None:
    assert run_again(tmp_path / "none") == 1
