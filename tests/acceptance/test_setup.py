"""``cdc setup`` on real databases: by flags alone, by answers typed at a terminal, and by the commands it prints."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cdc.config import load_config
from support.commands import CTRL_C, run_command, typed
from support.config_php import config_php
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.facturascripts_api import TOKEN, Api, serving
from support.foreign_words import foreign_words
from support.grants import PrintedGrants
from support.ports import free_port
from support.waiting import HANG_SECONDS

WIDTH = 80
INSERT = "INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', 'S', 'Ada')"


@pytest.fixture(autouse=True)
def own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the default address, doctor would ask the consumer of another test how it is."""
    monkeypatch.setenv("CDC_WEB_LISTEN", f"127.0.0.1:{free_port()}")


def _facturascripts(folder: Path, erp: Database) -> Path:
    """A folder with FacturaScripts' config.php."""
    folder.mkdir(parents=True)
    (folder / "config.php").write_text(config_php(erp), encoding="utf-8")
    return folder


def _cdc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder)


def _printed(text: str) -> list[str]:
    """The plain commands, in order."""
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("name", ["postgres_erp", "mysql_erp"])  # docs/install.md does it on MariaDB
async def test_by_flags_alone_then_the_first_event_arrives(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    erp: Database = request.getfixturevalue(name)
    folder = _facturascripts(tmp_path / "fs", erp)
    inbox = Inbox()
    async with receiving(inbox) as url:
        arguments = ["--facturascripts", "config.php", "--to", url, "--events", "customer.*", "--yes"]
        done = await asyncio.to_thread(_cdc, folder, "setup", *arguments, "--unit", "cdc.service")
        assert done.returncode == 0, done.stderr
        assert erp.info.password not in done.stdout + done.stderr
        assert 'Recommended: capture = "triggers": it needs no server setting' in done.stderr
        assert [event["event"] for event in inbox.events] == ["endpoint.test"]
        assert "WatchdogSec=" in (folder / "cdc.service").read_text(encoding="utf-8")
        consumer = Consumer(folder)
        async with consumer.running():
            erp.execute(INSERT)
            await inbox.until_count(2)
        assert inbox.events[1]["event"] == "customer.created"
        again = await asyncio.to_thread(_cdc, folder, "setup", "--to", url, "--yes")
        assert again.returncode == 0, again.stderr
    assert "is there already" in again.stderr
    assert "Nothing to do." in again.stderr
    endpoints = json.loads(consumer.run("endpoint", "list", "--json"))["endpoints"]
    assert len(endpoints) == 1


async def test_in_spanish_nothing_is_half_translated(
    mariadb_erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From nothing to a delivery, a receiver that fails, the checks, and removal: all that a person reads."""
    monkeypatch.setenv("CDC_LANG", "es")
    folder, inbox = _facturascripts(tmp_path / "fs", mariadb_erp), Inbox()
    async with receiving(inbox) as url:
        shown = await asyncio.to_thread(
            _cdc, folder, "setup", "--facturascripts", "config.php", "--to", url, "--events", "customer.*", "--yes"
        )
        assert shown.returncode == 0, shown.stderr
        assert "Paso 1 de 6: buscar FacturaScripts" in shown.stderr
        read = shown.stderr + shown.stdout
        async with Consumer(folder).running():
            mariadb_erp.execute(INSERT)
            await inbox.until_count(2)
            read += _cdc(folder, "doctor").stdout
    endpoint = json.loads(_cdc(folder, "endpoint", "list", "--json").stdout)["endpoints"][0]["id"]
    commands = [
        *("doctor", f"endpoint test {endpoint}", f"endpoint show {endpoint}", "endpoint list", "delivery list"),
        *("event list", "source list", "table list", "table list --captured", "backfill --list", "quarantine list"),
        *("user list", "token list", "audit list", "audit verify", "worker list", "due", "setup --yes", "explain FAC1"),
        *(f"endpoint update {endpoint} --url ftp://x", f"endpoint add {url} --events invoice.payd", "config show"),
        *(f"endpoint disable {endpoint}", "backfill clientes --dry-run", f"endpoint remove {endpoint} --yes"),
        *("source scan .", "uninstall-triggers --yes", "install-slot", "doctor"),
    ]
    for command in commands:
        done = _cdc(folder, *command.split())
        read += f"\n$ {command}\n{done.stdout}{done.stderr}"
    read = re.sub(r"mariadb \S+ from Debian|^(Error|Detalle).*\[Errno.*", "", read)
    lines = {line: found for line in read.splitlines() if (found := foreign_words(line, "es"))}
    assert not lines


async def test_the_printed_commands_do_the_same(postgres_erp: Database, tmp_path: Path) -> None:
    folder = _facturascripts(tmp_path / "fs", postgres_erp)
    (tmp_path / "hand").mkdir()
    inbox = Inbox()
    async with receiving(inbox) as url:
        arguments = ["--facturascripts", "config.php", "--to", url, "--events", "customer.*", "--yes"]
        done = await asyncio.to_thread(_cdc, folder, "setup", *arguments)
        assert done.returncode == 0, done.stderr
        (first,) = json.loads(Consumer(folder).run("endpoint", "list", "--json"))["endpoints"]
        Consumer(folder).run("uninstall-triggers")
        commands = _printed(done.stderr)
        assert [shlex.split(command)[1:3] for command in commands] == [
            ["config", "init"],
            ["install-triggers", "--source"],
            ["endpoint", "add"],
            ["endpoint", "test"],
            ["doctor"],
            ["run"],
            ["service", "install"],
        ]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        known = ""
        for command in commands[:5]:
            line = command.replace(str(first["id"]), known)
            by_hand = await asyncio.create_subprocess_shell(
                line, cwd=tmp_path / "hand", env=os.environ | {"PATH": path}, stdout=-1, stderr=-1
            )
            out, err = await by_hand.communicate()
            assert by_hand.returncode == 0, (line, out, err)
            known = known or "".join(re.findall(r"ep_\w+", out.decode()))
    assert (tmp_path / "hand" / "cdc.toml").read_text() == (folder / "cdc.toml").read_text()
    assert [event["event"] for event in inbox.events] == ["endpoint.test"] * 2


async def test_by_answers_at_a_terminal(mariadb_erp: Database, tmp_path: Path) -> None:
    folder = _facturascripts(tmp_path / "fs", mariadb_erp)
    inbox = Inbox()
    async with receiving(inbox) as url:
        answers = {
            "Use it?": "y",
            "To which URL": url,
            "Allow receivers there?": "y",
            "Which events": "invoice.*,customer.created",
            "Install what capture by triggers needs?": "",
        }
        code, said = await asyncio.to_thread(typed, folder, ["setup"], answers)
    assert code == 0, said
    assert said.index("This leads to the first signed webhook") < said.index("Use it?")
    assert "To which URL shall events be sent: " in said
    assert "?:" not in said
    assert [event["event"] for event in inbox.events] == ["endpoint.test"]
    (endpoint,) = json.loads(Consumer(folder).run("endpoint", "list", "--json"))["endpoints"]
    assert endpoint["events"] == ["invoice.*", "customer.created"]
    assert endpoint["name"] == url.split("/")[2], "its name"
    assert re.findall("main: create triggers of .*", said) == ["main: create triggers of 41 tables\r"]
    assert (folder / "cdc.toml").read_text(encoding="utf-8") == (
        "# What was chosen; every other option has its default.\n"
        "# `cdc config init` prints them all with their meaning, `cdc config show` those in force.\n\n"
        f'[source.main]\nfacturascripts = "{folder}/config.php"\ncapture = "triggers"\n\n'
        "[dispatch]\nallow_private = true\n"
    )


def test_listener_that_is_there_first_verifies_with_the_secret_of_the_new_endpoint(
    postgres_erp: Database, tmp_path: Path
) -> None:
    folder, port = _facturascripts(tmp_path / "fs", postgres_erp), free_port()
    command = [sys.executable, "-m", "cdc", "listen", "--port", str(port), "--count", "1", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listener:
        assert listener.stderr is not None
        assert "Listening on" in listener.stderr.readline()
        given = ["--facturascripts", "config.php", "--to", f"http://127.0.0.1:{port}", "--name", "Tienda", "--yes"]
        done = _cdc(folder, "setup", *given)
        out, _ = listener.communicate(timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    received = json.loads(out)
    assert (received["verified"], received["event"], listener.returncode) == (True, "endpoint.test", 0)
    (endpoint,) = json.loads(Consumer(folder).run("endpoint", "list", "--json"))["endpoints"]
    assert endpoint["name"] == "Tienda"


async def test_wrong_answers_are_asked_again_and_nothing_is_changed_before(
    postgres_erp: Database, tmp_path: Path
) -> None:
    folder, run = _facturascripts(tmp_path / "fs", postgres_erp), tmp_path / "run"
    run.mkdir()
    inbox = Inbox()
    async with receiving(inbox) as url:
        answers = {
            "Where is FacturaScripts?": str(tmp_path / "nowhere"),
            "Enter: check again": str(folder),
            "To which URL": ["ftp://shop.example", url.removeprefix("http://")],
            "Allow receivers there?": "y",
            "Which events": ["invoice.payed", CTRL_C],
        }
        code, said = await asyncio.to_thread(typed, run, ["setup"], answers)
        assert code == 130, said
        assert "nowhere cannot be read: No such file or directory." in " ".join(said.split())
        assert "is not http or https" in said
        assert f"Taken as {url}" in said
        assert "Did you mean invoice.paid" in said
        assert "Stopped at: Step 2 of 6" in said
        assert "cdc setup continues there" in said
        kept = run / ".cdc-setup.json"
        assert [path.name for path in run.iterdir()] == [kept.name], "nothing else is written"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert postgres_erp.info.password not in kept.read_text(encoding="utf-8")
        rest = {"Continue with these answers?": "", "Which events": "invoice.*", "Install what": ""}
        code, said = await asyncio.to_thread(typed, run, ["setup"], rest)
        assert code == 0, said
    assert "To which URL" not in said
    assert not kept.exists()
    assert [event["event"] for event in inbox.events] == ["endpoint.test"]
    (endpoint,) = json.loads(Consumer(run).run("endpoint", "list", "--json"))["endpoints"]
    assert (endpoint["url"], endpoint["events"]) == (url, ["invoice.*"])


async def test_yes_to_a_private_receiver_changes_a_configuration_that_is_there(
    postgres_erp: Database, tmp_path: Path
) -> None:
    folder = _facturascripts(tmp_path / "fs", postgres_erp)
    made = _cdc(folder, "setup", "--facturascripts", ".", "--no-endpoint", "--yes")
    assert made.returncode == 0, made.stderr
    inbox = Inbox()
    async with receiving(inbox) as url:
        answers = {"To which URL": url, "Allow receivers there?": "y", "Which events": "*", "Install what": ""}
        code, said = await asyncio.to_thread(typed, folder, ["setup"], answers)
    assert code == 0, said
    assert "now has allow_private = true" in said
    assert load_config(folder / "cdc.toml", environment={}).dispatch.allow_private
    assert [event["event"] for event in inbox.events] == ["endpoint.test"]


async def test_without_a_database_through_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By flags; the printed commands; at a terminal, where the address is typed for the path that there is not."""
    monkeypatch.setenv("CDC_SOURCE_MAIN_REST_REQUESTS_PER_MINUTE", "6000")
    flags, asked = tmp_path / "flags", tmp_path / "asked"
    for folder in (flags, asked):
        folder.mkdir()
        (folder / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    inbox = Inbox()
    async with serving(Api()) as api, receiving(inbox) as url:
        given = ["--api", api.url, "--token-file", "token", "--to", url, "--events", "customer.*", "--yes"]
        done = await asyncio.to_thread(_cdc, flags, "setup", *given)
        assert done.returncode == 0, done.stderr
        assert "is enabled, and accepts the token." in done.stderr
        assert "Capture by rest installs nothing." in done.stderr
        assert "No check failed" in done.stdout + done.stderr
        assert TOKEN not in done.stdout + done.stderr
        by_hand = await asyncio.to_thread(_cdc, flags, *shlex.split(_printed(done.stderr)[0].partition(" > ")[0])[1:])
        assert by_hand.stdout == (flags / "cdc.toml").read_text(encoding="utf-8")
        answers = {
            "Where is FacturaScripts?": api.url,
            "Which file holds a key": "token",
            "To which URL": url,
            "Allow receivers there?": "y",
            "Which events": "customer.*",
        }
        code, said = await asyncio.to_thread(typed, asked, ["setup"], answers)
        assert code == 0, said
        assert api.incidents == []
    assert [event["event"] for event in inbox.events] == ["endpoint.test"] * 2


async def test_an_api_that_lets_nobody_in_leaves_nothing_half_done(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another", encoding="utf-8")
    async with serving(Api()) as api:
        given = ["setup", "--no-endpoint", "--api", api.url, "--token-file", "token", "--yes"]
        done = await asyncio.to_thread(_cdc, tmp_path, *given)
        unread = await asyncio.to_thread(_cdc, tmp_path, *given[:-2], "nowhere", "--yes")
    assert (done.returncode, "does not accept the token" in done.stderr) == (1, True), done.stderr
    assert (unread.returncode, "The token file" in unread.stderr) == (2, True), unread.stderr
    assert not (tmp_path / "cdc.toml").exists()


def test_with_nobody_there_it_names_what_to_say(postgres_erp: Database, tmp_path: Path) -> None:
    folder = _facturascripts(tmp_path / "fs", postgres_erp)
    asked = _cdc(folder, "setup", "--facturascripts", "config.php")
    assert (asked.returncode, "Say --to URL." in asked.stderr) == (2, True), asked.stderr
    assert not (folder / "cdc.toml").exists(), "nothing is half done"
    asked = _cdc(folder, "setup", "--no-endpoint", "--facturascripts", "config.php")
    assert (asked.returncode, "Say --yes." in asked.stderr) == (2, True), asked.stderr
    inside = postgres_erp.info
    url = f"postgresql://{inside.user}:{inside.password}@{inside.host}:{inside.port}/{inside.database}"
    leaking = _cdc(tmp_path, "setup", "--no-endpoint", "--url", url, "--yes")
    assert (leaking.returncode, "no place for a database's password" in leaking.stderr) == (2, True), leaking.stderr
    assert inside.password not in leaking.stderr


def test_the_usual_account_of_a_mysql_erp_is_told_the_grant_before_anything_is_installed(
    mysql_erp: Database, tmp_path: Path
) -> None:
    """It may do everything in its own database, and nothing elsewhere."""
    user, password = f"usual_{mysql_erp.name[-8:]}", tmp_path / "password"
    password.write_text("nothing-much", encoding="utf-8")
    mysql_erp.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'nothing-much'")
    mysql_erp.execute(f"GRANT ALL ON {mysql_erp.name}.* TO '{user}'@'%'")
    grant = f"GRANT SELECT ON performance_schema.events_transactions_current TO '{user}'@'%'"
    where = ["--url", f"mysql://{user}@{mysql_erp.info.host}:{mysql_erp.info.port}/{mysql_erp.name}"]
    setup = ["setup", "--no-endpoint", *where, "--password-file", str(password), "--yes"]

    def ours() -> list[tuple[str]]:
        return mysql_erp.execute("SHOW TABLES LIKE 'cdc%'") + mysql_erp.execute("SHOW TRIGGERS")

    try:
        done = _cdc(tmp_path, *setup)
        assert (done.returncode, grant in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "cdc.toml").exists(), "nothing is half done"
        done = _cdc(tmp_path, *setup, "--capture", "triggers")
        assert (done.returncode, grant in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "cdc.toml").exists(), "nothing is half done"
        initial = _cdc(tmp_path, "config", "init", *where, "--password-file", str(password), "--capture", "triggers")
        (tmp_path / "cdc.toml").write_text(initial.stdout, encoding="utf-8")
        dry = _cdc(tmp_path, "install-triggers", "--dry-run")
        assert (dry.returncode, grant in dry.stderr, "CREATE DEFINER" in dry.stdout) == (0, True, True), dry.stderr
        assert ours() == []
        by_row = _cdc(tmp_path, "install-triggers", "--row-tokens")
        assert by_row.returncode == 0, by_row.stderr
        assert _cdc(tmp_path, "outbox", "create").returncode == 0
        checks = _cdc(tmp_path, "doctor")
        assert "WARNING  source main: transactions: Each row counts as a transaction of its own" in checks.stdout
        assert checks.returncode == 0, checks.stdout
        mysql_erp.execute(grant)
        back = _cdc(tmp_path, "install-triggers", "--transaction-tokens")
        assert back.returncode == 0, back.stderr
        checks = _cdc(tmp_path, "doctor")
        assert "OK       source main: transactions: distinguished by performance-schema" in checks.stdout, checks.stdout
    finally:
        mysql_erp.execute(f"DROP USER '{user}'@'%'")


@pytest.mark.parametrize("flavour", ["postgres_erp", "mysql_erp"])
def test_an_account_that_may_nothing_is_told_what_is_missing(
    flavour: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    erp: Database = request.getfixturevalue(flavour)
    info, password = erp.info, tmp_path / "password"
    password.write_text("nothing-much", encoding="utf-8")
    user = f"poor_{erp.name[-8:]}"
    postgres = erp.flavour == "postgresql"
    account = user if postgres else f"'{user}'@'%%'"
    secret = "PASSWORD" if postgres else "IDENTIFIED BY"
    erp.execute(f"CREATE USER {account} {secret} 'nothing-much'".replace("%%", "%"))
    grant = f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}"
    erp.execute(grant if postgres else f"GRANT SELECT ON {erp.name}.* TO '{user}'@'%'")
    scheme = "postgresql" if postgres else "mysql"
    url = f"{scheme}://{user}@{info.host}:{info.port}/{info.database}"
    try:
        done = _cdc(tmp_path, "setup", "--no-endpoint", "--url", url, "--password-file", str(password), "--yes")
        assert done.returncode == 2, done.stderr
        assert "Changes cannot be captured yet. By triggers: " in done.stderr
        assert "nothing-much" not in done.stderr
        assert not (tmp_path / "cdc.toml").exists(), "nothing is half done"
        needed = (tmp_path / "cdc-setup.sql").read_text(encoding="utf-8")
        assert "nothing-much" not in needed
        erp.script(needed)
        done = _cdc(tmp_path, "setup", "--no-endpoint", "--url", url, "--password-file", str(password), "--yes")
        assert done.returncode == 0, done.stderr
        Consumer(tmp_path).run("uninstall-triggers")
    finally:
        if postgres:
            erp.execute(f"DROP OWNED BY {user}")
        erp.execute(f"DROP USER {account}".replace("%%", "%"))


async def test_account_of_a_mysql_erp_without_rights_is_told_all_of_them_at_once_and_setup_continues(
    own_server: Any, tmp_path: Path
) -> None:
    """It may only read and write rows; the server writes a binlog, and trusts no creator of triggers."""
    erp = own_server("mysql", "--log-bin-trust-function-creators=0", binlog=True, erp=True)
    folder = _facturascripts(tmp_path / "fs", erp)
    poor = erp.info.as_user("tienda", "nothing-much")
    erp.execute("CREATE USER 'tienda'@'%' IDENTIFIED BY 'nothing-much'")
    erp.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{erp.name}`.* TO 'tienda'@'%'")
    config = config_php(erp).replace(erp.info.user, poor.user).replace(erp.info.password, poor.password)
    (folder / "config.php").write_text(config, encoding="utf-8")
    inbox = Inbox()
    async with receiving(inbox) as url:
        code, said = await asyncio.to_thread(typed, folder, ["setup"], {"Use it?": "y", "Enter: check again": CTRL_C})
        assert code == 130, said
        assert max(map(len, said[said.index("Not possible") :].splitlines()[1:])) <= WIDTH
        said = " ".join(said.split())
        for missing in ("TRIGGER, LOCK TABLES", "error 1419", "may not read performance_schema"):
            assert missing in said
        assert "An administrator of the server runs cdc-setup.sql" in said
        assert "Your answers are saved" in said
        granted = _cdc(folder, "grants")
        assert granted.returncode == 0, granted.stderr
        printed = PrintedGrants.read(granted.stdout)
        assert list(printed.passwords) == ["cdc_main_installer", "cdc_main_consumer"]
        named = PrintedGrants.read(_cdc(tmp_path, "grants", "--facturascripts", str(folder)).stdout)
        assert list(named.passwords) == list(printed.passwords)
        assert not {*named.passwords.values()} & {*printed.passwords.values()}
        shared = _cdc(folder, "grants", "--shared").stdout
        assert "CREATE USER 'cdc_installer'@'%'" in shared
        assert "One stolen account reads all tenants" in shared
        erp.script((folder / "cdc-setup.sql").read_text(encoding="utf-8"))
        answers = {
            "Continue with these answers?": "",
            "To which URL": url,
            "Allow receivers there?": "y",
            "Which events": "*",
            "Install what": "",
        }
        code, said = await asyncio.to_thread(typed, folder, ["setup"], answers)
        assert code == 0, said
    assert "Use it?" not in said
    assert [event["event"] for event in inbox.events] == ["endpoint.test"]


def test_grants_without_a_configuration_names_how_to_say_which(tmp_path: Path) -> None:
    asked = _cdc(tmp_path, "grants")
    assert (asked.returncode, "cdc grants --facturascripts PATH" in asked.stderr) == (2, True), asked.stderr
