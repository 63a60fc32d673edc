"""Database URLs."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.config.url import DEFAULT_PORTS, TLS_MODES, mask_url, parse_database_url
from cdc.model.connection import ConnectionInfo, Engine, Tls
from cdc.model.errors import ConfigError


def test_everything_that_a_url_can_say() -> None:
    url = "mariadb://cd%40c:p%3Aw%2F@[::1]:3307/f%20s?ssl-mode=VERIFY_IDENTITY&ssl-ca=/ca.pem&ssl-cert=/c&ssl-key=/k&socket=/S.sock"
    assert parse_database_url(url, "url") == ConnectionInfo(
        Engine.MYSQL, "f s", "cd@c", "p:w/", "::1", 3307, "/S.sock", Tls("verify-full", "/ca.pem", "/c", "/k")
    )


def test_postgresql_spellings() -> None:
    info = parse_database_url("postgresql://u@%2Fvar%2FRun/d?sslmode=require&sslrootcert=/r", "url")
    assert (info.socket, info.port, info.tls.mode, info.tls.ca) == ("/var/Run", 5432, "require", "/r")
    info = parse_database_url("postgres://u@/d?host=/tmp/pg", "url")
    assert (info.socket, info.host) == ("/tmp/pg", "127.0.0.1")


def test_postgresql_servers_of_which_the_writable_one_is_used() -> None:
    info = parse_database_url("postgresql://u@one:5433,[::1]:5434,two/d", "url")
    assert info.servers == (("one", 5433), ("::1", 5434), ("two", 5432))
    assert info.writable
    assert info.describe() == "postgresql database d at one:5433,::1:5434,two:5432 as u"
    assert not parse_database_url("postgresql://u@one/d", "url").writable
    assert parse_database_url("postgresql://u@one/d?target_session_attrs=read-write", "url").writable


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("oracle://u@h/d", "'oracle://', which is not a database"),
        ("h/d", "no scheme"),
        ("mysql://h/d", "names no user"),
        ("mysql://u@h", "names no database name"),
        ("mysql://u@h:99999/d", "port"),
        ("mysql://u:hunter2/x@h/d", "names no user"),
        ("mysql://u@[::1/d", "not a URL"),
        ("postgresql://u:hunter2@one,[::1/d", "not a URL"),
        ("mysql://u@h/d?ssl-mode=maybe", "TLS mode 'maybe'"),
        ("mysql://u@one,two/d", "hosts that cannot be used"),
        ("postgresql://u@one,/d", "hosts that cannot be used"),
        ("postgresql://u@one,two:0/d", "port"),
        ("postgresql://u@h/d?target_session_attrs=any", "target_session_attrs='any'"),
        ("mysql://u@h/d?charset=utf8", "parameter 'charset'"),
    ],
)
def test_wrong_urls_name_the_place_and_never_the_password(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_database_url(url, "line 3, url")
    assert caught.value.message.startswith("line 3, url")
    assert caught.value.hint
    assert "hunter2" not in str(caught.value)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
infos = st.builds(
    ConnectionInfo,
    engine=st.sampled_from(Engine),
    database=words,
    user=words,
    password=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    host=st.sampled_from(["127.0.0.1", "db.example.org", "::1", "fe80::2"]),
    port=st.integers(1, 65535),
    socket=st.sampled_from(["", "/run/My Sockets/a&b=c.sock"]),
    tls=st.builds(Tls, mode=st.sampled_from(TLS_MODES), ca=st.sampled_from(["", "/etc/ca #1.pem"])),
)


def database_url(info: ConnectionInfo) -> str:
    """A URL that means ``info``."""
    host = f"[{info.host}]" if ":" in info.host else info.host
    secret = f":{quote(info.password, safe='')}" if info.password else ""
    values = {"ssl-mode": info.tls.mode, "ssl-ca": info.tls.ca, "socket": info.socket}
    query = urlencode({name: value for name, value in values.items() if value})
    account, database = f"{quote(info.user, safe='')}{secret}", quote(info.database, safe="")
    return f"{info.engine}://{account}@{host}:{info.port}/{database}?{query}"


@given(infos)
def test_urls_round_trip(info: ConnectionInfo) -> None:
    assert parse_database_url(database_url(info), "url") == info


@given(infos.filter(lambda info: len(info.password) > 3))
def test_masked_urls_hold_no_password(info: ConnectionInfo) -> None:
    masked = mask_url(database_url(info))
    assert ":***@" in masked
    assert parse_database_url(masked, "url") == info.as_user(info.user, "***")


def test_masking_other_urls() -> None:
    assert mask_url("sqlite:////var/cdc.db") == "sqlite:////var/cdc.db"
    assert mask_url("mysql://u@h/d?password=x&socket=/s") == "mysql://u@h/d?password=***&socket=/s"
    for unreadable in ("mysql://u:p@[::1/d", "mysql://u:1/x@h/d", "mysql://u:p?x@h/d", "mysql://u:p#x@h/d"):
        assert mask_url(unreadable) == "***"
    assert mask_url("postgresql://u:p@[::1]:1,two,[::2]/d") == "postgresql://u:***@[::1]:1,two,[::2]/d"
    assert set(DEFAULT_PORTS) == set(Engine)
