"""Where ``[web] public_catalogue`` is set, a stranger sees the catalogue and its documents, and nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdc.access.model import Role
from cdc.api.application import DOCUMENTS, OPERATIONS
from cdc.pages.application import routes
from support.browsing import visiting
from support.managing import API, PASSWORD, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, store

PAGES = ("/catalogue", "/catalogue/invoice.large", *(f"/catalogue/documents/{file}" for file in DOCUMENTS))
#: Of the source, its server and its account, of an endpoint, a record and a user.
PLANTED = ("plantedsource", "plantedserver", "plantedaccount", "plantedendpoint", "plantedrecord", "planteduser")


@asynccontextmanager
async def planted(folder: Path, *, public: bool) -> AsyncIterator[Managed]:
    rules = folder / "rules.toml"
    rules.write_text(
        '[[event]]\nentity = "invoice"\nname = "large"\nbecomes = { total = { at_least = 10000 } }\n', encoding="utf-8"
    )
    source = {"plantedsource": {"url": "postgresql://plantedaccount@plantedserver/erp", "rules": str(rules)}}
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint(url="https://plantedendpoint.example.com/hook", sources=("plantedsource",)))
    await store(outbox, event(1, "facturascli:plantedrecord", source="plantedsource"))
    async with managing(outbox, source=source, web={"public_catalogue": public}) as managed:
        await managed.accounts.add_user("cli:root", "planteduser", Role.MANAGER, PASSWORD)
        yield managed


async def _answers(folder: Path, *, public: bool) -> dict[str, tuple[int, str]]:
    """Return status and place of the answer to a stranger, of each page and each operation of the API."""
    asked = [(route.method, re.sub(r"\{[^}]+\}", "x", route.path)) for route in routes()]
    asked += [(each.method, API + re.sub(r"\{[^}]+\}", "x", each.path)) for each in OPERATIONS]
    found = {}
    async with planted(folder, public=public) as managed, visiting(managed) as stranger:
        for method, path in asked:
            managed.clock.advance(1)  # the limit of an address is another test
            answer = await stranger._ask(method, path)
            found[f"{method} {path}"] = (answer.status, answer.headers.get("Location", ""))
    return found


async def test_a_stranger_gets_the_catalogue_and_every_other_answer_as_before(tmp_path: Path) -> None:
    closed, public = await _answers(tmp_path, public=False), await _answers(tmp_path, public=True)
    differing = {path for path, answer in public.items() if closed[path] != answer}
    assert differing == {"GET /catalogue", "GET /catalogue/x", "GET /catalogue/documents/x"}
    assert {closed[path][1].partition("?")[0] for path in differing} == {"/sign-in"}


async def test_public_pages_and_documents_name_no_source_endpoint_record_or_user(tmp_path: Path) -> None:
    async with planted(tmp_path, public=True) as managed, visiting(managed) as stranger:
        for path in (*PAGES, "/catalogue/invoice.larg", f"{API}/openapi.json", "/sign-in"):
            text = (await stranger.get(path)).text
            assert not [each for each in PLANTED if each in text], path
            assert path == "/sign-in" or "invoice.large" in text, path
        assert 'href="/events' not in (await stranger.get("/catalogue/invoice.large")).text
        spanish = await stranger.get("/catalogue", headers={"Accept-Language": "es"})
        assert "Catálogo de eventos" in spanish.text
    async with planted(tmp_path, public=True) as managed, visiting(managed, "bob") as viewer:
        assert 'href="/events' in (await viewer.get("/catalogue/invoice.large")).text


async def test_a_closed_catalogue_is_for_visitors(tmp_path: Path) -> None:
    async with planted(tmp_path, public=False) as managed:
        async with visiting(managed) as stranger:
            assert "/catalogue" not in (await stranger.get("/sign-in")).text
            assert "invoice.large" not in (await stranger.get(f"{API}/openapi.json")).text
        async with visiting(managed, "bob") as viewer:
            for path in PAGES:
                answer = await viewer.get(path)
                assert (answer.status, "invoice.large" in answer.text) == (200, True), path
            assert (await viewer.get("/catalogue/documents/other.json")).status == 404


@pytest.mark.parametrize("path", ["/catalogue", f"{API}/openapi.json"])
async def test_a_stranger_has_the_rate_of_an_address_in_all(tmp_path: Path, path: str) -> None:
    async with planted(tmp_path, public=True) as managed, visiting(managed) as stranger:
        statuses = [(await stranger.get("/catalogue/invoice.large")).status for _ in range(20)]
        refused = await stranger.get(path)
        assert (set(statuses), refused.status, refused.headers["Retry-After"]) == ({200}, 429, "1")
        managed.clock.advance(1)
        assert (await stranger.get(path)).status == 200
