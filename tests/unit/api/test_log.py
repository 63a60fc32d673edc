"""The log over the API: deliveries, attempts, events, event types, sources."""

from __future__ import annotations

import jsonschema
import pytest

from cdc.access.model import Scope
from cdc.admin import deliveries as admin_deliveries
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Order
from cdc.model.errors import OutboxError, SourceUnavailable
from cdc.outbox import slices as walk
from support.managing import Managed
from support.memory_outbox import MemoryOutbox
from support.outboxes import NOW, at, endpoint, event, finish, lease, store
from support.watching import batch, change


async def some(api: Managed) -> None:
    """Four events; of two endpoints the first delivered all, the second none."""
    await api.store.add_endpoint(endpoint("ep_a"))
    await api.store.add_endpoint(endpoint("ep_b"))
    await store(api.store, event(1), event(2, name="stock.changed"), event(3, source="shop"), event(4))
    leased = await lease(api.store, seconds=3600)
    for each in leased:
        state = DeliveryState.DELIVERED if each.endpoint_id == "ep_a" else DeliveryState.DEAD
        await finish(api.store, each, state=state)


async def ids(api: Managed, path: str, name: str = "event_id") -> list[str]:
    answer = await api.ask("GET", path, Scope.READ)
    assert answer.status == 200, answer.text
    return [each[name] for each in answer.json["items"]]


async def test_deliveries_come_in_pages(api: Managed) -> None:
    await some(api)
    pages, cursor = [], ""
    while True:
        page = (await api.ask("GET", f"/deliveries?limit=3{cursor}", Scope.READ)).json
        pages.append([(each["event_id"], each["endpoint"]) for each in page["items"]])
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert [len(page) for page in pages] == [3, 3, 2]
    assert [each for page in pages for each in page] == [
        (f"evt_{number}", each) for number in (4, 3, 2, 1) for each in ("ep_b", "ep_a")
    ]


@pytest.mark.parametrize(
    ("path", "expected"), [("/deliveries?source=shop", [[], ["evt_3", "evt_3"], []]), ("/events?source=shop", None)]
)
async def test_a_search_that_looks_at_much_goes_on_by_its_cursor(
    api: Managed, monkeypatch: pytest.MonkeyPatch, path: str, expected: list[list[str]] | None
) -> None:
    """One event is looked at a page."""
    monkeypatch.setattr(walk, "FIRST", 1)
    monkeypatch.setattr(walk, "SECONDS", 0.0)
    await some(api)
    pages, cursor = [], ""
    while True:
        page = (await api.ask("GET", f"{path}{cursor}", Scope.READ)).json
        pages.append([each.get("event_id", each["id"]) for each in page["items"]])
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert pages == ([[], [], ["evt_3"], []] if expected is None else [*expected, []])


async def test_a_cursor_may_name_a_delivery(api: Managed) -> None:
    """As those of earlier versions did."""
    await some(api)
    last = (await api.ask("GET", "/deliveries?limit=6", Scope.READ)).json["items"][-1]["id"]
    assert await ids(api, f"/deliveries?cursor={last}") == ["evt_1", "evt_1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("endpoint=ep_a", "4 3 2 1"),
        ("endpoint=ep_a&event=invoice.*", "4 3 1"),
        ("endpoint=ep_a&event=evt_2", "2"),
        ("endpoint=ep_a&record=facturascli:4", "4"),
        ("endpoint=ep_a&source=shop", "3"),
        ("endpoint=ep_a&state=dead", ""),
        ("endpoint=ep_b&state=dead", "4 3 2 1"),
        ("endpoint=ep_a&since=2026-11-24T12:00:03Z", "4 3"),
        ("endpoint=ep_a&until=2026-11-24T13:00:03%2B01:00", "2 1"),
        ("endpoint=ep_none", ""),
    ],
)
async def test_deliveries_are_narrowed(api: Managed, query: str, expected: str) -> None:
    await some(api)
    assert await ids(api, f"/deliveries?{query}") == [f"evt_{number}" for number in expected.split()]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=1&limit=2",
        "state=odd",
        "since=yesterday",
        "since=2026-11-24T12:00:00",
        "since=1795557600",
        "since=2026-02-30T12:00:00Z",
        "event=",
        "event=a%20b",
        "record=a%00b",
        "nothing=1",
    ],
)
async def test_a_query_that_is_wrong(api: Managed, query: str) -> None:
    for path in ("/deliveries", "/events"):
        answer = await api.ask("GET", f"{path}?{query}", Scope.READ)
        assert (answer.status, answer.json["status"]) == (422, 422), answer.text
    assert (await api.ask("GET", "/sources?a=1", Scope.READ)).status == 422


