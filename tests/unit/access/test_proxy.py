"""Who is behind a proxy; headers that anybody could write do not count."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cdc.access.proxy import client_address, is_local, network_of, trusts, vouched_name
from cdc.model.errors import AccessRefused

PROXIES = [ip_network("10.0.0.0/8"), ip_network("::1/128")]
PROXY = "10.1.2.3"


def test_only_named_proxies_are_trusted() -> None:
    assert trusts(PROXIES, PROXY)
    assert trusts(PROXIES, "::ffff:10.1.2.3")
    assert trusts(PROXIES, "::1")
    for peer in ("11.0.0.1", "", "unix:", "10.1.2.3.4", "fe80::1%eth0"):
        assert not trusts(PROXIES, peer)
    assert not trusts([], PROXY)


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        (PROXY, [], PROXY),
        (PROXY, ["198.51.100.9"], "198.51.100.9"),
        (PROXY, ["1.1.1.1, 198.51.100.9"], "198.51.100.9"),
        (PROXY, ["1.1.1.1", "198.51.100.9, 10.9.9.9"], "198.51.100.9"),
        (PROXY, ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (PROXY, ["1.1.1.1, nonsense"], PROXY),
        (PROXY, ["1.1.1.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        (PROXY, [" , "], PROXY),
        ("::ffff:10.1.2.3", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy(peer: str, headers: list[str], client: str) -> None:
    assert client_address(PROXIES, peer, headers) == client


def test_a_proxy_vouches_for_one_user_or_none() -> None:
    assert vouched_name(PROXIES, PROXY, [" Ann "]) == "Ann"
    assert vouched_name(PROXIES, PROXY, []) is vouched_name(PROXIES, PROXY, [" "]) is None
    assert vouched_name(PROXIES, "192.0.2.1", ["ann"]) is None
    assert vouched_name([], PROXY, ["ann"]) is None
    with pytest.raises(AccessRefused, match="more than one"):
        vouched_name(PROXIES, PROXY, ["eve", "ann"])


def test_local_is_this_machine_and_nobody_behind_a_proxy_on_it() -> None:
    for peer in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert is_local(peer, forwarded=False)
        assert not is_local(peer, forwarded=True)
    for peer in ("10.0.0.1", "", "localhost", "::"):
        assert not is_local(peer, forwarded=False)


def test_networks() -> None:
    assert network_of("192.0.2.1") == network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") == "2001:db8::/64"
    assert network_of("unix:/run/x") == "unix:/run/x"
