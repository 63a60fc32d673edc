"""A source that compares does not know what it has not compared yet: there is nothing to be asked from outside."""

from __future__ import annotations

from yarl import URL

from cdc.capture.probe import Backlog
from cdc.model.position import Position


class RestProbe:
    """A `cdc.capture.probe.Probe` that asks nothing: each question would take from the budget of requests."""

    def __init__(self, url: str) -> None:
        self._host = URL(url).host or ""

    @property
    def server(self) -> str:
        return f"FacturaScripts API v3 at {self._host}"

    async def ask(self, position: Position | None) -> Backlog | None:  # noqa: ARG002 - the protocol's; an API has no end to be behind
        return None

    async def close(self) -> None:
        pass
