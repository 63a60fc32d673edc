"""Moves between triggers and the log, killed at every step: nothing is lost, doubled or reordered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MOVES = 15


@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", [("mariadb",), ("mysql",), ("mysql", "--row-tokens")], ids=" ".join)
def test_killed_moves_lose_nothing(options: tuple[str, ...], seed: int) -> None:
    command = [sys.executable, "-m", "support.moves", "--moves", str(MOVES), "--seed", str(seed), "--flavour", *options]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
