"""`cdc source scan` and `cdc setup` give sources accounts of their own, which the configuration uses from then on."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from support.commands import run_command, typed
from support.config_php import config_php
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.grants import PrintedGrants


@pytest.mark.parametrize("flavour", ["postgresql", "mariadb"])
async def test_each_scanned_source_works_with_its_own_pair(flavour: str, own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server(flavour, erp=True)
    (tmp_path / "www/acme").mkdir(parents=True)
    (tmp_path / "www/acme/config.php").write_text(config_php(database), encoding="utf-8")
    consumer = Consumer.with_sources(tmp_path, "")
    scan = ["source", "scan", str(tmp_path / "www"), "--accounts", str(tmp_path / "secrets")]
    consumer.run(*scan, "--dry-run")
    assert not (tmp_path / "secrets").exists()
    consumer.run(*scan)
    source = tomllib.loads((tmp_path / "cdc.toml").read_text())["source"]["acme"]
    assert (source["user"], source["admin_user"]) == ("cdc_acme_consumer", "cdc_acme_installer")
    files = [Path(source[each]) for each in ("password_file", "admin_password_file")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 2
    printed = PrintedGrants.read(await consumer.call("grants"))
    assert [printed.passwords[file.name] for file in files] == [file.read_text() for file in files]
    database.script(printed.before)
    await consumer.call("install-triggers")
    database.script(printed.after)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*")
        async with consumer.running():
            database.execute("INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', '1', 'Ada')")
            await inbox.until_count(1)
            checks = json.loads(await consumer.call("doctor", "--json"))["checks"]
            assert [each for each in checks if each["severity"] == "wrong"] == []
    again = PrintedGrants.read(await consumer.call("grants"))
    assert again.passwords == {}, "both exist"
    await consumer.call("uninstall-triggers")


@pytest.mark.parametrize("flavour", ["postgresql", "mariadb"])
def test_setup_leads_through_the_creation_of_the_accounts(flavour: str, own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server(flavour, erp=True)
    (tmp_path / "config.php").write_text(config_php(database), encoding="utf-8")
    config = tmp_path / "cdc.toml"
    words = ["--config", str(config), "setup", "--facturascripts", str(tmp_path), "--no-endpoint", "--yes"]

    def again(part: str) -> PrintedGrants:
        done = run_command(*words, "--accounts", str(tmp_path / "secrets"))
        assert done.returncode == 2, done.stderr
        assert f"runs {part} of {tmp_path / 'cdc-setup.sql'}" in " ".join(done.stderr.split())
        assert (tmp_path / "cdc-setup.sql").stat().st_mode & 0o777 == 0o600
        return PrintedGrants.read((tmp_path / "cdc-setup.sql").read_text())

    created = again("part 1")
    assert list(created.passwords) == ["cdc_main_installer", "cdc_main_consumer"]
    assert not {each for each in created.passwords.values() if each in config.read_text()}
    database.script(created.before)
    rest = again("part 2")
    assert rest.passwords == {}
    database.script(rest.after)
    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    assert "the consumer's account may read every captured table" in done.stdout


async def test_scan_at_a_terminal_shows_names_by_company_and_what_each_database_allows_and_asks(
    erp: Database, tmp_path: Path
) -> None:
    erp.execute("UPDATE empresas SET nombrecorto = 'Acme'")
    for place, text in {
        "fs": config_php(erp),
        "fs2": config_php(erp).replace(erp.info.password, "wrong").replace(f"'{erp.name}'", "'fs_bilbao'"),
    }.items():
        (tmp_path / "var/www" / place).mkdir(parents=True)
        (tmp_path / "var/www" / place / "config.php").write_text(text, encoding="utf-8")
    scan = ["source", "scan", "var/www"]
    code, said = await asyncio.to_thread(typed, tmp_path, scan, {"Add 2 sources": "n"})
    assert (code, (tmp_path / "cdc.toml").exists()) == (130, False), said
    assert re.search(r"^acme +\S+/fs +\S+ +OK\s*$", said, re.MULTILINE), said
    assert re.search(r"^bilbao +\S+/fs2 +fs_bilbao +see below\s*$", said, re.MULTILINE), said
    assert re.search(r"^bilbao: ", said, re.MULTILINE), said
    code, said = await asyncio.to_thread(typed, tmp_path, [*scan, "--name", "{company}-x"], {"Add 2 sources": "y"})
    assert code == 0, said
    assert sorted(tomllib.loads((tmp_path / "cdc.toml").read_text(encoding="utf-8"))["source"]) == ["acme-x", "x"]
