"""Which accounts can read or change the files that hold secrets: configuration, keys, passwords and the outbox."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from cdc.config import Config
from cdc.model.finding import Finding, Severity
from cdc.runtime.unit import secret_files

_URL_WITH_PASSWORD: Final = re.compile(r"://[^\s:/@\"']*:[^\s@\"']+@")
_OTHERS: Final = stat.S_IRWXO
_CHANGE: Final = stat.S_IWGRP | stat.S_IWOTH


class _Checked(NamedTuple):
    """``refused``: mode bits that nobody else needs.  ``mode``: the mode to have instead."""

    path: Path
    title: str
    refused: int
    mode: str


def file_findings(config: Config) -> list[Finding]:
    """Return a warning for each file that another account can read or change.  Asked before the outbox is opened, which
    takes its files from everyone but their owner."""
    files = [each for each in _files(config) if each.path.exists()]
    findings = [finding for each in files for finding in _findings(each, _trusted(config))]
    folders = dict.fromkeys(each.path.resolve().parent for each in files)
    return findings + [finding for folder in folders for finding in _folder(folder)]


def _files(config: Config) -> Iterator[_Checked]:
    if config.file is not None:
        secret = _holds_password(config.file)
        read, mode = (_OTHERS, "o-rwx,g-w") if secret else (0, "go-w")
        yield _Checked(config.file, "configuration", read | _CHANGE, mode)
    for path, file in secret_files(config):
        if path[-1] == "facturascripts":  # config.php is the ERP's, and as open as its web server needs it
            continue
        yield _Checked(file, path[-1], _OTHERS | _CHANGE, "o-rwx,g-w")
    for name, file in config.dispatch.client_certificates.items():
        yield _Checked(file, f"client certificate {name}", _OTHERS | _CHANGE, "o-rwx,g-w")
    if (outbox := config.outbox.path) is not None:
        for file in (outbox, *sorted(outbox.parent.glob(f"{outbox.name}-*"))):
            yield _Checked(file, "outbox", stat.S_IRWXG | stat.S_IRWXO, "go-rwx")


def _holds_password(file: Path) -> bool:
    try:
        return _URL_WITH_PASSWORD.search(file.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:  # it was read when the command began: it is gone since
        return False


def _findings(checked: _Checked, trusted: set[int]) -> Iterator[Finding]:
    path, found = shlex.quote(str(checked.path)), checked.path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & checked.refused:
        does = "change" if mode & checked.refused & _CHANGE else "read"
        detail = f"Other accounts can {does} {checked.path} (mode {mode:04o})."
        yield Finding(f"{checked.title} mode", Severity.WARNING, detail, f"chmod {checked.mode} {path}")
    if found.st_uid not in trusted:
        detail = f"{checked.path} belongs to {_account(found.st_uid)}, who can change it."
        yield Finding(f"{checked.title} owner", Severity.WARNING, detail, f"chown {_account(os.geteuid())} {path}")


def _folder(folder: Path) -> Iterator[Finding]:
    """Whoever can write to a folder can replace the files in it, unless it is sticky."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        detail = f"Every account can replace files in {folder} (mode {mode:04o})."
        yield Finding("folder mode", Severity.WARNING, detail, f"chmod o-w {shlex.quote(str(folder))}")


def _trusted(config: Config) -> set[int]:
    """Return root, this account, and for root the account that owns the outbox, under which the consumer runs."""
    trusted = {0, os.geteuid()}
    outbox = config.outbox.path
    if os.geteuid() == 0 and outbox is not None and outbox.exists():
        trusted.add(outbox.stat().st_uid)
    return trusted


def _account(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # an account need not have a name
        return str(number)
