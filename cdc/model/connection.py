"""The connection to a FacturaScripts database, read from a URL or from its ``config.php`` (see `cdc.config`), and the
two database accounts of a source: one that installs and one for `cdc run`."""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

from cdc.model.errors import InstallError, printable_line

#: How to fix a login that a database refuses.
LOGIN_HINT: Final = (
    "Check user and password (FS_DB_USER and FS_DB_PASS in config.php, or url and password_file), and that the "
    "server accepts this user from this machine."
)


class Engine(StrEnum):
    """The protocol spoken; whether a MySQL-protocol server is MySQL or MariaDB is asked of the server itself."""

    MYSQL = "mysql"
    POSTGRESQL = "postgresql"


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of a database connection. ``mode``: libpq's words (disable, prefer, require, verify-ca, verify-full);
    the others are file paths, empty when not given."""

    mode: str = "prefer"
    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """``socket``: path of a Unix socket (MySQL) or its directory (PostgreSQL); wins over host and port when set.

    ``others``: hosts and ports of further PostgreSQL servers, tried in turn.  ``writable``: a server that takes no
    writes, as a standby, is passed over.
    """

    engine: Engine
    database: str
    user: str
    password: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    socket: str = ""
    tls: Tls = Tls()
    others: tuple[tuple[str, int], ...] = ()
    writable: bool = False

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        return ((self.host, self.port), *self.others)

    def describe(self) -> str:
        """Return a description for people and logs, never the password."""
        where = self.socket or ",".join(f"{host}:{port}" for host, port in self.servers)
        return f"{self.engine} database {self.database} at {where} as {self.user}"

    def as_user(self, user: str, password: str) -> ConnectionInfo:
        return replace(self, user=user, password=password)


#: Characters of an account's name (MariaDB takes more than MySQL), which PostgreSQL cuts without an error.
LONGEST: Final = {Engine.MYSQL: 32, Engine.POSTGRESQL: 63}
_PLAIN: Final = re.compile(r"[a-z0-9_-]+")
_DIGEST: Final = 10
_ENDS_AS_DIGEST: Final = re.compile(rf"_[a-z2-7]{{{_DIGEST}}}\Z")
#: Classes of characters of which servers may require one each.
_CLASSES: Final = [re.compile(each) for each in ("[a-z]", "[A-Z]", "[0-9]", "[_-]")]


class AccountRole(StrEnum):
    INSTALLER = "installer"
    CONSUMER = "consumer"


class Standing(Enum):
    """An account on the server.  ``OWN``: with rights on this database at most.  ``SHARED``: with rights on others,
    too.  ``FOREIGN``: one that administers the server, or writes to the ERP's tables."""

    ABSENT = "absent"
    OWN = "own"
    SHARED = "shared"
    FOREIGN = "foreign"


class KnownAccount(NamedTuple):
    """``host``: of MariaDB and MySQL."""

    standing: Standing
    host: str = "%"


@dataclass(frozen=True, slots=True)
class Account:
    """``password``: of an account that must be created; empty: it exists.  ``elsewhere``: it has rights on other
    databases, too."""

    name: str
    host: str = "%"
    password: str = field(default="", repr=False)
    elsewhere: bool = False


Accounts = Mapping[AccountRole, Account]


def own_name(source: str, role: AccountRole, longest: int, also: str = "") -> str:
    """Return the name of a source's account: ``cdc_SOURCE_ROLE``.  No other source has it: a name that is too long or
    has other characters gets a digest, and so does one that ends like a digest.  ``also``: makes it another one."""
    room = longest - len(f"cdc__{role}")
    middle = source
    if also or len(source) > room or not _PLAIN.fullmatch(source) or _ENDS_AS_DIGEST.search(source):
        digest = b32encode(sha256(f"{source}\0{also}".encode()).digest()).decode().lower()[:_DIGEST]
        plain = re.sub("[^a-z0-9_]+", "-", source.lower()).strip("-_")
        middle = f"{plain[: room - _DIGEST - 1]}_{digest}"
    return f"cdc_{middle}_{role}"


