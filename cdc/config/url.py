"""Database URLs: ``mysql://user:password@host:3306/database?ssl-mode=require`` and the like → `ConnectionInfo`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from cdc.model.connection import ConnectionInfo, Engine, Tls
from cdc.model.errors import ConfigError

_ENGINES = {
    "mysql": Engine.MYSQL,
    "mariadb": Engine.MYSQL,
    "postgresql": Engine.POSTGRESQL,
    "postgres": Engine.POSTGRESQL,
}
DEFAULT_PORTS = {Engine.MYSQL: 3306, Engine.POSTGRESQL: 5432}
_EXAMPLES = {
    Engine.MYSQL: "mysql://cdc:password@db.example.org:3306/facturascripts",
    Engine.POSTGRESQL: "postgresql://cdc:password@db.example.org:5432/facturascripts",
}
_ENCODING = "In a user or password write @ : / ? # [ ] % as %40 %3A %2F %3F %23 %5B %5D %25."
#: The substitute for a secret in texts for people.
MASK = "***"
TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
# What each engine's own clients call the modes (compared without case, _ as -), in libpq's words.
_TLS_WORDS = {
    "disabled": "disable",
    "allow": "prefer",
    "preferred": "prefer",
    "required": "require",
    "verify-identity": "verify-full",
    **{mode: mode for mode in TLS_MODES},
}
# Query parameters, each engine's spelling of the same thing.
_PARAMETERS = {
    "mode": ("ssl-mode", "sslmode"),
    "ca": ("ssl-ca", "sslrootcert"),
    "certificate": ("ssl-cert", "sslcert"),
    "key": ("ssl-key", "sslkey"),
    "socket": ("socket", "unix-socket", "host"),
    "password": ("password",),
    "user": ("user",),
    "session": ("target-session-attrs",),
}
#: Values of target_session_attrs: the program writes to every database.
_WRITABLE = ("read-write", "primary")


def parse_database_url(url: str, where: str) -> ConnectionInfo:
    """Read a URL.  ``where`` names its place in the configuration for errors, which never show the URL itself."""
    parts, named = _split(url, where)
    engine = _ENGINES.get(parts.scheme.lower())
    if engine is None:
        raise ConfigError(
            f"{where} begins with {parts.scheme + '://' if parts.scheme else 'no scheme'!r}, which is not a database.",
            "Write mysql://, mariadb:// or postgresql://.",
        )
    values = _parameters(parts.query, where)
    host = _host(named[0])
    user = unquote(parts.username or "") or values.get("user", "")
    database = unquote(parts.path.removeprefix("/"))
    for missing, value in (("user", user), ("database name", database)):
        if not value:
            raise ConfigError(f"{where} names no {missing}.", f"Write it like {_EXAMPLES[engine]}. {_ENCODING}")
    (_, port), *others = _servers(named, engine, where)
    mode = tls_mode(values["mode"], where) if "mode" in values else "prefer"
    return ConnectionInfo(
        engine=engine,
        database=database,
        user=user,
        password=unquote(parts.password or "") or values.get("password", ""),
        host="127.0.0.1" if host.startswith("/") or not host else host,
        port=port,
        socket=values.get("socket", host if host.startswith("/") else ""),
        tls=Tls(mode, values.get("ca", ""), values.get("certificate", ""), values.get("key", "")),
        others=tuple(others),
        writable=_writable(values, where) or bool(others),
    )


def _writable(values: Mapping[str, str], where: str) -> bool:
    session = values.get("session", "")
    if session and session not in _WRITABLE:
        raise ConfigError(
            f"{where} has target_session_attrs={session!r}, and cdc writes to the database.",
            f"Write target_session_attrs={_WRITABLE[0]}, or leave it out.",
        )
    return bool(session)


def _servers(named: list[str], engine: Engine, where: str) -> list[tuple[str, int]]:
    """Return hosts and ports: of PostgreSQL several may be named, with commas, as libpq writes them."""
    if len(named) == 1:
        return [(_host(named[0]), _port(named[0], engine, where))]
    if engine is not Engine.POSTGRESQL or not all(_host(each) for each in named):
        raise ConfigError(
            f"{where} has a list of hosts that cannot be used.",
            "Only a PostgreSQL URL may name several, each with a host: postgresql://user:password@one:5432,two:5432/db",
        )
    return [(_host(each), _port(each, engine, where)) for each in named]


def tls_mode(word: str, where: str) -> str:
    """A TLS mode in libpq's words, from libpq's or the MySQL client's."""
    mode = _TLS_WORDS.get(word.strip().lower().replace("_", "-"))
    if mode is None:
        raise ConfigError(f"{where} has the TLS mode {word!r}, which does not exist.", f"Use {', '.join(TLS_MODES)}.")
    return mode


def mask_url(url: str) -> str:
    """Return ``url`` with its password, wherever it is, replaced by ``***``; for people only.  One that cannot be
    read is replaced as a whole."""
    try:
        parts, servers = _split_servers(url)
    except ValueError:
        return MASK
    account, at, _ = parts.netloc.rpartition("@")
    if parts.netloc and not at and "@" in url:
        return MASK  # the / ? or # of a password ended what should have been the account
    user, colon, _ = account.partition(":")
    network = f"{user}{f':{MASK}' if colon else ''}{at}{','.join(servers)}"
    query = "&".join(
        f"{name}={MASK}" if name.lower() in _PARAMETERS["password"] else f"{name}={quote(value, safe='/')}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    # Put together by hand: urlunsplit drops the empty authority of sqlite:///path.
    return f"{parts.scheme}://{network}{parts.path}{'?' + query if query else ''}"


def _split(url: str, where: str) -> tuple[SplitResult, list[str]]:
    try:
        return _split_servers(url.strip())
    except ValueError:  # its text may quote the URL, and with it the password
        raise ConfigError(
            f"{where} is not a URL that can be read.",
            f"An IPv6 address stands in brackets. {_ENCODING}",
        ) from None


def _split_servers(url: str) -> tuple[SplitResult, list[str]]:
    """Return the parts of the URL with the first of its servers, and all of them: newer releases of each Python refuse
    brackets in a list.  Raises `ValueError`."""
    authority = re.match(r"[^:/?#]*://([^/?#]*)", url)
    if authority is None:
        return urlsplit(url), [""]
    servers = authority[1].rpartition("@")[2].split(",")
    first = authority.end() - sum(len(server) + 1 for server in servers[1:])
    parts = urlsplit(url[:first] + url[authority.end() :])
    for server in servers[1:]:
        urlsplit(f"//{server}")
    return parts, servers


def _host(host: str) -> str:
    """Return the host of ``host:port``, or a socket's path written %2Fvar%2Frun as libpq allows;
    `SplitResult.hostname` would lower its case."""
    return host[1:].partition("]")[0] if host.startswith("[") else unquote(host.partition(":")[0])


def _port(host: str, engine: Engine, where: str) -> int:
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigError(
            f"{where} has a port that is not a number from 1 to 65535.",
            _ENCODING,
        )
    return port or DEFAULT_PORTS[engine]


def _parameters(query: str, where: str) -> Mapping[str, str]:
    known = {spelling: name for name, spellings in _PARAMETERS.items() for spelling in spellings}
    values: dict[str, str] = {}
    for parameter, value in parse_qsl(query, keep_blank_values=True):
        name = known.get(parameter.lower().replace("_", "-"))
        if name is None:
            raise ConfigError(
                f"{where} has the parameter {parameter!r}, which is not known.",
                "Known: " + ", ".join(spellings[0] for spellings in _PARAMETERS.values()) + ".",
            )
        values[name] = value
    return values
