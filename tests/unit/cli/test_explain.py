"""``cdc explain``, as its users see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cdc.outbox.store import OutboxStore
from support.cli_log import on_outbox
from support.outboxes import endpoint, event, store


async def fill(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(description="Shop", condition='data.nombre == "Luis"'))
    await store(outbox, event(1, "facturascli:12", data={"nombre": "Ana"}))


def test_command_names_the_reason_and_the_next_command(
    run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LC_ALL", raising=False)
    on_outbox(folder, fill)
    asked = ("explain", "facturascli:12", "invoice.updated", "--endpoint", "Shop", "--source", "main")
    found = run_cdc(*asked)
    assert "The filter of Shop stops invoice.updated" in found.stdout
    assert "cdc endpoint preview ep_a --filter" in found.stdout
    assert json.loads(run_cdc(*asked, "--json").stdout)["reason"] == "filtered"
    monkeypatch.setenv("CDC_LANG", "es_ES.UTF-8")
    assert "El filtro de Shop descarta invoice.updated" in run_cdc(*asked).stdout


def test_next_command_keeps_the_question_and_is_not_the_one_just_run(
    run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    on_outbox(folder, fill)
    unknown = run_cdc("explain", "facturascli:99").stdout
    assert "cdc doctor --source main; cdc explain facturascli:99 --inspect\n" in unknown
    assert "Nearest event" not in unknown
    options = ("--endpoint", "Shop", "--at", "2099-01-01", "--source", "main")
    asked = ("explain", "facturascli:99", "invoice.paid", *options)
    again = f"cdc doctor --source main; cdc {' '.join(asked)} --inspect\n"
    assert again in run_cdc(*asked).stdout
    known = run_cdc("explain", "facturascli:12", "invoice.deleted", "--inspect").stdout
    assert "Nearest event: invoice.updated, " in known
    assert "cdc doctor --source main\n" in known
