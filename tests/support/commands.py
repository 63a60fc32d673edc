"""Commands of the product, without their start.

Starting one takes half a second of a processor's time, most of it imports, and a test run has more than a thousand of
them.  So they are forked from a process that has imported everything: a process each, with its own arguments, folder,
environment and streams, and the same code from `cdc.cli.main` on.  What a test wants as it is on a user's machine, with
its start and its memory, it starts itself.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Final

import cdc
from support.fault.clock import SHIFT, shift_clock
from support.waiting import HANG_SECONDS


@dataclass(frozen=True, slots=True)
class _Command:
    arguments: tuple[str, ...]
    folder: str
    environment: Mapping[str, str]
    stdout: Path
    stderr: Path


class Forked:
    """A command at work: what tests use of `subprocess.Popen`."""

    def __init__(self, process: ForkServerProcess, ended: Connection) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process = process
        self._ended = ended
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._result() if self._code is None and self._ended.poll() else self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code.  Raises `subprocess.TimeoutExpired`."""
        if self._code is None:
            if not self._ended.poll(timeout):
                raise subprocess.TimeoutExpired("cdc", timeout or 0)
            self._code = self._result()
        return self._code

    def _result(self) -> int:
        """Return the exit code, which the process sends itself unless a signal ended it: the one of `multiprocessing`
        may be read by another thread, which leaves it at 255."""
        self._process.join()
        try:
            self._code = int(self._ended.recv())
        except EOFError:
            code = self._process.exitcode
            self._code = -signal.SIGKILL if code in (None, 255) else code
        self._ended.close()
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_command(
    arguments: Sequence[str],
    stdout: Path,
    stderr: Path,
    environment: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Forked:
    """``arguments``: without the program's name.  What it says is appended to the files.  ``folder``: the working
    folder, of this process when None."""
    context = _context()
    command = _Command(tuple(arguments), str(folder or Path.cwd()), dict(environment), stdout, stderr)
    ended, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(command, sender), daemon=True)
    process.start()
    sender.close()
    return Forked(process, ended)


def run_command(*arguments: str, seconds: float = 120, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a folder.  Raises `subprocess.TimeoutExpired`."""
    with tempfile.TemporaryDirectory(prefix="cdc-command-") as streams:
        stdout, stderr = Path(streams, "stdout"), Path(streams, "stderr")
        running = start_command(arguments, stdout, stderr, folder=folder)
        try:
            code = running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
        return subprocess.CompletedProcess(arguments, code, stdout.read_text("utf-8"), stderr.read_text("utf-8"))


def on_terminal(folder: Path, *arguments: str, columns: int = 80, **variables: str) -> str:
    """Return what the terminal of a command received; both streams are that terminal."""
    leader, follower = pty.openpty()
    name = Path(os.ttyname(follower))
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **variables}
    command = start_command(arguments, name, name, environment, folder)

    def close_after_it() -> None:
        try:
            command.wait(60)
        finally:
            os.close(follower)

    with closing(os.fdopen(leader, "rb", buffering=0)) as terminal, ThreadPoolExecutor(1) as thread:
        ended = thread.submit(close_after_it)
        seen = b""
        with suppress(OSError):  # it has ended: nobody holds the other side
            while part := terminal.read(65_536):
                seen += part
        ended.result()
    return seen.decode()


#: Typed at a question, interrupts a command.
CTRL_C: Final = "\x03"


def typed(folder: Path, arguments: Sequence[str], answers: Mapping[str, str | list[str]]) -> tuple[int, str]:
    """A command at a terminal: each question is answered when it is asked, by a list one answer after the other;
    exit code, and all that was seen.  `CTRL_C` interrupts."""
    leader, follower = pty.openpty()
    with closing(os.fdopen(leader, "rb+", buffering=0)) as terminal:
        # a run in the background ignores SIGINT, and so would its children
        command = ["env", "--default-signal=INT", sys.executable, "-m", "cdc", *arguments]
        process = subprocess.Popen(command, cwd=folder, stdin=follower, stdout=follower, stderr=follower)
        os.close(follower)
        seen, answered, left = "", 0, {q: [a] if isinstance(a, str) else list(a) for q, a in answers.items()}
        interrupted = False
        with suppress(OSError):  # it has ended: nobody holds the other side
            while True:
                for _ in range(int(HANG_SECONDS)):
                    if select.select([terminal], [], [], 1)[0]:
                        break
                    if interrupted:  # the first one may come just before it waits for input, which then goes on
                        process.send_signal(signal.SIGINT)
                else:
                    process.kill()  # a thread that waits for it would keep the run from ending
                    message = f"It asks nothing more, and does not end:\n{seen}"
                    raise AssertionError(message)
                seen += terminal.read(4096).decode(errors="replace")
                interrupted = interrupted and "Stopped at" not in seen[answered:]  # another would end its exit
                # a text may come in parts: it is a question when nothing follows its colon
                asked = seen[answered:] if seen.endswith(": ") else ""
                if question := next((each for each in left if left[each] and each in asked), None):
                    answered, answer = len(seen), left[question].pop(0)
                    interrupted = answer == CTRL_C
                    if interrupted:
                        process.send_signal(signal.SIGINT)
                    else:
                        terminal.write(f"{answer}\n".encode())
        return process.wait(HANG_SECONDS), seen


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    modules = pkgutil.walk_packages(cdc.__path__, "cdc.")
    imported = (each.name for each in modules if each.name != "cdc.__main__")
    context.set_forkserver_preload(["__main__", *imported, __name__, "support.frozen"])
    before = os.environ.get("PYTHONPATH")
    # before Python 3.14 the server does not take over `sys.path`, and passes over what it does not find
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), before)))
    try:
        ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


def _run(command: _Command, sender: Connection) -> None:
    """Run the command in the forked process."""
    os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environment)
    time.tzset()
    for file, stream in ((Path(os.devnull), 0), (command.stdout, 1), (command.stderr, 2)):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, stream)
        os.close(opened)
    sys.stdin = open(0)  # noqa: SIM115 - the standard streams, as in a new process
    sys.stdout = open(1, "w", buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    sys.argv = ["cdc", *command.arguments]
    if shift := command.environment.get(SHIFT):
        shift_clock(shift)
    from cdc.cli import main  # noqa: PLC0415 - in this process only

    try:
        main()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sender.send(code)
