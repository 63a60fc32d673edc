"""The package's extras: how to install one, however this package itself was installed."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from cdc.model.broker import Broker
from cdc.model.errors import SourceError, UsageError

ZSTANDARD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_PACKAGE: Final = "facturascripts-cdc"


def install_hint(extra: str) -> str:
    """Return a command line that installs the requirements of ``extra`` beside this package, as its metadata lists
    them."""
    try:
        listed = requires(_PACKAGE) or []
    except PackageNotFoundError:  # run from a folder of sources that was never installed
        return f"In a clone: pip install '.[{extra}]'"
    pattern = re.compile(rf"""\bextra\s*==\s*["']{re.escape(extra)}["']""")
    packages = [line.partition(";")[0].strip() for line in listed if pattern.search(line)]
    return f"Install it with: {shlex.join([sys.executable, '-m', 'pip', 'install', *packages])}"


def check_client(broker: Broker) -> None:
    """Raise `UsageError` where the client of a message broker is not installed."""
    if find_spec(broker.client) is None:
        raise UsageError(
            f"Endpoints of {broker.title} need the package {broker.client}, which is not installed.",
            install_hint(broker.extra),
        )


def has_zstandard() -> bool:
    return find_spec("zstandard") is not None


def zstandard() -> ModuleType:
    """Return the package of that name.  Raises `SourceError` when it is not installed."""
    try:
        return import_module("zstandard")
    except ImportError as error:
        raise SourceError(
            "MySQL compresses transactions, and the package that reads them is not installed.", install_hint("zstd")
        ) from error
