"""The libraries of others read what we send: CloudEvents' SDK, and the JavaScript one of Standard Webhooks.

What the Python one of Standard Webhooks says of single events is in ``tests/unit/dispatch/test_signing.py``.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, from_structured_event
from standardwebhooks import Webhook, WebhookVerificationError

from cdc.dispatch.signing import new_secret
from cdc.model.endpoint import PayloadFormat
from support.programs import CACHE
from support.signed import leased, signed_batch, signed_request

#: Node's library is no dependency of ours: it is fetched once, where node and npm are and a registry answers.
NODE_FOLDER = CACHE / "standardwebhooks-node"


def test_the_sdk_of_cloudevents_parses_ours() -> None:
    request = signed_request(format=PayloadFormat.CLOUDEVENTS)
    message = HTTPMessage(headers=dict(request.headers), body=request.body)
    for parsed in (from_structured_event(message), from_http_event(message)):
        stored = orjson.loads(leased().body_event)
        assert parsed.get_specversion() == "1.0"
        assert (parsed.get_id(), parsed.get_type()) == (stored["id"], stored["event"])
        assert parsed.get_source() == f"/facturascripts/{stored['source']}"
        assert parsed.get_subject() == leased().record
        assert parsed.get_time() == datetime.fromisoformat(stored["timestamp"])
        assert parsed.get_datacontenttype() == "application/json"
        assert parsed.get_extension("transaction") == stored["transaction"]
        assert parsed.get_data() == stored["data"]


@pytest.mark.parametrize("count", [1, 3])
def test_the_sdk_of_cloudevents_parses_each_event_of_a_batch(count: int) -> None:
    """The SDK reads single events: JSON's batch format is, as CloudEvents defines it, an array of what it reads."""
    request = signed_batch(count, format=PayloadFormat.CLOUDEVENTS)
    assert request.headers["Content-Type"] == "application/cloudevents-batch+json"
    elements = orjson.loads(request.body)
    assert len(elements) == count
    single = {"Content-Type": "application/cloudevents+json"}
    for number, element in enumerate(elements, 1):
        parsed = from_structured_event(HTTPMessage(headers=single, body=orjson.dumps(element)))
        stored = orjson.loads(leased(number).body_event)
        assert (parsed.get_specversion(), parsed.get_id(), parsed.get_type()) == ("1.0", stored["id"], stored["event"])
        assert (parsed.get_subject(), parsed.get_data()) == (leased(number).record, stored["data"])


@pytest.mark.parametrize("payload", list(PayloadFormat))
def test_the_python_reference_library_verifies_a_batch(payload: PayloadFormat) -> None:
    secret = new_secret()
    request = signed_batch(3, datetime.now(UTC), secret=secret, format=payload)
    headers = dict(request.headers)
    assert [each["id"] for each in Webhook(secret).verify(request.body, headers)] == ["evt_1", "evt_2", "evt_3"]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body, {**headers, "webhook-id": "evt_1"})
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body.replace(b"evt_3", b"evt_4"), headers)


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """The folder in which node finds the library."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("The JavaScript reference library was not asked: there is no node with npm on this machine.")
    if not (NODE_FOLDER / "node_modules" / "standardwebhooks").is_dir():
        NODE_FOLDER.mkdir(parents=True, exist_ok=True)
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0"]
        install = ["npm", "install", *quiet, "--prefix", str(NODE_FOLDER), "standardwebhooks@1"]
        try:
            subprocess.run(install, check=True, capture_output=True, timeout=60)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"The JavaScript reference library was not asked: npm cannot install it ({error}).")
    return NODE_FOLDER


VERIFY = """
const { Webhook } = require('standardwebhooks');
for (const { secret, headers, body } of JSON.parse(require('node:fs').readFileSync(0, 'utf8'))) {
  try {
    new Webhook(secret).verify(Buffer.from(body, 'base64'), headers);
    console.log(true);
  } catch (error) {
    if (error.name !== 'WebhookVerificationError' && error.constructor.name !== 'WebhookVerificationError') throw error;
    console.log(false);
  }
}
"""


def test_the_javascript_reference_library_verifies_ours(node_modules: Path) -> None:
    now, secret, former = datetime.now(UTC), new_secret(), new_secret()
    right = signed_request(now, secret=secret)
    rotated = signed_request(now, secret=secret, former_secret=former, former_secret_until=now + timedelta(hours=1))
    cases = [
        (secret, right, True),
        (secret, rotated, True),
        (secret, signed_batch(3, now, secret=secret), True),
        (former, rotated, True),
        (new_secret(), right, False),
        (secret, right._replace(body=right.body + b" "), False),
        (secret, signed_request(now - timedelta(minutes=6), secret=secret), False),
        (secret, signed_request(now + timedelta(minutes=6), secret=secret), False),
    ]
    told = [
        {"secret": key, "headers": dict(request.headers), "body": base64.b64encode(request.body).decode()}
        for key, request, _ in cases
    ]
    done = subprocess.run(
        ["node", "-e", VERIFY], cwd=node_modules, input=json.dumps(told), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.split()] == [genuine for *_, genuine in cases]
