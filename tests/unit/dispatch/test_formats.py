"""The three payload formats of one stored event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from cdc.dispatch.request import batch_id, build_batch, build_request, render, render_batch
from cdc.dispatch.signing import new_secret, plain_signature, standard_signature, verify
from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint, PayloadFormat

NOW = datetime(2026, 11, 24, 21, 48, 1, 500000, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "id": "evt_9",
    "event": "invoice.paid",
    "timestamp": "2026-11-24T21:48:00.123456Z",
    "source": "main shop",
    "key": {"idfactura": 12},
    "data": {"idfactura": 12, "pagada": True, "total": 121.0, "nombre": "Peña & O'Brien"},
    "previous": {"pagada": False},
    "transaction": "778/0-1-5",
}


def leased(event: dict[str, Any] = EVENT) -> LeasedDelivery:
    # Spaces: not how the product writes JSON, so that parsing and writing again would show.
    body = orjson.dumps(event).replace(b'":', b'" : ')
    return LeasedDelivery("dlv_1", "ep_1", "evt_9", "invoice.paid", "facturascli:12", 1, NOW, body)


def endpoint(**changes: Any) -> Endpoint:
    base = {"id": "ep_1", "url": "https://receiver.example/hook", "events": ("*",), "secret": new_secret()}
    return Endpoint(**{**base, "created_at": NOW, **changes})


def test_default_format_is_the_stored_bytes() -> None:
    delivery = leased()
    body = render(delivery, PayloadFormat.FACTURASCRIPTS)
    assert body.content is delivery.body_event
    assert body.content_type == "application/json"


def test_standard_format() -> None:
    body = render(leased(), PayloadFormat.STANDARD)
    assert body.content_type == "application/json"
    assert orjson.loads(body.content) == {
        "type": "invoice.paid",
        "timestamp": "2026-11-24T21:48:00.123456Z",
        "data": EVENT["data"],
    }


def test_cloudevents_structured_json() -> None:
    body = render(leased({**EVENT, "inferred": True}), PayloadFormat.CLOUDEVENTS)
    assert body.content_type == "application/cloudevents+json"
    assert orjson.loads(body.content) == {
        "specversion": "1.0",
        "id": "evt_9",
        "source": "/facturascripts/main%20shop",
        "type": "invoice.paid",
        "time": "2026-11-24T21:48:00.123456Z",
        "subject": "facturascli:12",
        "datacontenttype": "application/json",
        "transaction": "778/0-1-5",
        "inferred": True,
        "data": EVENT["data"],
    }


BESIDE = {"related": {"customer": {"email": "ana@example.com"}}, "links": {"record": "https://erp/EditCliente?code=1"}}


@pytest.mark.parametrize("wanted", PayloadFormat)
def test_related_records_and_links_are_in_every_format(wanted: PayloadFormat) -> None:
    body = orjson.loads(render(leased(EVENT | BESIDE), wanted).content)
    assert BESIDE.items() <= (body["data"] if wanted is PayloadFormat.CLOUDEVENTS else body).items()


@pytest.mark.parametrize("wanted", PayloadFormat)
def test_chosen_fields_leave_out_related_records_unless_named(wanted: PayloadFormat) -> None:
    delivery = leased(EVENT | BESIDE)
    assert b"ana@example.com" not in render(delivery, wanted, ("total",)).content
    assert b"ana@example.com" in render(delivery, wanted, ("total", "related")).content


def test_cloudevents_without_optional_attributes() -> None:
    body = orjson.loads(render(leased({**EVENT, "transaction": ""}), PayloadFormat.CLOUDEVENTS).content)
    assert {"transaction", "inferred"}.isdisjoint(body)


@pytest.mark.parametrize("wanted", list(PayloadFormat))
def test_the_bytes_sent_are_the_bytes_signed(wanted: PayloadFormat) -> None:
    to = endpoint(format=wanted, timeout=3.0)
    request = build_request(leased(), to, NOW)
    assert verify(to.secret, request.headers, request.body, NOW).verified
    assert request.url == to.url
    assert request.timeout == 3.0
    assert request.headers["webhook-id"] == "evt_9"
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert request.headers["X-Webhook-Event"] == "invoice.paid"
    assert request.headers["User-Agent"].startswith("facturascripts-cdc/")
    assert request.headers["Content-Type"] == render(leased(), wanted).content_type


@pytest.mark.parametrize(("seconds", "signatures"), [(1, 2), (0, 1), (-1, 1)])
def test_a_former_secret_signs_until_its_time_is_over(seconds: int, signatures: int) -> None:
    to = endpoint(former_secret=new_secret(), former_secret_until=NOW + timedelta(seconds=seconds))
    request = build_request(leased(), to, NOW)
    expected = [to.secret, to.former_secret][:signatures]
    signing = [secret for secret in expected if secret is not None]
    stamp = int(NOW.timestamp())
    assert request.headers["webhook-signature"] == standard_signature(signing, "evt_9", stamp, request.body)
    assert request.headers["X-Webhook-Signature"] == plain_signature(to.secret, request.body)


# -- batches ----------------------------------------------------------------------------------------------------------

OTHER = {**EVENT, "id": "evt_10", "event": "receipt.paid", "inferred": True}


def two() -> list[LeasedDelivery]:
    return [leased(), leased(OTHER)._replace(event_id="evt_10", event_name="receipt.paid", record="recibo:3")]


@pytest.mark.parametrize("wanted", list(PayloadFormat))
def test_a_batch_is_an_array_of_what_is_sent_one_by_one(wanted: PayloadFormat) -> None:
    body = render_batch(two(), wanted)
    singly = [orjson.loads(render(delivery, wanted).content) for delivery in two()]
    if wanted is PayloadFormat.STANDARD:
        singly = [{"id": event["id"], **each} for event, each in zip((EVENT, OTHER), singly, strict=True)]
    assert orjson.loads(body.content) == singly
    assert [each["id"] for each in orjson.loads(body.content)] == ["evt_9", "evt_10"]
    batched = wanted is PayloadFormat.CLOUDEVENTS
    assert body.content_type == ("application/cloudevents-batch+json" if batched else "application/json")


def test_the_default_format_holds_the_stored_bytes() -> None:
    first, second = two()
    body = render_batch([first, second], PayloadFormat.FACTURASCRIPTS).content
    assert body == b"[" + first.body_event + b"," + second.body_event + b"]"


@pytest.mark.parametrize("wanted", list(PayloadFormat))
def test_a_batch_is_signed_as_one_request(wanted: PayloadFormat) -> None:
    to = endpoint(format=wanted, batch_size=2)
    request = build_batch(two(), to, NOW)
    assert request.headers["webhook-id"] == batch_id(["evt_9", "evt_10"])
    assert request.headers["X-Webhook-Event"] == "batch"
    assert verify(to.secret, request.headers, request.body, NOW).verified
    assert not verify(to.secret, {**request.headers, "webhook-id": "evt_9"}, request.body, NOW).verified


def test_one_event_is_an_array_where_batches_are_wanted() -> None:
    to = endpoint(batch_size=2)
    request = build_request(leased(), to, NOW)
    assert request == build_batch([leased()], to, NOW)
    assert orjson.loads(request.body) == [EVENT]
    assert request.headers["webhook-id"] == batch_id(["evt_9"])


def test_the_id_of_a_batch_is_that_of_its_events() -> None:
    assert batch_id(["evt_1", "evt_2"]) == batch_id(["evt_2", "evt_1"])
    ids = [batch_id(events) for events in (["evt_1"], ["evt_1", "evt_2"], ["evt_1", "evt_3"], ["evt_12"])]
    assert len(set(ids)) == len(ids)
    assert all(each.startswith("batch_") and len(each) == 38 for each in ids)


def only(fields: tuple[str, ...], wanted: PayloadFormat) -> dict[str, Any]:
    changed = {**EVENT, "data": {"idfactura": 12, "total": 121.0, "pagada": True}, "previous": {"pagada": False}}
    rendered: dict[str, Any] = orjson.loads(render(leased(changed), wanted, fields).content)
    return rendered


def test_chosen_fields_are_all_that_data_and_previous_keep() -> None:
    sent = only(("total", "pagada", "unheard"), PayloadFormat.FACTURASCRIPTS)
    assert list(sent["data"].items()) == [("total", 121.0), ("pagada", True)], "in the order of the columns"
    assert sent["previous"] == {"pagada": False}
    assert sent["key"] == EVENT["key"], "which is always whole"
    assert only(("total",), PayloadFormat.FACTURASCRIPTS)["previous"] == {}


@pytest.mark.parametrize("wanted", [PayloadFormat.STANDARD, PayloadFormat.CLOUDEVENTS])
def test_chosen_fields_in_the_other_formats(wanted: PayloadFormat) -> None:
    assert only(("total",), wanted)["data"] == {"total": 121.0}


@pytest.mark.parametrize("wanted", list(PayloadFormat))
def test_chosen_fields_in_batches(wanted: PayloadFormat) -> None:
    to = endpoint(format=wanted, batch_size=2, fields=("total",))
    request = build_batch(two(), to, NOW)
    assert [set(each["data"]) <= {"total"} for each in orjson.loads(request.body)] == [True, True]
    assert verify(to.secret, request.headers, request.body, NOW).verified, "what is sent is what is signed"
