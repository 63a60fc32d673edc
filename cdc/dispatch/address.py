"""Where a delivery may go: the guard against requests to inside addresses (SSRF).

Three layers, of which the last decides: `check_url` when an endpoint is added, `CheckedResolver` on the answer of the
name service (a clear error before any connection), and `guard_socket` on the very address that a socket is about to
be connected to, so that no second name service answer, odd spelling of an address or redirect gets around it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from cdc.errors import UsageError

# Networks by the reason for which they are refused; the first that holds an address names it.  Written out rather
# than taken from `ipaddress`, whose judgement of some of them differs between Python versions.
_REFUSED_4 = [
    (ip_network(network), kind)
    for network, kind in (
        ("169.254.169.254/32", "a cloud metadata address"),
        ("168.63.129.16/32", "a cloud metadata address"),  # Azure's, in public space
        ("100.100.100.200/32", "a cloud metadata address"),
        ("192.0.0.192/32", "a cloud metadata address"),
        ("0.0.0.0/32", "the unspecified address"),
        ("0.0.0.0/8", "a reserved address"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a shared (CGNAT) address"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a reserved address"),
        ("192.88.99.0/24", "a reserved address"),  # 6to4 relays
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a reserved address"),
        ("198.51.100.0/24", "a reserved address"),
        ("203.0.113.0/24", "a reserved address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
]
_REFUSED_6 = [
    (ip_network(network), kind)
    for network, kind in (
        ("fd00:ec2::254/128", "a cloud metadata address"),
        ("fd20:ce::254/128", "a cloud metadata address"),
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a private address"),  # site-local, of old
        ("ff00::/8", "a multicast address"),
        ("2001::/32", "a Teredo address"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a reserved address"),
        ("3fff::/20", "a reserved address"),
    )
]
_GLOBAL_6 = ip_network("2000::/3")  # all that is routed in public
_6TO4 = ip_network("2002::/16")
# Forms that carry an IPv4 address in their last 32 bits: mapped, translated (SIIT), NAT64.
_EMBEDDING_6 = [ip_network(n) for n in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")]


class AddressRefused(OSError):
    """A connection to an inside address was asked for; ``reason`` is one sentence with what to change."""

    def __init__(self, address: str, kind: str) -> None:
        self.reason = f"{address} is {kind}, and deliveries to such addresses are not allowed (allow_private)."
        super().__init__(errno.EACCES, self.reason)


def refusal(address: str) -> str | None:
    """What kind of inside address this IP literal is (for a sentence), or None when deliveries may go there."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return next((kind for network, kind in _REFUSED_4 if ip in network), None)
    if ip in _6TO4:  # Python versions disagree on whether a public IPv4 address makes it public; nobody needs it
        return refusal(str(IPv4Address(int(ip) >> 80 & 0xFFFF_FFFF))) or "a 6to4 address"
    embedded = _embedded(ip)
    if embedded is not None:
        return refusal(str(embedded))
    kind = next((kind for network, kind in _REFUSED_6 if ip in network), None)
    return kind or (None if ip in _GLOBAL_6 else "a reserved address")


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to ``ip`` ends at, for the forms that carry one."""
    if any(ip in network for network in _EMBEDDING_6) or int(ip) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return None


_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # third quarter of an address, before the IPv4 address


def public_url(url: str) -> str:
    """The URL without what may be secret (user, password, query, fragment): for logs, errors and the attempt log."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def check_url(url: str, allow_private: bool) -> str:
    """The URL itself when deliveries may be sent there, else `UsageError`.  No name is looked up."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # the port is parsed, and refused, only when asked for
    except ValueError:
        raise UsageError("The endpoint's URL cannot be read.", "Write it as https://host[:port]/path.") from None
    shown = repr(public_url(url))
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"The endpoint's URL {shown} is not http or https.", "Write it as https://host[:port]/path.")
    if "@" in parts.netloc:
        raise UsageError(
            f"The endpoint's URL {shown} holds a user name or password.",
            "Leave them out: deliveries are authenticated by their signature.",
        )
    if not host or not url.isprintable() or " " in url:
        raise UsageError(f"The endpoint's URL {shown} has no valid host or path.", "Write https://host[:port]/path.")
    kind = None if allow_private else _literal_refusal(host)
    if kind is not None:
        raise UsageError(
            f"The endpoint's URL {shown} leads to {kind}.",
            "Set allow_private = true under [dispatch] if receivers on this machine or network are meant.",
        )
    return url


def _literal_refusal(host: str) -> str | None:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "a loopback address"
    try:
        return refusal(name)
    except ValueError:
        pass  # a name, or one of the old spellings of an IPv4 address: 127.1, 0x7f000001, 2130706433
    try:
        return refusal(socket.inet_ntoa(socket.inet_aton(name)))
    except (OSError, UnicodeEncodeError):
        return None


# An address as asyncio's and aiohttp's connecting functions pass it around: family, type, protocol, name, address.
AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]


def guard_socket(address_info: AddressInfo) -> socket.socket:
    """A new socket for this address, or `AddressRefused`: aiohttp calls this for each address that it connects to."""
    family, kind, protocol, _, address = address_info
    refused = refusal(address[0])
    if refused is not None:
        raise AddressRefused(address[0], refused)
    return socket.socket(family=family, type=kind, proto=protocol)


LookUp = Callable[..., list[Any]]  # as socket.getaddrinfo


class CheckedResolver(AbstractResolver):
    """Looks names up in daemon threads, and refuses those of which every address is an inside one.

    A name service that hangs holds neither the event loop's thread pool nor the end of the process.  aiohttp looks a
    name up once for all that wait for it, so there is at most one thread for each name.
    """

    def __init__(self, allow_private: bool, look_up: LookUp = socket.getaddrinfo) -> None:
        self._allow_private = allow_private
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await _in_daemon_thread(lambda: self._look_up(host, port, family=family, type=socket.SOCK_STREAM))
        refused = [refusal(info[4][0]) for info in found]
        if not self._allow_private and found and all(refused):
            raise AddressRefused(f"{host} ({found[0][4][0]})", refused[0] or "")
        return [_resolved(host, info) for info in found]

    async def close(self) -> None:
        """Nothing is held."""


def _resolved(host: str, info: AddressInfo) -> ResolveResult:
    family, _, protocol, _, address = info
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address[0], port=address[1], family=family, proto=protocol, flags=flags)


async def _in_daemon_thread(call: Callable[[], list[Any]]) -> list[Any]:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[list[Any]] = loop.create_future()

    def settle(value: list[Any] | None, error: Exception | None) -> None:
        if result.done():  # whoever waited was cancelled
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value or [])

    def run() -> None:
        value, error = None, None
        try:
            value = call()
        except Exception as failure:  # noqa: BLE001 - carried over to the waiting task, whatever it is
            error = failure
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            if not loop.is_closed():
                raise

    threading.Thread(target=run, name="cdc-name-lookup", daemon=True).start()
    return await result
