"""What is said of an API that does not answer as it should, and what the doctor finds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp.test_utils import unused_port

from cdc.capture.rest.client import ApiClient, BanGuard, Budget
from cdc.capture.rest.reader import ApiLookup, MissingRows, Resource, ResourceReader, key_bytes, key_value
from cdc.capture.rest.source import ApiInspector
from cdc.model.column import SecretColumns, SecretPatterns
from cdc.model.errors import ApiError, SourceError, SourceUnavailable
from cdc.model.finding import Finding, Severity
from support.facturascripts_api import TOKEN, Api, serving
from support.memory_outbox import MemoryOutbox
from support.polling import PassingClock

INVOICES = Resource("facturascli", "facturaclientes", "idfactura", numbered=True)
CUSTOMERS = Resource("clientes", "clientes", "codcliente", numbered=False)
LINES = Resource("lineasfacturascli", "lineafacturaclientes", "idlinea", numbered=True)
UNKNOWN = Resource("x", "xs", "id", numbered=True)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api()) as served:
        yield served


@pytest.fixture
async def client(api: Api) -> AsyncIterator[ApiClient]:
    made = client_of(api)
    yield made
    await made.close()


def client_of(api: Api, token: str = TOKEN) -> ApiClient:
    clock = PassingClock()
    api.now, api.advance = clock.monotonic, clock.advance
    return ApiClient(f"{api.url}/api/3/", token, Budget(600, clock), BanGuard(api.url, MemoryOutbox(), clock))


async def failure(client: ApiClient, resource: str = "facturaclientes") -> SourceError:
    with pytest.raises(SourceError) as caught:
        await client.get(resource)
    assert TOKEN not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "sentence", "counted"),
    [
        (400, "answers with an error (400)", True),
        (401, "does not accept the token", True),
        (403, "does not give it to this token", True),
        (404, "has no such resource", False),
        (409, "is switched off", False),
        (429, "has banned this address", False),
        (302, "redirects (302)", False),
        (500, "answers with an error (500)", False),
        (503, "answers with an error (503)", False),
    ],
)
async def test_each_refusal_is_one_sentence(
    api: Api, client: ApiClient, status: int, sentence: str, *, counted: bool
) -> None:
    api.failing = [status]
    error = await failure(client)
    assert isinstance(error, ApiError)
    assert (error.status, sentence in error.message, bool(error.hint)) == (status, True, True)
    assert bool((await client.guard.memory()).calls) is counted


async def test_what_is_not_json_is_said(api: Api, client: ApiClient) -> None:
    api.failing = [200]
    assert "not JSON" in (await failure(client)).message


async def test_without_an_answer_it_may_help_to_try_again() -> None:
    clock = PassingClock()
    url = f"http://127.0.0.1:{unused_port()}"
    client = ApiClient(url, TOKEN, Budget(60, clock), BanGuard(url, MemoryOutbox(), clock))
    assert isinstance(await failure(client), SourceUnavailable)
    await client.close()


async def test_a_wrong_token_is_tried_twice_and_then_left_alone(api: Api) -> None:
    client = client_of(api, "wrong")
    for _ in range(10):
        await failure(client)
    assert "only what it gave before is asked for before" in (await failure(client)).message
    await client.close()
    assert len(api.requests) == len(api.incidents) == 2


async def test_ban_is_reported_with_its_end_and_asked_about_once_a_minute(api: Api, client: ApiClient) -> None:
    api.incidents = [0.0] * 5
    assert isinstance(error := await failure(client), ApiError)
    assert error.status == 429
    while api.now() < 595:
        assert "has banned this address, until 21:58:00 UTC at the latest" in (await failure(client)).message
        api.advance(10)
    assert len(api.requests) < 12
    api.advance(61)
    assert await client.get("clientes") == []


async def test_an_order_that_is_not_that_of_the_keys_is_refused(api: Api, client: ApiClient) -> None:
    """A proxy that takes parameters away would make every row look new, or gone."""
    reader = ResourceReader(client, 10)
    for number in (2, 1):
        api.put("facturascli", {"idfactura": number})
    assert [key_value(row.key) for row in (await reader.page(INVOICES)).rows] == [1, 2]
    api.without_query = True
    for after in (None, key_bytes(1)):
        with pytest.raises(SourceError, match="not sorted by idfactura"):
            await reader.page(INVOICES, after)


async def test_a_column_that_a_plugin_adds_is_seen_with_its_type(api: Api, client: ApiClient) -> None:
    reader = ResourceReader(client, 10)
    api.put("clientes", {"codcliente": "a"})
    assert "puntos" not in (await reader.page(CUSTOMERS)).rows[0].row
    api.columns["clientes"] = {"puntos": "double"}
    api.put("clientes", {"codcliente": "a", "puntos": 3.0})
    row = (await reader.page(CUSTOMERS)).rows[0].row
    assert isinstance(row["puntos"], float)


async def test_rows_are_looked_up_with_few_requests(api: Api, client: ApiClient) -> None:
    lookup = ApiLookup(
        ResourceReader(client, 7),
        {"lineasfacturascli": LINES, "clientes": CUSTOMERS},
        MissingRows("main", 1, lambda: 0.0),
    )
    for number in range(1, 61):
        api.put("lineasfacturascli", {"idlinea": number, "idfactura": number // 3})
    for code in ("a", "b", "c"):
        api.put("clientes", {"codcliente": code, "codgrupo": code.upper()})
    rows = await lookup.rows("lineasfacturascli", "idfactura", [4, 3, 6, 18])
    assert [row["idlinea"] for row in rows] == [9, 10, 11, 12, 13, 14, 18, 19, 20, 54, 55, 56]
    assert [row["codcliente"] for row in await lookup.rows("clientes", "codgrupo", ["C", "a"])] == ["c"]
    assert await lookup.rows("clientes", "codgrupo", []) == []
    assert len(await lookup.all_rows("lineasfacturascli")) == 60
    with pytest.raises(SourceError, match="rows of stocks"):
        await lookup.rows("stocks", "idstock", [1])


async def found(api: Api, *resources: Resource, token: str = TOKEN) -> Sequence[Finding]:
    inspector = ApiInspector(client_of(api, token), api.url, 60, 500)
    return await inspector.findings(resources, [])


async def test_the_doctor_finds_everything_well(api: Api) -> None:
    findings = await found(api, INVOICES, CUSTOMERS)
    assert {each.severity for each in findings} == {Severity.OK}
    assert [each.check for each in findings] == ["encryption", "API", "rights", "budget"]


async def test_the_doctor_says_what_is_wrong(api: Api) -> None:
    api.enabled = False
    assert "switched off" in (await found(api, INVOICES))[-1].detail
    api.enabled = True
    assert "token" in (await found(api, INVOICES, token="wrong"))[-1].detail
    missing = (await found(api, UNKNOWN, INVOICES))[2]
    assert (missing.severity, "no such resource" in missing.detail) == (Severity.WARNING, True)
    impatient = Resource("facturascli", "facturaclientes", "idfactura", numbered=True, interval=0.5, compare=1)
    assert (await found(api, impatient))[-1].severity is Severity.WARNING
    plain = ApiInspector(client_of(api), "http://erp.example.com", 60, 500)
    assert "unencrypted" in (await plain.findings([], []))[0].detail


async def test_the_doctor_does_not_get_this_address_banned(api: Api) -> None:
    api.rights = {"clientes"}
    refused = [INVOICES, LINES, Resource("stocks", "stocks", "idstock", numbered=True), UNKNOWN]
    findings = await found(api, CUSTOMERS, *refused)
    assert len(api.incidents) == 2
    told = [each for each in findings if each.check == "rights"]
    assert [each.severity for each in told] == [Severity.WRONG, Severity.WRONG, Severity.WARNING, Severity.OK]
    assert "2 resources were not asked for: stocks, xs. The API" in told[2].detail


async def test_columns_that_a_pattern_makes_secret_are_not_read(api: Api, client: ApiClient) -> None:
    api.put("clientes", {"codcliente": "1", "nombre": "a", "observaciones": "S3cr3t"})
    secrets = SecretColumns(frozenset(), SecretPatterns(("*observ*", "cod*")))
    resource = Resource("clientes", "clientes", "codcliente", numbered=False, secrets=secrets)
    reader = ResourceReader(client, 50)
    (row,) = await reader.all_where(resource, [])
    assert row["nombre"] == "a"
    assert row["codcliente"] == "1", "a primary key is not hidden"
    assert "observaciones" not in row
    assert "observaciones" not in {column.name for column in (await reader.table(resource)).columns}
