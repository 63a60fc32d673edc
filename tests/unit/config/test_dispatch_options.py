"""Options of ``[dispatch]`` that say where deliveries may go, and by which way."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from cdc.config import Config, load_config
from cdc.config.write import effective_toml, masked
from cdc.model.errors import ConfigError


def load(folder: Path, text: str, **environment: str) -> Config:
    (folder / "cdc.toml").write_text(text, encoding="utf-8")
    return load_config(environment=environment, folder=folder)


def test_networks(tmp_path: Path) -> None:
    config = load(tmp_path, '[dispatch]\nallow_networks = ["10.1.0.0/16", "192.168.1.5", "fd12::/48"]\n')
    networks = (ip_network("10.1.0.0/16"), ip_network("192.168.1.5/32"), ip_network("fd12::/48"))
    assert config.dispatch.allow_networks == networks
    config = load(tmp_path, "", CDC_DISPATCH_ALLOW_NETWORKS="10.1.0.0/16, fd12::/48")
    assert config.dispatch.allow_networks == (networks[0], networks[2])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('allow_networks = ["10.1.2.3/16"]', "has '10.1.2.3/16', which is no network"),
        ('allow_networks = ["shop.example"]', "has 'shop.example', which is no network"),
        ('allow_networks = "10.1.0.0/16"', "is not a list of networks"),
        ("allow_networks = [10]", "is not a list of networks"),
        ('proxies = { dmz = "https://u:hunter2@proxy:1" }', "has no usable URL for 'dmz'"),
        ('proxies = { dmz = "proxy:3128" }', "has no usable URL for 'dmz'"),
        ('proxies = { dmz = "http://u:hunter2@proxy:1/path" }', "has no usable URL for 'dmz'"),
        ('proxies = { dmz = "http://u:hun ter2@proxy:1" }', "has no usable URL for 'dmz'"),
        ('proxies = { dmz = "http://u:hunter2@proxy:99999" }', "has no usable URL for 'dmz'"),
        ("proxies = 3", "proxies"),
        ("client_certificates = { bank = 3 }", "client_certificates"),
    ],
)
def test_what_is_refused_without_its_secrets(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, f"[dispatch]\n{text}\n")
    assert told in str(refused.value)
    assert "line 2" in str(refused.value)
    assert "ter2" not in str(refused.value)


def test_http_is_allowed_with_private_addresses(tmp_path: Path) -> None:
    def allowed(text: str) -> bool:
        return load(tmp_path, f"[dispatch]\n{text}\n").dispatch.http_allowed

    assert not allowed("")
    assert not allowed('allow_networks = ["10.1.0.0/16"]')
    assert allowed("allow_http = true")
    assert allowed("allow_private = true")


def test_proxies_are_shown_without_their_passwords(tmp_path: Path) -> None:
    text = '[dispatch]\nproxies = { dmz = "http://user:hunter2@proxy:3128", open = "http://proxy2:3128" }\n'
    config = load(tmp_path, text)
    assert config.dispatch.proxies["dmz"] == "http://user:hunter2@proxy:3128"
    assert masked(config)["dispatch"]["proxies"]["dmz"] == "http://user:***@proxy:3128"
    for shown in (effective_toml(config), repr(config), str(masked(config))):
        assert "hunter2" not in shown


@pytest.mark.parametrize("table", [True, False])
def test_certificates_are_relative_to_the_file(tmp_path: Path, table: bool) -> None:
    text = '[dispatch.client_certificates]\nbank = "certs/bank.pem"\nother = "/etc/other.pem"\n'
    if not table:
        text = '[dispatch]\nclient_certificates = { bank = "certs/bank.pem", other = "/etc/other.pem" }\n'
    found = load(tmp_path, text).dispatch.client_certificates
    assert found == {"bank": tmp_path / "certs" / "bank.pem", "other": Path("/etc/other.pem")}


def test_tables_in_the_environment(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '[dispatch.proxies]\nold = "http://old:1"\n',
        CDC_DISPATCH_PROXIES="dmz=http://user:a%3Db@proxy:3128, two=http://proxy2:1",
        CDC_DISPATCH_CLIENT_CERTIFICATES="bank=bank.pem",
    )
    assert config.dispatch.proxies == {"dmz": "http://user:a%3Db@proxy:3128", "two": "http://proxy2:1"}
    assert config.dispatch.client_certificates == {"bank": tmp_path / "bank.pem"}
