"""The program as on Windows, as far as Linux can show: without the modules, functions and constants that Windows lacks.

    python tests/support/as_windows.py --config cdc.toml run --once

The standard library and other packages are loaded first: on Windows they are others, and need none of it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import select
import signal
import socket
import sys
from functools import partial
from typing import Any, NoReturn

MODULES = ("crypt", "fcntl", "grp", "nis", "pty", "pwd", "resource", "spwd", "syslog", "termios", "tty")
MISSING: dict[Any, tuple[str, ...]] = {
    os: (
        "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "PRIO_PROCESS", "chown", "fchmod", "fchown",
        "fork", "getegid", "geteuid", "getgid", "getgrouplist", "getpriority", "getuid", "killpg", "nice", "setsid",
        "sysconf", "uname",
    ),
    select: ("epoll", "poll"),
    signal: ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIG_BLOCK", "SIG_UNBLOCK", "pthread_sigmask"),
    socket: ("SOCK_CLOEXEC", "SOCK_NONBLOCK"),  # AF_UNIX: the event loop of Linux needs it
}  # fmt: skip
LIBRARIES = (
    "aiohttp.web", "argon2", "babel.messages.pofile", "cryptography.fernet", "getpass", "jinja2", "multiprocessing",
    "msgspec", "psycopg", "pydantic", "pymysql", "pymysqlreplication", "rich.console", "segno", "shutil", "sqlite3",
    "structlog", "subprocess", "tempfile",
)  # fmt: skip


def _refuse(*_arguments: object) -> NoReturn:
    raise NotImplementedError


def become_windows() -> None:
    """Take from this process what Windows lacks."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # documented: an import of it fails then
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # has no build for Windows
    for module, names in MISSING.items():
        for name in filter(partial(hasattr, module), names):
            delattr(module, name)
    loop: Any = asyncio.SelectorEventLoop
    loop.add_signal_handler = loop.remove_signal_handler = _refuse


def import_all() -> list[str]:
    """Import every module of the program but the demo's, whose PostgreSQL runs on Linux; return their names."""
    import cdc  # noqa: PLC0415 - after what Windows lacks is gone

    names = [each.name for each in pkgutil.walk_packages(cdc.__path__, "cdc.") if not each.name.startswith("cdc.demo")]
    names = [name for name in names if not name.endswith("__main__")]
    for name in names:
        importlib.import_module(name)
    return names


if __name__ == "__main__":
    become_windows()
    if sys.argv[1:] == ["--import-all"]:
        print(len(import_all()))
    else:
        from cdc.cli import main

        main()
