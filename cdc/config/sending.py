"""The means of sending deliveries, as configured."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cdc.config import Config
from cdc.language import chosen
from cdc.model.broker import SCHEMES
from cdc.model.delivery import Attempt
from cdc.model.endpoint import Endpoint
from cdc.model.errors import ConfigError

if TYPE_CHECKING:
    from cdc.dispatch.address import EgressPolicy
    from cdc.dispatch.mail import MailSender
    from cdc.dispatch.sender import Agreement, HttpSender, Sender

_PORTS = {"starttls": 587, "tls": 465, "none": 25}


@asynccontextmanager
async def sending(
    config: Config, attempts: Callable[[str], Awaitable[Sequence[Attempt]]] | None = None
) -> AsyncIterator[Sender]:
    """Provide the means of sending to every endpoint.  ``attempts``: as of `BrokerSender`.  Raises `ConfigError` for
    what is not usable."""
    from cdc.dispatch.broker.sender import BrokerSender
    from cdc.dispatch.sender import BySchemeSender

    certificates, mail = _client_certificates(config), mail_sender(config)
    broker = BrokerSender(reach(config), certificates, attempts=attempts)
    async with http_sender(config) as http, broker as brokers:
        yield BySchemeSender(http, {"mailto": mail, **dict.fromkeys(SCHEMES, brokers)})


def mail_sender(config: Config) -> MailSender:
    """Reads password and certificate now.  Raises `ConfigError` for one that is not usable."""
    from cdc.dispatch.mail import MailSender, MailServer

    mail = config.mail
    if not mail.host:
        return MailSender(None)
    server = MailServer(
        host=mail.host,
        port=mail.port or _PORTS[mail.security],
        sender=mail.sender,
        tls=None if mail.security == "none" else authorities(mail.ca_file, "mail"),
        at_once=mail.security == "tls",
        user=mail.user,
        password=mail.password(),
        language=chosen(os.environ, config.process.language),
        page=config.web.address,
    )
    return MailSender(server)


def authorities(path: Path | None, section: str) -> ssl.SSLContext:
    """Return the context that verifies a server by the ``ca_file`` of a section; None: by what this machine knows.
    Raises `ConfigError`."""
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError is one
        reason = "it is no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"The ca_file {path} under [{section}] cannot be used: {reason}.",
            "It holds, as PEM, the certificate of the authority that issued the server's.",
        ) from error


def http_sender(config: Config) -> HttpSender:
    """Loads the client certificates now.  Raises `ConfigError` for one that is not usable."""
    from cdc.dispatch.sender import HttpSender

    dispatch = config.dispatch
    return HttpSender(
        dispatch.allow_private,
        allow_networks=dispatch.allow_networks,
        allow_http=dispatch.allow_http,
        client_certificates=_client_certificates(config),
        proxies=dispatch.proxies,
        proxy_resolves=dispatch.proxy_resolves,
    )


def _client_certificates(config: Config) -> dict[str, ssl.SSLContext]:
    from cdc.dispatch.sender import client_context

    return {name: client_context(name, path) for name, path in config.dispatch.client_certificates.items()}


def reach(config: Config) -> EgressPolicy:
    """Return the egress policy: the addresses to which deliveries may go."""
    from cdc.dispatch.address import EgressPolicy

    dispatch = config.dispatch
    return EgressPolicy(
        dispatch.allow_private, dispatch.allow_networks, plain=dispatch.http_allowed, mail=bool(config.mail.host)
    )


async def agreement(config: Config, endpoint: Endpoint) -> Agreement:
    """Ask an endpoint whether it agrees to get events from here.  Raises `EndpointRefused`."""
    from cdc.dispatch.sender import ask

    async with http_sender(config) as sender:
        return await ask(sender, endpoint, config.dispatch.origin or socket.gethostname())
