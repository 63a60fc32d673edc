"""With `[outbox] seal_payloads` no byte of the outbox tells a row's values, and nothing but the key opens them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from cdc.config import Config
from cdc.model.change import Operation, Position, Quarantined, SnapshotChange, SnapshotRow
from cdc.model.delivery import DeliveryFilter, EventFilter
from cdc.model.errors import ConfigError, OutboxError, UsageError
from cdc.outbox.secret_box import MAGIC, TEXT, Contents, new_key
from cdc.outbox.slices import TimeBudget
from cdc.outbox.store import OutboxStore
from support.browsing import visiting
from support.managing import managing
from support.outboxes import NOW, at, endpoint, event, lease, outcome
from support.stored_outbox import StoredOutbox

ONE, TWO = new_key(), new_key()
PLANTED = "pl4ntedValue"
DATA = {"idfactura": 1, "nombrecliente": PLANTED, "total": 121.0}
IMAGE = orjson.dumps(DATA).decode()
SKIPPED = Quarantined("qr_1", "clientes", Operation.UPDATE, {"cifnif": PLANTED}, "1", NOW, "a defect", IMAGE, IMAGE)
ROW = SnapshotRow(b"key", b"digest", orjson.dumps([PLANTED]))


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> StoredOutbox:
    return StoredOutbox(request, tmp_path)


async def fill(outbox: OutboxStore, number: int = 1) -> None:
    """Values in everything that holds some: payload, search words, answer, skipped change, snapshot row."""
    if not await outbox.endpoints():
        await outbox.add_endpoint(endpoint())
    told = event(number, data=DATA, previous={"nombrecliente": PLANTED}, labels=(PLANTED.lower(), PLANTED.lower()))
    before = await outbox.position("main")
    rows = SnapshotChange("clientes", written=[ROW], behind=before)
    await outbox.store("main", Position(f"p{number}"), [told], {}, NOW, kept=rows, quarantined=[SKIPPED])
    (leased,) = await lease(outbox)
    await outbox.finish("w", [outcome(leased, answer=f"unknown customer {PLANTED}")], NOW)


async def check(outbox: OutboxStore, number: int = 1) -> None:
    """All of it can be read, byte for byte."""
    found = await outbox.event(f"evt_{number}")
    assert found is not None
    assert found.payload["data"] == DATA
    (view,) = await outbox.deliveries(DeliveryFilter(event_id=f"evt_{number}"), 10)
    assert [each.answer for each in await outbox.attempts(view.id)] == [f"unknown customer {PLANTED}"]
    (skipped,) = await outbox.quarantined(10)
    assert (skipped.key, skipped.before, skipped.after) == (SKIPPED.key, IMAGE, IMAGE)
    assert await outbox.snapshot_rows("main", "clientes", [b"key"]) == {b"key": ROW}
    await outbox.retry(view.id, NOW)
    (leased,) = await lease(outbox)
    assert orjson.loads(leased.body_event)["data"] == DATA
    assert await outbox.held("w", [leased.id]) == [leased._replace(lease_until=at(60))]
    await outbox.finish("w", [outcome(leased, answer=f"unknown customer {PLANTED}")], NOW)


async def resealed(outbox: OutboxStore) -> int:
    steps = 0
    while await outbox.reseal(1):
        steps += 1
    assert not await outbox.reseal_pending()
    return steps


async def test_sealed_from_the_start(stored: StoredOutbox) -> None:
    async with stored.opened(ONE, seal_payloads=True) as outbox:
        await fill(outbox)
        assert not stored.holds(PLANTED)
    async with stored.opened(ONE, seal_payloads=True) as outbox:
        await check_once(outbox)
    assert not stored.holds(PLANTED)


async def check_once(outbox: OutboxStore) -> None:
    """`check`, with the second attempt that it makes left out."""
    (view,) = await outbox.deliveries(DeliveryFilter(event_id="evt_1"), 10)
    assert len(await outbox.attempts(view.id)) == 1
    await check(outbox)


async def test_off_stores_what_it_always_did(stored: StoredOutbox) -> None:
    async with stored.opened(ONE) as outbox:
        await fill(outbox)
        await check_once(outbox)
        assert stored.holds(PLANTED)
        assert not await outbox.reseal_pending()


async def test_switched_on_and_off_again(stored: StoredOutbox) -> None:
    async with stored.opened(ONE) as outbox:
        await fill(outbox)
        await resealed(outbox)
    async with stored.opened(ONE, seal_payloads=True) as outbox:
        assert await outbox.reseal_pending()
        assert await resealed(outbox) >= 4, "a row at a time, as after so many restarts"
    async with stored.opened(ONE, seal_payloads=True) as outbox:
        assert not await outbox.reseal(100)  # SQLite's log is empty then
    assert not stored.holds(PLANTED)
    async with stored.opened(ONE) as outbox:
        await resealed(outbox)
        assert stored.holds(PLANTED)
        await check_once(outbox)


async def test_after_a_change_of_keys_the_former_one_opens_nothing(stored: StoredOutbox) -> None:
    async with stored.opened(ONE, seal_payloads=True) as outbox:
        await fill(outbox)
        await resealed(outbox)
    for wrong in ((TWO,), (new_key(), TWO)):
        with pytest.raises(OutboxError, match="encrypted") as caught:
            async with stored.opened(*wrong, seal_payloads=True):
                pass
        assert PLANTED not in str(caught.value)
    async with stored.opened(TWO, ONE, seal_payloads=True) as outbox:
        await outbox.seal_secrets()
        assert await outbox.reseal_pending()
        await outbox.reseal(1)
    with pytest.raises(OutboxError, match="that is not configured"):  # half of it needs the former one
        async with stored.opened(TWO, seal_payloads=True):
            pass
    async with stored.opened(TWO, ONE, seal_payloads=True) as outbox:
        await resealed(outbox)
    async with stored.opened(TWO, seal_payloads=True) as outbox:
        await check_once(outbox)
    assert not stored.holds(PLANTED)
    with pytest.raises(OutboxError):
        async with stored.opened(ONE, seal_payloads=True):
            pass


async def test_search_by_text_says_that_it_cannot(stored: StoredOutbox) -> None:
    async with stored.opened(ONE, seal_payloads=True) as outbox:
        await fill(outbox)
        which = DeliveryFilter(text=PLANTED)
        for search in (
            outbox.search_deliveries(which, 10, TimeBudget(lambda: 0.0)),
            outbox.search_events(EventFilter(text=PLANTED), 10, TimeBudget(lambda: 0.0), oldest_first=False),
            outbox.find_events(EventFilter(text=PLANTED), 10),
            outbox.deliveries(which, 10),
        ):
            with pytest.raises(UsageError, match="Payloads are encrypted in this outbox"):
                await search
        async with managing(outbox) as managed, visiting(managed, "ann") as manager:
            for page in ("/events", "/deliveries"):
                shown = await manager.get(f"{page}?text={PLANTED}")
                assert "encrypted in this outbox" in shown.text, page


def test_without_a_key_it_is_refused() -> None:
    config = Config.model_validate({"outbox": {"seal_payloads": True}})
    with pytest.raises(ConfigError, match="no key to encrypt payloads with"):
        config.outbox.secret_keys()


# -- forged and damaged contents --------------------------------------------------------------------------------------

KEY = b"k" * 32
SEALED = Contents([KEY], sealing=True).seal(IMAGE.encode())


@pytest.mark.parametrize(
    "forged",
    [
        SEALED[:-1] + bytes([SEALED[-1] ^ 1]),
        SEALED[:40] + bytes([SEALED[40] ^ 1]) + SEALED[41:],
        SEALED[:20] + bytes([SEALED[20] ^ 1]) + SEALED[21:],
        SEALED[:10] + bytes([SEALED[10] ^ 1]) + SEALED[11:],
        SEALED[:5] + bytes([SEALED[5] ^ 1]) + SEALED[6:],
        SEALED[:-10],
        SEALED + b"x",
        MAGIC,
        SEALED[:30],
    ],
    ids=["tag", "text", "nonce", "salt", "key", "cut", "longer", "empty", "head"],
)
def test_damaged_content_is_an_error_and_no_other_value(forged: bytes) -> None:
    with pytest.raises(OutboxError) as caught:
        Contents([KEY], sealing=True).open(forged)
    assert PLANTED not in str(caught.value)


@pytest.mark.parametrize("said", [TEXT, f"{TEXT}AAAA", f"{TEXT}not base64", f"{TEXT}{'A' * 200}", TEXT * 3])
@pytest.mark.parametrize("sealing", [True, False])
def test_receivers_cannot_pass_an_answer_off_as_sealed(said: str, *, sealing: bool) -> None:
    contents = Contents([KEY], sealing=sealing)
    assert contents.open_text(contents.seal_text(said)).strip() == said


def test_equal_contents_differ_and_no_nonce_comes_twice() -> None:
    contents = Contents([KEY], sealing=True)
    sealed = {contents.seal(b"{}")[:32] for _ in range(1000)}
    assert len(sealed) == 1000
    assert all(Contents([b"x" * 32, KEY], sealing=False).open(contents.seal(b"{}")) == b"{}" for _ in range(3))


async def test_a_payload_that_somebody_changed_is_not_sent(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.param = "sqlite"
    stored = StoredOutbox(request, tmp_path)
    async with stored.opened(ONE, seal_payloads=True) as outbox:
        await outbox.add_endpoint(endpoint())
        await outbox.store("main", Position("p"), [event(1, data=DATA)], {}, NOW)
        with closing(sqlite3.connect(stored.path)) as db, db:
            db.execute("UPDATE event SET payload = CAST(substr(payload, 1, length(payload) - 1) || x'00' AS BLOB)")
        with pytest.raises(OutboxError, match="changed or is damaged"):
            await lease(outbox, now=NOW + timedelta(seconds=1))
