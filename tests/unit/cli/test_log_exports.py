"""Exports and expunging, as their users see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdc.admin import deliveries
from cdc.cli import delivery as delivery_commands
from cdc.cli import event as event_commands
from support.cli_log import fill, on_outbox, states


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_exported_in_pages(run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_commands, "_PAGE", 3)
    on_outbox(folder, fill)
    exported = lines(run_cdc("event", "export").stdout)
    assert [each["id"] for each in exported] == ["evt_1", "evt_2", "evt_3", "evt_4"]
    assert exported[0]["payload"]["data"] == {"idfactura": "1", "total": 1.5}
    assert (exported[0]["sequence"], exported[0]["record"], exported[0]["expunged"]) == (1, "facturascli:1", False)
    assert [each["id"] for each in lines(run_cdc("event", "export", "--since", "60h").stdout)] == ["evt_3", "evt_4"]
    assert run_cdc("event", "export", "--event", "order.*").stdout == ""


def test_deliveries_are_exported_with_their_attempts(
    run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_commands, "_PAGE", 3)
    on_outbox(folder, fill)
    exported = lines(run_cdc("delivery", "export").stdout)
    assert [each["event_id"] for each in exported] == ["evt_4", "evt_3", "evt_2", "evt_1"]
    (attempt,) = exported[2]["log"]
    assert (exported[2]["state"], attempt["status"], attempt["answer"]) == ("dead", 500, "oops")
    assert [each["event_id"] for each in lines(run_cdc("delivery", "export", "--state", "dead").stdout)] == ["evt_2"]
    run_cdc("replay", "--endpoint", "ep_new", "--yes")
    unsent = lines(run_cdc("delivery", "export", "--endpoint", "ep_new").stdout)
    assert [each["log"] for each in unsent] == [[]] * 4


def test_an_event_is_expunged(run_cdc: Callable, folder: Path) -> None:
    on_outbox(folder, fill)
    refused = run_cdc("event", "expunge", "evt_2", code=2).stderr
    assert "The payloads of 1 event will be emptied for good" in refused
    assert json.loads(run_cdc("event", "expunge", "evt_2", "--yes", "--json").stdout) == {"events": 1, "cancelled": 0}
    shown = {each["id"]: each for each in lines(run_cdc("event", "export").stdout)}
    assert (shown["evt_2"]["expunged"], shown["evt_2"]["payload"]) == (True, None)
    assert "evt_2 (expunged)" in run_cdc("event", "tail", "--no-follow").stdout
    tailed = lines(run_cdc("event", "tail", "--no-follow", "--json").stdout)
    assert [each.get("expunged", False) for each in tailed] == [False, True, False, False]
    (dead,) = json.loads(run_cdc("delivery", "list", "--state", "dead", "--json").stdout)["deliveries"]
    assert dead["expunged"] is True
    assert "its payload is gone" in run_cdc("delivery", "show", dead["id"]).stdout
    assert "evt_2 was expunged: there is nothing to send" in run_cdc("delivery", "retry", dead["id"], code=2).stderr
    assert "1 are skipped: their payloads were expunged" in run_cdc("replay", "--dead", "--yes").stderr
    entries = json.loads(run_cdc("audit", "list", "--action", "event.expunge", "--json").stdout)["entries"]
    assert [entry["subject"] for entry in entries] == ["evt_2"]


def test_a_record_is_expunged(run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "_BATCH", 1)
    on_outbox(folder, fill)
    run_cdc("replay", "--record", "facturascli:3", "--yes")
    told = json.loads(run_cdc("event", "expunge", "--record", "facturascli:3", "--yes", "--json").stdout)
    assert told == {"events": 1, "cancelled": 1}
    assert states(run_cdc)["evt_3"] == "cancelled"
    assert "0 events are expunged" in run_cdc("event", "expunge", "--record", "facturascli:3").stderr
    assert "0 events" in run_cdc("event", "expunge", "--record", "facturascli:1", "--source", "shop").stderr


def test_what_to_expunge_is_said_once(run_cdc: Callable, folder: Path) -> None:
    on_outbox(folder, fill)
    for arguments in ([], ["evt_1", "--record", "a:1"], ["evt_1", "--source", "main"]):
        assert "the events to expunge, or a record" in run_cdc("event", "expunge", *arguments, "--yes", code=2).stderr
    assert "no event evt_99" in run_cdc("event", "expunge", "evt_1", "evt_99", "--yes", code=2).stderr
    assert not any(each["expunged"] for each in lines(run_cdc("event", "export").stdout))
