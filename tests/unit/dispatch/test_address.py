"""Where deliveries may go."""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.dispatch.address import AddressRefused, EgressPolicy, check_spelling, check_url, refusal
from cdc.dispatch.connection import CheckedResolver
from cdc.model.endpoint import public_url
from cdc.model.errors import UsageError

INSIDE = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "reserved",
    "10.1.2.3": "private",
    "100.64.0.1": "CGNAT",
    "100.100.100.200": "metadata",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "metadata",
    "169.254.1.1": "link-local",
    "169.254.169.254": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "metadata",
    "192.0.2.1": "reserved",
    "192.88.99.1": "reserved",
    "192.168.1.1": "private",
    "198.18.0.1": "reserved",
    "198.51.100.1": "reserved",
    "203.0.113.1": "reserved",
    "224.0.0.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "reserved",  # IPv4-compatible
    "::ffff:127.0.0.1": "loopback",
    "::ffff:0:10.0.0.1": "private",
    "64:ff9b::a9fe:a9fe": "metadata",
    "64:ff9b:1::1": "reserved",
    "100::1": "reserved",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:20::1": "reserved",
    "2001:db8::1": "reserved",
    "2002:7f00:1::": "loopback",
    "2002:a9fe:a9fe::1": "metadata",
    "2002:101:101::1": "6to4",
    "2a00:1450::5efe:10.0.0.1": "private",  # ISATAP
    "2a00:1450::200:5efe:192.168.0.1": "private",
    "3fff::1": "reserved",
    "5f00::1": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "metadata",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "private",
    "ff02::1": "multicast",
}
OUTSIDE = [
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4003::200e",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
]


@pytest.mark.parametrize(("address", "kind"), INSIDE.items())
def test_inside_addresses_are_refused_by_name(address: str, kind: str) -> None:
    assert kind in (refusal(address) or "allowed")


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_addresses_are_allowed(address: str) -> None:
    assert refusal(address) is None


@given(st.one_of(st.ip_addresses(), st.from_type(IPv6Address), st.from_type(IPv4Address)))
def test_whatever_python_calls_not_global_is_refused(ip: IPv4Address | IPv6Address) -> None:
    if not ip.is_global or ip.is_multicast or ip.is_loopback or ip.is_link_local or ip.is_private:
        mapped = isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None
        assert mapped or refusal(str(ip)) is not None


@given(st.ip_addresses(v=4))
def test_ipv6_forms_are_judged_as_the_ipv4_address_they_end_at(ip: IPv4Address) -> None:
    number = int(ip)
    for form in (0xFFFF << 32 | number, 0x64FF9B << 96 | number):
        assert refusal(str(IPv6Address(form))) == refusal(str(ip))
    assert refusal(str(IPv6Address(0x2002 << 112 | number << 80))) == (refusal(str(ip)) or "a 6to4 address")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x",
        "http://LOCALHOST./x",
        "http://erp.localhost:8080/x",
        "http://127.0.0.1:1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25eth0]/",
        "https://192.168.0.10/hook",
        "https://①②⑦.0.0.1/",
        "https://127。0。0。1/",
        "https://localho\u017ft/",
        "https://ⓁⓄⒸⒶⓁⒽⓄⓈⓉ/",
    ],
)
def test_inside_urls_need_allow_private(url: str) -> None:
    with pytest.raises(UsageError, match="allow_private = true"):
        check_url(url, EgressPolicy(plain=True))
    assert check_url(url, EgressPolicy(private=True, plain=True)) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://\uff1169.254.169.254/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://2852039166/",
        "https://metadata.google.internal/computeMetadata/v1/",
        "http://METADATA.google.internal./",
        "http://169.254.170.2/v2/credentials/",  # Amazon ECS
        "http://169.254.170.23/v1/credentials",  # Amazon EKS
        "http://[fd00:ec2::23]/v1/credentials",
        "http://[fd00:ec2::254]/latest/",
        "http://[::ffff:169.254.170.2]/",
        "http://[64:ff9b::a9fe:aa17]/",  # the same by NAT64
        "http://0xa9feaa02/",
        "http://169.254.43522/",
        "http://169.254.0.23/",  # Tencent
        "http://169.254.42.42/",  # Scaleway
        "http://[fd00:42::42]/",
        "http://[fd20:ce::254]/",  # Google
        "http://[fd00:c1::a9fe:a9fe]/opc/v2/",  # Oracle
        "http://[fd00:a9fe:a9fe::1]/",  # Akamai
        "http://[fe80::a9fe:a9fe]/",  # OpenStack
        "http://100.100.100.200/",  # Alibaba
        "http://metadata.tencentyun.com/",
    ],
)
def test_metadata_urls_are_refused_even_under_allow_private(url: str) -> None:
    for reach in (EgressPolicy(plain=True), EgressPolicy(private=True, plain=True)):
        with pytest.raises(UsageError, match="a cloud metadata address"):
            check_url(url, reach)
        with pytest.raises(AddressRefused, match="a cloud metadata address"):
            reach.check_target(url)