async def test_a_cursor_that_is_none_of_ours(api: Managed) -> None:
    await some(api)
    assert (await api.ask("GET", "/deliveries?cursor=dlv_99", Scope.READ)).status == 422
    for cursor in ("x", "-1", "1" * 19, "%D9%A1"):
        assert (await api.ask("GET", f"/events?cursor={cursor}", Scope.READ)).status == 422
    assert await ids(api, "/events?cursor=999", "id") == []


async def test_one_delivery_shows_its_attempts(api: Managed) -> None:
    await some(api)
    listed = (await api.ask("GET", "/deliveries?endpoint=ep_b&event=evt_1", Scope.READ)).json["items"][0]
    shown = (await api.ask("GET", f"/deliveries/{listed['id']}", Scope.READ)).json
    log = shown.pop("log")
    assert shown == listed
    assert (listed["state"], listed["attempts"], listed["last_status"], listed["due_at"]) == ("dead", 1, 500, None)
    assert listed["created_at"] == "2026-11-24T12:00:00.000000Z"
    assert [(each["number"], each["status"], each["answer"]) for each in log] == [(1, 500, "oops")]


async def test_sending_again(api: Managed) -> None:
    await some(api)
    (listed,) = (await api.ask("GET", "/deliveries?endpoint=ep_b&event=evt_1")).json["items"]
    again = await api.ask("POST", f"/deliveries/{listed['id']}/retry")
    assert (again.status, again.json["state"], again.json["attempts"]) == (200, "pending", 0)
    again = await api.ask("POST", f"/deliveries/{listed['id']}/retry")
    assert (again.status, again.json["state"]) == (200, "pending"), "it waits, and is due at once"
    assert (await api.ask("POST", "/deliveries/dlv_99/retry")).status == 404


async def test_events_come_in_the_order_stored_and_in_pages(api: Managed) -> None:
    await some(api)
    first = (await api.ask("GET", "/events?limit=3", Scope.READ)).json
    assert [each["id"] for each in first["items"]] == ["evt_1", "evt_2", "evt_3"]
    assert await ids(api, f"/events?limit=3&cursor={first['next']}", "id") == ["evt_4"]
    assert await ids(api, "/events?event=stock.*", "id") == ["evt_2"]
    assert await ids(api, "/events?source=shop", "id") == ["evt_3"]
    one = (await api.ask("GET", "/events/evt_1", Scope.READ)).json
    assert one == first["items"][0]
    assert (one["record"], one["payload"]["data"]) == ("facturascli:1", {"idfactura": "1", "total": 1.5})


async def test_an_event_that_was_expunged_has_no_payload(api: Managed) -> None:
    await some(api)
    await api.store.expunge(["evt_1"], NOW)
    one = (await api.ask("GET", "/events/evt_1", Scope.READ)).json
    assert (one["expunged"], one["payload"]) == (True, None)
    assert [each["expunged"] for each in (await api.ask("GET", "/deliveries?event=evt_1")).json["items"]] == [True] * 2


async def test_event_types_have_a_schema_and_an_example_that_fits(api: Managed) -> None:
    listed = (await api.ask("GET", "/event-types", Scope.READ)).json["items"]
    names = [each["event"] for each in listed]
    assert {"invoice.paid", "stock.changed", "endpoint.disabled"} <= set(names)
    shown = (await api.ask("GET", "/event-types/invoice.paid", Scope.READ)).json
    assert {name: shown[name] for name in listed[0]} == listed[names.index("invoice.paid")]
    jsonschema.validate(shown["example"], shown["payload_schema"])
    assert (await api.ask("GET", "/event-types/nothing", Scope.READ)).status == 404


@pytest.mark.parametrize("path", ["/deliveries/dlv_1", "/deliveries/x", "/events/evt_1", "/events/a%00b", "/nothing"])
async def test_what_is_not_there(api: Managed, path: str) -> None:
    answer = await api.ask("GET", path, Scope.READ)
    assert (answer.status, answer.json["title"]) == (404, "Not Found")


