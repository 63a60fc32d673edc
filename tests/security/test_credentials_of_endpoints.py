"""Write-only headers, proxies and certificates reach only the origin that they were entered for, and a token of some
sources uses none that the operator set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cdc.access.model import Allowance, Scope
from cdc.cli.app import cdc
from cdc.dispatch.sender import HttpSender, attempt_once
from cdc.dispatch.signing import new_secret
from cdc.model.clock import SystemClock
from cdc.model.endpoint import CREDENTIALS, Endpoint, EndpointChange, origin_of
from cdc.model.errors import CredentialsNotGiven
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.browsing import visiting
from support.http_faults import read_request, receiver
from support.managing import API, Answered, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, lease, store

SECRET = "Bearer OPERATORS-SECRET"
HEADERS = (("Authorization", SECRET),)
SOURCES = {name: {"url": f"postgresql://cdc@db.example.com/{name}"} for name in ("main", "shop")}
DISPATCH = {"allow_http": True, "allow_private": True, "proxies": {"dmz": "http://proxy.example:3128"}}
MAIL = {"host": "mail.example.com", "sender": "cdc@example.com"}


@dataclass
class Heads:
    """A receiver that notes the head of each request."""

    url: str
    seen: list[str]


@asynccontextmanager
async def noting() -> AsyncIterator[Heads]:
    seen: list[str] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            seen.append(head.decode())
            writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async with receiver(behave) as port:
        yield Heads(f"http://127.0.0.1:{port}/hook", seen)


async def deliver(outbox: OutboxStore, number: int = 1) -> None:
    """An event for the only endpoint, sent as dispatch sends it."""
    await store(outbox, event(number, "a:1", source="shop"))
    (leased,) = await lease(outbox)
    async with HttpSender(allow_private=True) as sender:
        found = await outbox.endpoint(leased.endpoint_id)
        assert found is not None
        await attempt_once(sender, leased, found, SystemClock())


@asynccontextmanager
async def operators(url: str, **fields: Any) -> AsyncIterator[Managed]:
    """The operator's endpoint of the source ``shop``, with a header whose value nobody can read."""
    outbox = MemoryOutbox()
    await outbox.open()
    given = {"headers": HEADERS, "secret": new_secret()} | fields
    await outbox.add_endpoint(endpoint("ep_1", url=url, sources=("shop",), **given))
    async with managing(outbox, source=SOURCES, dispatch=DISPATCH, mail=MAIL) as managed:
        yield managed


class Tenant:
    def __init__(self, managed: Managed, token: str) -> None:
        self.managed, self.token = managed, token

    @classmethod
    async def of(cls, managed: Managed, *sources: str, allowed: Sequence[Allowance] = ()) -> Tenant:
        name = "-".join((*sources, *allowed))
        made = await managed.accounts.add_token("cli:root", name, Scope.MANAGE, None, sources, allowed=allowed)
        return cls(managed, made[1])

    async def ask(self, method: str, path: str, **more: Any) -> Answered:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.managed.client.request(method, f"{API}{path}", headers=headers, **more) as answer:
            return await Answered.of(answer)


# -- every user: credentials belong to an origin --------------------------------------------------------------------


async def test_a_header_never_reaches_another_origin_by_the_api() -> None:
    async with noting() as shop, noting() as attacker, operators(shop.url) as managed:
        answer = await managed.ask("PATCH", "/endpoints/ep_1", json={"url": attacker.url})
        await deliver(managed.store)
        assert not attacker.seen
        assert answer.status == 422
        assert "the header Authorization" in answer.json["detail"]
        assert SECRET in shop.seen[0]


async def test_a_header_never_reaches_another_origin_by_the_page() -> None:
    async with noting() as shop, noting() as attacker, operators(shop.url) as managed, visiting(managed, "ann") as ann:
        answer = await ann.send("/endpoints/ep_1/edit", _form(attacker.url))
        await deliver(managed.store)
        assert not attacker.seen
        assert answer.status == 422
        assert "the header Authorization" in answer.text
        assert SECRET in shop.seen[0]


def test_a_header_never_reaches_another_origin_by_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cdc.toml").write_text(
        '[source.main]\nurl = "mysql://cdc@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\n'
    )

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cdc, ["endpoint", *arguments])

    added = run("add", "http://127.0.0.1:9/hook", "--events", "*", "--header", f"Authorization: {SECRET}")
    assert added.exit_code == 0, added.output
    endpoint_id = next(word for word in added.output.split() if word.startswith("ep_"))
    moved = run("update", endpoint_id, "--url", "http://127.0.0.1:10/hook")
    assert moved.exit_code == 2
    assert "the header Authorization" in moved.output
    other = run("update", endpoint_id, "--url", "http://127.0.0.1:10/hook", "--header", "X-Tenant: 1")
    assert other.exit_code == 2, "a header that is taken over beside new ones was not entered"
    assert run("update", endpoint_id, "--url", "http://127.0.0.1:9/other").exit_code == 0
    given = run("update", endpoint_id, "--url", "http://127.0.0.1:10/x", "--header", "Authorization: Bearer new")
    assert given.exit_code == 0, given.output
    assert run("update", endpoint_id, "--url", "http://127.0.0.1:11/x", "--no-headers").exit_code == 0


