"""What only endpoints of RabbitMQ do, on a real server."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from cdc.admin.endpoint_checks import basic
from cdc.dispatch.broker.sender import BrokerSender
from cdc.dispatch.request import build_request
from cdc.dispatch.retry import is_trouble
from cdc.dispatch.signing import new_secret
from support.actions import Action, load_actions
from support.broker_servers import INSIDE, RabbitMQ, leased, send
from support.commands import run_command
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.dispatching import endpoint
from support.health import Health
from support.manual_clock import START
from support.ports import free_port
from support.waiting import HANG_SECONDS

AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    made = RabbitMQ(tmp_path_factory.mktemp("broker"))
    certificate, key = made.folder / "cert.pem", made.folder / "key.pem"
    issued = AUTHORITY.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    made.settings = f"""
        listeners.ssl.default = 127.0.0.1:{made.tls_port}
        ssl_options.certfile = {certificate}
        ssl_options.keyfile = {key}
        max_message_size = 100000
    """
    made.start()
    made.empty()
    yield made
    made.end()


@pytest.mark.timeout(600)  # RabbitMQ starts slowly on a busy machine
async def test_refusals_over_tls(server: RabbitMQ) -> None:
    trusted = ssl.create_default_context()
    AUTHORITY.configure_trust(trusted)
    url = f"amqps://localhost:{server.tls_port}/%2F/facturascripts/{{source}}.{{event}}"
    account = (basic("guest:guest"),)
    async with BrokerSender(INSIDE, {}, tls=lambda: trusted) as sender:
        good = await send(sender, endpoint(url, headers=account))
        unroutable = await send(sender, endpoint(url.replace("{source}", "others"), headers=account))
        missing = await send(sender, endpoint(url.replace("facturascripts", "nothing"), headers=account))
        again = await send(sender, endpoint(url, headers=account), 2)
        wrong = await send(sender, endpoint(url, headers=(basic("guest:planted"),)))
        vhost = await send(sender, endpoint(url.replace("%2F", "nowhere"), headers=account))
        other_name = await send(sender, endpoint(url.replace("localhost", "127.0.0.1"), headers=account))
    async with BrokerSender(INSIDE, {}) as sender:
        unknown = await send(sender, endpoint(url, headers=account))
    assert (good.status, good.body, again.status) == (200, b"main.invoice.paid in facturascripts", 200)
    assert unroutable.status == 404
    assert unroutable.error == "RabbitMQ refused the event: no queue takes others.invoice.paid from facturascripts."
    assert not is_trouble(unroutable)
    assert "no exchange 'nothing'" in missing.error
    assert "ACCESS_REFUSED" in wrong.error
    assert "planted" not in wrong.error
    assert vhost.error == "RabbitMQ refused the event: it does not open the vhost nowhere."
    assert other_name.error.startswith(f"The TLS certificate of 127.0.0.1:{server.tls_port} is not valid: ")
    assert unknown.error.startswith(f"The TLS certificate of localhost:{server.tls_port} is not valid: ")


async def test_event_that_is_too_large_is_refused_for_good_and_no_other(server: RabbitMQ) -> None:
    await asyncio.to_thread(server.empty)
    to = endpoint(f"amqp://127.0.0.1:{server.port}/%2F/facturascripts/{{source}}.{{event}}")
    large = build_request(leased(1), to, START)._replace(body=b"x" * 200_000)
    async with BrokerSender(INSIDE, {}) as sender:
        await send(sender, to)
        refused, *others = await asyncio.gather(sender.send(large), *(send(sender, to, n) for n in (2, 3)))
        after = await send(sender, to, 4)
    assert (refused.status, refused.final) == (413, True)
    assert "bytes are more than it takes (max_message_size)." in refused.error
    assert not any(each.final for each in others)
    assert after.status == 200


@pytest.mark.timeout(600)
def test_the_demo_sends_invoices_there(server: RabbitMQ) -> None:
    server.empty()
    played = run_command("demo", "--once", "--to", f"amqp://127.0.0.1:{server.port}/%2F/facturascripts/main.{{event}}")
    assert played.returncode == 0, played.stdout + played.stderr
    got = server.got()
    events = [json.loads(each.body)["event"] for each in got]
    printed = re.findall(r"^  (invoice\.\S+) +facturascli:\d$", played.stdout.rpartition("amqp://")[2], re.MULTILINE)
    assert sorted(events) == sorted(printed)
    assert events.count("invoice.paid") == 1
    assert [each.place for each in got] == [f"main.{event}" for event in events]


ENDPOINTS = """
[endpoint.webhook]
url = "{webhook}"
events = ["*"]
secret_env = "TEST_WEBHOOK_SECRET"

