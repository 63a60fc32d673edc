"""Commands beside a running consumer, with a key that may read 3 of the resources: FacturaScripts never bans."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, database_url
from support.database import Database
from support.facturascripts_api import TOKEN, Api, serving
from support.waiting import HANG_SECONDS

RIGHTS = {"facturascli", "clientes", "stocks"}
SOURCE = (
    '[source.main]\ncapture = "rest"\n[source.main.rest]\nurl = "{url}"\ntoken = "{token}"\nrequests_per_minute = 600\n'
)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api(rights=RIGHTS, now=time.monotonic)) as served:
        yield served


@pytest.fixture(params=["sqlite", "postgresql"])
def consumer(request: pytest.FixtureRequest, tmp_path: Path, api: Api) -> Consumer:
    made = Consumer.with_sources(tmp_path, SOURCE.format(url=api.url, token=TOKEN))
    if request.param == "postgresql":
        database: Database = request.getfixturevalue("postgres_db")
        file = tmp_path / "cdc.toml"
        file.write_text(file.read_text().replace("sqlite:///cdc.db", database_url(database.info)))
    return made


async def checks(consumer: Consumer) -> dict[str, list[dict[str, Any]]]:
    """What the doctor finds of the source, by check."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(await consumer.call("doctor", "--json", expect=1))["checks"]:
        if each["about"] == "source main":
            found.setdefault(each["check"], []).append(each)
    return found


async def test_doctors_beside_a_consumer_never_get_the_address_banned(api: Api, consumer: Consumer) -> None:
    async with consumer.running():
        async with asyncio.timeout(HANG_SECONDS):
            await api.until_refused(2)
        for _ in range(3):
            together = await asyncio.gather(*(checks(consumer) for _ in range(2)))
            assert all("eleven minutes" in found["rights"][-2]["detail"] for found in together)
    assert len(api.incidents) <= 4
    assert not api.banned


async def test_doctor_that_may_not_ask_says_so_and_when_it_may(api: Api, consumer: Consumer) -> None:
    first = await checks(consumer)
    assert [each["severity"] for each in first["rights"]].count("wrong") == 2
    again = await checks(consumer)
    (withheld,) = (each for each in again["rights"] if "were not asked for" in each["detail"])
    assert withheld["mend"].startswith("Run cdc doctor again after ")
    remembered = [each["detail"] for each in again["rights"] if each["severity"] == "wrong"]
    assert len(remembered) == 2
    assert all("was refused at" in each for each in remembered)
    assert again["API"][0]["severity"] == "ok", "the list of resources is given to any accepted token"
    assert len(api.incidents) == 2


async def test_ban_that_exists_is_reported_with_its_end_at_once(api: Api, consumer: Consumer) -> None:
    api.incidents = [time.monotonic()] * 5
    begun = time.monotonic()
    for _ in range(2):
        (finding,) = (await checks(consumer))["API"]
        assert "has banned this address, until" in finding["detail"]
    assert time.monotonic() - begun < 60
    assert len(api.incidents) == 5


async def test_token_that_is_refused_by_setup_counts_for_setup_and_doctor(api: Api, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another", encoding="utf-8")
    setup = Consumer(tmp_path)
    given = ("setup", "--no-endpoint", "--api", api.url, "--token-file", str(tmp_path / "token"), "--yes")
    said = [await asyncio.to_thread(lambda: setup.fail(*given)) for _ in range(4)]
    assert ["does not accept the token" in each for each in said] == [True, True, False, False]
    assert "asked for before" in said[-1]
    made = Consumer.with_sources(tmp_path, SOURCE.format(url=api.url, token="another"))
    assert "refused 2 calls" in (await checks(made))["API"][0]["detail"]
    assert len(api.incidents) == 2
