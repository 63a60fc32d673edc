"""``cdc service`` on a machine below a folder: the unit's account reads and writes what it needs, and nobody else."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cdc.cli.app import cdc
from cdc.config import load_config
from cdc.files import replace_durably
from cdc.model.errors import CdcError, UsageError
from cdc.outbox.sqlite.file import ProcessLock
from cdc.runtime.installation import ServiceAccount, ServicePlaces, installation
from cdc.runtime.process import UnitSettings
from support.config_php import config_php
from support.consumer import RULES, TABLE, Consumer, Inbox, receiving
from support.database import Database
from support.ports import free_port
from support.systemd import Systemd

USER = "nobody"
CONFIG = """# What was chosen.
[source.main]
facturascripts = "fs/config.php"   # FacturaScripts' own
rules = 'rules.toml'
[outbox]
secret_key_file = "key"
[dispatch]
allow_private = true
[web]
listen = "127.0.0.1:{port}"
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="not tested: only root installs a service and starts it as another account"
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """A machine with systemd, whose folders every account may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="cdc-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        systemd = Systemd.on(root)
        monkeypatch.setenv("PATH", f"{root / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setattr("cdc.cli.service.PLACES", ServicePlaces(root))
        yield systemd
        systemd.stop()


@pytest.fixture
def home(machine: Systemd) -> Path:
    """Root's folder with a configuration."""
    home = machine.folder / "home"
    (home / "fs").mkdir(parents=True)
    home.chmod(0o700)
    (home / "cdc.toml").write_text(CONFIG.format(port=free_port()), encoding="utf-8")
    (home / "rules.toml").write_text(RULES, encoding="utf-8")
    return home


def service(folder: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cdc, ["--config", str(folder / "cdc.toml"), "service", *arguments])
    assert result.exit_code == code, result.output
    return result


