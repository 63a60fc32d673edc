"""Somebody who visits the page."""

from __future__ import annotations

from dataclasses import dataclass

from cdc.access.model import Origin, Role


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who signed in.  ``csrf``: what forms must carry.  ``cookie``: a new one, for the browser to remember."""

    name: str
    role: Role
    csrf: str
    origin: Origin = Origin.PASSWORD
    cookie: str = ""

    @property
    def manages(self) -> bool:
        return self.role is Role.MANAGER
