"""Commands that destroy something ask on a terminal and count what will be lost; scripts are not asked."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from cdc.access.model import Origin, PageSession, Role
from cdc.access.sqlite import SqliteAccess
from cdc.cli import output
from cdc.cli.app import cdc
from cdc.model.backfill import Backfill
from cdc.model.change import Operation, Position, Quarantined
from cdc.model.endpoint import EndpointChange
from cdc.outbox.store import OutboxStore
from support.cli_log import NOW, fill, on_outbox
from support.outboxes import endpoint, event, store


async def _fill(outbox: OutboxStore) -> None:
    """ep_a with headers, and two waiting and four finished deliveries, a backfill, a skipped change."""
    await fill(outbox)
    await store(outbox, event(5, "facturascli:5"), event(6, "facturascli:6"), now=NOW, position="q")
    await outbox.change_endpoint("ep_a", EndpointChange(headers=(("Authorization", "Bearer x"), ("X-Shop", "1"))))
    signing = endpoint("ep_b", authentication='{"type": "oauth2"}', credential="x")
    await outbox.add_endpoint(replace(signing, former_secret="whsec_" + "QUFB" * 8, former_secret_until=NOW))
    running = Backfill("bf_1", "main", "facturascli", "cli:ann", NOW, estimate=400_000)
    await outbox.add_backfill(replace(running, rows=120_000))
    skipped = Quarantined("q1", "facturascli", Operation.UPDATE, {"id": 1}, "t", NOW, "it fails")
    await outbox.store("other", Position("p"), [], {}, NOW, quarantined=[skipped])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outbox with a bit of everything that can be removed."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "cdc.toml").write_text("", encoding="utf-8")
    on_outbox(folder, _fill)
    for command in (
        ("user", "add", "ann", "--role", "manager", "--no-password"),
        ("user", "add", "eve", "--role", "manager", "--no-password"),
        ("user", "totp", "eve"),
        ("token", "add", "shop", "--scope", "read"),
    ):
        done = CliRunner().invoke(cdc, ["--config", str(folder / "cdc.toml"), *command])
        assert done.exit_code == 0, done.output
    asyncio.run(_sign_in(folder, "ann", 2))
    return folder / "cdc.db"


async def _sign_in(folder: Path, name: str, sessions: int) -> None:
    access = SqliteAccess(folder / "cdc.db")
    await access.open()
    for number in range(sessions):
        until = NOW + timedelta(hours=12)
        await access.add_session(
            PageSession(f"{number}", name, Role.MANAGER, Origin.PASSWORD, "", "127.0.0.1", NOW, NOW, until)
        )
    await access.close()


@pytest.fixture
def ask(filled: Path, run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """``ask("endpoint", "remove", "ep_a", answer="n")``, on a terminal."""
    shutil.copy(filled, folder / "cdc.db")
    monkeypatch.setattr(output, "_somebody_there", lambda: True)

    def call(*arguments: str, answer: str) -> str:
        return str(run_cdc(*arguments, stdin=answer, code=0 if answer == "y" else 130).stderr)

    return call


DESTROYING = [
    (
        ("endpoint", "remove", "ep_a"),
        ("ep_a, https://", "2 waiting deliveries will be cancelled; 4 finished stay in the log.", "Remove it?"),
    ),
    (
        ("endpoint", "rotate-secret", "ep_a"),
        ("with 2 waiting deliveries", "present secret also signs for 24 h", "Replace"),
    ),
    (("endpoint", "rotate-secret", "ep_b", "--overlap", "0"), ("stops signing at once", "The secret before it")),
    (("token", "remove", "shop"), ("Token shop (tok_", "Never used.", "Remove it?")),
    (("user", "remove", "ann"), ("User ann (manager)", "2 open sessions will end.", "1 manager will remain;")),
    (("user", "remove", "eve"), ("0 open sessions", "The key of the authenticator app will be deleted.")),
    (
        ("endpoint", "update", "ep_a", "--no-headers"),
        ("ep_a, https://", "headers Authorization, X-Shop will be deleted"),
    ),
    (("endpoint", "update", "ep_a", "--remove-header", "x-shop"), ("The header X-Shop will be deleted",)),
    (("endpoint", "update", "ep_b", "--no-authentication"), ("The secret of its authentication will be deleted",)),
    (("user", "totp", "eve"), ("User eve:", "authenticator app in use stops working")),
    (("user", "totp", "eve", "--off"), ("User eve:", "authenticator app in use stops working")),
    (("quarantine", "remove", "q1"), ("1 skipped change will be deleted",)),
    (("quarantine", "remove", "--all"), ("1 skipped change will be deleted",)),
    (("backfill", "--cancel", "bf_1"), ("bf_1 of facturascli has sent 0 rows of about 400,000.",)),
    (("event", "expunge", "evt_1", "evt_2"), ("The payloads of 2 events will be emptied for good",)),
    (("replay", "--endpoint", "ep_a"), ("Send 4 deliveries again?",)),
]


@pytest.mark.parametrize(("arguments", "told"), DESTROYING, ids=[" ".join(each[0]) for each in DESTROYING])
def test_terminal_is_asked_with_the_loss_counted(
    ask: Callable, folder: Path, arguments: tuple[str, ...], told: tuple[str, ...]
) -> None:
    before = on_outbox(folder, _state)
    refused = ask(*arguments, answer="n")
    for text in told:
        assert text in refused
    assert "[y/N]" in refused
    assert refused.endswith("Nothing was changed.\n")
    assert on_outbox(folder, _state) == before
    ask(*arguments, answer="y")


@pytest.mark.parametrize("arguments", [each[0] for each in DESTROYING], ids=" ".join)
def test_yes_asks_nothing(ask: Callable, arguments: tuple[str, ...]) -> None:
    assert "[y/N]" not in ask(*arguments, "--yes", answer="y")


@pytest.mark.parametrize(
    "arguments",
    [each[0] for each in DESTROYING if each[0][0] not in ("event", "replay") and "--all" not in each[0]],
    ids=" ".join,
)
def test_script_without_a_terminal_continues_as_before(
    ask: Callable, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(output, "_somebody_there", lambda: False)
    assert "[y/N]" not in ask(*arguments, answer="y")


def test_endpoint_is_changed_without_a_question_where_no_header_is_lost(ask: Callable) -> None:
    for arguments in (
        ["ep_b", "--no-headers"],
        ["ep_a", "--no-headers", "--header", "x-shop: 2", "--bearer", "@token"],
    ):
        Path("token").write_text("another", encoding="utf-8")
        assert "[y/N]" not in ask("endpoint", "update", *arguments, answer="y")


def test_removal_of_something_that_is_not_there_is_an_error_before_the_question(ask: Callable) -> None:
    for arguments in (["endpoint", "remove", "ep_none"], ["token", "remove", "none"], ["user", "remove", "none"]):
        with pytest.raises(AssertionError, match="There is no"):
            ask(*arguments, answer="y")


@pytest.mark.parametrize("answer", ["n", "y"])
def test_uninstalling_triggers_asks_once_for_each_source(
    run_cdc: Callable, installer: object, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    assert installer
    run_cdc("install-triggers")
    monkeypatch.setattr(output, "_somebody_there", lambda: True)
    done = run_cdc("uninstall-triggers", "--json", stdin=answer, code=0 if answer == "y" else 130)
    assert "Source main:\n  The triggers of 0 tables and the journal will be removed.\n" in done.stderr
    assert done.stderr.count("[y/N]") == 1
    left = json.loads(run_cdc("uninstall-triggers", "--json", "--yes").stdout)["sources"][0]["applied"]
    assert left is (answer == "n")


async def _state(outbox: OutboxStore) -> tuple[object, ...]:
    return (
        await outbox.endpoints(),
        await outbox.counts(),
        await outbox.backfills(9),
        await outbox.quarantined(9),
        [each.expunged for each in await outbox.events(9)],
    )
