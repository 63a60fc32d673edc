"""What goes wrong, in the visitor's language: sign-in, forms, receivers' results and endpoints that were disabled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from html import unescape

import pytest

from cdc.admin.findings import endpoint_checks, quarantine_checks
from cdc.model.delivery import DeliveryState
from cdc.model.errors import SourceUnavailable
from cdc.model.finding import Severity
from cdc.pages.language import language
from support.browsing import visiting
from support.managing import Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import NOW, endpoint, event, lease, outcome, store

SPANISH = {"Accept-Language": "es"}


@pytest.fixture
async def site() -> AsyncIterator[Managed]:
    async with managing(MemoryOutbox()) as managed:
        await managed.store.add_endpoint(endpoint("ep_a", description="Tienda", secret="whsec_" + "c2VjcmV0" * 4))
        yield managed


async def test_sign_in_failures(site: Managed) -> None:
    async with visiting(site) as visitor:
        refused = await visitor.sign_in("ann", "wrong", headers=SPANISH)
        assert "El nombre, la contraseña o el código no son correctos." in refused.text
        assert "bloqueo de mayúsculas" in refused.text
        for _ in range(20):
            refused = await visitor.sign_in("ann", "wrong", headers=SPANISH)
    assert "Demasiados intentos fallidos de iniciar sesión. Inténtelo de nuevo dentro de" in refused.text


FIELDS = {
    "url": "https://hooks.example.com/in",
    "patterns": "invoice.*",
    "format": "facturascripts",
    "order": "record",
    "timeout": "10",
    "retries": "5",
    "concurrency": "16",
    "rate": "0",
    "batch_size": "1",
    "batch_wait": "1",
    "disable_after": "120",
    "signature": "v1",
}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "ftp://hooks.example.com/"}, "La URL 'ftp://hooks.example.com/' no es http ni https."),
        ({"url": "https://user:p@hooks.example.com/"}, "contiene un usuario o una contraseña. Quítelos"),
        ({"url": "https://169.254.169.254/"}, "lleva a una dirección de metadatos de la nube."),
        ({"patterns": ""}, "No se ha elegido ningún evento."),
        ({"patterns": "invoice paid!"}, "no es un patrón de eventos. Escriba el nombre de un evento"),
        ({"patterns": "invoice.payd"}, "Ningún evento se llama invoice.payd. ¿Quería decir invoice.paid, "),
        ({"condition": "data.total >"}, "No es una expresión válida: termina donde falta algo (línea 1"),
        ({"timeout": "-1"}, "El tiempo límite no puede ser de -1 s. Debe ser mayor que 0"),
        ({"timeout": "abc"}, "Tiempo límite: valor no válido."),
        ({"rate": "-1"}, "No es posible una velocidad de -1 por segundo. Entre 0.001 y"),
        ({"batch_size": "5000"}, "Un lote no puede ser de 5000 eventos."),
        ({"batch_size": "5", "order": "endpoint"}, "recibe los eventos de uno en uno, así que no puede recibir lotes."),
        ({"disable_after": "-1"}, "No se puede desactivar un destino tras -3600 s. 0 significa nunca."),
        ({"headers": "Content-Length: 5"}, "La cabecera Content-Length la pone cada entrega por sí misma."),
        ({"headers": "Bad name: x"}, "no es el nombre de una cabecera. Escriba Nombre: valor"),
        ({"fields": "total\x07"}, "Las columnas que se envían no son nombres de columnas. Escriba hasta"),
        ({"url": "https://api.telegram.org/bot12:AbC/sendMessage"}, "no indica ningún chat de Telegram, así que"),
        ({"proxy": "other"}, "La configuración no tiene el proxy 'other'. Añádalo a proxies, en [dispatch]."),
    ],
)
async def test_each_wrong_field_of_an_endpoint(site: Managed, wrong: dict[str, str], said: str) -> None:
    async with visiting(site, "ann") as ann:
        shown = await ann.send("/endpoints/new", FIELDS | wrong, headers=SPANISH)
    assert shown.status == 422
    assert said in unescape(shown.text)


async def test_results_of_attempts_and_reasons_that_older_versions_stored(site: Managed) -> None:
    await store(site.store, event(1, name="invoice.paid"))
    (leased,) = await lease(site.store)
    ended = outcome(leased, DeliveryState.DEAD, error="The endpoint answered 500 Internal Server Error.")
    await site.store.finish("w", [ended], NOW)
    async with visiting(site, "ann") as ann:
        assert (
            "El destino ha respondido 500 Internal Server Error."
            in (await ann.get("/deliveries", headers=SPANISH)).text
        )
        shown = await ann.get(f"/deliveries/{leased.id}", headers=SPANISH)
        assert "El destino ha respondido 500 Internal Server Error." in shown.text
        await ann.send("/endpoints/ep_a/disable", {})
        assert "Desactivado por ann." in (await ann.get("/endpoints", headers=SPANISH)).text
        assert "Disabled by ann." in (await ann.get("/endpoints/ep_a", headers={"Accept-Language": "en"})).text


@pytest.mark.parametrize("code", ["en", "es"])
async def test_error_names_no_command(site: Managed, code: str) -> None:
    async with visiting(site, "ann") as ann:
        shown = await ann.get("/endpoints/ep_none", headers={"Accept-Language": code})
    assert shown.status == 404
    assert "ep_none" in shown.text
    assert "cdc endpoint" not in shown.text


async def test_source_that_fails(site: Managed) -> None:
    site.watch.reported.source_failed(
        "main",
        SourceUnavailable("No connection to mysql database erp at db:3306 as cdc: <b> (error 2003).", "Check."),
    )
    async with visiting(site, "ann") as ann:
        overview = await ann.get("/", headers=SPANISH)
        sources = await ann.get("/sources", headers=SPANISH)
    said = "Sin conexión con la base de datos mysql «erp» en db:3306 (usuario cdc): &lt;b&gt; (error 2003)."
    assert "El origen main no se puede leer desde el " in overview.text
    assert said in overview.text
    assert said in sources.text


@pytest.mark.parametrize("code", ["en", "es"])
async def test_the_overview_says_of_endpoints_and_skipped_changes_what_doctor_says(site: Managed, code: str) -> None:
    ago = NOW - timedelta(minutes=12)
    failing = endpoint("ep_b", description="Almacén", failing_since=ago, secret="whsec_" + "c2VjcmV0" * 4)
    await site.store.add_endpoint(failing)
    await store(site.store, event(1, name="invoice.paid"))
    leased = [each for each in await lease(site.store) if each.endpoint_id == "ep_a"]
    await site.store.finish("w", [outcome(each, DeliveryState.DEAD, error="No.") for each in leased], NOW)
    endpoints, counts, now = await site.store.endpoints(), await site.store.counts(), site.clock.now()
    said = [
        *endpoint_checks(site.service.config, endpoints, counts, now),
        *quarantine_checks(await site.store.count_quarantined()),
    ]
    async with visiting(site, "ann") as ann:
        shown = unescape((await ann.get("/", headers={"Accept-Language": code})).text)
    found = [each.finding for each in said if each.finding.severity is not Severity.OK]
    assert {each.check for each in found} == {"delivered", "accepting"}
    said_here = language(code, UTC).text
    assert (
        f'href="/deliveries?endpoint=ep_a&state=dead">{said_here("%(name)s has dead letters", name="Tienda")}<' in shown
    )
    assert f'href="/endpoints/ep_b">{said_here("%(name)s accepts nothing", name="Almacén")}<' in shown
    assert f'datetime="{ago.isoformat()}"' in shown
    assert ("Almacén falla: no acepta ninguna entrega" in shown) == (code == "es")
    assert ("Almacén accepts nothing" in shown) == (code == "en")


async def test_the_overview_says_that_there_is_no_endpoint() -> None:
    async with managing(MemoryOutbox()) as managed, visiting(managed, "ann") as ann:
        assert "No hay ningún destino: no se envía nada." in (await ann.get("/", headers=SPANISH)).text
