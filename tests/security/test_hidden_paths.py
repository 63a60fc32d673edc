"""Paths of URLs are secrets at Telegram, Slack, Teams and others: nobody below ``manage`` sees or guesses one, no
output holds one, and the bytes of an outbox with a key hold none either."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from cdc.access.model import Scope
from cdc.admin.findings import endpoint_findings
from cdc.dispatch.retry import Answer, judge
from cdc.dispatch.sender import outcomes
from cdc.model.delivery import DeliveryFilter
from cdc.model.endpoint import Endpoint, EndpointChange, public_url, redacted, settings_text, shown_url
from cdc.model.errors import OutboxError
from cdc.model.operation import Failing, endpoint_disabled, endpoint_failing, endpoint_recovered
from cdc.outbox.secret_box import SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.browsing import visiting
from support.managing import Managed, managing
from support.outboxes import NOW, at, endpoint, event, lease, store
from support.portals import in_portal
from support.stored_outbox import StoredOutbox

ONE, TWO = new_key(), new_key()
#: In the path or query of each URL.
PLANTED = "plAntedKey"
URLS = {
    "telegram": f"https://api.telegram.org/bot123456:{PLANTED}AAH4x9/sendMessage",
    "slack": f"https://hooks.slack.com/services/T0001/B0002/{PLANTED}XXXX",
    "teams": f"https://prod-12.westeurope.logic.azure.com:443/workflows/{PLANTED}/triggers/manual?sig={PLANTED}%2Bsig",
    "discord": f"https://discord.com/api/webhooks/987654/{PLANTED}-abc_DEF",
    "google-chat": f"https://chat.googleapis.com/v1/spaces/AAA/messages?key=k&token={PLANTED}",
    "mattermost": f"https://mattermost.example.com/hooks/{PLANTED}",
    "escaped": f"https://shop.example.com/in/{PLANTED}%20%C3%B1",
    "short": f"https://shop.example.com/{PLANTED}",
}
TOKEN_URL = f"https://login.example.com/{PLANTED}/oauth2/token"
OAUTH2 = settings_text(
    {"type": "oauth2", "token_url": TOKEN_URL, "client_id": "cdc", "parameters": {"resource": PLANTED}}
)


def named(name: str) -> Endpoint:
    return endpoint(f"ep_{name}", url=URLS[name], sources=("main",), authentication=OAUTH2, credential=PLANTED)


def holds(text: str) -> bool:
    return PLANTED.lower() in text.lower()


async def lived(outbox: OutboxStore, name: str) -> None:
    """An endpoint with a failed and a delivered attempt, whose receiver repeats the URL, and with alerts about it."""
    made = named(name)
    await outbox.add_endpoint(made)
    await store(outbox, event(1), event(2))
    for leased, status in zip(await lease(outbox), (404, 200), strict=True):
        place = made.url.split("/", 3)[3]
        answer = Answer(status, 0.1, body=f"Cannot POST /{place} or {unquote(place)}".encode())
        verdict = judge(answer, (), 1, NOW, lambda: 0.0)
        await outbox.finish("w", outcomes((leased,), made, answer, verdict, NOW), NOW)
    failing = Failing(made, shown_url(made), NOW, "The endpoint answered 404 Not Found.")
    alerts = [endpoint_failing(failing, 50, at(1)), endpoint_disabled(failing, "It failed.", at(2))]
    await outbox.announce([*alerts, endpoint_recovered(failing, at(3))], at(3))


# -- outputs ----------------------------------------------------------------------------------------------------------

API_PATHS = (
    *("/endpoints", "/endpoints?search=ep_", "/endpoints/{id}", "/deliveries", "/deliveries/{delivery}", "/events"),
    *("/events?event=endpoint.*", "/events/{alert}", "/sources", "/openapi.json", "/replays", "/backfills"),
)
PAGES = (
    *("/", "/endpoints", "/endpoints/{id}", "/deliveries", "/deliveries/{delivery}", "/deliveries?endpoint={id}"),
    *("/events", "/sources"),
)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[OutboxStore]:
    outbox = SqliteOutbox(tmp_path / "cdc.db", box=SecretBox([ONE]))
    await outbox.open()
    yield outbox
    await outbox.close()


@pytest.mark.parametrize("name", URLS)
async def test_no_output_below_manage_holds_a_path(
    name: str, kept: OutboxStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await lived(kept, name)
    made = named(name)
    (failed, *_) = await kept.deliveries(DeliveryFilter(endpoint_id=made.id), 10)
    (alert, *_) = await kept.events(10, pattern="endpoint.*")
    places = {"id": made.id, "delivery": failed.id, "alert": alert.id}
    async with managing(kept) as managed, visiting(managed, "bob") as viewer:
        answered = [await managed.ask("GET", path.format(**places), Scope.READ) for path in API_PATHS]
        assert [each.status for each in answered if each.status != 200] == []
        shown = [await viewer.get(path.format(**places)) for path in PAGES]
        assert [each.status for each in shown if each.status != 200] == []
        async with in_portal(managed, sources=["main"], read_only=True) as tenant:
            portal = [await tenant.get(path) for path in ("/endpoints", f"/endpoints/{made.id}", "/deliveries")]
        full = await managed.ask("GET", f"/endpoints/{made.id}", Scope.MANAGE)
        seen = await managed.ask("GET", f"/endpoints/{made.id}", Scope.READ)
    outputs = [each.text for each in (*answered, *shown, *portal)]
    attempts = [str(each) for each in await kept.attempts(failed.id)]
    findings = [finding.detail for finding in endpoint_findings(made, {}, NOW)]
    for output in (*outputs, *attempts, *findings, caplog.text, repr(made), repr(EndpointChange(url=made.url))):
        assert not holds(output), output[:400]
    assert full.json["url"] == made.url, "who manages it sees it"
    assert full.json["authentication"]["parameters"] == {"resource": PLANTED}
    assert seen.json["url"] == shown_url(made)
    assert seen.json["url"].endswith(made.id[-4:]), "two of one host can be told apart"


# -- search as an oracle ----------------------------------------------------------------------------------------------


def guesses(url: str) -> list[str]:
    host, _, rest = url.removeprefix("https://").partition("/")
    segments = [each for each in rest.replace("?", "/").replace("=", "/").split("/") if len(each) > 4]
    return [
        *(rest, f"/{rest}", f"{host}/{rest}"[: len(host) + 2], f"/{rest[:1]}", rest[:6], url, url[:-1]),
        *segments,
        *(each.upper() for each in segments),
        *(quote(each, safe="") for each in segments),
        *(unquote(each) for each in segments),
        PLANTED,
        "fernet",
    ]


@pytest.mark.parametrize("name", URLS)
async def test_search_confirms_no_guess_of_a_path(name: str, kept: OutboxStore) -> None:
    """Wrong and right guesses of a path give the same answer, to everybody."""
    await kept.add_endpoint(named(name))
    host = URLS[name].split("/")[2]
    async with managing(kept) as managed, visiting(managed, "bob") as viewer:
        for scope in (Scope.READ, Scope.MANAGE):
            assert await _found(managed, host, scope) == [f"ep_{name}"], "by host it is found"
            for guess in guesses(URLS[name]):
                assert await _found(managed, guess, scope) == [], guess
        for guess in guesses(URLS[name])[:4]:
            page = await viewer.get(f"/endpoints?search={quote(guess, safe='')}")
            assert f"/endpoints/ep_{name}" not in page.text, guess


async def _found(managed: Managed, text: str, scope: Scope) -> list[str]:
    answered = await managed.ask("GET", "/endpoints", scope, params={"search": text})
    return [each["id"] for each in answered.json["items"]]


# -- answers that repeat the URL --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "said",
    [
        "Cannot POST {path}",
        "<pre>{unquoted}</pre>",
        '{{"instance": "{url}", "status": 404}}',
        "unknown hook {last}",
        "{path}{path} twice, and once {path}",
    ],
)
def test_answers_hold_no_path(name: str, said: str) -> None:
    url = URLS[name]
    path = "/" + url.split("/", 3)[3]
    last = max(path.replace("?", "/").replace("=", "/").split("/"), key=lambda each: (PLANTED in each, len(each)))
    text = said.format(path=path, unquoted=unquote(path), url=url, last=last)
    assert not holds(redacted(text, url))
    assert redacted("ok", url) == "ok"


# -- bytes at rest ----------------------------------------------------------------------------------------------------


class Bytes(StoredOutbox):
    def age(self, url: str) -> None:
        """Make attempts and alerts those of a former version, which held the path."""
        if self.database is None:
            with closing(sqlite3.connect(self.path)) as db, db:
                db.execute("UPDATE attempt SET url = ?, answer = ?", (url, f"Cannot POST {url}"))
                db.execute(
                    "UPDATE event SET payload = CAST(json_set(payload, '$.data.url', ?) AS BLOB) WHERE name LIKE ?",
                    (url, "endpoint.%"),
                )
                db.execute("DELETE FROM resealing")
            return
        self.database.execute("UPDATE cdc_outbox.attempt SET url = %s, answer = %s", [url, f"Cannot POST {url}"])
        self.database.execute(
            "UPDATE cdc_outbox.event SET payload = convert_to(jsonb_set(convert_from(payload, 'UTF8')::jsonb,"
            " '{data,url}', to_jsonb(%s::text))::text, 'UTF8') WHERE name LIKE %s",
            [url, "endpoint.%"],
        )
        self.database.execute("DELETE FROM cdc_outbox.resealing")


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Bytes:
    return Bytes(request, tmp_path)


async def _change(outbox: OutboxStore) -> None:
    await outbox.change_endpoint("ep_slack", EndpointChange(url=URLS["slack"] + "2"))
    await outbox.change_endpoint("ep_slack", EndpointChange(description="Shop"))


async def _remove(outbox: OutboxStore) -> None:
    await outbox.remove_endpoint("ep_slack", NOW)
    assert await outbox.removed_endpoints(["ep_slack"]) == {"ep_slack": ("", public_url(URLS["slack"]))}


async def _restore(outbox: OutboxStore) -> None:
    await outbox.remove_endpoint("ep_slack", NOW)


async def _note(outbox: OutboxStore) -> None:
    await outbox.note_filter("ep_slack", "", "It failed.")


async def _nothing(_: OutboxStore) -> None: ...


@pytest.mark.parametrize("work", [_nothing, _change, _remove, _restore, _note])
async def test_with_a_key_no_byte_tells_a_path_or_a_parameter(
    stored: Bytes, work: Callable[[OutboxStore], Awaitable[None]]
) -> None:
    async with stored.opened(ONE) as outbox:
        await lived(outbox, "slack")
        await work(outbox)
        assert not stored.holds(PLANTED)
        assert "https://hooks.slack.com" in stored.content(), "the origin can be searched for"


async def test_an_outbox_of_a_former_version_is_sealed_at_its_first_start_with_a_key(stored: Bytes) -> None:
    async with stored.opened() as outbox:
        await lived(outbox, "slack")
        await outbox.add_endpoint(named("teams"))
        await outbox.remove_endpoint("ep_teams", NOW)
    stored.age(URLS["slack"])
    _forget_public_urls(stored)
    assert stored.holds(PLANTED)
    async with stored.opened(ONE) as outbox:
        steps = 0
        while await outbox.reseal(1):  # a step at a time, as after so many restarts
            steps += 1
        assert steps > 3
        assert await outbox.endpoint("ep_slack") == named("slack")
    async with stored.opened(ONE) as outbox:  # SQLite's log is empty then
        assert not await outbox.reseal(100)
    assert not stored.holds(PLANTED)


def _forget_public_urls(stored: Bytes) -> None:
    if stored.database is not None:
        stored.database.execute("UPDATE cdc_outbox.endpoint SET public_url = NULL")
        return
    with closing(sqlite3.connect(stored.path)) as db, db:
        db.execute("UPDATE endpoint SET public_url = NULL, url = ? WHERE id = 'ep_teams'", (URLS["teams"],))
        db.execute("UPDATE endpoint SET public_url = NULL")


async def test_after_a_change_of_keys_the_former_one_opens_nothing(stored: Bytes) -> None:
    async with stored.opened(ONE) as outbox:
        await outbox.add_endpoint(named("slack"))
    async with stored.opened(TWO, ONE) as outbox:
        assert await outbox.seal_secrets() > 0
        assert await outbox.endpoint("ep_slack") == named("slack")
    async with stored.opened(TWO) as outbox:
        assert await outbox.endpoint("ep_slack") == named("slack")
    for wrong in ((ONE,), ()):
        with pytest.raises(OutboxError, match="encrypted") as caught:
            async with stored.opened(*wrong):
                pass
        assert not holds(str(caught.value))
    text = stored.content()
    box = SecretBox([ONE])
    tokens = [each.split('"')[0].split("'")[0] for each in text.split("fernet:")[1:]]
    assert len(tokens) >= 3
    for token in tokens:
        with pytest.raises(OutboxError):
            box.open(f"fernet:{token[:2000]}")


# -- parts of URLs that are no secret ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host.example:8443/a/b?c=d#e", "https://host.example:8443/…"),
        ("https://host.example", "https://host.example"),
        ("https://host.example/", "https://host.example/"),
        ("https://host.example?token=x", "https://host.example/…"),
        ("https://[2001:db8::1]:8/a", "https://[2001:db8::1]:8/…"),
        ("https://host.example/…abcd", "https://host.example/…abcd"),
        ("kafka://broker.example:9092/invoices", "kafka://broker.example:9092/invoices"),
        ("mailto:ops@example.com", "mailto:ops@example.com"),
        ("pull:erp", "pull:erp"),
        ("https:/no/host", "…"),
        ("https://[bad/path", "…"),
    ],
)
def test_public_url(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_no_page_of_statistics_or_alarm_names_a_path() -> None:
    """Every sentence about an endpoint is made of `shown_url`, which has nothing of the path."""
    shown: list[Any] = [shown_url(named(name)) for name in URLS]
    assert len(set(shown)) == len(URLS)
    assert not any(map(holds, shown))