async def test_sources_say_how_far_they_are(api: Managed) -> None:
    api.watch.answer(2.5, 3)
    api.watch.reported.stored("main", batch("7", change()), (), 1)
    (source,) = (await api.ask("GET", "/sources", Scope.READ)).json["items"]
    assert (
        source.items()
        >= {
            "name": "main",
            "capture": "triggers",
            "state": "reading",
            "since": "2026-11-24T21:48:00.000000Z",
            "lag": 2.5,
            "error": None,
            "position": "7",
        }.items()
    )
    assert source["gaps"] == {}
    api.watch.reported.source_failed("main", SourceUnavailable("The database does not answer."))
    (source,) = (await api.ask("GET", "/sources", Scope.READ)).json["items"]
    assert (source["state"], source["error"]) == ("failed", "The database does not answer.")


async def test_an_outbox_that_fails_is_one_sentence(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **_named: object) -> None:
        raise OutboxError("The disk is full.", "Make room.")

    monkeypatch.setattr(MemoryOutbox, "search_endpoints", fail)
    answer = await api.ask("GET", "/endpoints")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert (answer.json["detail"], answer.json["hint"]) == ("The disk is full.", "Make room.")


async def test_of_a_defect_nothing_is_told_but_that_there_is_one(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **_named: object) -> None:
        raise RuntimeError("planted-detail")

    monkeypatch.setattr(MemoryOutbox, "search_endpoints", fail)
    answer = await api.ask("GET", "/endpoints")
    assert answer.status == 500
    assert "planted-detail" not in answer.text


async def test_a_record_s_history_says_what_changed_and_what_was_sent(
    api: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two events of one change are one; an expunged one says nothing; what came from a backfill is compared."""
    for name in ("ep_a", "ep_b"):
        await api.store.add_endpoint(endpoint(name, events=("*", "*.read"), order=Order.NONE))
    paid = {"previous": {"total": 2.0, "pagada": False}, "transaction": "t3", "time": at(3), "data": {"total": 3.0}}
    record = "facturascli:a/b"
    await store(
        api.store,
        event(1, record, name="invoice.created", previous=None, data={"total": 1.0}),
        event(2, record, data={"total": 2.0}, labels=("fac2026a1", "")),
        event(3, record, **paid),
        event(4, record, **paid | {"name": "invoice.paid"}),
        event(5, record, name="invoice.read", previous=None, data={"total": 4.0, "lineas": [1]}),
        event(6, record, source="shop"),
        event(7),
    )
    await api.store.expunge(["evt_1"], NOW)
    path = "/records/main/facturascli:a%2Fb"
    whole = (await api.ask("GET", path, Scope.READ)).json
    changes = [(each["columns"], [one["id"] for one in each["events"]]) for each in whole["items"]]
    assert changes == [
        ([{"column": "total", "before": 3.0, "after": 4.0}], ["evt_5"]),
        (
            [{"column": "total", "before": 2.0, "after": 3.0}, {"column": "pagada", "before": False, "after": None}],
            ["evt_3", "evt_4"],
        ),
        ([{"column": "total", "before": 1.0, "after": 2.0}], ["evt_2"]),
        (None, ["evt_1"]),
    ]
    events = [one for each in whole["items"] for one in each["events"]]
    assert [[sent["endpoint"] for sent in one["deliveries"]] for one in events] == [["ep_b", "ep_a"]] * 5
    assert {one["complete"] for one in events} == {True}
    assert [one["id"] for one in events if one["expunged"]] == ["evt_1"]

    first = (await api.ask("GET", f"{path}?limit=1", Scope.READ)).json
    second = (await api.ask("GET", f"{path}?limit=4&cursor={first['next']}", Scope.READ)).json
    assert [*first["items"], *second["items"]] == whole["items"]
    assert second["next"] is None
    monkeypatch.setattr(admin_deliveries, "_DELIVERIES_READ", 3)
    few = (await api.ask("GET", path, Scope.READ)).json
    assert [(one["id"], one["complete"]) for each in few["items"] for one in each["events"]] == [
        ("evt_5", True), ("evt_3", False), ("evt_4", False), ("evt_2", False), ("evt_1", False),
    ]  # fmt: skip
    assert await ids(api, "/events?label=FAC2026A1", "id") == ["evt_2"]
    assert await ids(api, "/deliveries?label=fac2026a1&endpoint=ep_a") == ["evt_2"]
    assert await ids(api, "/events?label=FAC2026A", "id") == []
    assert (await api.ask("GET", "/records/main/facturascli:none", Scope.READ)).status == 404
    assert (await api.ask("GET", f"{path}?cursor=x", Scope.READ)).status == 422
