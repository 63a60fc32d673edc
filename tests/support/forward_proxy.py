"""A forward proxy on 127.0.0.1, as operators put between a network and the world: tunnels by CONNECT, plain http by
whole URLs in the request line."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from support.http_faults import read_request, receiver


@dataclass
class ForwardProxy:
    """``account``: the ``user:password`` that it asks for, empty for none.  ``names``: name → address, for names that
    only this proxy knows.  ``heads``: what it was asked, in order."""

    account: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.account}@127.0.0.1:{self.port}" if self.account else f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            self.heads.append(head.decode())
            method, place, _ = head.decode().split(" ", 2)
            if not self._admits(head.decode()):
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            elif method == "CONNECT":
                await self._tunnel(place, reader, writer)
                return
            else:
                await self._forward(place, head, body, writer)

    def _admits(self, head: str) -> bool:
        wanted = f"proxy-authorization: basic {b64encode(self.account.encode()).decode()}\r\n"
        return not self.account or wanted.lower() in head.lower()

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.names.get(host, host), port)

    async def _tunnel(self, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = place.rpartition(":")
        try:
            from_there, to_there = await self._connect(host, int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, to_there))
                group.create_task(_pump(from_there, writer))
        finally:
            to_there.close()

    async def _forward(self, url: str, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(url)
        from_there, to_there = await self._connect(parts.hostname or "", parts.port or 80)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"proxy-")]
        lines[0] = lines[0].replace(url.encode(), parts.path.encode())
        to_there.write(b"\r\n".join(lines) + body)
        answer, answer_body = await read_request(from_there)
        to_there.close()
        writer.write(answer + answer_body)
        await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@asynccontextmanager
async def forward_proxy(account: str = "", names: Mapping[str, str] | None = None) -> AsyncIterator[ForwardProxy]:
    proxy = ForwardProxy(account, names or {})
    async with receiver(proxy.serve) as port:
        proxy.port = port
        yield proxy