def _modes(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return user, group and mode of each file that stays."""
    paths = [folder, *sorted(folder.iterdir())]
    return {
        "." if path == folder else path.name: (
            path.stat().st_uid,
            path.stat().st_gid,
            stat.S_IMODE(path.stat().st_mode),
        )
        for path in paths
        if not path.name.endswith(("-wal", "-shm"))
    }


def _set_up(home: Path, database: Database, url: str) -> Consumer:
    """A source whose triggers are installed, and an endpoint, in a folder of root's."""
    database.execute(TABLE)
    (home / "fs" / "config.php").write_text(config_php(database), encoding="utf-8")
    (home / "fs" / "config.php").chmod(0o600)
    consumer = Consumer(home)
    (home / "key").write_text(consumer.run("outbox", "new-key"), encoding="utf-8")
    consumer.run("install-triggers")
    consumer.add_endpoint(url)
    return consumer


async def test_service_works_as_its_own_account_from_root_s_folder_to_its_removal(
    machine: Systemd, home: Path, database: Database
) -> None:
    account, inbox = ServiceAccount.named(USER), Inbox()
    async with receiving(inbox) as url:
        consumer = await asyncio.to_thread(_set_up, home, database, url)
        before = _modes(home)

        listed = await asyncio.to_thread(service, home, "install", "--user", USER, "--dry-run")
        steps = re.findall(r"^  +\d+\. (.*)$", listed.stderr, re.MULTILINE)
        etc, state = machine.folder / "etc/facturascripts-cdc", machine.folder / "var/lib/facturascripts-cdc"
        assert [step.replace(str(machine.folder), "") for step in steps if not step.startswith("move ")] == [
            "create the folder /etc/facturascripts-cdc, which root and nobody may read",
            "create the folder /var/lib/facturascripts-cdc for nobody alone",
            "copy /home/rules.toml to /etc/facturascripts-cdc/rules.toml",
            "copy /home/key to /etc/facturascripts-cdc/key",
            "write /etc/systemd/system/facturascripts-cdc.service",
            "have systemd read it",
            "start it with the machine",
            "start it, and wait until it is ready",
        ]
        assert (before, machine.calls(), etc.exists()) == (_modes(home), [], False), "nothing is changed"

        consumer.start()
        await consumer.logged("dispatching")
        refused = await asyncio.to_thread(service, home, "install", "--user", USER, "--yes", code=2)
        assert "Stop it (Ctrl-C), then install the service again." in refused.output
        await consumer.stop()

        done = await asyncio.to_thread(service, home, "install", "--user", USER, "--yes")
        assert machine.calls() == [
            "systemctl daemon-reload",
            "systemctl enable facturascripts-cdc.service",
            "systemctl restart facturascripts-cdc.service",
        ]
        assert re.search(r"The page: http://127.0.0.1:\d+/set-up/\S+\n", done.stderr), done.stderr
        assert (machine.folder / f"/proc/{machine.pid()}").owner() == USER
        assert _modes(etc) == {
            ".": (0, account.gid, 0o750),
            "cdc.toml": (0, account.gid, 0o640),
            "key": (0, 0, 0o600),
            "rules.toml": (0, account.gid, 0o640),
        }
        assert set(_modes(state).values()) == {(account.uid, account.gid, 0o700), (account.uid, account.gid, 0o600)}
        assert (home / "cdc.toml.moved").exists()
        assert (home / "cdc.db.moved").exists()
        assert not (home / "cdc.db").exists()
        placed = (etc / "cdc.toml").read_text(encoding="utf-8")
        assert placed.startswith("# What was chosen.\n")
        assert f"facturascripts = '{home}/fs/config.php'   # FacturaScripts' own\n" in placed
        database.execute("INSERT INTO contadores VALUES (1, 2, 'three')")
        await inbox.until_event(lambda event: event["event"] == "contadores.created")

        await asyncio.to_thread(_watch, machine)
        await asyncio.to_thread(_use_as_root, machine, url, account.uid)
        await asyncio.to_thread(_remove, machine)


def _watch(machine: Systemd) -> None:
    """Ask for state and log."""
    etc = machine.folder / "etc/facturascripts-cdc"
    status = service(etc, "status").stdout
    assert max(map(len, status.splitlines())) <= 80 + len(str(machine.folder))
    assert re.search(r"^state +active \(running\)$", status, re.MULTILINE)
    report = json.loads(service(etc, "status", "--json").stdout)
    assert (report["ready"], report["memory"]) == (True, "70.0 MB")
    assert re.search(r"\[info +\] delivered contadores\.created", service(etc, "logs").stdout)


def _use_as_root(machine: Systemd, url: str, uid: int) -> None:
    """What root makes, the account can use; and a second installation repairs what it cannot."""
    etc, state = machine.folder / "etc/facturascripts-cdc", machine.folder / "var/lib/facturascripts-cdc"
    machine.stop()
    for file in state.glob("cdc.db-*"):
        file.unlink()
    Consumer(etc).run("endpoint", "add", f"{url}second", "--events", "*")
    assert ProcessLock(state / "cdc.db").take()
    assert {owner for owner, _, _ in _modes(state).values()} == {uid}
    os.chown(state / "cdc.db", 0, 0)
    for steps in (["give", "start"], ["restart"]):
        again = service(etc, "install", "--user", USER, "--yes")
        assert re.findall(r"^  +\d+\. (\w+)", again.stderr, re.MULTILINE) == steps


def _remove(machine: Systemd) -> None:
    etc, state = machine.folder / "etc/facturascripts-cdc", machine.folder / "var/lib/facturascripts-cdc"
    service(etc, "uninstall", "--yes")
    assert machine.calls()[-2:] == ["systemctl disable --now facturascripts-cdc.service", "systemctl daemon-reload"]
    assert (machine.pid(), (state / "cdc.db").exists(), (etc / "cdc.toml").exists()) == (None, True, True)
    assert "is not installed" in service(etc, "status", code=2).output
    assert "This loses 0 unfinished deliveries" in service(etc, "uninstall", "--purge", "--yes").stderr
    assert (state.exists(), etc.exists()) == (False, False)


@pytest.fixture
def bare(home: Path) -> Path:
    """A configuration of a database that is not there, with an outbox that has one endpoint."""
    (home / "rules.toml").unlink()
    (home / "cdc.toml").write_text(
        '[source.main]\nurl = "mysql://cdc@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\n[web]\nlisten = ""\n',
        encoding="utf-8",
    )
    Consumer(home).add_endpoint("http://127.0.0.1:1/")
    return home


def _steps(file: Path, machine: Systemd, **environment: str) -> list[Any]:
    settings = UnitSettings(("/bin/sh",), USER)
    return installation(load_config(file, environment), settings, ServicePlaces(machine.folder), environment)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4], ids=["copy", "configuration", "outbox", "unit"])
