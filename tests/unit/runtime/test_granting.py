"""The accounts of the configuration: whose rights install and read, and with which `cdc grants` connects."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.config import SourceConfig
from cdc.model.connection import AccountRole
from cdc.runtime.capture import account_choice

URL, ADMIN = "mysql://erp:secret@db/shop", "mysql://root:toor@db/shop"


@pytest.mark.parametrize(
    ("options", "reads", "installs"),
    [
        ({}, "erp:secret", "erp:secret"),
        ({"user": "ours"}, "ours:of ours", "ours:of ours"),
        ({"user": "ours", "admin_user": "maker"}, "ours:of ours", "maker:of maker"),
        ({"user": "ours", "admin_url": ADMIN}, "ours:of ours", "root:toor"),
        ({"admin_url": ADMIN, "admin_user": "maker"}, "erp:secret", "maker:of maker"),
    ],
)
def test_named_accounts_take_the_place_of_the_urls(
    tmp_path: Path, options: dict[str, str], reads: str, installs: str
) -> None:
    files = {"user": "password_file", "admin_user": "admin_password_file"}
    for option, file in files.items():
        if option in options:
            (tmp_path / option).write_text(f"of {options[option]}\n")
            options |= {file: str(tmp_path / option)}
    source = SourceConfig.model_validate({"url": URL, **options})
    source.call("main")
    assert [f"{i.user}:{i.password}" for i in (source.connection(), source.admin_connection())] == [reads, installs]
    choice = account_choice(source)
    assert f"{choice.configured[AccountRole.CONSUMER].user}:{choice.configured[AccountRole.CONSUMER].password}" == reads
    if installs != reads:
        assert choice.configured[AccountRole.INSTALLER] == source.admin_connection()
    for file in tmp_path.iterdir():  # before the accounts exist
        file.unlink()
    passwords = {each.user: each.password for each in account_choice(source).configured.values()}
    assert {passwords[options[option]] for option in files if option in options} <= {""}
