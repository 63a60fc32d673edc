"""Transforms of endpoints: previewed, added, shown, changed and removed on the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdc.config import load_config
from cdc.model.change import Position
from cdc.runtime.outboxes import open_outbox
from support.outboxes import NOW, event

URL = "http://127.0.0.1:9/hook"
PAID = ["--events", "invoice.paid,receipt.paid"]
INVOICES = [
    event(1, name="invoice.paid", data={"codigo": "F1", "total": 9.5, "coddivisa": "EUR"}),
    event(2, name="receipt.paid", data={"codigofactura": "F1", "importe": 9.5, "coddivisa": "EUR"}),
]


@pytest.fixture
def endpoint_cdc(run_cdc: Callable, folder: Path) -> Callable:
    (folder / "cdc.toml").write_text(
        '[source.main]\nurl = "mysql://cdc:x@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\n'
    )

    async def write() -> None:
        outbox = open_outbox(load_config(environment={}, folder=folder))
        await outbox.open()
        await outbox.store("main", Position("1"), INVOICES, {}, NOW)
        await outbox.close()

    asyncio.run(write())
    return lambda *arguments, **options: run_cdc("endpoint", *arguments, **options)


def shown(endpoint_cdc: Callable, identity: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(endpoint_cdc("show", identity, "--json").stdout)
    return found


def test_a_preset_is_previewed_before_it_is_stored(endpoint_cdc: Callable) -> None:
    report = endpoint_cdc("preview", *PAID, "--preset", "slack", "--language", "es")
    assert 'application/json: {"text":"Factura F1 pagada · 9,50\xa0€"}' in report.stdout
    assert 'application/json: {"text":"Recibo F1 pagado · 9,50\xa0€"}' in report.stdout
    assert "The transform fails for 0 of 2 events." in report.stderr
    assert "no endpoint yet" in endpoint_cdc("list").stderr, "nothing is changed"


def test_a_transform_is_added_changed_and_removed(endpoint_cdc: Callable, folder: Path) -> None:
    (folder / "body.cel").write_text('{"code": data.codigo}\n')
    transform = ["--transform", str(folder / "body.cel")]
    report = json.loads(endpoint_cdc("preview", *PAID, *transform, "--json").stdout)["named_events"]
    missing = "The expression asks for a field or an element that the event does not have."
    assert [(each.get("body"), each["problem"]) for each in report] == [('{"code":"F1"}', None), (None, missing)]

    added = endpoint_cdc("add", URL, *PAID, *transform, "--json")
    assert "The transform fails for 1 of 2 kinds of events, such as receipt.paid:" in added.stderr
    identity = json.loads(added.stdout)["id"]
    assert shown(endpoint_cdc, identity)["transform"] == '{"code": data.codigo}'
    assert '{"code": data.codigo}' in endpoint_cdc("show", identity).stdout

    endpoint_cdc("update", identity, "--preset", "discord", "--language", "es")
    found = shown(endpoint_cdc, identity)
    assert ("allowed_mentions" in found["transform"], found["language"]) == (True, "es")
    assert "does not go with batches" in endpoint_cdc("update", identity, "--batch", "5", code=2).stderr
    assert "Factura F1 pagada" in endpoint_cdc("preview", identity).stdout
    endpoint_cdc("update", identity, "--no-transform", "--batch", "5")
    assert shown(endpoint_cdc, identity)["transform"] == ""


def test_telegram_without_a_chat_is_refused(endpoint_cdc: Callable) -> None:
    url = "https://api.telegram.org/bot12:AbC/sendMessage"
    refused = endpoint_cdc("add", url, *PAID, "--preset", "telegram", code=2).stderr
    assert "Add ?chat_id=" in " ".join(refused.split())
    endpoint_cdc("add", f"{url}?chat_id=7", *PAID, "--preset", "telegram")


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://api.telegram.org/bot12:AbCdEf/sendMessage?chat_id=7", "AbCdEf"),
        ("https://hooks.slack.com/services/T1/B2/AbCdEf", "AbCdEf"),
        ("https://prod.logic.azure.com/workflows/w/triggers/manual?sig=AbCdEf", "AbCdEf"),
        ("https://discord.com/api/webhooks/1/AbCdEf", "AbCdEf"),
        ("https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=AbCdEf", "AbCdEf"),
        ("https://mattermost.example.com/hooks/AbCdEf", "AbCdEf"),
    ],
)
def test_commands_for_people_show_no_path_of_a_url(endpoint_cdc: Callable, url: str, secret: str) -> None:
    added = endpoint_cdc("add", url, *PAID, "--name", "chat")
    identity = next(word for word in added.stdout.split() if word.startswith("ep_"))
    outputs = [
        added,
        endpoint_cdc("list"),
        endpoint_cdc("show", identity),
        endpoint_cdc("update", identity, "--batch", "5"),
    ]
    outputs += [endpoint_cdc("disable", identity), endpoint_cdc("enable", identity)]
    for output in outputs:
        assert secret not in output.stdout + output.stderr
    assert shown(endpoint_cdc, identity)["url"] == url, "for programs it is whole"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--transform", "nowhere.cel"], "The file nowhere.cel with the transform cannot be read"),
        (["--transform", "body.cel", "--preset", "slack"], "--transform and --preset exclude each other"),
        (["--transform", "body.cel"], "not a valid expression: it ends where more is needed"),
        (["--transform", "fails.cel"], "asks for a field or an element that the event does not have"),
    ],
)
def test_what_is_no_transform_is_refused(
    endpoint_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], sentence: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "body.cel").write_text('{"code":\n')
    (folder / "fails.cel").write_text("{'code': data.nothing}")
    refused = " ".join(endpoint_cdc("add", URL, *PAID, *options, code=2).stderr.split())
    assert sentence in refused
    assert "no endpoint yet" in endpoint_cdc("list").stderr
