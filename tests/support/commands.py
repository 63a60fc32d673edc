"""Commands of the product, to their end, without their start.

Starting one takes half a second of a processor's time, most of it imports, and a test run has a thousand of them.  So
they are forked from a process that has imported everything: a process each, with its own arguments, folder,
environment and streams, and the same code from the first line of `cdc.cli.main` on.  (What stays, and is killed, is
started as users start it; so are the tests of the command line itself.)
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import cdc


@dataclass(frozen=True, slots=True)
class _Command:
    arguments: tuple[str, ...]
    folder: str
    environment: Mapping[str, str]
    stdout: Path
    stderr: Path


def run_command(*arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """``arguments``: without the program's name.  Raises `subprocess.TimeoutExpired`."""
    context = _context()
    with tempfile.TemporaryDirectory(prefix="cdc-command-") as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        command = _Command(arguments, str(Path.cwd()), dict(os.environ), stdout, stderr)
        ended, tell = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(command, tell), daemon=True)
        process.start()
        tell.close()
        try:
            if not ended.poll(seconds):
                process.kill()
                raise subprocess.TimeoutExpired(arguments, seconds, _text(stdout), _text(stderr))
            code = ended.recv()
        except EOFError:
            code = -1  # it was killed
        finally:
            ended.close()
            process.join()
        return subprocess.CompletedProcess(arguments, code, _text(stdout), _text(stderr))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    modules = pkgutil.walk_packages(cdc.__path__, "cdc.")
    context.set_forkserver_preload(["__main__", *(each.name for each in modules if each.name != "cdc.__main__")])
    return context


def _run(command: _Command, tell: Connection) -> None:
    """In the forked process."""
    os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environment)
    for file, stream in ((Path(os.devnull), 0), (command.stdout, 1), (command.stderr, 2)):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, stream)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - as in a new process
    sys.argv = ["cdc", *command.arguments]
    from cdc.cli import main  # noqa: PLC0415 - in this process

    try:
        main()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    tell.send(code)
