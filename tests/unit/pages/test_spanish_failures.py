"""What receivers do wrong, each of it done by a real one: the page says it in Spanish wherever it shows it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from html import unescape

import trustme

from cdc.model.delivery import DeliveryFilter
from support.browsing import Visitor, visiting
from support.http_faults import Behaviour, answer, hangs, read_request, receiver, refusing, resets, says
from support.managing import managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint

SPANISH = {"Accept-Language": "es"}


async def _speaks_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers without TLS whatever comes."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    await reader.read()


async def _provisional(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 2_000)
    await writer.drain()


#: What a receiver does with a request → what the page says of it, after the receiver's address.
ANSWERS: list[tuple[Behaviour, str]] = [
    (answer("500 Internal Server Error"), "El destino ha respondido 500 Internal Server Error."),
    (answer("404 Not Found"), "El destino ha respondido 404 Not Found."),
    (answer("410 Gone"), "El destino ha respondido 410 Gone y se ha desactivado."),
    (
        answer("302 Found", "Location: https://other.example/"),
        "El destino ha respondido 302 Found; no se siguen las redirecciones.",
    ),
    (hangs, "no ha respondido en 0,5 s."),
    (resets(), "ha cortado la conexión."),
    (says(b""), "ha cerrado la conexión antes de responder."),
    (says(b"hello there\r\n\r\n"), "ha respondido algo que no es HTTP."),
    (says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n"), "ha respondido algo que no es HTTP."),
    (_provisional, "ha enviado muchas respuestas provisionales (1xx) y ninguna respuesta."),
]


@asynccontextmanager
async def failing() -> AsyncIterator[dict[str, str]]:
    """URL of a receiver that fails → what the page says of it."""
    authority, untrusted = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(untrusted)
    async with AsyncExitStack() as stack:
        ports = [(await stack.enter_async_context(receiver(behaviour)), said) for behaviour, said in ANSWERS]
        refused = await stack.enter_async_context(refusing())
        unknown = await stack.enter_async_context(receiver(hangs, untrusted))
        plain = await stack.enter_async_context(receiver(_speaks_first))
        yield {
            **{f"http://127.0.0.1:{port}/": said for port, said in ports},
            f"http://127.0.0.1:{refused}/": f"127.0.0.1:{refused} ha rechazado la conexión.",
            f"https://127.0.0.1:{unknown}/": "no es válido: no se encuentra el certificado del emisor.",
            f"https://127.0.0.1:{plain}/": f"Ha fallado la conexión TLS con 127.0.0.1:{plain}: ",
            "https://no-such-host.invalid/": "No se encuentra el nombre no-such-host.invalid:",
            "http://169.254.169.254/": (
                "169.254.169.254 es una dirección de metadatos de la nube, y no se permiten entregas a esas direcciones"
            ),
        }


async def _shown(visitor: Visitor, path: str) -> str:
    return unescape((await visitor.get(path, headers=SPANISH)).text)


async def test_each_failure_of_a_real_receiver_is_told_in_spanish_on_every_page() -> None:
    outbox = MemoryOutbox()
    async with failing() as told, managing(outbox) as managed, visiting(managed, "ann") as ann:
        for number, (url, said) in enumerate(told.items()):
            patience = 0.5 if said.startswith("no ha respondido") else 30.0
            secret = "whsec_" + "c2VjcmV0" * 4
            await outbox.add_endpoint(endpoint(f"ep_{number}", url=url, timeout=patience, secret=secret))
            tested = await ann.send(f"/endpoints/ep_{number}/test", {"event": "endpoint.test"}, headers=SPANISH)
            assert said in unescape(tested.text), (url, tested.text)
            (found,) = await outbox.deliveries(DeliveryFilter(endpoint_id=f"ep_{number}"), 9)
            english = str(found.last_error)
            pages = {
                "test": unescape(tested.text),
                "delivery": await _shown(ann, f"/deliveries/{found.id}"),
                "deliveries": await _shown(ann, f"/deliveries?endpoint=ep_{number}"),
            }
            for name, text in pages.items():
                assert said in text, (url, name)
                assert english not in text, (url, name)
            assert english in unescape((await ann.get(f"/deliveries/{found.id}")).text)
