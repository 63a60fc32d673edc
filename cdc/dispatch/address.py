"""Guard against requests to inside addresses (SSRF).

Three layers, of which the last decides: `check_url` when an endpoint is added, `CheckedResolver` on the answer of the
name service (a clear error before any connection), and `EgressPolicy.guarded_socket` on the address to which a socket
is about to be connected, so that no second answer of the name service, odd spelling or redirect gets around it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from cdc.model.broker import SCHEMES, broker_url, server_urls
from cdc.model.endpoint import check_consumer, host_of, is_mail, is_pull, public_url, recipients
from cdc.model.errors import UsageError

Network = IPv4Network | IPv6Network
# An address as asyncio's and aiohttp's connecting functions pass it around: family, type, protocol, name, address.
AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]

# Networks by the reason for which they are refused; the first that holds an address names it.  Written out rather
# than taken from `ipaddress`, whose judgement of some of them differs between Python versions.
#: Where clouds hand out the credentials of machines and containers.  Nobody may reach these, nor anything else in
#: `_LINK_LOCAL`, who does not name them in allow_networks.
_METADATA = "a cloud metadata address"
_LINK_LOCAL = ip_network("169.254.0.0/16")
_REFUSED_4 = [
    (ip_network(network), kind)
    for network, kind in (
        ("169.254.169.254/32", _METADATA),  # most clouds
        ("169.254.170.2/32", _METADATA),  # Amazon's for containers (ECS)
        ("169.254.170.23/32", _METADATA),  # and for pods (EKS)
        ("169.254.0.23/32", _METADATA),  # Tencent's
        ("169.254.42.42/32", _METADATA),  # Scaleway's
        ("192.80.8.124/32", _METADATA),  # Equinix Metal's, in public space
        ("168.63.129.16/32", _METADATA),  # Azure's, in public space
        ("100.100.100.200/32", _METADATA),
        ("192.0.0.192/32", _METADATA),
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
        ("fd00:ec2::/32", _METADATA),  # Amazon's, also for pods (::23)
        ("fd20:ce::/32", _METADATA),  # Google's
        ("fd00:c1::/32", _METADATA),  # Oracle's
        ("fd00:42::/32", _METADATA),  # Scaleway's
        ("fd00:a9fe:a9fe::/48", _METADATA),  # Akamai's
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        ("fc00::/7", "a private address"),
        ("fe80::a9fe:a9fe/128", _METADATA),  # OpenStack's
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a private address"),  # site-local, of old
        ("ff00::/8", "a multicast address"),
        ("2001::/32", "a Teredo address"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a reserved address"),
        ("3fff::/20", "a reserved address"),
    )
]
#: Names that a proxy would look up to a metadata address, in whose network they mean something.
_METADATA_NAMES = frozenset(
    {
        *("metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"),
        *("metadata.tencentyun.com", "metadata.platformequinix.com", "metadata.packet.net"),
    }
)
_GLOBAL_6 = ip_network("2000::/3")  # all that is routed in public
_6TO4 = ip_network("2002::/16")
# Forms that carry an IPv4 address in their last 32 bits: mapped, translated (SIIT), NAT64.
_EMBEDDING_6 = [ip_network(n) for n in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")]


def _hidden(host: str) -> bool:
    """Return whether a host name contains percent escapes, which a resolver or proxy may decode."""
    return "%" in host and ":" not in host


class AddressRefused(OSError):
    """Deliveries may not go where one was to go; ``reason`` is one sentence with what to change."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(errno.EACCES, reason)

    @classmethod
    def inside(cls, address: str, kind: str) -> AddressRefused:
        return cls(
            f"{address} is {kind}, and deliveries to such addresses are not allowed (allow_private, allow_networks)."
        )

    @classmethod
    def by_name(cls, host: str) -> AddressRefused:
        """Return the refusal of a name.  It leaves out the address, which describes the inside network to outsiders."""
        return cls(
            f"{host} leads to an inside address, and deliveries to such addresses are not allowed (allow_private, "
            "allow_networks)."
        )


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """The addresses where deliveries may go besides public ones by https.

    ``private``: to every inside address; ``networks``: to those in them; ``plain``: by http; ``mail``: by e-mail.
    """

    private: bool = False
    networks: tuple[Network, ...] = ()
    plain: bool = False
    mail: bool = False

    def refusal(self, address: str) -> str | None:
        """Return the kind of inside address of this IP literal (for a sentence), None when deliveries may go there."""
        kind = refusal(address)
        metadata = kind == _METADATA or _in(address, (_LINK_LOCAL,))
        if self.private and not metadata:  # allow_private is meant for receivers, not for metadata
            return None
        return None if kind is not None and _in(address, self.networks) else kind

    def guarded_socket(self, address_info: AddressInfo) -> socket.socket:
        """A new socket for this address, or `AddressRefused`: aiohttp calls this for each that it connects to."""
        family, kind, protocol, _, address = address_info
        refused = self.refusal(address[0])
        if refused is not None:
            raise AddressRefused.by_name("The host")
        return socket.socket(family=family, type=kind, proto=protocol)

    def check_target(self, url: str) -> None:
        """Raise `AddressRefused` where the URL alone is reason enough; names are not looked up.  Where a proxy looks
        names up and connects, this is the only check."""
        for server in server_urls(url):
            parts = urlsplit(server)
            if _is_plain(parts.scheme) and not self.plain:
                where = parts.netloc.rpartition("@")[2]
                encrypted = ", and only https is allowed" if parts.scheme == "http" else ", which is not encrypted"
                raise AddressRefused(f"{where} is reached by {parts.scheme}{encrypted} (allow_http).")
            host = host_of(server)
            kind = self.literal_refusal(host)
            if kind is not None:
                raise AddressRefused.inside(host, kind)

    def literal_refusal(self, host: str) -> str | None:
        """`refusal` of a host that is an address in any spelling, this machine, or where a cloud keeps its metadata;
        None for other names.  ``host``: as `host_of` gives it."""
        name = host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return self.refusal("127.0.0.1") and self.refusal("::1")
        if name in _METADATA_NAMES:
            return _METADATA
        if _hidden(name):
            return "no host name"
        try:
            return self.refusal(name)
        except ValueError:
            pass  # a name, or one of the old spellings of an IPv4 address: 127.1, 0x7f000001, 2130706433
        try:
            return self.refusal(socket.inet_ntoa(socket.inet_aton(name)))
        except (OSError, UnicodeEncodeError):
            return None


