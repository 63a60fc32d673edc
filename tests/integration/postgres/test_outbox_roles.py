"""Accounts of one role each on a PostgreSQL outbox: each does its work; too many or too few rights are reported."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc.access.model import IdempotentResponse, Role, UserChange
from cdc.access.postgres import PostgresAccess
from cdc.config import Config
from cdc.config.section import OutboxConfig
from cdc.database.sqlfile import load
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Operation, Position, Quarantined, SnapshotChange, SnapshotRow
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import (
    AdmissionRequest,
    DeliveryFilter,
    DeliveryState,
    EndpointHold,
    Replay,
    Replayed,
    ReplayState,
)
from cdc.model.endpoint import EndpointChange, EndpointFilter, Order
from cdc.model.errors import OutboxError
from cdc.model.finding import Severity
from cdc.model.worker import ProcessRole
from cdc.outbox.base import Fence, Retention
from cdc.outbox.database import migrations
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.postgres.schema import ENGINE, migrate_postgres
from cdc.outbox.secret_box import SecretBox, new_key
from cdc.outbox.slices import TimeBudget
from cdc.runtime.outboxes import account_finding, check_account
from support.accesses import EVERYTHING as ALL_ENTRIES
from support.accesses import IDLE, entry, session, token, user
from support.consumer import Consumer, database_url
from support.database import Database
from support.outbox_roles import PASSWORD, ROLES, role_accounts
from support.outboxes import EVERYTHING, NOW, at, endpoint, event, finish, lease, outcome

CAPTURE, DISPATCH, WEB = ROLES
DAY = timedelta(days=1)
Accounts = Mapping[ProcessRole, ConnectionInfo]


@pytest.fixture
def accounts(postgres_outbox_db: Database) -> Iterator[Accounts]:
    with role_accounts(postgres_outbox_db) as made:
        yield made


@asynccontextmanager
async def opened(info: ConnectionInfo, box: SecretBox | None = None) -> AsyncIterator[PostgresOutbox]:
    outbox = PostgresOutbox(info, box=box or SecretBox())
    await outbox.open()
    try:
        yield outbox
    finally:
        await outbox.close()


async def test_each_account_does_the_work_of_its_role(accounts: Accounts) -> None:
    """All that processes ask of an outbox, each with its own account."""
    async with (
        opened(accounts[CAPTURE]) as capture,
        opened(accounts[DISPATCH]) as dispatch,
        opened(accounts[WEB]) as web,
    ):
        await _manages_endpoints(web)
        await _captures(capture, web)
        await _sends(dispatch, web)
        await _replays(web, dispatch)
        await _removes(dispatch, web)


async def _manages_endpoints(web: PostgresOutbox) -> None:
    for name in ("ep_a", "ep_b", "ep_c"):
        await web.add_endpoint(endpoint(name, url=f"https://user:pw@{name}.example.com/bot?x=1", rate=5.0), [entry()])
    await web.change_endpoint("ep_b", EndpointChange(order=Order.ENDPOINT, condition="data.total > 1.0"), [entry()])
    await web.note_filter("ep_b", "data.total > 1.0", "It fails.")
    assert (await web.endpoint("ep_b") or endpoint()).filter_problem == "It fails."
    page = await web.search_endpoints(EndpointFilter(text="ep_a"), 9, TimeBudget(lambda: 0.0))
    assert [each.id for each in page.found] == ["ep_a"]


async def _captures(capture: PostgresOutbox, web: PostgresOutbox) -> None:
    await capture.workers.sign("w", ["main"], {"main": 1.0})
    assert await capture.workers.take("w", ["main"]) == {"main": 1}
    await capture.workers.want("w", ["main"])
    await web.add_backfill(Backfill("bf_1", "main", "clientes", "user:ann", NOW), [entry()])
    assert await capture.backfilled_sources() == {"main"}
    backfill = await capture.next_backfill("main")
    assert backfill is not None
    skipped = Quarantined("q_1", "clientes", Operation.UPDATE, {"id": 1}, "t", NOW, "why")
    rows = SnapshotChange("clientes", (SnapshotRow(b"k", b"d", b"c"),), (b"gone",), behind=None, reset=True)
    events = [event(number, f"a:{number % 2}") for number in range(1, 7)] + [event(7, "b:1", renamed_from="a:1")]
    await capture.store(
        "main", Position("1"), events, {"x": "1"}, NOW, kept=rows, step=BackfillStep("bf_1", 1, {"id": 1}, False),
        quarantined=[skipped], fence=Fence(None, 1),
    )  # fmt: skip
    await capture.store("main", Position("2"), [], {"x": None}, NOW, fence=Fence(Position("1"), 1))
    await capture.set_backfill("bf_1", BackfillState.FAILED, "why", NOW)
    assert await capture.position("main") == Position("2")
    await capture.note_reading_session("main", "7")
    assert await capture.reading_session("main") == "7"
    assert await capture.snapshot_digests("main", "clientes", 9) == [(b"k", b"d")]
    assert await capture.snapshot_rows("main", "clientes", [b"k"])
    assert await capture.become_reader("shop")
    await capture.stop_reading("shop")
    await capture.change_refusals("api", lambda text: f"{text}x")
    assert await capture.refusals("api") == "x"
    await capture.announce([event(8, "source:main")], NOW)
    assert await capture.unfinished(None, 99) == 24
    await capture.note_filter("ep_b", "data.total > 1.0", "It fails again.")
    await capture.disable_filtered("ep_c", "none such", "why", event(13, "endpoint:x"), NOW)
    await capture.workers.release("w", ["main"])
    await capture.workers.leave("w")
    await watches(capture)
    outlined = {each.id: each for each in await capture.endpoints()}["ep_b"]
    assert (outlined.url, outlined.secret, outlined.rate) == ("https://ep_b.example.com/…", "", 5.0)


async def watches(outbox: PostgresOutbox) -> None:
    """What health and metrics ask of any account."""
    assert len(await outbox.endpoints()) == 3
    await outbox.counts()
    await outbox.oldest_due(NOW)
    await outbox.replication()
    await outbox.events(5, 0, "source.stalled")
    await outbox.count_quarantined()
    await outbox.check()
    await outbox.changed()


async def _sends(dispatch: PostgresOutbox, web: PostgresOutbox) -> None:
    await dispatch.limits.publish("d", {"ep_a": EndpointHold(paused=0.001)})
    await dispatch.limits.admit("d", {"ep_a": AdmissionRequest(1, 0.0, 0.0, 1.0)})
    await dispatch.limits.holds()
    assert (await dispatch.due_endpoints(at(9), 9, 0)).ids
    first, second, *others = await lease(dispatch, at(9), worker="d")
    await dispatch.give_back("d", others[:1], at(9))
    await finish(dispatch, first, worker="d", now=at(10))
    failed = outcome(second, DeliveryState.DEAD, None, disable_reason="It is gone.")
    await dispatch.finish("d", [failed], at(10), [event(9, "endpoint:x")])
    await dispatch.disable_failing("ep_b", NOW, "why", event(10, "endpoint:x"), at(10))
    await dispatch.disable_filtered("ep_c", "none such", "why", event(11, "endpoint:x"), at(10))
    await dispatch.bring_forward("d", {"ep_a": at(0)}, at(10))
    await dispatch.note_filter("ep_b", "data.total > 1.0", "It fails.")
    assert await dispatch.release("d", at(10)) > 0
    await watches(dispatch)
    assert {each.enabled for each in await dispatch.endpoints()} == {True, False}
    assert (await web.endpoints())[0].secret == (await dispatch.endpoints())[0].secret != ""


async def _replays(web: PostgresOutbox, dispatch: PostgresOutbox) -> None:
    for each in await web.endpoints():
        await web.change_endpoint(each.id, EndpointChange(enabled=True))
    dead = (await web.deliveries(DeliveryFilter(state=DeliveryState.DEAD), 9))[0]
    assert await web.attempts(dead.id)
    await web.retry(dead.id, at(20), [entry()])
    await web.add_replay(Replay("rpl_1", "user:ann", EVERYTHING, 1.0, None, at(20)), [entry()])
    assert await web.lease_replay("r", at(21), at(30))
    await web.replay(EVERYTHING, 9, at(21))
    await web.advance_replay("rpl_1", "r", Replayed(1, 0, "1.1"), at(22), at(40))
    await web.end_replay("rpl_1", ReplayState.CANCELLED, "", at(23))
    fetched = await web.lease_of("ep_a", "c", at(30), at(90), 1)
    await web.finish("c", [outcome(each) for each in fetched], at(31))
    await web.send_test("ep_c", event(12, "test:1", source="test"), "c", at(31), at(90), note=[entry()])
    await web.expunge(["evt_1"], at(32), [entry()])
    assert (
        await web.find_quarantined("q_1") or Quarantined("", "", Operation.READ, None, "", NOW, "")
    ).table == "clientes"
    reread = Backfill("bf_2", "main", "clientes", "user:ann", at(32))
    await web.add_backfill(reread, [entry()], rereads="q_1")
    await web.set_backfill("bf_2", BackfillState.CANCELLED, "", at(33), [entry()])
    await web.remove_quarantined("q_1", [entry()])
    assert await web.position("main") == Position("2")
    assert await web.reading_session("main") == "7"
    await web.activity([at(0), at(60)])
    await watches(web)
    for each in await lease(dispatch, at(99), worker="d"):
        await finish(dispatch, each, worker="d", now=at(100))


async def _removes(dispatch: PostgresOutbox, web: PostgresOutbox) -> None:
    await web.remove_endpoint("ep_a", at(200), [entry()])
    await dispatch.gather_activity(at(0), at(0) + DAY)
    kept = Retention(at(0) + 9 * DAY, finished_before=at(0) + 9 * DAY, payloads_before=at(0) + 9 * DAY)
    assert (await dispatch.retain(kept, 99)).deliveries > 0
    await dispatch.forget_quarantined(at(0) + DAY)


async def test_the_account_of_the_page_manages_access(accounts: Accounts) -> None:
    access = PostgresAccess(accounts[WEB])
    await access.open()
    assert await access.offer_setup("d", at(60))
    assert await access.take_setup("d", user(), entry(), at(1))
    await access.change_user("ann", UserChange(role=Role.VIEWER), entry())
    assert await access.take_totp_step("user:ann", 5)
    await access.add_session(session())
    await access.use_session("d1", at(120), IDLE)
    await access.add_token(token(), "dd", entry())
    await access.use_token("dd", at(1))
    claim = await access.claim("token:x", "k", "f", NOW)
    await access.answer("token:x", "k", claim, IdempotentResponse(200, "text/plain", "ok", None))
    await access.remove_token("tok_1", entry())
    await access.remove_user("ann", entry())
    assert len(await access.audit(ALL_ENTRIES, 99)) == 5
    assert await access.forget_audit(at(999), 99) == 0, "nothing of the last year"
    await access.close()


async def test_the_capturing_account_needs_no_key(postgres_outbox_db: Database, accounts: Accounts) -> None:
    box = SecretBox([new_key()])
    async with opened(postgres_outbox_db.info, box) as owner:
        await owner.add_endpoint(endpoint(headers=(("X-Key", "v"),)))
    async with opened(accounts[CAPTURE]) as capture:
        (only,) = await capture.endpoints()
        assert (only.id, only.secret, only.headers) == ("ep_a", "", ())
        with pytest.raises(OutboxError, match="refuses this user a table or schema"):
            await capture.endpoint("ep_a")
    async with opened(accounts[DISPATCH], box) as dispatch:
        assert (await dispatch.endpoint("ep_a") or only).headers == (("X-Key", "v"),)


@pytest.mark.parametrize("role", ROLES)
async def test_an_older_schema_is_left_to_its_owner(role: ProcessRole, postgres_db: Database) -> None:
    steps = migrations(ENGINE)
    await migrate_postgres(postgres_db.info, steps)
    with role_accounts(postgres_db) as made:
        postgres_db.execute("DELETE FROM cdc_outbox.migration WHERE number = %s", [len(steps)])
        with pytest.raises(
            OutboxError, match=f"has schema version {len(steps) - 1}; this program needs {len(steps)}"
        ) as error:
            await PostgresOutbox(made[role]).open()
        assert made[role].user in error.value.message
        assert "cdc outbox upgrade" in error.value.hint


def outbox_config(info: ConnectionInfo) -> Config:
    return Config(outbox=OutboxConfig(url=database_url(info)))


async def test_a_process_of_another_role_does_not_start(postgres_outbox_db: Database, accounts: Accounts) -> None:
    for role, info in accounts.items():
        for wanted in ProcessRole:
            if wanted is role:
                assert await check_account(outbox_config(info), wanted) is (role is WEB), (
                    "only that one serves the page"
                )
            else:
                with pytest.raises(
                    OutboxError, match=f"{info.user} of the outbox lacks .* which cdc run --role {wanted}"
                ):
                    await check_account(outbox_config(info), wanted)
    assert all([await check_account(outbox_config(postgres_outbox_db.info), role) for role in ProcessRole])


@pytest.mark.parametrize(
    ("act", "severity", "detail"),
    [
        ("", Severity.OK, "may do what {role} needs, and nothing else"),
        ("GRANT SELECT ON cdc_outbox.idempotency, cdc_outbox.worker TO {name}", Severity.WARNING, "SELECT on "),
        ("GRANT UPDATE (source) ON cdc_outbox.event TO {name}", Severity.WARNING, "UPDATE (source) on event"),
        ("GRANT TRIGGER ON cdc_outbox.event TO PUBLIC", Severity.WARNING, "TRIGGER on event"),
        ("GRANT MAINTAIN ON cdc_outbox.event TO {name}", Severity.WARNING, "MAINTAIN on event"),
        ("GRANT CREATE ON SCHEMA cdc_outbox TO {name}", Severity.WARNING, "creates objects"),
        ("ALTER ROLE {name} CREATEROLE", Severity.WARNING, "makes roles"),
        ("REVOKE INSERT ON cdc_outbox.event FROM {name}", Severity.WRONG, "INSERT on event"),
        ("REVOKE EXECUTE ON FUNCTION cdc_outbox.note_filter FROM {name}", Severity.WRONG, "EXECUTE on note_filter"),
    ],
)
async def test_too_much_and_too_little_are_found(
    act: str, severity: Severity, detail: str, postgres_outbox_db: Database, accounts: Accounts
) -> None:
    if "MAINTAIN" in act and postgres_outbox_db.execute("SHOW server_version_num") < [("170000",)]:
        pytest.skip("this PostgreSQL does not know that right")
    for role, info in accounts.items():
        if act:
            postgres_outbox_db.execute(act.format(name=f'"{info.user}"'))
        found = await account_finding(outbox_config(info).outbox)
        assert found is not None
        if role is WEB and "idempotency, " in act:
            assert "worker" in found.detail
            assert "idempotency" not in found.detail
        assert found.severity is severity, (role, found)
        assert detail.format(role=role) in found.detail


async def test_one_account_with_all_tables_of_another_works_after_an_upgrade(postgres_db: Database) -> None:
    """As the end of `cdc outbox sql` grants it; a former release granted no function, and has made no later table."""
    name = f"{postgres_db.name}_one"
    steps = migrations(ENGINE)
    await migrate_postgres(postgres_db.info, steps[:21])
    postgres_db.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    try:
        *tables, functions = (
            line.strip("- ") for line in load("postgres/outbox/grants.sql").splitlines() if "GRANT" in line
        )
        for grant in tables:
            postgres_db.execute(grant.replace(" TO cdc;", f" TO {name}"))
        await migrate_postgres(postgres_db.info)
        info = postgres_db.info.as_user(name, PASSWORD)
        callable_now = "SELECT has_function_privilege(%s, 'cdc_outbox.note_filter(text, text, text)', 'EXECUTE')"
        assert postgres_db.execute(callable_now, [name]) == [(True,)], "in place of statements of the former release"
        with pytest.raises(OutboxError, match="needs"):
            await check_account(outbox_config(info), ProcessRole.ALL)
        for grant in (*tables, functions):
            postgres_db.execute(grant.replace(" TO cdc;", f" TO {name}"))
        assert await check_account(outbox_config(info), ProcessRole.ALL)
        async with opened(info) as outbox:
            await outbox.add_endpoint(endpoint(condition="x"))
            assert await outbox.disable_filtered("ep_a", "x", "why", event(1, "endpoint:x"), NOW)
        found = await account_finding(outbox_config(info).outbox)
        assert found is not None
        assert (found.severity, found.detail) == (
            Severity.OK, f"one for everything: {name} may read and write all tables"
        )  # fmt: skip
    finally:
        postgres_db.execute(f"DROP OWNED BY {name}")
        postgres_db.execute(f"DROP ROLE {name}")


def test_commands_print_grants_upgrade_and_check(
    postgres_outbox_db: Database, accounts: Accounts, tmp_path: Path
) -> None:
    """The printed grants take away what was granted by hand."""

    def of(name: str, info: ConnectionInfo) -> Consumer:
        made = Consumer.configure(tmp_path / name, postgres_outbox_db.info)
        file = made.folder / "cdc.toml"
        file.write_text(file.read_text().replace("sqlite:///cdc.db", database_url(info)))
        made.has_outbox = True
        return made

    owner, capture = of("owner", postgres_outbox_db.info), of("capture", accounts[CAPTURE])
    postgres_outbox_db.execute(f'GRANT ALL ON cdc_outbox.access_user TO "{accounts[CAPTURE].user}"')
    assert account_check(capture)["severity"] == "warning"
    postgres_outbox_db.script(owner.run("outbox", "grants"))
    assert account_check(capture)["severity"] == "ok"
    assert "is as this version needs it" in owner.talk("outbox", "upgrade")
    assert "lacks" in capture.fail("run", "--role", "dispatch")
    file = of("file", postgres_outbox_db.info)
    (file.folder / "cdc.toml").write_text('[outbox]\nurl = "sqlite:///cdc.db"\n', encoding="utf-8")
    assert "has no accounts" in file.fail("outbox", "grants", expect=2)


def account_check(consumer: Consumer) -> dict[str, Any]:
    checks = json.loads(consumer.run("doctor", "--json", expect=1))  # the source is none of FacturaScripts
    (found,) = [each for each in checks["checks"] if each["check"] == "account"]
    return dict(found)