@pytest.mark.parametrize(
    ("former", "new"),
    [
        ("https://shop.example.com/a", "http://shop.example.com/a"),
        ("https://shop.example.com/a", "https://shop.example.com:8443/a"),
        ("https://shop.example.com/a", "https://shop.example.com.evil.example/a"),
        ("https://shop.example.com/a", "mailto:evil@example.com"),
        ("mailto:ops@example.com", "https://evil.example/a"),
    ],
)
@pytest.mark.parametrize("name", [name for name in CREDENTIALS if name not in ("authentication", "credential")])
def test_each_credential_belongs_to_scheme_host_and_port(former: str, new: str, name: str) -> None:
    value: Any = {"headers": HEADERS, "proxy": "dmz", "client_certificate": "bank"}[name]
    before = endpoint("ep_1", url=former, **{name: value})
    with pytest.raises(CredentialsNotGiven):
        EndpointChange(url=new).applied_to(before)
    assert EndpointChange(url=new, **{name: value}).applied_to(before).url == new
    assert EndpointChange(url=new, **{name: type(value)()}).applied_to(before).url == new


@pytest.mark.parametrize(
    "same", ["HTTPS://Shop.Example.COM/other?x=1", "https://shop.example.com:443/a", "https://shop.example.com/"]
)
def test_another_spelling_of_the_same_origin_needs_nothing_again(same: str) -> None:
    before = endpoint("ep_1", url="https://shop.example.com/a", headers=HEADERS, proxy="dmz")
    assert origin_of(same) == origin_of(before.url)
    assert EndpointChange(url=same).applied_to(before).headers == HEADERS


async def test_a_change_between_check_and_store_is_refused(tmp_path: Path) -> None:
    """The operator adds the header after somebody else's change of URL was checked: the store checks it again."""
    outbox = SqliteOutbox(tmp_path / "cdc.db")
    await outbox.open()
    await outbox.add_endpoint(endpoint("ep_1", url="https://shop.example.com/a", headers=HEADERS))
    with pytest.raises(CredentialsNotGiven):
        await outbox.change_endpoint("ep_1", EndpointChange(url="https://evil.example/a"))
    await outbox.close()


async def test_the_page_asks_for_the_proxy_again() -> None:
    async with operators("https://shop.example.com/a", headers=(), proxy="dmz") as managed:
        async with visiting(managed, "ann") as ann:
            form = _form("https://other.example.com/a") | {"proxy": "dmz"}
            refused = await ann.send("/endpoints/ep_1/edit", form)
            assert refused.status == 422
            assert "the proxy dmz" in refused.text
            assert "<option selected>dmz" not in refused.text
            again = await ann.send("/endpoints/ep_1/edit", form | {"again": "1"})
        found = await managed.store.endpoint("ep_1")
        assert again.status == 303
        assert found is not None
        assert (found.url, found.proxy) == ("https://other.example.com/a", "dmz")


def _form(url: str) -> dict[str, str]:
    chosen = {"url": url, "patterns": "invoice.*", "sources": "shop", "format": "facturascripts", "order": "record"}
    numbers = {"timeout": "10", "retries": "5", "concurrency": "4", "rate": "0", "batch_size": "1", "batch_wait": "1"}
    return chosen | numbers | {"disable_after": "120"}


# -- tokens of some sources -----------------------------------------------------------------------------------------


async def test_a_tenant_cannot_change_an_endpoint_with_the_operators_header() -> None:
    async with noting() as shop, noting() as attacker, operators(shop.url) as managed:
        tenant, before = await Tenant.of(managed, "shop"), await managed.store.endpoint("ep_1")
        answers = [
            await tenant.ask("PATCH", "/endpoints/ep_1", json={"url": attacker.url}),
            await tenant.ask("PATCH", "/endpoints/ep_1", json={"url": attacker.url, "headers": {}}),
            await tenant.ask("PATCH", "/endpoints/ep_1", json={"url": shop.url.replace("hook", "admin")}),
            await tenant.ask("POST", "/endpoints/ep_1/rotate-secret", json={}),
            await tenant.ask("POST", "/endpoints/ep_1/disable", json={}),
            await tenant.ask("POST", "/endpoints/ep_1/test", json={}),
            await tenant.ask("DELETE", "/endpoints/ep_1"),
        ]
        assert [each.status for each in answers] == [422] * len(answers)
        assert await managed.store.endpoint("ep_1") == before
        await deliver(managed.store)
        assert not attacker.seen
        assert (await tenant.ask("GET", "/endpoints/ep_1")).status == 200


