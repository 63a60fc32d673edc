"""Workers of a former release, in an environment of its own, which today's replace one after the other."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from support.team import Worker
from support.waiting import HANG_SECONDS


@dataclass
class UpgradedWorker(Worker):
    """``python``: of the environment of the release that it runs; empty: today's program."""

    python: str = ""

    def begin(self) -> None:
        if not self.python:
            super().begin()
            return
        self.starts += 1
        with self.log.open("ab") as log, self.said.open("ab") as said:
            command = self._program("--log-format", "json", "run")
            self.process = subprocess.Popen(command, stdout=said, stderr=log, cwd=self.folder, env=self._environment())

    def run(self, *arguments: str, expect: int = 0) -> str:
        if not self.python:
            return super().run(*arguments, expect=expect)
        done = self.try_former(*arguments)
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def try_former(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the former release to its end."""
        return subprocess.run(
            self._program(*arguments),
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_SECONDS,
        )

    def _program(self, *arguments: str) -> list[str]:
        return [self.python, "-m", "cdc", *self.arguments(*arguments)]

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": "", "CDC_DISPATCH_WORKER": self.name}
