"""The page with the audit log says in words what was done."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, timedelta
from html import unescape
from pathlib import Path

import cdc
from cdc.access import credential
from cdc.access.model import Allowance, AuditFilter, Role, Scope
from cdc.admin.audit_log import entry_as_json, verify_export
from cdc.model.backfill import ACTIONS
from cdc.pages.language import language
from support.browsing import visiting
from support.managing import PASSWORD, managing
from support.memory_outbox import MemoryOutbox

PRODUCT = Path(cdc.__file__).parent
#: Function → the place of its argument that names an action.
NOTING = {"_note": 0, "_entry": 1, "_change": 2, "AuditEntry": 2}


def noted(tree: ast.AST) -> Iterator[str]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        place = NOTING.get(name, len(call.args))
        action = call.args[place] if place < len(call.args) else None
        if isinstance(action, ast.Constant) and isinstance(action.value, str):
            yield action.value


def test_each_action_that_is_recorded_has_a_title() -> None:
    modules = [*PRODUCT.glob("admin/*.py"), *PRODUCT.glob("access/*.py"), *PRODUCT.glob("outbox/*.py")]
    recorded = {action for path in modules for action in noted(ast.parse(path.read_text(encoding="utf-8")))}
    recorded |= {action for _, action in ACTIONS.values()}
    page = (PRODUCT / "pages/templates/audit.html").read_text(encoding="utf-8")
    assert set(re.findall(r'^"([a-z]+[.][a-z-]+)": _\(', page, re.MULTILINE)) == recorded


async def test_actions_are_in_the_readers_language() -> None:
    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        english = await ann.get("/audit")
        spanish = await ann.get("/audit", headers={"Accept-Language": "es"})
    assert "Signed in" in english.text
    assert "Inicio de sesión" in spanish.text
    assert "session.begin" not in re.sub(r"<[^>]*>", "", english.text + spanish.text)


async def test_entries_are_narrowed_and_exported() -> None:
    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        await managed.accounts.add_token("user:ann", "shop", Scope.READ)
        narrowed = (await ann.get("/audit?actor=user:ann&action=token.add&since=2026-11-24T00:00")).text
        assert len(details(narrowed)) == 1
        assert details((await ann.get("/audit?until=2026-11-24T00:00")).text) == []
        assert "That is not a time." in (await ann.get("/audit?since=soon")).text
        link = unescape(next(iter(re.findall(r'href="(/audit/export[^"]*jsonl)"', narrowed))))
        exported = await ann.get(link)
        assert exported.headers["Content-Disposition"] == 'attachment; filename="audit.jsonl"'
        found = await verify_export(managed.access, exported.text.splitlines())
        assert (found.entries, found.broken) == (1, "")
        assert '"subject": "token:shop"' in exported.text
        whole = await ann.get("/audit/export?format=csv")
        assert whole.text.startswith("number,at,actor,action,subject,detail,previous,hash\r\n1,")
        assert (await ann.get("/audit/export?format=html")).status == 404
        async with visiting(managed, "bob") as bob:
            assert (await bob.get(link)).status == 403
        await managed.accounts.add_user("cli:root", "eva", Role.MANAGER, PASSWORD, ("main",))
        async with visiting(managed, "eva") as eva:
            assert (await eva.get(link)).status == 403


async def test_api_gives_the_log_in_pages_to_tokens_of_all_sources_only() -> None:
    async with managing(MemoryOutbox()) as managed:
        pages, cursor = [], ""
        while cursor is not None:
            answer = await managed.ask("GET", "/audit", params={"limit": "2"} | ({"cursor": cursor} if cursor else {}))
            pages.append([each["number"] for each in answer.json["items"]])
            cursor = answer.json["next"]
        assert pages == [[1, 2], [3, 4], [5]]
        first = (await managed.ask("GET", "/audit?action=user.add&limit=1")).json["items"][0]
        assert first["hash"]
        assert first == entry_as_json((await managed.access.audit_after(AuditFilter(), 1))[0])
        since = "2026-11-24T21:48:00Z"
        assert len((await managed.ask("GET", f"/audit?since={since}&actor=cli:root")).json["items"]) == 5
        assert (await managed.ask("GET", f"/audit?until={since}")).json == {"items": [], "next": None}
        assert (await managed.ask("GET", "/audit?cursor=x")).status == 422
        assert (await managed.ask("GET", "/audit", Scope.READ)).status == 403
        some, text = await managed.accounts.add_token("cli:root", "some", Scope.MANAGE, sources=["main"])
        headers = {"Authorization": f"Bearer {text}"}
        assert (await managed.ask("GET", "/audit", None, headers=headers)).status == 404, some.name


def details(page: str) -> list[str]:
    """Return the details of the entries, newest first, as text."""
    cells = re.findall(r"<td data-title=\"(?:Details|Detalles)\">(.*?)</td>", page, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]*>", "", cell)).split()) for cell in cells]


async def test_details_are_in_the_readers_language() -> None:
    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        accounts, some = managed.accounts, ("main", "tienda")
        await accounts.add_user("cli:root", "eva", Role.VIEWER, PASSWORD, some)
        await accounts.change_role("cli:root", "eva", Role.MANAGER, ())
        await accounts.switch_totp_on("cli:root", "eva", credential.new_totp_secret(bytes))
        await accounts.switch_totp_off("cli:root", "eva")
        lifetime, allowed = timedelta(days=1), (Allowance.MAIL, Allowance.CREDENTIALS)
        made, _ = await accounts.add_token("cli:root", "erp", Scope.MANAGE, lifetime, some, allowed=allowed)
        other, _ = await accounts.add_token("cli:root", "look", Scope.READ, None)
        await accounts.remove_token("cli:root", other.id)
        english = details((await ann.get("/audit")).text)
        spanish = details((await ann.get("/audit", headers={"Accept-Language": "es"})).text)
    assert [english[0], english[7]] == [f"Id: {other.id}", "with a password; IP address: 127.0.0.1"]
    assert "Role: Manager; Before: Viewer; Sources: all" in english
    expires = language("es", UTC).moment(made.expires_at)
    assert spanish[:8] == [
        f"Identificador: {other.id}",
        f"Identificador: {other.id}; Permiso: Lectura; Caducidad: nunca",
        (
            f"Identificador: {made.id}; Permiso: Lectura y gestión; Caducidad: {expires}; Orígenes: main, tienda; "
            "puede enviar correo, puede usar las credenciales del operador"
        ),
        "desactivada",
        "activada",
        "Rol: Administrador; Antes: Solo lectura; Orígenes: todos",
        "Rol: Solo lectura; Orígenes: main, tienda",
        "con contraseña; Dirección IP: 127.0.0.1",
    ]