def new_password() -> str:
    """Return 192 random bits that need no escape in a URL, and that usual rules for passwords accept."""
    while True:
        password = secrets.token_urlsafe(24)
        if all(each.search(password) for each in _CLASSES):
            return password


@dataclass(frozen=True, slots=True)
class AccountChoice:
    """The accounts for which a command prints grants.

    ``configured``: those of the configuration: their names stay, unless they administer the server or write to the
    ERP's tables.  ``shared``: the same two accounts for all sources of a server.  ``printed``: servers and names of the
    accounts that statements printed before create."""

    source: str = "main"
    configured: dict[AccountRole, ConnectionInfo] = field(default_factory=dict)
    shared: bool = False
    printed: set[tuple[object, str]] = field(default_factory=set)

    def account(
        self, role: AccountRole, info: ConnectionInfo, known: Callable[[str], KnownAccount], installed: str = ""
    ) -> Account:
        """Return the account for this role in a database.  ``installed``: that which has installed; empty: none."""
        configured = self.configured.get(role)
        if configured is not None and (found := known(configured.user)).standing is not Standing.FOREIGN:
            return self._new(info, configured.user, found, configured.password)
        if installed and (found := known(installed)).standing in (Standing.OWN, Standing.SHARED):
            return self._new(info, installed, found)
        if self.shared:
            name = f"cdc_{role}"
            return self._new(info, name, known(name))
        longest = LONGEST[info.engine]
        names = [own_name(self.source, role, longest, also) for also in ("", info.database)]
        for name in names:
            if (found := known(name)).standing in (Standing.ABSENT, Standing.OWN):
                return self._new(info, name, found)
        raise InstallError(
            f"The accounts {' and '.join(names)} exist, and have rights on other databases than {info.database}.",
            f"Name an account of its own in [source.{self.source}]: user, admin_user.",
        )

    def _new(self, info: ConnectionInfo, name: str, found: KnownAccount, password: str = "") -> Account:
        key = (info.socket or info.servers, name)
        if found.standing is not Standing.ABSENT or key in self.printed:
            return Account(name, found.host, elsewhere=found.standing is Standing.SHARED)
        self.printed.add(key)
        return Account(name, found.host, password or new_password())


#: The risk of `cdc grants --shared`, for its help and its output.
SHARED_RISK: Final = (
    "One stolen account reads all tenants: the same two accounts have rights on every source's database."
)


def heading(choice: AccountChoice, accounts: Accounts) -> list[str]:
    """Return comments that say whose accounts these are, and how the configuration names them."""
    whose = "SHARED" if choice.shared else f"of the source {printable_line(choice.source)} alone"
    lines = [f"Accounts {whose}. Run this as an administrator of the server."]
    lines += [SHARED_RISK] if choice.shared else []
    if not choice.shared and (elsewhere := [each.name for each in accounts.values() if each.elsewhere]):
        names = printable_line(" and ".join(dict.fromkeys(elsewhere)))
        lines.append(f"WARNING: {names}, in use already, may reach other databases too: one stolen account reads them.")
        lines.append("Accounts of its own: other names for user and admin_user, see docs/operations.md.")
    if any(each.password for each in accounts.values()):
        lines.append("Passwords are shown this once: write each to a file of its own, and into cdc.toml, below")
    else:
        lines.append("In cdc.toml, below")
    lines.append(f"[source.{printable_line(choice.source)}]")
    for role, account in accounts.items():
        name, prefix = printable_line(account.name), "admin_" if role is AccountRole.INSTALLER else ""
        lines += [f'{prefix}user = "{name}"', f'{prefix}password_file = "/etc/facturascripts-cdc/{name}"']
    return [f"-- {line}" for line in lines]
