"""The package's extras: how to install what one of them needs, however this package itself was installed."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

_PACKAGE: Final = "facturascripts-cdc"


def install_hint(extra: str) -> str:
    """Return a command line that installs the requirements of ``extra`` beside this package, as its metadata lists
    them."""
    try:
        listed = requires(_PACKAGE) or []
    except PackageNotFoundError:  # run from a folder of sources that was never installed
        return f"In a clone: pip install '.[{extra}]'"
    wanted = re.compile(rf"""\bextra\s*==\s*["']{re.escape(extra)}["']""")
    packages = [line.partition(";")[0].strip() for line in listed if wanted.search(line)]
    return f"Install it with: {shlex.join([sys.executable, '-m', 'pip', 'install', *packages])}"
