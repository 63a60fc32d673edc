"""Run the tests that failed in the last run once more, one at a time: ``python -m support.again``.

A test that only passes by itself is a defect of the test or of the program: it is named at the end, to be fixed.  More
than `MOST` failures are no accident and are not run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: pytest's cache of the last run: a JSON object with the id of each failed test as a key.
FAILED = Path(".pytest_cache/v/cache/lastfailed")
MOST = 3


def run_again(failed: Path = FAILED) -> int:
    """Return the exit code: 0 where every failed test passes by itself, else 1."""
    names = sorted(json.loads(failed.read_text())) if failed.exists() else []
    if not 0 < len(names) <= MOST:
        return 1
    print(f"\nAgain, one at a time: {', '.join(names)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "pytest", *names], check=False).returncode
    if code == 0:
        print("Passed only by themselves, to be fixed:", *names, sep="\n  ", flush=True)
    return min(code, 1)


if __name__ == "__main__":
    sys.exit(run_again())
