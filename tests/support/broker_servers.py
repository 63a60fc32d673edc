"""Message brokers as processes of a test's own: start, kill, and what they have got."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import aiormq
import nats
import redis
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import StreamConfig, SubjectTransform
from nats.js.errors import APIError, NotFoundError

from cdc.dispatch.address import EgressPolicy
from cdc.dispatch.broker.sender import BrokerSender
from cdc.dispatch.request import build_request
from cdc.dispatch.retry import Answer
from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint
from cdc.model.event import event_payload
from support.dispatching import event
from support.manual_clock import START
from support.ports import free_port
from support.programs import find_broker
from support.waiting import HANG_SECONDS

#: Where tests' servers are.
INSIDE = EgressPolicy(private=True, plain=True)


def leased(number: int) -> LeasedDelivery:
    sent = event(number)
    return LeasedDelivery("dlv_1", "ep_1", sent.id, sent.name, sent.record, 1, START, event_payload(sent), "main")


async def send(sender: BrokerSender, to: Endpoint, number: int = 1) -> Answer:
    return await sender.send(build_request(leased(number), to, START))


class Got(NamedTuple):
    """A message as a receiver of the broker reads it."""

    place: str
    headers: dict[str, str]
    body: bytes


class BrokerServer(ABC):
    """A server on loopback.  What it has confirmed is on its disk: `kill` loses nothing of it."""

    name: str
    ready: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.options: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    @abstractmethod
    def command(self, program: Path) -> list[str]: ...

    @abstractmethod
    def got(self) -> list[Got]:
        """Return all messages, in their order."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL of an endpoint."""

    @property
    def runs(self) -> bool:
        return self._process is not None

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        self.folder.mkdir(exist_ok=True)
        command = [*self.command(find_broker(self.name)), *self.options]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
            start_new_session=True,  # killed with the processes that it starts
        )
        said: list[str] = []
        ready = threading.Event()
        threading.Thread(target=self._follow, args=(self._process, said, ready), daemon=True).start()
        assert ready.wait(2 * HANG_SECONDS), f"{self.name} is not ready: {said[-5:]}"
        assert self._process.poll() is None, f"{self.name} has ended: {said[-5:]}"

    @abstractmethod
    def empty(self) -> None:
        """Make what must be there before events come, and remove those that came."""

    def _follow(self, process: subprocess.Popen[str], said: list[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                said.append(line.strip())
                if self.ready in line:
                    ready.set()
        ready.set()  # it has ended: the last lines say why

    def kill(self) -> None:
        """Kill it at once, like a power cut."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(HANG_SECONDS)
            self._process = None

    def end(self) -> None:
        """Kill it for good."""
        self.kill()


class Valkey(BrokerServer):
    name = "valkey"
    ready = "Ready to accept connections"

    def command(self, program: Path) -> list[str]:
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        return [str(program), *where, *durable]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0/facturascripts.{{source}}"

    def empty(self) -> None:
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def got(self) -> list[Got]:
        with redis.Redis(port=self.port) as client:
            found = []
            for stream in sorted(client.scan_iter(_type="stream")):
                for _, fields in client.xrange(stream):
                    headers = {name.decode(): value.decode() for name, value in fields.items() if name != b"body"}
                    found.append(Got(stream.decode(), headers, fields[b"body"]))
            return found


class Nats(BrokerServer):
    name = "nats"
    ready = "Server is ready"
    settings = ""
    sync = "always"

    def command(self, program: Path) -> list[str]:
        store = f"jetstream {{ store_dir: {self.folder}/data, sync_interval: {self.sync} }}"
        file = self.folder / "nats.conf"
        file.write_text(f"listen: 127.0.0.1:{self.port}\n{store}\n{self.settings}\n")
        return [str(program), "-c", str(file)]

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}/facturascripts.{{source}}.{{event}}"

    def empty(self) -> None:
        asyncio.run(self._empty())

    async def _empty(self) -> None:
        client = await nats.connect(f"nats://127.0.0.1:{self.port}")
        stream = client.jetstream()
        with suppress(NotFoundError):
            await stream.delete_stream("events")
        await stream.add_stream(name="events", subjects=["facturascripts.>"])
        await client.close()

    def change(self, **config: Any) -> None:
        """Change the stream."""
        asyncio.run(self._change(config))

    async def _change(self, config: dict[str, Any]) -> None:
        client = await nats.connect(f"nats://127.0.0.1:{self.port}")
        stream = client.jetstream()
        await stream.update_stream((await stream.stream_info("events")).config, **config)
        await client.close()

    def forget(self, sequence: int) -> None:
        """Remove a message."""
        asyncio.run(self._forget(sequence))

    async def _forget(self, sequence: int) -> None:
        client = await nats.connect(f"nats://127.0.0.1:{self.port}")
        await client.jetstream().delete_msg("events", sequence)
        await client.close()

    def got(self) -> list[Got]:
        return asyncio.run(self._got())

    async def _got(self) -> list[Got]:
        client = await nats.connect(f"nats://127.0.0.1:{self.port}")
        stream = client.jetstream()
        state = (await stream.stream_info("events")).state
        found = []
        for number in range(state.first_seq, state.last_seq + 1):
            with suppress(NotFoundError):  # it was removed
                found.append(await stream.get_msg("events", number))
        await client.close()
        return [Got(each.subject or "", dict(each.headers or {}), each.data or b"") for each in found]


class NatsCluster:
    """Three servers that store each message on all of them, in the stream ``events``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.nodes = [Nats(folder / f"node{number}") for number in range(3)]
        routes = [free_port() for _ in self.nodes]
        listed = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        for number, (node, port) in enumerate(zip(self.nodes, routes, strict=True)):
            cluster = f"cluster {{ name: cells, listen: 127.0.0.1:{port}, routes: [{listed}] }}"
            node.settings = f"server_name: node{number}\n{cluster}"

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        try:
            asyncio.run(self._add_stream())
        except TimeoutError:  # now and then one of new servers counts no other as a peer until it starts again
            for node in self.nodes:
                node.kill()
                node.start()
            asyncio.run(self._add_stream())

    async def _add_stream(self) -> None:
        client = await nats.connect(f"nats://127.0.0.1:{self.nodes[0].port}")
        stream = StreamConfig(
            name="events",
            subjects=["facturascripts.>"],
            num_replicas=len(self.nodes),
            subject_transform=SubjectTransform(PARTED, PARTITION),
        )
        try:
            async with asyncio.timeout(HANG_SECONDS / 2):
                while True:
                    try:
                        await client.jetstream().add_stream(stream)
                        break
                    except (APIError, NatsTimeoutError):  # until the three have found each other
                        await asyncio.sleep(0.1)
        finally:
            await client.close()

    def end(self) -> None:
        for node in self.nodes:
            node.end()


#: What a stream makes of subjects: the events of one source come to one of two parts.
PARTED = "facturascripts.*.>"
PARTITION = "facturascripts.{{partition(2,1)}}.{{wildcard(1)}}.>"


class RabbitMQ(BrokerServer):
    """With a durable queue: it confirms a message that is on disk."""

    name = "rabbitmq"
    ready = "Server startup complete"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.settings = ""
        self.tls_port, self._names, self._distribution = free_port(), free_port(), free_port()
        self._epmd: subprocess.Popen[bytes] | None = None

    def command(self, program: Path) -> list[str]:
        (self.folder / "plugins").touch()
        (self.folder / "rabbitmq.conf").write_text(self.settings)
        return [str(program)]

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return super().environment() | {
            "HOME": folder,
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "cdc@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false +S 2:2",
        }

    def start(self) -> None:
        if self._epmd is None:  # the server would leave one behind
            program = find_broker(self.name).with_name("epmd")
            command = [str(program), "-address", "127.0.0.1", "-port", str(self._names)]
            self._epmd = subprocess.Popen(command)
        try:
            super().start()
        except AssertionError:  # now and then it hangs before it listens, after a kill too
            self.kill()
            super().start()

    def end(self) -> None:
        super().end()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(HANG_SECONDS)
            self._epmd = None

    @property
    def url(self) -> str:
        return f"amqp://127.0.0.1:{self.port}/%2F/facturascripts/{{source}}.{{event}}"

    def empty(self) -> None:
        asyncio.run(self._empty())

    async def _empty(self) -> None:
        connection = await aiormq.connect(f"amqp://127.0.0.1:{self.port}")
        channel = await connection.channel()
        await channel.exchange_declare(exchange="facturascripts", exchange_type="topic", durable=True)
        await channel.queue_delete("events")
        await channel.queue_declare("events", durable=True)
        await channel.queue_bind("events", "facturascripts", "main.#")
        await connection.close()

    def got(self) -> list[Got]:
        return asyncio.run(self._got())

    async def _got(self) -> list[Got]:
        connection = await aiormq.connect(f"amqp://127.0.0.1:{self.port}")
        channel = await connection.channel()
        found = []
        while (each := await channel.basic_get("events", no_ack=True)).delivery.name == "Basic.GetOk":
            headers = {name: str(value) for name, value in (each.header.properties.headers or {}).items()}
            found.append(Got(each.routing_key or "", headers, each.body))
        await connection.close()
        return found
