"""A second answer to a request is never taken for the answer to the next one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.sender import HttpSender

FIRST = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
FRESH = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nfresh"
LATE = {
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate",
    "an answer without a body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a refusal that disables": b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
    "an error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "a pause": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a part of an answer": b"HTTP/1.1 200 OK\r\nContent-",
    "no answer": b"\0\0\0\0",
    "the end": b"",
}


class Receiver:
    """Answers the first request on its first connection, and sends ``late`` there once `may_be_late` is set."""

    def __init__(self, late: bytes) -> None:
        self.late = late
        self.may_be_late, self.sent = threading.Event(), threading.Event()
        self.connections = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/"

    def run(self) -> None:
        with self.listening:
            first, _ = self.listening.accept()
            self.connections += 1
            with first:
                first.recv(65536)
                first.sendall(FIRST)
                assert self.may_be_late.wait(60)
                first.sendall(self.late)
                if not self.late:
                    first.shutdown(socket.SHUT_WR)
                self.sent.set()
                second, _ = self.listening.accept()
                self.connections += 1
                with second:
                    second.recv(65536)
                    second.sendall(FRESH)


@contextmanager
def receiver(late: bytes) -> Iterator[Receiver]:
    made = Receiver(late)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    yield made
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
async def test_late_answer_is_not_that_of_the_next_request(late: bytes) -> None:
    with receiver(late) as server:
        request = WebhookRequest(server.url, {}, b"{}", 30.0)
        async with HttpSender(allow_private=True) as sender:
            first = await sender.send(request)
            server.may_be_late.set()
            assert server.sent.wait(60)  # without a turn of the loop, which would read what has arrived
            second = await sender.send(request)
    assert (first.status, first.body) == (200, b"first")
    assert (second.status, second.body, second.error) == (503, b"fresh", "")
    assert server.connections == 2
