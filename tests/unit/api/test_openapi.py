"""The description of the API is OpenAPI 3.1, and is what is served."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from cdc.access.model import Scope
from cdc.api.application import OPERATIONS, PREFIX
from cdc.api.documents import document
from support.api_page import text
from support.managing import API, Managed

DOCUMENT = document(OPERATIONS, PREFIX)


def described() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, told) for path, methods in DOCUMENT["paths"].items() for method, told in methods.items()]


def test_it_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []
    assert DOCUMENT["openapi"] == "3.1.0"


async def test_it_is_served_to_everyone(api: Managed) -> None:
    answer = await api.ask("GET", "/openapi.json", None)
    assert (answer.status, answer.json) == (200, DOCUMENT)


async def test_it_names_every_route(api: Managed) -> None:
    """And no other."""
    served = {
        (route.method, route.resource.canonical)
        for route in api.client.server.app.router.routes()  # type: ignore[attr-defined]  # of a TestServer
        if route.resource is not None and route.resource.canonical.startswith(API)
    }
    told = {(method.upper(), path) for method, path, _ in described()}
    documents = (f"{API}/openapi.json", f"{API}/endpoints/{{endpoint}}/jwks.json")
    assert served - told == {(method, path) for path in documents for method in ("GET", "HEAD")} | {
        ("HEAD", path)
        for method, path, told in described()
        if method == "get" and told["operationId"] not in ("streamEvents", "fetchEvents")
    }
    assert told <= served


def test_every_operation_is_named_once_and_says_what_it_needs() -> None:
    names = [told["operationId"] for *_, told in described()]
    assert len(names) == len(set(names)) == len(OPERATIONS)
    for method, _, told in described():
        assert told["x-scope"] in list(Scope)
        assert told["summary"].endswith(".")
        assert {"400", "401", "403", "408", "422", "429", "503"} <= told["responses"].keys()
        keys = [each["name"] for each in told["parameters"] if each["in"] == "header"]
        asks = told["operationId"] in ("previewEndpoint", "countReplay")
        assert ("Idempotency-Key" in keys) == (method == "post" and not asks)


def test_whatever_is_referred_to_is_there_and_nothing_else() -> None:
    referred = set(re.findall(r"'#/components/schemas/(\w+)'", str(DOCUMENT)))
    assert referred == DOCUMENT["components"]["schemas"].keys()


def test_the_page_of_the_documentation_has_all_of_it() -> None:
    """And is what it would be if it was written now."""
    page = Path(__file__).parents[3] / "docs" / "api.md"
    assert page.read_text("utf-8") == text() + "\n"
    for method, path, told in described():
        assert f"### {method.upper()} {path}\n" in text()
        assert told["summary"] in text()