async def test_a_tenant_may_change_what_its_own_token_or_its_successor_set() -> None:
    async with operators("https://shop.example.com/a", headers=()) as managed:
        first, second, wider = [
            await Tenant.of(managed, "shop"),
            await Tenant.of(managed, "shop", allowed=[Allowance.MAIL]),
            await Tenant.of(managed, "main", "shop"),
        ]
        given = {"headers": {"Authorization": "Bearer tenants"}}
        assert (await first.ask("PATCH", "/endpoints/ep_1", json=given)).status == 200
        for each in (first, second, wider):
            assert (await each.ask("PATCH", "/endpoints/ep_1", json={"description": "x"})).status == 200
        assert (await wider.ask("PATCH", "/endpoints/ep_1", json=given)).status == 200
        assert (await first.ask("PATCH", "/endpoints/ep_1", json={"description": "y"})).status == 422
        assert (await managed.ask("PATCH", "/endpoints/ep_1", json=given)).status == 200
        assert (await wider.ask("PATCH", "/endpoints/ep_1", json={"description": "z"})).status == 422


async def test_a_tenants_header_never_reaches_another_origin() -> None:
    async with noting() as shop, noting() as attacker, operators(shop.url, headers=()) as managed:
        tenant = await Tenant.of(managed, "shop")
        await tenant.ask("PATCH", "/endpoints/ep_1", json={"headers": {"Authorization": "Bearer tenants"}})
        peer = await Tenant.of(managed, "main", "shop")
        assert (await peer.ask("PATCH", "/endpoints/ep_1", json={"url": attacker.url})).status == 422
        await deliver(managed.store)
        assert not attacker.seen


async def test_an_allowed_token_changes_the_operators_endpoint_but_takes_no_header_along() -> None:
    async with operators("https://shop.example.com/a", proxy="dmz") as managed:
        tenant = await Tenant.of(managed, "shop", allowed=[Allowance.CREDENTIALS])
        assert (await tenant.ask("PATCH", "/endpoints/ep_1", json={"description": "x"})).status == 200
        assert (await tenant.ask("PATCH", "/endpoints/ep_1", json={"url": "https://evil.example/a"})).status == 422
        given = {"headers": {"Authorization": "Bearer tenants"}}
        assert (await tenant.ask("PATCH", "/endpoints/ep_1", json=given)).status == 200
        found = await managed.store.endpoint("ep_1")
        assert found is not None
        assert found.credentials_of == (), "the proxy is the operator's still"


async def test_a_tenant_sends_no_mail_under_the_operators_address() -> None:
    new = {"url": "mailto:victim@example.com", "events": ["invoice.*"]}
    async with operators("https://shop.example.com/a", headers=()) as managed:
        await managed.store.add_endpoint(endpoint("ep_mail", url="mailto:ops@example.com", sources=("shop",)))
        tenant = await Tenant.of(managed, "shop")
        answers = [
            await tenant.ask("POST", "/endpoints", json=new),
            await tenant.ask("PATCH", "/endpoints/ep_1", json={"url": new["url"]}),
            await tenant.ask("PATCH", "/endpoints/ep_1", json={"url": "MAILTO:victim@example.com"}),
            await tenant.ask("PATCH", "/endpoints/ep_mail", json={"url": "https://shop.example.com/b"}),
            await tenant.ask("POST", "/endpoints/ep_mail/test", json={}),
            await tenant.ask("DELETE", "/endpoints/ep_mail"),
        ]
        assert [each.status for each in answers] == [422] * len(answers)
        allowed = await Tenant.of(managed, "shop", allowed=[Allowance.MAIL])
        assert (await allowed.ask("POST", "/endpoints", json=new)).status == 201
        assert (await allowed.ask("DELETE", "/endpoints/ep_mail")).status == 204


async def test_the_operator_takes_an_endpoint_between_check_and_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant's change was checked; before it is stored the operator gives the endpoint a header."""
    async with operators("https://shop.example.com/a", headers=()) as managed:
        tenant, outbox = await Tenant.of(managed, "shop"), managed.store
        looked_up, change = outbox.endpoint, EndpointChange(headers=HEADERS)

        async def then_changed(endpoint_id: str) -> Endpoint | None:
            found = await looked_up(endpoint_id)
            await outbox.change_endpoint(endpoint_id, change)
            return found

        monkeypatch.setattr(outbox, "endpoint", then_changed)
        answer = await tenant.ask("PATCH", "/endpoints/ep_1", json={"url": "https://shop.example.com/admin"})
        found = await looked_up("ep_1")
        assert answer.status == 422
        assert found is not None
        assert found.url == "https://shop.example.com/a"
