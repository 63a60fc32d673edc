"""How the command line starts, fails and documents itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click import Context
from click.testing import CliRunner

from cdc import __version__
from cdc.cli.app import COMMANDS, cdc
from cdc.cli.reference import reference
from cdc.model.errors import OutboxError

DOCS = Path(__file__).parents[3] / "docs"
HEAVY = ("aiohttp", "psycopg", "pymysql", "pydantic", "rich", "structlog", "asyncio")


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_the_start_is_light(argument: str) -> None:
    code = (
        "import sys, cdc.cli\n"
        f"sys.argv = ['cdc', {argument!r}]\n"
        "try: cdc.cli.main()\n"
        "except SystemExit as ended: assert ended.code == 0, ended\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("heavy: []\n")
    assert (f"cdc {__version__}" in done.stdout) == (argument == "--version")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_the_commands_say_themselves(name: str) -> None:
    command = cdc.get_command(Context(cdc), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name][1]


def test_the_reference_is_up_to_date() -> None:
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "run `make docs`"


def test_usage_errors_end_with_2() -> None:
    for arguments in (["nonsense"], ["--nonsense"], ["endpoint", "add"], ["delivery", "list", "--state", "odd"]):
        assert CliRunner().invoke(cdc, arguments).exit_code == 2


def _raise(error: BaseException) -> object:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_errors_are_a_sentence_and_a_hint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder
    monkeypatch.setattr(
        "cdc.runtime.outboxes.open_outbox", _raise(OutboxError("The outbox is full.", "Free the disk."))
    )
    result = CliRunner().invoke(cdc, ["endpoint", "list"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: The outbox is full.\n  Free the disk.\n"
    result = CliRunner().invoke(cdc, ["--verbose", "endpoint", "list"])
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("Error: The outbox is full.\n  Free the disk.\n")


def test_defects_show_their_traceback_only_when_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder
    monkeypatch.setattr("cdc.runtime.outboxes.open_outbox", _raise(RuntimeError("B12345678")))
    result = CliRunner().invoke(cdc, ["endpoint", "list"])
    assert result.exit_code == 1
    assert re.match(r"Error: Unexpected RuntimeError in test_app\.py, line \d+\.\n  This is a defect; ", result.stderr)
    assert "B12345678" not in result.stderr, "what it quotes is nobody's business"
    asked = CliRunner().invoke(cdc, ["-v", "endpoint", "list"]).stderr
    assert "Traceback" in asked
    assert "RuntimeError: B12345678" in asked


def test_ctrl_c_ends_with_130(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder
    monkeypatch.setattr("cdc.runtime.outboxes.open_outbox", _raise(KeyboardInterrupt()))
    assert CliRunner().invoke(cdc, ["endpoint", "list"]).exit_code == 130


def test_without_a_configuration_the_way_to_one_is_told(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CDC_")}
    done = subprocess.run(
        [sys.executable, "-m", "cdc", "run"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "No source is configured" in done.stderr
    assert "cdc config init > cdc.toml" in done.stderr


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m cdc event list --json | head -1"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("{\n", "")
