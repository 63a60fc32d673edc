"""What only endpoints of Redis do, on a real server."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import redis
import trustme
from click.testing import CliRunner

from cdc.admin.endpoint_checks import basic
from cdc.cli.app import cdc
from cdc.dispatch.broker.sender import BrokerSender
from cdc.dispatch.retry import is_trouble
from support.broker_servers import INSIDE, Valkey, send
from support.dispatching import endpoint


async def test_user_and_password_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    secured = Valkey(tmp_path / "broker")
    secured.options = [
        *("--port", "0", "--tls-port", str(secured.port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--user", "cdc", "on", ">planted", "~facturascripts.*", "+xadd"),
    ]
    secured.start()
    try:
        await _check_tls(secured, authority)
    finally:
        secured.kill()


async def _check_tls(server: Valkey, authority: trustme.CA) -> None:
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    url = f"rediss://localhost:{server.port}/0/facturascripts.{{source}}"
    async with BrokerSender(INSIDE, {}, tls=lambda: trusted) as sender:
        good = await send(sender, endpoint(url, headers=(basic("cdc:planted"),)))
        wrong = await send(sender, endpoint(url, headers=(basic("cdc:wrong"),)))
        forbidden = await send(
            sender, endpoint(url.replace("facturascripts", "others"), headers=(basic("cdc:planted"),))
        )
        other_name = await send(
            sender, endpoint(url.replace("localhost", "127.0.0.1"), headers=(basic("cdc:planted"),))
        )
    async with BrokerSender(INSIDE, {}) as sender:
        unknown = await send(sender, endpoint(url, headers=(basic("cdc:planted"),)))
    assert (good.status, good.error) == (200, "")
    assert wrong.error.startswith("Redis refused the event: ")
    assert "planted" not in wrong.error
    assert forbidden.error.startswith("Redis refused the event: ")
    assert other_name.error.startswith(f"The TLS certificate of 127.0.0.1:{server.port} is not valid: ")
    assert unknown.error.startswith(f"The TLS certificate of localhost:{server.port} is not valid: ")


async def test_key_of_another_type_is_a_failure_of_the_event(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "broker")
    server.start()
    try:
        with redis.Redis(port=server.port, db=3) as client:
            client.set("invoice", "no stream")
        async with BrokerSender(INSIDE, {}) as sender:
            answer = await send(sender, endpoint(f"redis://127.0.0.1:{server.port}/3/{{entity}}"))
    finally:
        server.kill()
    assert answer.status == 409
    assert answer.error.startswith("Redis refused the event: WRONGTYPE ")
    assert not is_trouble(answer)


async def test_a_replica_is_passed_over(tmp_path: Path) -> None:
    primary, replica = Valkey(tmp_path / "primary"), Valkey(tmp_path / "replica")
    replica.options = ["--replicaof", "127.0.0.1", str(primary.port)]
    primary.start()
    replica.start()
    try:
        url = f"redis://127.0.0.1:{replica.port},127.0.0.1:{primary.port}/0/facturascripts.{{source}}"
        async with BrokerSender(INSIDE, {}) as sender:
            alone = await send(sender, endpoint(replica.url))
            answers = [await send(sender, endpoint(url), number) for number in (1, 2)]
        got = await asyncio.to_thread(primary.got)
    finally:
        replica.end()
        primary.end()
    assert "read only replica" in alone.error
    assert [each.status for each in answers] == [200, 200]
    assert [each.headers["webhook-id"] for each in got] == ["evt_1", "evt_2"]


def test_command_line_adds_tests_and_shows_an_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cdc.toml").write_text(
        '[source.main]\nurl = "mysql://cdc@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\n'
    )
    server = Valkey(tmp_path / "broker")
    server.options = ["--requirepass", "planted"]
    server.start()
    try:
        url = server.url.replace("redis://", "redis://:planted@")
        added = CliRunner().invoke(cdc, ["endpoint", "add", url, "--events", "*"])
        endpoint_id = next(word for word in added.output.split() if word.startswith("ep_"))
        tried = CliRunner().invoke(cdc, ["endpoint", "test", endpoint_id, "--event", "invoice.paid"])
        shown = CliRunner().invoke(cdc, ["endpoint", "show", endpoint_id])
        with redis.Redis(port=server.port, password="planted") as client:
            ((_, fields),) = client.xrange("facturascripts.test")
    finally:
        server.end()
    assert tried.exit_code == 0, tried.output
    assert fields[b"X-Webhook-Event"] == b"invoice.paid"
    assert fields[b"X-Webhook-Test"] == b"true"
    assert server.url in shown.output
    assert "planted" not in added.output + tried.output + shown.output
