"""Accounts of their own for sources that are written into the configuration, before the accounts exist."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cdc.model.connection import LONGEST, AccountRole, Engine, new_password, own_name
from cdc.model.errors import ConfigError

_OPTIONS = {
    AccountRole.CONSUMER: ("user", "password_file"),
    AccountRole.INSTALLER: ("admin_user", "admin_password_file"),
}


def account_options(source: str, engine: Engine, capture: str | None, folder: Path) -> dict[str, str]:
    """Return the options that name the accounts of a source, and the files of their passwords in a folder.  Capture by
    the binlog installs nothing."""
    options: dict[str, str] = {}
    for role, (user, file) in _OPTIONS.items():
        if role is AccountRole.CONSUMER or capture != "binlog":
            name = own_name(source, role, LONGEST[engine])
            options |= {user: name, file: str(folder.absolute() / name)}
    return options


def write_passwords(options: dict[str, str]) -> None:
    """Write a new password into each file that is not there, for its owner only.  Raises `ConfigError`."""
    for _, option in _OPTIONS.values():
        if option not in options:
            continue
        file = Path(options[option])
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError), os.fdopen(_created(file), "w", encoding="utf-8") as out:
                out.write(new_password())
        except OSError as error:
            raise ConfigError(
                f"The password file {file} cannot be written: {error.strerror}.",
                "Name another folder.",
            ) from error


def _created(file: Path) -> int:
    return os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
