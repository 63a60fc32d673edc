"""The client of a reverse proxy: its address, and the user that the proxy vouches for.

Headers count only when the connection comes from a proxy that the configuration names; anybody else could write them.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from cdc.access.model import clean_name
from cdc.model.errors import AccessRefused, UsageError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
_CUSTOMER_BITS: Final = 64
#: Before an IPv4 address within IPv6.
_MAPPED_BITS: Final = 96


def trusts(proxies: Sequence[Network], peer: str) -> bool:
    """``peer``: the address of the connection's other end."""
    address = _address(peer)
    return address is not None and any(address in network for network in proxies)


def client_address(proxies: Sequence[Network], peer: str, forwarded_for: Sequence[str]) -> str:
    """Return the client's address.  ``forwarded_for``: the values of all X-Forwarded-For headers.  Each proxy appends
    the address of its peer: the last address that is not a trusted proxy is the client.  The client may have forged
    all addresses before it."""
    if not trusts(proxies, peer):
        return peer
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",") if hop.strip()]
    client = peer
    for hop in reversed(hops):
        if _address(hop) is None:
            break
        client = hop
        if not trusts(proxies, hop):
            break
    return client


def vouched_name(proxies: Sequence[Network], peer: str, values: Sequence[str]) -> str | None:
    """The user's name that a proxy of ours gives, None when it gives none.  ``values``: of all headers of the name that
    is configured.  Raises `AccessRefused` when there are several (the client sent one, and the proxy let it pass)."""
    if not trusts(proxies, peer):
        return None
    if len(values) > 1:
        raise AccessRefused(
            "The request names more than one user.", "Have the proxy remove the header of [web] trusted_header first."
        )
    return clean_name(values[0]) or None if values else None


#: Networks of one token or portal.
MOST_NETWORKS: Final = 50


def checked_networks(texts: Sequence[str]) -> tuple[str, ...]:
    """Return networks (or addresses) in their usual form; IPv4 within IPv6 is IPv4.  Raises `UsageError`."""
    found = [_network(text) for text in dict.fromkeys(map(str.strip, texts)) if text]
    if len(found) > MOST_NETWORKS:
        raise UsageError("These are too many networks.", f"At most {MOST_NETWORKS}: name larger ones.")
    return tuple(map(str, found))


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise UsageError(
            f"{text[:60]!r} is no network.",
            "Write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48, with no bits set after the length.",
        ) from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None:
        return network
    if network.prefixlen < _MAPPED_BITS:
        raise UsageError(f"{text[:60]!r} is no network.", "It holds all of IPv4: write 0.0.0.0/0 if that is meant.")
    return ip_network(f"{mapped}/{network.prefixlen - _MAPPED_BITS}")


def is_within(networks: Sequence[str], address: str) -> bool:
    """Return whether an address is in one of the networks (`checked_networks`), or there are none.  What is no address
    is in none."""
    if not networks:
        return True
    parsed = _address(address)
    return parsed is not None and any(parsed in ip_network(each) for each in networks)


#: Headers of requests that a proxy passed on.
FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


def is_local(peer: str, forwarded: bool) -> bool:
    """Return whether somebody on this machine asks.  ``forwarded``: a header says that a proxy passed the request on
    (Forwarded, X-Forwarded-For, Via …): the client may then be anywhere."""
    address = _address(peer)
    return address is not None and address.is_loopback and not forwarded


def network_of(address: str) -> str:
    """Return the part of an address that distinguishes customers: all of IPv4, the first 64 bits of IPv6; other texts
    as they are."""
    parsed = _address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, _CUSTOMER_BITS), strict=False))
    return str(parsed or address)


def plain_address(text: str) -> str:
    """Return an address or network as the audit log shows it: IPv4 within IPv6 as IPv4, without a scope; ``unknown``
    for other texts."""
    address, slash, bits = text.partition("/")
    parsed = _address(address)
    return "unknown" if parsed is None else f"{parsed}{slash}{bits}" if bits.isdecimal() else str(parsed)


def _address(text: str) -> Address | None:
    """IPv4 within IPv6 as IPv4; without a scope (fe80::1%eth0); None when it is none."""
    try:
        parsed = ip_address(text.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed
