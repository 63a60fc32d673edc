"""The caller of a use case, and the objects that it may see and change.

A principal of some sources sees and manages what is of these sources, and nothing else.  An endpoint is theirs when it
names sources, all of them theirs; an event when its source is; a delivery, and a backfill, when its event (its source)
and its endpoint are.  Everything else is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from cdc.access.model import Allowance
from cdc.model.delivery import EventFilter
from cdc.model.endpoint import Endpoint, is_mail
from cdc.model.errors import UsageError
from cdc.model.event import OPERATIONS
from cdc.model.operation import OPERATION_TYPES
from cdc.outbox.shared import Subscriber, no_endpoint

Filter = TypeVar("Filter", bound=EventFilter)


@dataclass(frozen=True, slots=True)
class Principal:
    """``name``: for the audit log (``user:ann``, ``token:shop``, ``cli:root``).  ``sources``: those that it sees and
    manages; empty: all.  ``allowed``: what it may do beyond them.  ``operator``: it has the configuration and its
    accounts."""

    name: str
    sources: tuple[str, ...] = ()
    allowed: tuple[Allowance, ...] = ()
    operator: bool = False

    @property
    def source_list(self) -> str:
        """Return the sources as part of a sentence."""
        return ", ".join(sorted(self.sources))

    def sees(self, source: str) -> bool:
        return not self.sources or source in self.sources

    def owns(self, sources: Sequence[str]) -> bool:
        """Return whether something of these sources is this principal's."""
        return not self.sources or (bool(sources) and set(self.sources).issuperset(sources))

    def narrowed(self, which: Filter) -> Filter:
        return replace(which, sources=tuple(sorted(self.sources))) if self.sources else which

    def check_touchable(self, endpoint: Endpoint) -> None:
        """Raise `NotFound` for an endpoint of others, and `UsageError` for one that may only be looked at."""
        if not self.sources:
            return
        if not self.owns(endpoint.sources):
            raise no_endpoint(endpoint.id)
        if is_mail(endpoint.url) and Allowance.MAIL not in self.allowed:
            raise _no_mail()
        if not endpoint.has_credentials or Allowance.CREDENTIALS in self.allowed or self.owns(endpoint.credentials_of):
            return
        raise UsageError(
            "With access to some sources only, you cannot change an endpoint whose headers, authentication, proxy "
            "or certificate somebody with more rights set.",
            "Ask the operator to change it, or for a token with --allow credentials.",
        )

    def check_fields(self, fields: Mapping[str, Any]) -> None:
        """Raise `UsageError` for new fields of an endpoint that this principal may not give."""
        if not self.sources:
            return
        if "sources" in fields and not self.owns(fields["sources"]):
            raise UsageError("You have access to some sources only.", f"Name one or more of {self.source_list}.")
        asked = Subscriber(0, tuple(fields.get("events", ())))
        if any(asked.names(kind.name, OPERATIONS) and kind.subject == "component" for kind in OPERATION_TYPES):
            raise UsageError(
                "With access to some sources only, you cannot select events of components, which concern all.",
                "Name events of records, such as invoice.*, or endpoint.* and source.*.",
            )
        if is_mail(fields.get("url", "")) and Allowance.MAIL not in self.allowed:
            raise _no_mail()
        if Allowance.CREDENTIALS not in self.allowed and (fields.get("proxy") or fields.get("client_certificate")):
            raise UsageError(
                "With access to some sources only, you cannot use the operator's proxies and client certificates.",
                "Ask the operator to set them, or for a token with --allow credentials.",
            )

    def credentials_of(self, fields: Mapping[str, Any], endpoint: Endpoint | None = None) -> Mapping[str, Any]:
        """Return the field that says whose the credentials are: this principal's, where all that remain are headers
        and authentication that it gives or gave.  Proxies and certificates of the configuration stay the operator's."""
        others = [fields.get(name, getattr(endpoint, name, "")) for name in ("proxy", "client_certificate")]
        given = fields.keys() & {"headers", "authentication", "credential"}
        if not self.sources or any(others) or not given:
            return {}
        if endpoint is not None and not self.owns(endpoint.credentials_of):
            kept = [*(["headers"] if endpoint.headers else []), *(["credential"] if endpoint.credential else [])]
            if any(name not in fields for name in kept):
                return {}
        return {"credentials_of": tuple(sorted(self.sources))}


#: Whom the catalogue is shown where it is public: of all sources, and nothing else of them.
STRANGER: Final = Principal("stranger")


def _no_mail() -> UsageError:
    return UsageError(
        "With access to some sources only, you cannot have events sent by mail.",
        "Ask the operator to add it, or for a token with --allow mail.",
    )