def _in(address: str, networks: Sequence[Network]) -> bool:
    """Return whether the address, or the IPv4 address that a packet to it ends at, is in one of these networks."""
    ip = ip_address(address.partition("%")[0])
    embedded = _embedded(ip) if isinstance(ip, IPv6Address) else None
    return any(each in network for each in (ip, embedded) if each is not None for network in networks)


def _is_plain(scheme: str) -> bool:
    """Return whether the connection is not encrypted."""
    return scheme == "http" or (scheme in SCHEMES and not SCHEMES[scheme].tls)


def refusal(address: str) -> str | None:
    """Return the kind of inside address of this IP literal (for a sentence), None when it is a public address."""
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


def _check_mail(url: str, reach: EgressPolicy) -> str:
    recipients(url)
    if not reach.mail:
        raise UsageError(
            f"{url} gets its events by mail, and no mail server is configured.", "Set host and sender under [mail]."
        )
    return url


def check_spelling(url: str) -> None:
    """Raise `UsageError` for a host that is written in another way than it is looked up: what is shown, checked and
    stored is what deliveries go to."""
    for server in server_urls(url):
        written, host = urlsplit(server).hostname or "", host_of(server)
        if not is_mail(url) and not written.isascii():
            raise UsageError(f"The host {written} of the URL is looked up as {host}.", f"Write {host} in its place.")


def check_url(url: str, reach: EgressPolicy) -> str:
    """The URL itself when deliveries may be sent there, else `UsageError`.  No name is looked up."""
    if is_mail(url):
        return _check_mail(url, reach)
    if is_pull(url):
        return check_consumer(url)
    for server in server_urls(url):
        _check_server(server, reach)
    return url


def _check_server(url: str, reach: EgressPolicy) -> None:
    try:
        parts = urlsplit(url)
        host, _ = host_of(url), parts.port  # the port is parsed, and refused, only when asked for
    except ValueError:
        raise UsageError("The URL cannot be read.", "Write it as https://host[:port]/path.") from None
    shown = repr(public_url(url))
    if parts.scheme not in ("http", "https", *SCHEMES):
        raise UsageError(f"The URL {shown} is not http or https.", "Write it as https://host[:port]/path.")
    if "@" in parts.netloc:
        raise UsageError(
            f"The URL {shown} holds a user name or password.",
            "Leave them out: deliveries are authenticated by their signature.",
        )
    if not host or _hidden(host) or not url.isprintable() or " " in url:
        raise UsageError(f"The URL {shown} has no valid host or path.", "Write https://host[:port]/path.")
    kind = reach.literal_refusal(host)
    if kind is not None:
        raise UsageError(
            f"The URL {shown} leads to {kind}.",
            "Under [dispatch] set allow_private = true if receivers on this machine or network are meant, or "
            "allow_networks to those that may be reached.",
        )
    if parts.scheme in SCHEMES:
        broker_url(url)
    if _is_plain(parts.scheme) and not reach.plain:
        raise UsageError(
            f"The URL {shown} is {parts.scheme}: anyone on the way can read and change what is sent.",
            "Write https, or the encrypted scheme of a broker, or set allow_http = true under [dispatch].",
        )
