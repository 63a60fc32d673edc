"""A sign-in service on a store in memory, with a clock that does not run and quick hashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import bcrypt

from cdc.access.model import Role
from cdc.access.password import FacturaScriptsUser, Passwords
from cdc.access.sign_in import SignedIn, SignIn
from cdc.admin.accounts import Accounts
from cdc.model.errors import SourceUnavailable
from support.manual_clock import ManualClock
from support.memory_outbox import MemoryAccess

GOOD = "correct horse battery"
ADDRESS = "192.0.2.1"


@dataclass
class Theirs:
    """`FacturaScriptsUsers` of a database that takes names for equal as MariaDB does: case and blanks do not count."""

    users: dict[str, FacturaScriptsUser] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)

    def add(self, nick: str, password: str, *, admin: bool = True, enabled: bool = True, totp_secret: str = "") -> None:
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
        self.users[nick.casefold()] = FacturaScriptsUser(nick, admin, enabled, hashed, totp_secret)

    async def find(self, nick: str) -> FacturaScriptsUser | None:
        self.asked.append(nick)
        if self.away:
            raise SourceUnavailable("The database does not answer.", "Is it up?")
        return self.users.get(nick.casefold().strip())


class Door:
    """Store, clock and services together."""

    def __init__(self, theirs: Theirs | None = None, passwords: Passwords | None = None) -> None:
        self.store = MemoryAccess()
        self.clock = ManualClock()
        self.passwords = passwords or Passwords(passes=1, kibibytes=64)
        self.accounts = Accounts(self.store, self.clock, passwords=self.passwords)
        self.sign_in = SignIn(self.store, self.clock, theirs=theirs, passwords=self.passwords)

    async def add(self, name: str = "ann", role: Role = Role.MANAGER, password: str | None = GOOD) -> None:
        await self.accounts.add_user("cli:root", name, role, password)

    async def enter(self, name: str = "ann", password: str = GOOD, code: str = "", **more: Any) -> SignedIn:
        return await self.sign_in.with_password(name, password, code, **({"address": ADDRESS} | more))
