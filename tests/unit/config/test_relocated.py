"""A configuration for another folder: the same values, absolute paths, comments and layout as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cdc.config import load_config
from cdc.config.load import find_config
from cdc.config.write import append, relocated

BEFORE = """# cdc.db, "rules.toml"
[source.main]
url = "mysql://cdc@db/fs?ssl-mode=verify-ca&ssl-ca=/srv/tls/ca.pem"
rules = "rules.toml"  # "rules.toml"
password_file = '../secrets/main'
rest = { token_file = "token", url = "https://erp.example.com" }
[source.other]
facturascripts = "/var/www/config.php"
[source.other.rules]
tables = ["rules.toml"]
[outbox]
url = "sqlite:///data/cdc.db"
[dispatch]
client_certificates = { bank = "bank.pem", shop = "/etc/shop.pem" }
"""
AFTER = """# cdc.db, "rules.toml"
[source.main]
url = 'mysql://cdc@db/fs?ssl-mode=verify-ca&ssl-ca=/etc/x/ca.pem'
rules = '/etc/x/rules.toml'  # "rules.toml"
password_file = '/srv/secrets/main'
rest = { token_file = '/srv/cdc/token', url = "https://erp.example.com" }
[source.other]
facturascripts = "/var/www/config.php"
[source.other.rules]
tables = ["rules.toml"]
[outbox]
url = 'sqlite:////var/lib/x/cdc.db'
[dispatch]
client_certificates = { bank = '/etc/x/bank.pem', shop = "/etc/shop.pem" }
"""
MOVED = {
    Path("/srv/cdc/rules.toml"): Path("/etc/x/rules.toml"),
    Path("/srv/tls/ca.pem"): Path("/etc/x/ca.pem"),
    Path("/srv/cdc/bank.pem"): Path("/etc/x/bank.pem"),
    Path("/srv/cdc/data/cdc.db"): Path("/var/lib/x/cdc.db"),
}


def test_paths_become_absolute_and_moved_ones_new() -> None:
    changed = relocated(BEFORE, Path("/srv/cdc"), MOVED)
    assert changed.replace("/srv/cdc/../secrets", "/srv/secrets") == AFTER
    assert relocated(changed, Path("/etc/x"), MOVED) == changed


def test_outbox_beside_the_configuration_is_named_where_it_moved() -> None:
    moved = {Path("/srv/cdc.db"): Path("/var/lib/x/cdc.db")}
    assert relocated("[source.main]\n", Path("/srv"), moved) == (
        '[source.main]\n\n[outbox]\nurl = "sqlite:////var/lib/x/cdc.db"\n'
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="not tested: only root gives files away")
def test_changed_configuration_keeps_owner_group_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "cdc.toml"
    file.write_text('[web]\nlisten = ""\n', encoding="utf-8")
    os.chown(file, 0, 4711)
    file.chmod(0o640)
    append(file, '[log]\nlevel = "debug"\n')
    assert load_config(file, {}).log.level == "debug"
    assert (file.stat().st_gid, file.stat().st_mode & 0o777) == (4711, 0o640)


def test_configuration_of_the_service_is_found_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, here = tmp_path / "etc" / "cdc.toml", tmp_path / "here"
    monkeypatch.setattr("cdc.config.load.SERVICE_FILE", service)
    here.mkdir()
    assert find_config(None, {}, here) is None
    service.parent.mkdir()
    service.write_text("", encoding="utf-8")
    assert find_config(None, {}, here) == service
    (here / "cdc.toml").write_text("", encoding="utf-8")
    assert find_config(None, {}, here) == here / "cdc.toml"
