"""Each command as its users see it: text for people, JSON for programs, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from cdc.admin.findings import endpoint_findings
from cdc.capture import estimate
from cdc.cli.environment import opened
from cdc.config import SourceConfig, default_toml, load_config
from cdc.model.change import Operation, Position, Quarantined
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import Attempt, DeliveryState
from cdc.model.endpoint import Endpoint
from cdc.model.finding import Finding, Severity
from cdc.outbox.secret_box import new_key
from cdc.runtime.outboxes import open_outbox
from support.cli_events import stored_event
from support.waiting import HANG_SECONDS

NOW = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
URL = "http://127.0.0.1:9/hook"
SECRET = "whsec_" + "QUFB" * 8


def store_events(folder: Path, count: int) -> None:
    async def store() -> None:
        outbox = open_outbox(load_config(environment={}, folder=folder))
        await outbox.open()
        await outbox.store("main", Position("1"), [stored_event(n, NOW) for n in range(1, count + 1)], {}, NOW)
        await outbox.close()

    asyncio.run(store())


def test_config(run_cdc: Callable, folder: Path) -> None:
    assert run_cdc("config", "init").stdout == default_toml()
    assert tomllib.loads(run_cdc("config", "show").stdout)["dispatch"]["allow_private"] is True
    shown = json.loads(run_cdc("config", "show", "--json").stdout)
    assert shown["file"] == str(folder / "cdc.toml")
    assert shown["source"]["main"]["url"] == "mysql://cdc:***@127.0.0.1:1/fs"


def test_an_endpoint_from_beginning_to_end(run_cdc: Callable) -> None:
    assert "no endpoint yet" in run_cdc("endpoint", "list").stderr
    added = json.loads(run_cdc("endpoint", "add", URL, "--events", "invoice.paid, receipt.*", "--json").stdout)
    assert added["id"].startswith("ep_")
    assert added["secret"].startswith("whsec_")
    assert added["events"] == ["invoice.paid", "receipt.*"]
    identity, secret = added["id"], added["secret"]

    for command in (["list"], ["list", "--json"], ["show", identity], ["show", identity, "--json"]):
        shown = run_cdc("endpoint", *command).output
        assert identity in shown
        assert secret not in shown
    update = ["--events", "*", "--retries", "standard", "--timeout", "3", "--name", "d", "--source", "main"]
    run_cdc("endpoint", "update", identity, *update, "--format", "cloudevents", "--concurrency", "2")
    shown = json.loads(run_cdc("endpoint", "show", identity, "--json").stdout)
    assert (shown["events"], shown["timeout"], shown["format"]) == (["*"], 3.0, "cloudevents")
    assert (shown["sources"], shown["concurrency"], len(shown["retries"])) == (["main"], 2, 9)
    listed = run_cdc("endpoint", "list").stdout.splitlines()
    assert [listed[0].split()[3], listed[1].split()[3]] == ["SOURCES", "main"]
    assert json.loads(run_cdc("endpoint", "update", identity, "--all-sources", "--json").stdout)["sources"] == []

    run_cdc("endpoint", "disable", identity, "--reason", "Moving house.")
    assert "Moving house." in run_cdc("endpoint", "list").stdout
    assert json.loads(run_cdc("endpoint", "enable", identity, "--json").stdout)["disabled_reason"] is None

    rotated = json.loads(run_cdc("endpoint", "rotate-secret", identity, "--secret", "-", "--json", stdin=SECRET).stdout)
    assert rotated["secret"] == SECRET
    assert rotated["former_secret_until"] is not None
    run_cdc("endpoint", "remove", identity)
    run_cdc("endpoint", "show", identity, code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ftp://h/", "--events", "*"], "not http"),
        ([URL, "--events", "Invoice!"], "not an event pattern"),
        ([URL, "--events", ","], "No event is named"),
        ([URL, "--events", "*", "--retries", "never"], "no retry schedule"),
        ([URL, "--events", "*", "--retries", "5,-1"], "not a retry schedule"),
        ([URL, "--events", "*", "--timeout", "31"], "timeout cannot be 31 s"),
        ([URL, "--events", "*", "--source", "other"], "no source 'other'"),
        ([URL, "--events", "*", "--secret", "hunter3"], "signing secret"),
    ],
)
def test_endpoints_that_cannot_be(run_cdc: Callable, arguments: list[str], message: str) -> None:
    result = run_cdc("endpoint", "add", *arguments, code=2)
    assert message in result.stderr
    assert "hunter3" not in result.output
    assert "no endpoint yet" in run_cdc("endpoint", "list").stderr


def test_private_addresses_need_the_configuration(run_cdc: Callable, folder: Path) -> None:
    (folder / "cdc.toml").write_text("")
    assert "allow_private" in run_cdc("endpoint", "add", URL, "--events", "*", code=2).stderr


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("invoice.payd", "Did you mean invoice.paid, "),
        ("invoices.*", "Did you mean invoice.*"),
        ("familias.*", "cdc event kinds shows all."),
        ("invoice.paid,zzzz", "cdc event kinds shows all."),
    ],
)
def test_events_that_nothing_makes_are_refused(run_cdc: Callable, pattern: str, hint: str) -> None:
    identity = json.loads(run_cdc("endpoint", "add", URL, "--events", "invoice.paid", "--json").stdout)["id"]
    for command in (["add", URL], ["update", identity]):
        refused = run_cdc("endpoint", *command, "--events", pattern, code=2)
        assert f"No event is called {pattern.rpartition(',')[2]}." in refused.stderr
        assert hint in refused.stderr
    (found,) = json.loads(run_cdc("endpoint", "list", "--json").stdout)["endpoints"]
    assert found["events"] == ["invoice.paid"]


def test_events_of_a_rule_of_any_source_are_known(run_cdc: Callable, folder: Path) -> None:
    more = '[source.other]\nurl = "mysql://cdc@127.0.0.1:1/two"\nrules = { tables = ["familias"] }\n'
    (folder / "cdc.toml").write_text((folder / "cdc.toml").read_text() + more)
    run_cdc("endpoint", "add", URL, "--events", "familias.*,familias.created")


def test_testing_an_endpoint_that_refuses(run_cdc: Callable) -> None:
    identity = json.loads(run_cdc("endpoint", "add", URL, "--events", "*", "--retries", "none", "--json").stdout)["id"]
    attempt = json.loads(run_cdc("endpoint", "test", identity, "--json", code=1).stdout)
    assert (attempt["event"], attempt["status"], attempt["number"]) == ("endpoint.test", None, 1)
    assert attempt["error"]
    assert json.loads(run_cdc("delivery", "list", "--state", "dead", "--json").stdout)["deliveries"] == []
    ended = json.loads(run_cdc("delivery", "list", "--state", "cancelled", "--json").stdout)["deliveries"]
    assert [each["id"] for each in ended] == [attempt["delivery"]]
    assert f"OK       endpoint {identity}" in run_cdc("doctor", code=1).stdout
    run_cdc("delivery", "retry", attempt["delivery"])
    assert json.loads(run_cdc("delivery", "show", attempt["delivery"], "--json").stdout)["state"] == "pending"
    assert (
        "Did you mean invoice.paid," in run_cdc("endpoint", "test", identity, "--event", "invoice.payed", code=2).stderr
    )
    example = json.loads(run_cdc("endpoint", "test", identity, "--event", "invoice.paid", "--json", code=1).stdout)
    assert example["event"] == "invoice.paid"
    run_cdc("endpoint", "disable", identity)
    assert "is disabled" in run_cdc("endpoint", "test", identity, code=2).stderr
    run_cdc("endpoint", "test", "ep_none", code=2)


def test_testing_an_endpoint_that_accepts(run_cdc: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    async def accepted(*_: object, **__: object) -> Attempt:
        return Attempt("dlv_1", 1, "evt_1", "endpoint.test", URL, 204, NOW, 0.012, "", "")

    monkeypatch.setattr("cdc.admin.endpoints.send_test", accepted)
    assert run_cdc("endpoint", "test", "ep_1").stdout == f"{URL} answered 204 after 12 ms.\n"


def test_the_delivery_log(run_cdc: Callable, folder: Path) -> None:
    assert "No delivery fits." in run_cdc("delivery", "list").stderr
    identity = json.loads(run_cdc("endpoint", "add", URL, "--events", "invoice.*", "--json").stdout)["id"]
    store_events(folder, 3)

    def listed(*filters: str) -> list[str]:
        return [d["record"] for d in json.loads(run_cdc("delivery", "list", "--json", *filters).stdout)["deliveries"]]

    assert listed() == ["facturascli:3", "facturascli:2", "facturascli:1"]
    assert listed("--limit", "1", "--endpoint", identity) == ["facturascli:3"]
    assert listed("--record", "facturascli:2", "--event", "invoice.*", "--state", "pending") == ["facturascli:2"]
    assert listed("--event", "evt_1") == ["facturascli:1"]
    assert listed("--event", "order.*") == listed("--endpoint", "ep_none") == []
    table = run_cdc("delivery", "list").stdout.splitlines()
    assert table[0].split()[:3] == ["ID", "EVENT", "RECORD"]
    assert len(table) == 4
    first = table[1].split()[0]
    assert "No attempt yet." in run_cdc("delivery", "show", first).stderr
    assert "Queued" in run_cdc("delivery", "retry", first).stderr  # it waits for its first attempt
    run_cdc("delivery", "show", "dlv_none", code=2)


def test_the_delivery_log_names_the_source_where_there_are_several(run_cdc: Callable, folder: Path) -> None:
    run_cdc("endpoint", "add", URL, "--events", "invoice.*")
    store_events(folder, 1)
    text = (folder / "cdc.toml").read_text()
    (folder / "cdc.toml").write_text(f'{text}[source.acme]\nurl = "mysql://cdc@127.0.0.1:1/acme"\n')
    titles, row = (line.split() for line in run_cdc("delivery", "list").stdout.splitlines())
    assert (titles[3], row[3]) == ("SOURCE", "main")


def test_the_catalogue_and_its_schemas(run_cdc: Callable) -> None:
    events = json.loads(run_cdc("event", "kinds", "invoice.*", "--json").stdout)["events"]
    assert ("invoice.paid", "facturascli") in [(each["event"], each["table"]) for each in events]
    assert all(each["event"].startswith("invoice.") and each["when"] for each in events)
    assert run_cdc("event", "kinds", "receipt.paid").stdout.splitlines()[1].startswith("receipt.paid  recibospagoscli")
    former = run_cdc("event", "list", "invoice.*", "--json")
    assert (json.loads(former.stdout)["events"], "cdc event kinds" in former.stderr) == (events, True)
    schema = json.loads(run_cdc("event", "schema", "invoice.paid").stdout)
    assert schema["properties"]["event"] == {"const": "invoice.paid"}
    assert schema["properties"]["data"]["properties"]["pagada"] == {"type": ["boolean", "integer", "null"]}
    assert "invoice.paid" in json.loads(run_cdc("event", "schema").stdout)
    webhooks = json.loads(run_cdc("event", "schema", "invoice.paid", "--format", "openapi").stdout)["webhooks"]
    assert webhooks.keys() == {"invoice.paid"}
    asyncapi = json.loads(run_cdc("event", "schema", "--format", "asyncapi").stdout)
    assert "endpoint.disabled" in asyncapi["components"]["messages"]
    declared = run_cdc("event", "schema", "invoice.paid", "--format", "typescript").stdout
    assert "export interface InvoicePaid extends WebhookEventBase {" in declared
    run_cdc("event", "schema", "invoice.payd", code=2)
    run_cdc("event", "schema", "invoice.paid", "--source", "other", code=2)


def test_tail_prints_what_is_there(run_cdc: Callable, folder: Path) -> None:
    store_events(folder, 3)
    lines = run_cdc("event", "tail", "--no-follow", "--last", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["evt_2", "evt_3"]
    assert "invoice.paid main facturascli:3 evt_3" in run_cdc("event", "tail", "--count", "3").stdout
    assert run_cdc("event", "tail", "--no-follow", "--event", "order.*").stdout == ""


def test_tail_follows_another_process(folder: Path) -> None:
    arguments = [sys.executable, "-m", "cdc", "event", "tail", "--json", "--last", "1"]
    store_events(folder, 1)
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["id"] == "evt_1"
        store_events(folder, 2)
        assert json.loads(tail.stdout.readline())["id"] == "evt_2"
        tail.send_signal(signal.SIGINT)
        assert tail.wait(HANG_SECONDS) == 0


def test_install_and_uninstall(run_cdc: Callable, installer: object) -> None:
    assert run_cdc("install-triggers", "--dry-run").stdout == "-- triggers of facturascli\n-- triggers of clientes\n"
    planned = json.loads(run_cdc("install-triggers", "--dry-run", "--json").stdout)["sources"][0]
    assert (planned["applied"], planned["steps"][0]["table"]) == (False, "facturascli")
    assert planned["script"].startswith("-- triggers")
    done = run_cdc("install-triggers", "--source", "main")
    assert done.stdout == ""
    assert done.stderr.count("main: triggers of 2 tables\n") == 1
    assert "The binlog is off." in done.stderr
    assert "Nothing to do" in run_cdc("install-triggers").stderr
    assert json.loads(run_cdc("uninstall-triggers", "--json").stdout)["sources"][0]["applied"] is True
    assert run_cdc("grants").stdout == "GRANT SELECT ON facturascli TO cdc;\n"
    assert "no source 'x'" in run_cdc("install-triggers", "--source", "x", code=2).stderr
    assert installer


@pytest.mark.parametrize("command", ["install-triggers", "uninstall-triggers", "grants", "table list"])
def test_unreadable_config_php_stops_only_its_own_source(
    run_cdc: Callable,
    installer,  # noqa: ANN001 - conftest's FakeInstaller
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """It is the first in the configuration."""
    config = folder / "cdc.toml"
    config.write_text('[source.shop]\nfacturascripts = "gone"\n' + config.read_text())
    done = []

    def connected(source: SourceConfig) -> object:
        source.connection()
        done.append(source.name)
        return installer

    for function in ("capture.installer", "capture.granting_inspector"):
        monkeypatch.setattr(f"cdc.runtime.{function}", connected)
    monkeypatch.setattr("cdc.runtime.capture.described_tables", lambda source: connected(source) and [])
    failed = run_cdc(*command.split(), code=1)
    assert done == ["main"]
    assert "shop: Error: " in failed.stderr
    assert failed.stderr.endswith("Error: 1 of 2 sources failed: shop.\n")
    assert "Error" not in run_cdc(*command.split(), "--source", "main").stderr
    assert "config.php" in run_cdc(*command.split(), "--source", "shop", code=2).stderr


def test_doctor(run_cdc: Callable, installer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001 - conftest's FakeInstaller
    monkeypatch.setenv("CDC_SECRET_KEY", new_key())
    run_cdc("endpoint", "add", URL, "--events", "*")
    (folder / "cdc.toml").chmod(0o640)
    assert all(line.startswith("OK") for line in run_cdc("doctor").stdout.splitlines())
    (folder / "cdc.db").chmod(0o644)  # opening takes it from others: that is asked first
    assert f"Other accounts can read {folder / 'cdc.db'} (mode 0644)." in run_cdc("doctor").stdout
    installer.findings_given = [Finding("triggers", Severity.WRONG, "1 of 2 lost", "cdc install-triggers")]
    wrong = run_cdc("doctor", code=1).stdout
    assert "WRONG    source main: triggers: 1 of 2 lost\n         fix: cdc install-triggers" in wrong
    report = json.loads(run_cdc("doctor", "--json", code=1).stdout)
    assert report["ok"] is False
    assert report["checks"][-1]["mend"] == "cdc install-triggers"
    installer.findings_given = [Finding(f"triggers of {table}", Severity.WRONG, "old", "fix") for table in "abcdef"]
    assert "triggers of a, b, c, d and 2 other tables: old\n" in run_cdc("doctor", code=1).stdout
    report = json.loads(run_cdc("doctor", "--json", code=1).stdout)  # a program looks for its table
    assert [check["check"] for check in report["checks"][-6:]] == [f"triggers of {table}" for table in "abcdef"]
    (folder / "cdc.toml").write_text("[nonsense]\n")
    assert run_cdc("doctor", code=1).stdout.startswith("WRONG    configuration: read: ")


def test_doctor_reports_what_waits_what_was_skipped_and_a_full_disk(
    run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = json.loads(run_cdc("endpoint", "add", URL, "--events", "*", "--json").stdout)["id"]
    before = datetime.now(UTC) - timedelta(hours=1)
    skipped = Quarantined("qr_1", "facturascli", Operation.UPDATE, None, "1", before, "a defect")

    async def fill() -> None:
        async with opened(open_outbox(load_config(environment={}, folder=folder))) as outbox:
            await outbox.store("main", Position("1"), [stored_event(1, before)], {}, before, quarantined=[skipped])

    asyncio.run(fill())
    checks = {check["check"]: check for check in json.loads(run_cdc("doctor", "--json", code=1).stdout)["checks"]}
    assert checks["overdue"]["detail"].startswith(
        f"A delivery to endpoint {identity} is overdue: it has been due since "
    )
    assert checks["quarantine"]["detail"] == "1 changes were not processed."
    assert checks["disk"]["severity"] == "ok"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    assert "WRONG    outbox: disk: 1.0 MB are free" in run_cdc("doctor", code=1).stdout


@pytest.mark.parametrize(("hours", "warned"), [(23, False), (25, True)])
def test_doctor_warns_of_a_consumer_whose_events_nobody_fetches(
    run_cdc: Callable, folder: Path, hours: int, warned: bool
) -> None:
    added = json.loads(run_cdc("endpoint", "add", "pull:orders", "--events", "*", "--json").stdout)
    before = datetime.now(UTC) - timedelta(hours=hours)

    async def fill() -> None:
        async with opened(open_outbox(load_config(environment={}, folder=folder))) as outbox:
            await outbox.store("main", Position("1"), [stored_event(1, before)], {}, before)

    asyncio.run(fill())
    checks = json.loads(run_cdc("doctor", "--json", code=1).stdout)["checks"]
    found = [each for each in checks if each["check"] == "fetched"]
    assert [(each["about"], each["severity"]) for each in found] == [(f"endpoint {added['id']}", "warning")] * warned
    assert not [each for each in checks if each["check"] == "overdue"]


def test_doctor_warns_of_an_endpoint_that_accepts_nothing() -> None:
    failing = Endpoint("ep_1", URL, ("*",), SECRET, NOW, failing_since=NOW - timedelta(minutes=12))
    (found,) = endpoint_findings(failing, {DeliveryState.WAITING: 2, DeliveryState.DELIVERED: 5}, NOW)
    assert (found.severity, found.fix) == (Severity.WARNING, "cdc endpoint test ep_1 shows its answer")
    assert found.detail == "http://127.0.0.1:9/…ep_1 has accepted nothing for 12 min; deliveries waiting: 2."


@pytest.mark.usefixtures("installer")
def test_doctor_never_says_that_nothing_is_wrong_below_a_warning(run_cdc: Callable) -> None:
    said = run_cdc("doctor")
    assert "WARNING" in said.stdout
    assert "No check failed, but there " in said.stderr
    assert "Nothing is wrong" not in said.stderr


def test_run_stops_on_sigterm(folder: Path) -> None:
    arguments = [sys.executable, "-m", "cdc", "--log-format", "json", "run"]
    with subprocess.Popen(arguments, cwd=folder, stderr=subprocess.PIPE, text=True) as consumer:
        assert consumer.stderr is not None
        assert json.loads(consumer.stderr.readline())["level"]
        assert os.getpriority(os.PRIO_PROCESS, consumer.pid) == max(5, os.getpriority(os.PRIO_PROCESS, 0))
        consumer.send_signal(signal.SIGTERM)
        rest = [json.loads(line)["message"] for line in consumer.stderr]
        assert consumer.wait(HANG_SECONDS) == 0
    assert "signal received" in rest


def test_a_second_signal_ends_the_consumer_at_once(folder: Path) -> None:
    code = (
        "import asyncio\nfrom cdc.runtime import consumer\nfrom cdc.cli.app import cdc\n"
        "async def run(config, stop, role, *, say, reload, once):\n"
        "    print('ready', flush=True)\n"
        "    await stop.wait()\n"
        "    print('finishing', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "consumer.run = run\n"
        "cdc.main(['run'])\n"
    )
    arguments = [sys.executable, "-c", code]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as stuck:
        assert stuck.stdout is not None
        for said in ("ready\n", "finishing\n"):
            assert stuck.stdout.readline() == said
            stuck.send_signal(signal.SIGTERM)
        assert stuck.wait(HANG_SECONDS) == -signal.SIGTERM


def test_listen_verifies_what_a_test_sends(run_cdc: Callable, folder: Path) -> None:
    arguments = [sys.executable, "-m", "cdc", "listen", "--port", "0", "--secret", SECRET, "--json"]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stderr is not None
        url = receiver.stderr.readline().split()[2]
        added = run_cdc("endpoint", "add", url, "--events", "*", "--secret", SECRET, "--json")
        identity = json.loads(added.stdout)["id"]
        assert json.loads(run_cdc("endpoint", "test", identity, "--json").stdout)["status"] == 204
        received = json.loads(receiver.stdout.readline())
        assert (received["verified"], received["event"]) == (True, "endpoint.test")
        run_cdc("endpoint", "rotate-secret", identity, "--overlap", "0")
        assert json.loads(run_cdc("endpoint", "test", identity, "--json", code=1).stdout)["status"] == 401
        assert json.loads(receiver.stdout.readline())["verified"] is False
        receiver.send_signal(signal.SIGINT)
        assert receiver.wait(HANG_SECONDS) == 1


def test_backfill_dry_run_shows_the_plan_once_and_starts_nothing(
    run_cdc: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def about(_info: ConnectionInfo, _table: str, _where: str) -> int:
        return 4310

    monkeypatch.setattr(estimate, "estimate", about)
    wanting = json.loads(run_cdc("endpoint", "add", URL, "--events", "invoice.existing", "--json").stdout)["id"]
    shown = run_cdc("backfill", "invoice", "customer", "--dry-run")
    heading, invoices, customers = shown.stdout.splitlines()
    assert heading.split() == ["SOURCE", "TABLE", "WHERE", "ABOUT", "ROWS", "SENT", "TO"]
    assert invoices.split() == ["main", "facturascli", "-", "4310", wanting]
    assert customers.split() == ["main", "clientes", "-", "4310", "no", "endpoint"]
    assert shown.stderr.count("No endpoint asks for existing rows of clientes") == 1
    assert shown.stderr.endswith("Dry run: about 8,620 rows of 2 tables. Nothing was started.\n")
    planned = json.loads(run_cdc("backfill", "invoice", "--dry-run", "--json").stdout)
    assert planned["dry_run"] is True
    assert [(each["id"], each["receivers"]) for each in planned["backfills"]] == [(None, [wanting])]
    assert json.loads(run_cdc("backfill", "--list", "--json").stdout) == {"backfills": []}


@pytest.mark.parametrize(
    ("retries", "shown"),
    [
        ("facturascripts", "facturascripts: 5,25,125,625,3125"),
        ("standard", "standard: 5,300,1800,7200,18000,36000,50400,72000,86400"),
        ("1,2", "1,2"),
        ("none", "none"),
    ],
)
def test_endpoint_show_prints_the_seconds_of_its_retries(run_cdc: Callable, retries: str, shown: str) -> None:
    added = json.loads(run_cdc("endpoint", "add", URL, "--events", "*", "--retries", retries, "--json").stdout)
    assert re.search(rf"^retries +{re.escape(shown)}$", run_cdc("endpoint", "show", added["id"]).stdout, re.MULTILINE)


def test_a_scan_names_sources_whose_config_php_cannot_be_read(run_cdc: Callable, folder: Path) -> None:
    (folder / "cdc.toml").write_text('[source.main]\nfacturascripts = "nowhere/config.php"\n')
    (folder / "www").mkdir()
    options = {"TYPE": "mysql", "HOST": "db", "PORT": "3306", "NAME": "fs", "USER": "u", "PASS": "p"}
    php = "".join(f"define('FS_DB_{name}', '{value}');\n" for name, value in options.items())
    (folder / "www/config.php").write_text(f"<?php\n{php}")
    said = run_cdc("source", "scan", "www").stderr
    assert "1 source added" in said
    assert "nowhere/config.php cannot be read. Correct [source.main], or remove it." in said
