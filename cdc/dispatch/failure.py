"""The reason why no answer arrived, as one sentence for the attempt log."""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http import HttpProcessingError

from cdc.dispatch.address import AddressRefused
from cdc.dispatch.connection import TargetNameError
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.tokens import TokenNotGiven


class NotConfigured(Exception):
    """An endpoint names something that the configuration does not have (any more)."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(kind, name)
        self.reason = f"The configuration has no {kind} named {name!r}, which the endpoint names."


class TooManyInterim(Exception):
    """A receiver sends interim answers without an end."""


# The first that fits the error, or the operating system's error within it, words it.
_SENTENCES: list[tuple[type[BaseException], str]] = [
    (AddressRefused, "{detail}"),
    (NotConfigured, "{detail}"),
    (TokenNotGiven, "{detail}"),
    (TooManyInterim, "{where} sent many interim answers (1xx) and no answer."),
    (aiohttp.ClientHttpProxyError, "The proxy {proxy} answered {detail}."),
    (aiohttp.ClientConnectorCertificateError, "The TLS certificate of {where} is not valid: {detail}."),
    (ssl.SSLCertVerificationError, "The TLS certificate of {where} is not valid: {detail}."),
    (ssl.SSLError, "TLS with {where} failed: {detail}."),
    (aiohttp.ClientConnectorDNSError, "{name} cannot be looked up: {detail}."),
    (TimeoutError, "{where} did not answer within {timeout:g} s."),
    (aiohttp.ServerDisconnectedError, "{where} closed the connection before it answered."),
    (HttpProcessingError, "{where} answered with something that is not HTTP."),
    (aiohttp.InvalidURL, "The URL of the endpoint at {where} is not valid."),
    (ConnectionRefusedError, "{where} refused the connection."),
    (ConnectionResetError, "{where} reset the connection."),
    (BrokenPipeError, "{where} reset the connection."),
    (OSError, "{where} cannot be reached: {detail}."),
    (Exception, "The request to {where} failed: {detail}."),
]


def describe_error(error: Exception, request: WebhookRequest) -> str:
    """One sentence that names host and port, never the rest of the URL; of a proxy, its name."""
    parts = urlsplit(request.url)
    where, name = parts.netloc.rpartition("@")[2], f"The host name {parts.hostname}"
    if request.proxy and isinstance(error, _OF_THE_PROXY) and not isinstance(error, TargetNameError):
        where, name = f"The proxy {request.proxy}", f"The host name of the proxy {request.proxy}"
    cause = _cause(error)
    sentence = next(text for kind, text in _SENTENCES if isinstance(error, kind) or isinstance(cause, kind))
    return sentence.format(
        where=where, name=name, proxy=request.proxy, timeout=request.timeout, detail=error_detail(cause)
    )


_OF_THE_PROXY = (aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorDNSError)


def _cause(error: Exception) -> BaseException:
    """Return the operating system's error within aiohttp's, which keeps only its number once a connection is open."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error
    if isinstance(error, aiohttp.ClientOSError) and error.errno is not None:
        return OSError(error.errno, error.strerror)
    return error


def system_error(error: Exception) -> Exception:
    """Return the system's error within the one that a library raised, where there is one."""
    inner = error.__cause__ or error.__context__
    while inner is not None:
        if isinstance(inner, ssl.SSLError) or (isinstance(inner, OSError) and inner.errno):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


def error_detail(cause: BaseException) -> str:
    """Return the reason in a few words, without an address that was tried."""
    if isinstance(cause, AddressRefused | NotConfigured | TokenNotGiven):
        return cause.reason
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return f"{cause.status} {_as_text(cause.message)}".strip()
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message.rstrip(".")
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return cause.reason.replace("_", " ").lower()
    if isinstance(cause, OSError):
        return _system_detail(cause)
    return type(cause).__name__


def _system_detail(cause: OSError) -> str:
    """The system's words for the error's number: its own text may hold the address that was tried."""
    if isinstance(cause, socket.gaierror) and cause.strerror:
        return cause.strerror.rstrip(".")
    return os.strerror(cause.errno) if cause.errno else type(cause).__name__


def _as_text(message: str) -> str:
    """Return a proxy's reason phrase without characters that the outbox cannot store: NUL, and bytes that are not
    UTF-8, which aiohttp passes on as lone surrogates."""
    return message.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")
