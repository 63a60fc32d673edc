"""The output of ``cdc grants``: its two scripts, and the accounts that it creates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cdc.model.connection import AccountRole, ConnectionInfo
from support.consumer import database_url

_CREATED = re.compile(
    r"""^CREATE\ (?:USER\ '(?P<mysql>[^']+)'@'%'\ IDENTIFIED\ BY\ '(?P<secret>[^']+)'
    |ROLE\ "(?P<postgres>[^"]+)"\ LOGIN(?:\ REPLICATION)?\ PASSWORD\ '(?P<password>[^']+)');$""",
    re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True)
class PrintedGrants:
    """``before`` and ``after`` the installation.  ``passwords``: name → password of the accounts that it creates."""

    text: str
    before: str
    after: str
    passwords: dict[str, str]

    @staticmethod
    def read(text: str) -> PrintedGrants:
        first, _, second = text.partition("-- 2.")
        created = {
            match["mysql"] or match["postgres"]: match["secret"] or match["password"]
            for match in _CREATED.finditer(text)
        }
        return PrintedGrants(text, first, f"-- 2.{second}", created)

    def name(self, role: AccountRole) -> str:
        (name,) = [each for each in self.passwords if each.endswith(f"_{role}")]
        return name

    def account(self, info: ConnectionInfo, role: AccountRole) -> ConnectionInfo:
        return info.as_user(self.name(role), self.passwords[self.name(role)])

    def source(self, info: ConnectionInfo, options: str = "", name: str = "main") -> str:
        """Return the source's table in the configuration, which names the accounts by URLs."""
        lines = [f"[source.{name}]", f'url = "{database_url(self.account(info, AccountRole.CONSUMER))}"']
        if any(each.endswith(f"_{AccountRole.INSTALLER}") for each in self.passwords):
            lines.append(f'admin_url = "{database_url(self.account(info, AccountRole.INSTALLER))}"')
        return "\n".join([*lines, options, ""])

    def named_source(self, folder: Path, info: ConnectionInfo, options: str = "", name: str = "main") -> str:
        """The same by names and files of passwords, as the output says.  ``info``: of FacturaScripts' own account."""
        lines = [f"[source.{name}]", f'url = "{database_url(info)}"']
        for account, password in self.passwords.items():
            (folder / account).write_text(password, encoding="utf-8")
            prefix = "admin_" if account.endswith(f"_{AccountRole.INSTALLER}") else ""
            lines += [f'{prefix}user = "{account}"', f'{prefix}password_file = "{folder / account}"']
        return "\n".join([*lines, options, ""])
