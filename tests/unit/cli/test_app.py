"""How the command line starts, fails and documents itself."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click import Command, Context, Group
from click.testing import CliRunner

from cdc import __version__
from cdc.cli.app import COMMANDS, SECTIONS, LazyGroup, cdc
from cdc.model.errors import OutboxError
from support.cli_page import reference

DOCS = Path(__file__).parents[3] / "docs"
LOADED_WHERE_NEEDED = ("aiohttp", "rich", "segno", "bcrypt", "psycopg", "pymysql", "cdc.mapping.catalogue", "cdc.api")
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


def test_a_list_loads_only_what_it_prints(folder: Path) -> None:
    code = (
        "import sys, cdc.cli\n"
        "sys.argv = ['cdc', 'endpoint', 'list']\n"
        "try: cdc.cli.main()\n"
        "except SystemExit as ended: assert ended.code == 0, ended\n"
        f"print('heavy:', [name for name in {LOADED_WHERE_NEEDED!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "heavy: []\n", "no endpoint is printed, and nothing is loaded in vain"


def test_garbage_is_collected_after_the_import_of_a_command_not_during_it(monkeypatch: pytest.MonkeyPatch) -> None:
    during, frozen = [], gc.get_freeze_count()

    def imported(name: str) -> SimpleNamespace:
        during.append(gc.isenabled())
        if name == "broken":
            raise ImportError
        return SimpleNamespace(command=Command("made"))

    monkeypatch.setattr("cdc.cli.app.import_module", imported)
    group = LazyGroup(lazy={"made": ("nowhere:command", ""), "broken": ("broken:command", "")})
    assert group.get_command(Context(group), "made") is not None
    with pytest.raises(ImportError):
        group.get_command(Context(group), "broken")
    assert during == [False, False]
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_the_commands_say_themselves(name: str) -> None:
    command = cdc.get_command(Context(cdc), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name][1]


def _groups(command: Command, path: tuple[str, ...] = ("cdc",)) -> Iterator[tuple[str, Group]]:
    if isinstance(command, Group):
        yield " ".join(path), command
        for name in command.list_commands(Context(command)):
            inner = command.get_command(Context(command), name)
            assert inner is not None
            yield from _groups(inner, (*path, name))


@pytest.mark.parametrize(("path", "group"), [*_groups(cdc)], ids=[path for path, _ in _groups(cdc)])
def test_list_of_commands_has_a_whole_sentence_a_line_at_80_columns(path: str, group: Group) -> None:
    context = Context(group, info_name=path, terminal_width=80, max_content_width=80, **cdc.context_settings)
    text = group.get_help(context)
    titles = list(SECTIONS) if group is cdc else ["Commands"]
    assert [line[:-1] for line in text.splitlines() if line[:1].strip() and line.endswith(":")][1:] == titles
    listed = [line for line in text.partition(f"\n{titles[0]}:\n")[2].splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in listed] == group.list_commands(context), "no sentence is wrapped"
    assert not [line for line in listed if line.endswith("...")]


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
    assert f"There is no configuration: no cdc.toml in {tmp_path}" in done.stderr
    assert "cdc config init > cdc.toml" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("endpoint", "add", "https://example.com/hook", "--events", "invoice.paid"),
        ("endpoint", "list"),
        ("outbox", "create"),
        ("user", "list"),
        ("backfill", "--list"),
        ("event", "tail", "--no-follow"),
        ("run",),
    ],
)
def test_command_in_a_folder_without_configuration_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    _without_variables(monkeypatch)
    result = CliRunner().invoke(cdc, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: There is no configuration: no cdc.toml in {tmp_path}, no --config, ")
    assert "cdc --config PATH" in result.stderr
    assert "cdc setup" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("event", "kinds"),
        ("event", "schema", "invoice.paid"),
        ("config", "show"),
        ("config", "init"),
        ("source", "list"),
        ("outbox", "sql"),
        ("outbox", "new-key"),
        ("endpoint", "add", "--help"),
    ],
)
def test_command_that_needs_no_configuration_works_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    _without_variables(monkeypatch)
    assert CliRunner().invoke(cdc, arguments).exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_variables_alone_are_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _without_variables(monkeypatch)
    monkeypatch.setenv("CDC_OUTBOX_URL", f"sqlite:///{tmp_path / 'events.db'}")
    assert CliRunner().invoke(cdc, ["outbox", "create"]).exit_code == 0
    assert (tmp_path / "events.db").is_file()


def _without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CDC_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["endpoint", "show", "ep_1", "--json"], "There is no endpoint ep_1.", "cdc endpoint list"),
        (["endpoint", "add", "--json"], "Missing argument 'URL'.", "cdc endpoint add --help"),
        (["delivery", "list", "--json", "--state", "odd"], "Invalid value for '--state': 'odd' is", "--help"),
        (["endpint", "--json"], "No such command 'endpint'.", "cdc --help"),
    ],
)
def test_error_with_json_is_one_line_of_json(folder: Path, arguments: list[str], message: str, hint: str) -> None:
    assert folder
    result = CliRunner().invoke(cdc, arguments, prog_name="cdc")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    error = json.loads(line)["error"]
    assert error.keys() == {"message", "hint", "exit_code"}
    assert error["exit_code"] == 2
    assert message in error["message"]
    assert hint in error["hint"]


def test_error_of_a_failed_operation_with_json_has_its_exit_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder
    monkeypatch.setattr("cdc.runtime.outboxes.open_outbox", _raise(OutboxError("The outbox is full.")))
    result = CliRunner().invoke(cdc, ["endpoint", "list", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stderr) == {"error": {"message": "The outbox is full.", "hint": None, "exit_code": 1}}


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["endpint"], "endpoint"), (["endpoint", "lst"], "list"), (["endpoint", "add", "--fitler"], "--filter")],
)
def test_misspelt_word_gets_a_suggestion(arguments: list[str], meant: str) -> None:
    result = CliRunner().invoke(cdc, arguments)
    assert result.exit_code == 2
    assert re.search(rf"Did you mean.*'{meant}'", result.stderr)


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m cdc event kinds --json | head -1"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("{\n", "")
