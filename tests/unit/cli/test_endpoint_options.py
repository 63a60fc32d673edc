"""What may be said of an endpoint: taken, checked, shown without secrets, and taken away again."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from cdc.config import load_config
from cdc.model.change import Position
from cdc.model.endpoint import Endpoint
from cdc.model.event import Event
from cdc.runtime.outboxes import open_outbox
from support.outboxes import NOW, event

HTTP = "http://127.0.0.1:9/hook"
HTTPS = "https://127.0.0.1:9/hook"
ALL = ["--events", "*"]
CONFIG = (
    '[source.main]\nurl = "mysql://cdc:hunter2@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\n'
    'proxies = { dmz = "http://user:hunter2@proxy.example:3128" }\nclient_certificates = { bank = "bank.pem" }\n'
)
SECRETS = ("t0psecret", "hunter2")
EVERYTHING = [
    *("--filter", 'event == "invoice.paid" && data.total > 100.0', "--fields", "total, codcliente,total"),
    *("--order", "none", "--rate", "2.5", "--batch", "50", "--batch-wait", "0.5", "--disable-after", "12"),
    *("--proxy", "dmz", "--client-certificate", "bank", "--header", "X-Tenant: 42"),
]


@pytest.fixture
def endpoint_cdc(run_cdc: Callable, folder: Path) -> Callable:
    """``endpoint_cdc("add", …)``: whatever is printed holds no secret value."""
    (folder / "cdc.toml").write_text(CONFIG)

    def call(*arguments: str, **options: Any) -> Any:
        result = run_cdc("endpoint", *arguments, **options)
        assert not any(secret in result.output for secret in SECRETS)
        return result

    return call


def saved(folder: Path) -> Endpoint:
    """The only endpoint, as the outbox has it."""

    async def read() -> Endpoint:
        outbox = open_outbox(load_config(environment={}, folder=folder))
        await outbox.open()
        try:
            (found,) = await outbox.endpoints()
            return found
        finally:
            await outbox.close()

    return asyncio.run(read())


@pytest.mark.parametrize(("longest", "timeout"), [(4, 4.0), (60, 10.0)])
def test_timeout_that_is_left_out_is_at_most_the_longest(
    endpoint_cdc: Callable, folder: Path, longest: int, timeout: float
) -> None:
    limited = CONFIG.replace("[dispatch]", f"[dispatch]\nmax_timeout_seconds = {longest}\nlease_seconds = 90")
    (folder / "cdc.toml").write_text(limited)
    endpoint_cdc("add", HTTPS, *ALL)
    assert saved(folder).timeout == timeout


def store(folder: Path, *events: Event) -> None:
    async def write() -> None:
        outbox = open_outbox(load_config(environment={}, folder=folder))
        await outbox.open()
        await outbox.store("main", Position("1"), events, {}, NOW)
        await outbox.close()

    asyncio.run(write())


def test_everything_that_may_be_said(endpoint_cdc: Callable, folder: Path) -> None:
    (folder / "token").write_text("t0psecret\n")
    added = json.loads(endpoint_cdc("add", HTTPS, *ALL, *EVERYTHING, "--bearer", "@token", "--json").stdout)
    found = saved(folder)
    assert found.condition == 'event == "invoice.paid" && data.total > 100.0'
    assert (found.fields, found.order, found.rate) == (("total", "codcliente"), "none", 2.5)
    assert (found.batch_size, found.batch_wait, found.disable_after) == (50, 0.5, 12 * 3600)
    assert (found.proxy, found.client_certificate) == ("dmz", "bank")
    assert found.headers == (("X-Tenant", "42"), ("Authorization", "Bearer t0psecret"))

    for shown in (added, json.loads(endpoint_cdc("show", found.id, "--json").stdout)):
        assert shown["headers"] == ["X-Tenant", "Authorization"]
        assert (shown["filter"], shown["fields"]) == (found.condition, list(found.fields))
        assert (shown["order"], shown["rate"], shown["batch"], shown["batch_wait"]) == ("none", 2.5, 50, 0.5)
        assert (shown["proxy"], shown["client_certificate"], shown["disable_after"]) == ("dmz", "bank", 43200)
    for_people = endpoint_cdc("show", found.id).stdout
    for part in ("X-Tenant, Authorization", "dmz", "bank", "up to 50 within 0.5 s", "2.5 a second", "12 h without"):
        assert part in for_people


def test_each_can_be_taken_away(endpoint_cdc: Callable, folder: Path) -> None:
    identity = json.loads(endpoint_cdc("add", HTTPS, *ALL, *EVERYTHING, "--json").stdout)["id"]
    for option in ("--filter", "--fields", "--proxy", "--client-certificate"):
        endpoint_cdc("update", identity, option, "")
    for option, value in {"--rate": "0", "--batch": "1", "--disable-after": "0", "--order": "record"}.items():
        endpoint_cdc("update", identity, option, value)
    endpoint_cdc("update", identity, "--no-headers", "--batch-wait", "1")
    plain = Endpoint("", HTTPS, ("*",), "", NOW)
    found = saved(folder)
    for name in ("condition", "fields", "proxy", "client_certificate", "rate", "batch_size", "batch_wait", "headers"):
        assert getattr(found, name) == getattr(plain, name), name
    assert found.disable_after == 0
    assert "never" in endpoint_cdc("show", identity).stdout


def test_headers_are_changed_one_by_one(endpoint_cdc: Callable, folder: Path) -> None:
    headers = ["--header", "X-A: 1", "--header", "X-B: 2", "--header", "X-C: 3"]
    identity = json.loads(endpoint_cdc("add", HTTP, *ALL, *headers, "--json").stdout)["id"]
    endpoint_cdc("update", identity, "--header", "x-b: 4", "--remove-header", "X-C")
    assert saved(folder).headers == (("X-A", "1"), ("x-b", "4"))
    assert "no header x-c" in endpoint_cdc("update", identity, "--remove-header", "X-C", code=2).stderr
    endpoint_cdc("update", identity, "--no-headers", "--header", "X-D: 5")
    assert saved(folder).headers == (("X-D", "5"),)


def test_secrets_come_from_elsewhere(endpoint_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER", "t0psecret")
    (folder / "account").write_text("user:t0psecret\n")
    identity = json.loads(endpoint_cdc("add", HTTP, *ALL, "--bearer", "env:RECEIVER", "--json").stdout)["id"]
    assert saved(folder).headers == (("Authorization", "Bearer t0psecret"),)
    endpoint_cdc("update", identity, "--basic", "@account", "--header", "X-Key: -", stdin="t0psecret\n")
    assert saved(folder).headers == (("Authorization", "Basic dXNlcjp0MHBzZWNyZXQ="), ("X-Key", "t0psecret"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bearer", "t0psecret"], "Do not write the token for --bearer"),
        (["--basic", "user:t0psecret"], "Do not write user:password"),
        (["--bearer", "@nowhere"], "nowhere with the token for --bearer cannot be read"),
        (["--bearer", "env:NOWHERE"], "The variable NOWHERE for the token"),
        (["--bearer", "-"], "Standard input is empty: it should hold the token"),
        (["--basic", "@broken"], "no colon between user and password"),
        (["--bearer", "@broken", "--header", "authorization: t0psecret"], "one Authorization header"),
        (["--header", "t0psecret"], "given without a colon"),
        (["--header", "Content-Type: t0psecret"], "Content-Type is set by every delivery"),
        (["--header", "X-A: t0psecret\r\nX-B: c"], "a line break"),
        (["--header", "X A: t0psecret"], "not the name of a header"),
    ],
)
def test_headers_that_cannot_be(endpoint_cdc: Callable, folder: Path, arguments: list[str], message: str) -> None:
    (folder / "broken").write_text("t0psecret")
    assert message in endpoint_cdc("add", HTTP, *ALL, *arguments, code=2).stderr
    assert "no endpoint yet" in endpoint_cdc("list").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "data.total >"], "not a valid expression: it ends where more is needed (line 1, character 13)"),
        (["--filter", "data.total"], "neither true nor false, but a number"),
        (["--filter", "totl > 100.0"], "uses totl"),
        (["--order", "endpoint", "--batch", "2"], "cannot get batches"),
        (["--batch", "0"], "A batch of 0 events"),
        (["--rate", "-1"], "A rate of -1 a second"),
        (["--rate", "nan"], "A rate of nan a second"),
        (["--disable-after", "-1"], "not a valid time"),
        (["--disable-after", "inf"], "not a valid time"),
        (["--fields", "total\x07"], "not column names"),
        (["--proxy", "other"], "no proxy 'other'"),
        (["--client-certificate", "other"], "no client certificate 'other'"),
        (["--client-certificate", "bank"], "needs https"),
    ],
)
def test_what_cannot_be_is_refused_when_added_and_when_changed(
    endpoint_cdc: Callable, arguments: list[str], message: str
) -> None:
    assert message in endpoint_cdc("add", HTTP, "--events", "invoice.*", *arguments, code=2).stderr
    identity = json.loads(endpoint_cdc("add", HTTP, "--events", "invoice.*", "--json").stdout)["id"]
    assert message in endpoint_cdc("update", identity, *arguments, code=2).stderr


def test_what_was_said_before_counts_too(endpoint_cdc: Callable) -> None:
    identity = json.loads(endpoint_cdc("add", HTTP, *ALL, "--batch", "2", "--json").stdout)["id"]
    assert "cannot get batches" in endpoint_cdc("update", identity, "--order", "endpoint", code=2).stderr
    endpoint_cdc("update", identity, "--order", "endpoint", "--batch", "1")


def test_https_is_required_unless_allowed(run_cdc: Callable, folder: Path) -> None:
    url = "http://shop.example.com/hook"
    (folder / "cdc.toml").write_text("[dispatch]\nallow_http = true\n")
    identity = json.loads(run_cdc("endpoint", "add", url, *ALL, "--json").stdout)["id"]
    (folder / "cdc.toml").write_text("")
    assert "allow_http = true" in run_cdc("endpoint", "add", url, *ALL, code=2).stderr
    assert "allow_http" in run_cdc("endpoint", "update", identity, "--url", url, code=2).stderr
    run_cdc("endpoint", "update", identity, "--description", "It is still there.")
    (folder / "cdc.toml").write_text('[dispatch]\nallow_networks = ["10.1.0.0/16"]\n')
    run_cdc("endpoint", "add", "https://10.1.2.3/hook", *ALL)
    assert "a private address" in run_cdc("endpoint", "add", "https://10.2.2.3/hook", *ALL, code=2).stderr


INVOICES = [
    event(1, name="invoice.paid", data={"idfactura": 1, "total": 99.0}),
    event(2, name="invoice.paid", data={"idfactura": 2, "total": 101.0}),
    event(3, name="invoice.paid", data={"idfactura": 3, "total": "many"}),
    event(4, name="receipt.paid", data={"total": 500.0}),
]


def test_a_preview_shows_what_would_be_delivered(endpoint_cdc: Callable, folder: Path) -> None:
    store(folder, *INVOICES)
    wanted = ["--events", "invoice.paid", "--filter", "data.total > 100.0"]
    shown = endpoint_cdc("preview", *wanted)
    assert [line.split()[-1] for line in shown.stdout.splitlines()][:3] == ["DELIVERED", "no", "yes"]
    assert "yes: The expression compares or computes with values of different types." in shown.stdout
    assert "receipt" not in shown.stdout
    assert "Of the last 4 events 3 match the patterns, and 2 would be delivered." in shown.stderr

    report = json.loads(endpoint_cdc("preview", *wanted, "--json").stdout)
    counts = {name: report[name] for name in ("events", "named", "delivered", "failed")}
    assert counts == {"events": 4, "named": 3, "delivered": 2, "failed": 1}
    assert [(each["id"], each["delivered"]) for each in report["named_events"]] == [
        ("evt_1", False), ("evt_2", True), ("evt_3", True),
    ]  # fmt: skip
    assert json.loads(endpoint_cdc("preview", *wanted, "--last", "2", "--json").stdout)["events"] == 2
    assert "no endpoint yet" in endpoint_cdc("list").stderr, "nothing is changed"


def test_a_preview_of_an_endpoint_and_of_a_change_to_it(endpoint_cdc: Callable, folder: Path) -> None:
    store(folder, *INVOICES)
    wanted = ["--events", "invoice.paid", "--filter", "data.total > 100.0"]
    added = endpoint_cdc("add", HTTP, *wanted, "--json")
    assert "3 match the patterns, and 2 would be delivered" in added.stderr, "as told when it is saved"
    identity = json.loads(added.stdout)["id"]

    def delivered(*options: str) -> int:
        return int(json.loads(endpoint_cdc("preview", identity, *options, "--json").stdout)["delivered"])

    assert delivered() == 2
    assert delivered("--filter", "") == 3
    assert delivered("--events", "receipt.*") == 1
    assert "no endpoint ep_other" in endpoint_cdc("preview", "ep_other", code=2).stderr
    assert "Neither an endpoint nor events" in endpoint_cdc("preview", code=2).stderr
    assert "not a valid expression" in endpoint_cdc("preview", identity, "--filter", "data.", code=2).stderr


def test_a_filter_that_hardly_means_what_it_says_is_remarked_on(endpoint_cdc: Callable) -> None:
    added = endpoint_cdc("add", HTTP, "--events", "invoice.*", "--filter", "data.totl > 100.0")
    assert "uses a field that no example of these events has" in added.stderr
    added = endpoint_cdc("add", HTTP, "--events", "invoice.*", "--filter", 'data.total > "100"')
    assert "which are then delivered: The expression compares or computes with values of" in added.stderr


def test_the_doctor_names_what_the_configuration_does_not_let_through(
    endpoint_cdc: Callable, run_cdc: Callable, folder: Path, installer: object
) -> None:
    authority = trustme.CA()
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(str(folder / "bank.pem"))
    endpoint_cdc("add", HTTPS, *ALL, "--proxy", "dmz", "--client-certificate", "bank")
    assert "client certificates: bank" in run_cdc("doctor").stdout
    (folder / "bank.pem").write_text("no certificate")
    assert "The client certificate 'bank'" in run_cdc("doctor", code=1).stdout
    (folder / "cdc.toml").write_text(
        CONFIG.replace("dmz", "other").replace('client_certificates = { bank = "bank.pem" }', "")
    )
    assert "no proxy 'dmz'" in run_cdc("doctor", code=1).stdout
    (folder / "cdc.toml").write_text(CONFIG.replace("allow_private = true", ""))
    assert re.search(r"https://127.0.0.1:9/…\w{4} cannot get events", run_cdc("doctor", code=1).stdout)


def test_first_endpoint_may_have_a_filter(endpoint_cdc: Callable, folder: Path) -> None:
    (folder / "cdc.db").unlink()
    wanted = ("--events", "invoice.paid", "--filter", "data.total > 100.0")
    assert "neither true nor false" in endpoint_cdc("add", HTTP, *wanted[:3], "data.total", code=2).stderr
    assert not (folder / "cdc.db").exists(), "nothing is created for an endpoint that is refused"
    assert "Created the outbox" in endpoint_cdc("add", HTTP, *wanted).stderr
    assert [each["filter"] for each in json.loads(endpoint_cdc("list", "--json").stdout)["endpoints"]] == [wanted[3]]


def test_former_name_of_an_option_is_accepted_with_a_sentence(run_cdc: Callable) -> None:
    made = run_cdc("endpoint", "add", "http://127.0.0.1:9/hook", "--events", "*", "--description", "Shop", "--json")
    assert "is called --name now" in made.stderr
    shown = json.loads(made.stdout)
    assert (shown["name"], shown["description"]) == ("Shop", "Shop")
    assert "--description" not in run_cdc("endpoint", "add", "--help").stdout
    renamed = run_cdc("endpoint", "update", shown["id"], "--name", "Store", "--json")
    assert (json.loads(renamed.stdout)["name"], "is called" in renamed.stderr) == ("Store", False)
