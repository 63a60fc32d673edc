"""What every request shares: whom to ask, who may come in, the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from cdc import __version__
from cdc.access.model import Role
from cdc.admin.base import Service
from cdc.admin.endpoints import cut, unfinished
from cdc.admin.process import RunningProcess
from cdc.dispatch.address import public_url
from cdc.model.clock import Clock
from cdc.outbox.base import OutboxStore
from cdc.pages.session_auth import SessionAuth

#: The documentation.
_HELP: Final = "https://github.com/facturascripts-cdc/facturascripts-cdc/tree/main/docs"


def environment() -> Environment:
    loader = PackageLoader("cdc.pages", "templates")
    made = Environment(
        loader=loader,
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["public_url"] = public_url
    made.filters["plain"] = _plain
    made.filters["cut"] = cut
    made.filters["unfinished"] = unfinished
    made.globals |= {"version": __version__, "help": _HELP}
    return made


def _plain(text: str) -> str:
    """Sentences of the catalogue are Markdown."""
    return text.replace("`", "")


@dataclass(frozen=True)
class NavigationEntry:
    """An entry of the navigation, for those who may see its page (`Route`).  ``also``: a page that it leads to."""

    path: str
    title: str
    role: Role = Role.VIEWER
    every_source: bool = False
    also: str = ""

    def holds(self, path: str) -> bool:
        """Return whether the page at ``path`` is this one, or below it."""
        above = [each for each in (self.path, self.also) if each]
        return path in above or path.startswith(tuple(f"{each}/" for each in above if each != "/"))


@dataclass(frozen=True)
class Site:
    """What every request shares.  ``zone``: in which times are shown; None: in the browser's."""

    service: Service
    process: RunningProcess
    door: SessionAuth
    zone: tzinfo | None
    sections: Sequence[NavigationEntry]
    templates: Environment = field(default_factory=environment)

    @property
    def store(self) -> OutboxStore:
        return self.service.store

    @property
    def clock(self) -> Clock:
        return self.service.clock