@pytest.mark.parametrize("address", ["169.254.1.1", "169.254.169.123", "::ffff:169.254.9.9"])
def test_link_local_addresses_are_refused_even_under_allow_private(address: str) -> None:
    assert EgressPolicy(private=True).refusal(address) is not None
    assert EgressPolicy(networks=(ip_network("169.254.0.0/16"),)).refusal(address) is None


@pytest.mark.parametrize("url", ["https://münchen.example/hook", "https://\uff1192.0.2.1/", "https://a。example/"])
def test_host_that_is_looked_up_in_another_spelling_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is looked up as"):
        check_spelling(url)


@pytest.mark.parametrize("url", ["https://receiver.example/ñ", "https://127.1/", "mailto:ñ@example.com"])
def test_host_in_plain_letters_may_be_written_so(url: str) -> None:
    check_spelling(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://%31%32%37.0.0.1/",
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "receiver.example/hook",
        "//receiver.example/",
        "http://",
        "http:///path",
        "http://:80/",
        "http://receiver.example:99999/",
        "http://receiver.example:x/",
        "http://[::1/",
        "http://receiver.example/a b",
        "http://receiver.example/\r\nX: y",
        "",
        "https://user@receiver.example/",
        "https://user:hunter2@receiver.example/",
        "https://:hunter2@receiver.example/?token=hunter2",
    ],
)
def test_unusable_urls_are_refused_without_their_secrets(url: str) -> None:
    for private in (False, True):
        with pytest.raises(UsageError) as caught:
            check_url(url, EgressPolicy(private, plain=True))
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://receiver.example/hook?x=1", "http://1.1.1.1:8080/", "https://[2606:4700::1111]/"]
)
def test_public_urls_pass(url: str) -> None:
    assert check_url(url, EgressPolicy(plain=True)) == url


def test_logged_urls_hold_no_secrets() -> None:
    assert public_url("https://u:p@receiver.example:8443/hook?token=s#f") == "https://receiver.example:8443/…"


@given(st.ip_addresses())
def test_no_socket_for_an_inside_address(ip: IPv4Address | IPv6Address) -> None:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    info = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(ip), 80))
    if refusal(str(ip)) is None:
        EgressPolicy().guarded_socket(info).close()
    else:
        with pytest.raises(AddressRefused, match="not allowed"):
            EgressPolicy().guarded_socket(info)


def answers(*addresses: str) -> Any:
    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "receiver.example"
        assert threading.current_thread().daemon
        return [
            (
                socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in addresses
        ]

    return look_up


async def test_a_name_that_leads_inside_is_refused_without_its_address() -> None:
    resolver = CheckedResolver(EgressPolicy(), look_up=answers("10.0.0.7", "::1"))
    with pytest.raises(AddressRefused) as caught:
        await resolver.resolve("receiver.example", 443)
    assert "receiver.example leads to an inside address" in caught.value.reason
    assert "10.0.0.7" not in caught.value.reason


async def test_a_name_with_a_public_address_resolves() -> None:
    resolver = CheckedResolver(EgressPolicy(), look_up=answers("10.0.0.7", "1.1.1.1"))
    assert [found["host"] for found in await resolver.resolve("receiver.example", 443)] == ["1.1.1.1"]


async def test_allow_private_resolves_everything() -> None:
    resolver = CheckedResolver(EgressPolicy(private=True), look_up=answers("127.0.0.1"))
    found = await resolver.resolve("receiver.example", 443)
    assert [(entry["host"], entry["port"]) for entry in found] == [("127.0.0.1", 443)]
