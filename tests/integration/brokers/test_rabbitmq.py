"""What only endpoints of RabbitMQ do, on a real server."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator

import pytest
import trustme

from cdc.admin.endpoint_checks import basic
from cdc.dispatch.broker.sender import BrokerSender
from cdc.dispatch.retry import is_trouble
from support.broker_servers import INSIDE, RabbitMQ, send
from support.commands import run_command
from support.dispatching import endpoint

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