[endpoint.chat]
url = "{chat}"
events = ["invoice.paid"]
preset = "slack"
language = "es"
secret_env = "TEST_WEBHOOK_SECRET"

[endpoint.queue]
url = "amqp://127.0.0.1:{port}/%2F/facturascripts/{{source}}.{{event}}"
events = ["*"]

[endpoint.program]
url = "pull:orders"
events = ["*"]
"""
DUE = """
due = { at = "00:00", timezone = "UTC" }
event = [{ entity = "receipt", name = "due", days = [-7] }]
"""
OWED = """
INSERT INTO clientes (codcliente, nombre, razonsocial, cifnif, personafisica)
VALUES ('C900', 'Talleres Ruiz', 'Talleres Ruiz SL', 'B03567891', FALSE);
INSERT INTO recibospagoscli (idrecibo, codcliente, fecha, idempresa, importe, pagado, vencido, vencimiento)
VALUES (900, 'C900', current_date, 1, 423.5, FALSE, FALSE, (now() AT TIME ZONE 'UTC')::date + 7)
"""
LAST = "UPDATE clientes SET nombre = 'Ruiz' WHERE codcliente = 'C900'"


@pytest.mark.timeout(600)
async def test_recorded_statements_reach_endpoints_of_every_kind(
    server: RabbitMQ, postgres_erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(server.empty)
    secret = new_secret()
    monkeypatch.setenv("TEST_WEBHOOK_SECRET", secret)
    actions = load_actions(Path(__file__).parents[2] / "golden" / "erp.sql")
    consumer = Consumer.configure(tmp_path / "cdc", postgres_erp.info, 'rules = "rules.toml"')
    (consumer.folder / "rules.toml").write_text(DUE, encoding="utf-8")
    postgres_erp.execute(OWED)
    await consumer.call("install-triggers")
    webhook, chat = Inbox(), Inbox()
    async with receiving(webhook, secret=secret) as url, receiving(chat, secret=secret) as chat_url:
        file = consumer.folder / "endpoints.toml"
        file.write_text(ENDPOINTS.format(webhook=url, chat=chat_url, port=server.port), encoding="utf-8")
        await consumer.call("apply", str(file))
        consumer.has_outbox = True
        health = Health.of(consumer, free_port())
        token = json.loads(await consumer.call("token", "add", "program", "--scope", "consume", "--json"))["token"]
        async with consumer.running():
            await asyncio.to_thread(_play, postgres_erp, actions)
            fetched = await _fetch_all(f"{health.url}/api/v1/consumers/orders", token)
            await webhook.until(lambda inbox: {each["id"] for each in fetched} <= {each["id"] for each in inbox.events})
            await chat.until_count(1)
            async with asyncio.timeout(HANG_SECONDS):
                while {each["state"] for each in await consumer.deliveries()} != {"delivered"}:  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.1)
    queued = [json.loads(each.body) for each in await asyncio.to_thread(server.got)]
    assert _by_record(webhook.events) == _by_record(queued) == _by_record(fetched)
    assert [each["data"]["idrecibo"] for each in fetched if each["event"] == "receipt.due"] == [900]
    assert chat.events[0]["text"] == "Factura FAC2026A1 pagada · O'Brien · 121,00\xa0€"
    assert [received.answered for received in (*webhook.received, *chat.received) if received.answered != 204] == []


def _play(database: Database, actions: list[Action]) -> None:
    """Play what the ERP's tables accept, and a last change."""
    connection = database.connect(autocommit=True)
    for action in actions:
        for statement in () if "refuses" in action.title else action.statements:
            connection.execute(statement)
    connection.execute(LAST)
    connection.close()


async def _fetch_all(url: str, token: str) -> list[dict[str, Any]]:
    """Fetch and acknowledge events until the one of the last change has come, and all before it."""
    fetched: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        while found or not any(each["data"].get("nombre") == "Ruiz" for each in fetched):
            answer = await session.get(f"{url}/events", params={"limit": 100, "wait": 0 if found else 30})
            found = (await answer.json())["items"]
            fetched += [each["payload"] for each in found]
            await session.post(f"{url}/ack", json={"acknowledged": [each["receipt"] for each in found]})
    return fetched


def _by_record(events: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the ids of each record's events, in order."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for each in events:
        found[f"{each['event'].partition('.')[0]} {each['key']}"].append(each["id"])
    return found
