"""Commands on a terminal of 80 columns (``commands.txt``): one line a row, local times, states in colour."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdc.model.change import Position
from cdc.model.delivery import DeliveryState
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.commands import on_terminal, run_command
from support.outboxes import endpoint, event, lease, outcome

GOLDEN = Path(__file__).with_name("commands.txt").read_text("utf-8")
_COLOURS = {"0": "", "1": "bold", "31": "red", "32": "green", "33": "yellow"}
#: A year that is not the present one, so that what is printed does not depend on today.
THEN = datetime(2024, 11, 24, 21, 48, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    (folder / "cdc.toml").write_text('[source.main]\nurl = "mysql://cdc:x@127.0.0.1:1/fs"\n')
    asyncio.run(_fill(folder / "cdc.db"))
    return folder


async def _fill(path: Path) -> None:
    outbox = SqliteOutbox(path)
    await outbox.open()
    shop = endpoint("ep_4f1d2c90ab37e856", description="Shop", events=("invoice.*",), created_at=THEN)
    mail = endpoint("ep_9fcf27e44061df6e", url="https://hooks.example.com/x", events=("supplier_receipt.*",))
    await outbox.add_endpoint(shop)
    await outbox.add_endpoint(mail)
    names = ("invoice.paid", "invoice.refunded", "invoice.created", "supplier_receipt.status_changed")
    records = ("facturascli:12", "facturascli:13", "facturascli:100200300", "recibospagosprov:100200300")
    times = [THEN + timedelta(seconds=number) for number in range(4)]
    events = [
        event(n, records[n], name=names[n], id=f"evt_9b0dd2531f4887cef743e2cc87841e1{n}", time=times[n])
        for n in range(4)
    ]
    await outbox.store("main", Position("1"), events, {}, THEN)
    delivered, dead, *_ = await lease(outbox, THEN)
    ended = [outcome(delivered), outcome(dead, DeliveryState.DEAD, status=410)]
    await outbox.finish("w", ended, THEN)
    await outbox.close()


def _marked(seen: str) -> str:
    """Return what a terminal received, with the names of colours."""
    return re.sub("\x1b\\[([0-9]+)m", lambda found: f"<{_COLOURS[found[1]]}>", seen).replace("\r\n", "\n")


@pytest.mark.parametrize("block", GOLDEN.split("$ cdc ")[1:], ids=lambda block: block.partition("\n")[0])
def test_command_prints_the_golden_lines(folder: Path, block: str) -> None:
    command, _, expected = block.partition("\n")
    seen = on_terminal(folder, *command.split(), TZ="CET-1CEST,M3.5.0,M10.5.0/3", NO_COLOR="")
    assert _marked(seen) == expected
    plain = on_terminal(folder, *command.split(), TZ="CET-1CEST,M3.5.0,M10.5.0/3", NO_COLOR="1")
    assert plain.replace("\r\n", "\n") == re.sub("<[a-z]*>", "", expected)
    assert max(map(len, plain.splitlines())) <= 80


def test_what_is_cut_on_a_terminal_is_whole_elsewhere_and_times_of_json_are_utc(folder: Path) -> None:
    piped = run_command("delivery", "list", folder=folder).stdout
    assert "supplier_receipt.status_changed  recibospagosprov:100200300  ep_9fcf27e44061df6e  leased" in piped
    assert "\x1b" not in piped
    listed = json.loads(run_command("event", "list", "--json", "--limit", "1", folder=folder).stdout)
    assert listed["events"][0]["timestamp"] == "2024-11-24T21:48:03.000000Z"
    older = run_command("event", "list", "--json", "--before", listed["next"], folder=folder).stdout
    assert [each["event"] for each in json.loads(older)["events"]] == [
        "invoice.created",
        "invoice.refunded",
        "invoice.paid",
    ]


def test_doctor_says_why_an_endpoint_fails_and_what_to_do_next(tmp_path: Path) -> None:
    (tmp_path / "cdc.toml").write_text('[source.main]\nurl = "mysql://cdc:x@127.0.0.1:1/fs"\n[web]\nlisten = ""\n')

    async def fill() -> None:
        outbox = SqliteOutbox(tmp_path / "cdc.db")
        await outbox.open()
        since = datetime.now(UTC) - timedelta(minutes=12)
        for number in range(8):
            await outbox.add_endpoint(endpoint(f"ep_{number}", events=("order.*",)))
        await outbox.add_endpoint(endpoint("ep_shop", description="Shop", events=("invoice.*",), failing_since=since))
        await outbox.store("main", Position("1"), [event(1)], {}, since)
        (leased,) = await lease(outbox, since)
        said = {"error": "The endpoint answered 503.", "answer": "down for\n maintenance", "status": 503}
        await outbox.finish("w", [outcome(leased, DeliveryState.PENDING, since, **said)], since)
        await outbox.close()

    asyncio.run(fill())
    done = run_command("doctor", folder=tmp_path)
    lines = done.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if "Shop has accepted nothing" in line)
    assert lines[place + 1 : place + 3] == [
        "         reason: The endpoint answered 503. “down for maintenance”",
        "         fix: cdc endpoint test ep_shop shows its answer",
    ]
    assert sum(line.startswith("OK       endpoint ep_") for line in lines) == 5
    assert "OK       endpoints: enabled: and 3 other endpoints" in lines
    *_, title, first, second, third = done.stderr.splitlines()
    assert (title, third) == ("Next:", "  cdc event tail")
    assert {first, second} == {"  cdc outbox new-key", "  cdc endpoint test ep_shop"}
    checks = json.loads(run_command("doctor", "--json", folder=tmp_path).stdout)["checks"]
    (reason,) = [each["reason"] for each in checks if each["reason"]]
    assert reason == "The endpoint answered 503. “down for maintenance”"
