"""Options of the commands that run the product among faults, and the end of their runs."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def options_of(program: str, text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option ``--seed``.  ``text``: the docstring of the command's module."""
    parser = argparse.ArgumentParser(
        prog=program, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    return parser


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def conclude(wrong: Sequence[str], examples: Sequence[str], folder: Path, seed: int) -> int:
    """Return the exit code: 1 when something is ``wrong``, which is printed; the folder stays then."""
    if not wrong:
        shutil.rmtree(folder)
        return 0
    for each in (*wrong, *examples):
        say(f"  {each}")
    say(f"  {folder}; again with --seed {seed}")
    return 1