def test_interrupted_installation_is_completed_by_the_next(
    machine: Systemd, bare: Path, number: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file was about to get, or had just got, its place.  In one of these moments there are two outboxes,
    with the same content: people have to choose, because either may have been used since."""
    endpoints, places = Consumer(bare).run("endpoint", "list", "--json"), ServicePlaces(machine.folder)
    monkeypatch.setattr("cdc.runtime.installation.run", lambda *_words: None)
    calls = 0

    def replace(draft: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == number and not after:
            raise KeyboardInterrupt
        replace_durably(draft, target)
        if calls == number:
            raise KeyboardInterrupt

    for module in ("cdc.runtime.installation", "cdc.outbox.sqlite.file"):
        monkeypatch.setattr(f"{module}.replace_durably", replace)
    with pytest.raises(KeyboardInterrupt):
        _install(bare / "cdc.toml", machine)
    state = places.state(UnitSettings(()))
    if (number, after) == (3, True):
        with pytest.raises(UsageError, match="There are two outboxes"):
            _steps(bare / "cdc.toml", machine)
        (state / "cdc.db").unlink()
    _install(bare / "cdc.toml" if (bare / "cdc.toml").exists() else places.configuration / "cdc.toml", machine)
    assert Consumer(places.configuration).run("endpoint", "list", "--json") == endpoints
    assert {path.name for path in bare.iterdir()} - {"fs", "cdc.db.moved-wal", "cdc.db.moved-shm"} == {
        "cdc.db.moved",
        "cdc.toml.moved",
    }
    assert [path.name for path in state.iterdir()] == ["cdc.db"]
    assert (places.units / "facturascripts-cdc.service").exists()


def _install(file: Path, machine: Systemd) -> None:
    for step in _steps(file, machine):
        step.do()


_REFUSALS = {
    "CDC_SECRET_KEY": "Options are set in this shell's environment, which a service does not have: CDC_SECRET_KEY.",
    "CDC_WEB_LISTEN": "Options are set in this shell's environment, which a service does not have: CDC_WEB_LISTEN.",
}


@pytest.mark.parametrize("variable", _REFUSALS)
def test_variables_of_the_shell_are_refused(machine: Systemd, bare: Path, variable: str) -> None:
    with pytest.raises(UsageError) as refused:
        _steps(bare / "cdc.toml", machine, **{variable: "127.0.0.1:1"})
    assert refused.value.message == _REFUSALS[variable]


def test_what_cannot_be_a_service_is_refused_in_a_sentence(machine: Systemd, bare: Path) -> None:
    places, config = ServicePlaces(machine.folder), load_config(bare / "cdc.toml", {})

    def message(settings: UnitSettings) -> str:
        with pytest.raises(UsageError) as refused:
            installation(config, settings, places, {})
        return refused.value.message

    program = bare / "cdc"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    assert message(UnitSettings((str(program),), USER)).endswith(f"{program}: {bare} is closed to it.")
    assert "cannot pass files with secrets" in message(UnitSettings(("/bin/sh",), USER, 246))
    assert "There is no account 'nobody-2'" in message(UnitSettings(("/bin/sh",), "nobody-2"))
    places.configuration.mkdir()
    (places.configuration / "cdc.toml").write_text("[source.other]\n", encoding="utf-8")
    assert "is there already, and is another configuration" in message(UnitSettings(("/bin/sh",), USER))
    with (bare / "cdc.toml").open("a", encoding="utf-8") as file:
        file.write("[source.main.rules]\ntables = ['clientes']\n")
    config = load_config(bare / "cdc.toml", {})
    assert "clientes is already captured" in message(UnitSettings(("/bin/sh",), USER)), "before anything moves"
    (machine.folder / "run/systemd/system").rmdir()
    assert message(UnitSettings(("/bin/sh",), USER)) == "systemd does not run on this machine."


def test_account_that_is_missing_is_created_first(machine: Systemd, bare: Path) -> None:
    steps = installation(
        load_config(bare / "cdc.toml", {}), UnitSettings(("/bin/sh",)), ServicePlaces(machine.folder), {}
    )
    assert steps[0].title == "create the system account facturascripts-cdc"
    steps[0].do()
    (called,) = machine.calls()
    assert called.startswith("useradd --system --user-group --no-create-home --home-dir ")
    assert called.endswith(" --shell /usr/sbin/nologin facturascripts-cdc")


def test_service_that_does_not_start_shows_the_end_of_its_log(machine: Systemd, bare: Path) -> None:
    with (bare / "cdc.toml").open("a", encoding="utf-8") as file:
        file.write('[tracing]\nendpoint = "http://127.0.0.1:4318/v1/traces"\nsample = 1.0\n')
    (machine.folder / "journal").write_text("", encoding="utf-8")
    steps = _steps(bare / "cdc.toml", machine)
    (failing,) = [step for step in steps if step.title.startswith("start it, and")]
    for step in steps:
        if step is not failing:
            step.do()
    unit = machine.folder / "etc/systemd/system/facturascripts-cdc.service"
    text = unit.read_text(encoding="utf-8")
    unit.write_text(re.sub("ExecStart=.*", "ExecStart=/bin/sh -c 'echo no such thing; exit 3'", text), encoding="utf-8")
    with pytest.raises(CdcError, match="does not start") as failed:
        failing.do()
    assert failed.value.hint.startswith("no such thing\n")
