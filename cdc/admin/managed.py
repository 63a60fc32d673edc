"""Endpoints that a file describes: how those that are stored differ from it, and the changes that make them equal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from cdc.admin.base import UseCases
from cdc.admin.endpoints import Endpoints
from cdc.model.endpoint import CREDENTIALS, OPTIONS, Endpoint, authentication_of, origin_of
from cdc.model.errors import ConfigError, UsageError
from cdc.model.toml_lines import FilePlace

#: Fields that a file always describes, by a default where it does not name them.
_COMPARED: Final = ("url", "events", *(name for name, each in OPTIONS.items() if not each.unnamed_stays), "managed")


class Described(NamedTuple):
    """An endpoint in a file.  ``fields``: of `Endpoint`; one that is absent has its default, but headers stay.
    ``secret``: None leaves it.  ``enabled``: None leaves it.  ``adopts``: the id of a stored endpoint that it means.
    ``reads``: the files and variables that have secrets, a phrase each."""

    name: str
    place: FilePlace
    fields: Mapping[str, Any]
    secret: str | None = None
    signature: str | None = None
    enabled: bool | None = None
    adopts: str = ""
    reads: Sequence[str] = ()


class DescribedFile(NamedTuple):
    """``name``: the one that the file gives itself, by which its endpoints are marked; empty: they are marked by the
    name of the path, ``path_name``, without folders."""

    name: str
    path_name: str
    endpoints: Sequence[Described]

    @property
    def mark(self) -> str:
        return self.name or self.path_name


class Action(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    NONE = "none"
    #: It is no longer in the file, and nothing is removed.
    LEFT = "left"


class EndpointStep(NamedTuple):
    """``endpoint``: to be created, or as it is stored.  ``changes``: of an `EndpointChange`.  ``secret``: the one
    that the file names, where it is new."""

    action: Action
    name: str
    endpoint: Endpoint
    changes: Mapping[str, Any]
    secret: str | None = None

    @property
    def pending(self) -> bool:
        return self.action in (Action.CREATE, Action.CHANGE, Action.REMOVE)


def mark(file: str, name: str) -> str:
    """The value of `Endpoint.managed`.  ``file``: `DescribedFile.mark`."""
    return f"{file}:{name}"


class Managed(UseCases):
    def plan(self, file: DescribedFile, present: Sequence[Endpoint], *, prune: bool) -> list[EndpointStep]:
        """Return what is to be done; raises `ConfigError` with the place of an endpoint that cannot be.

        A file that got a name takes over its endpoints from before, with the same name and URL: others may be those of
        a file with the same path name."""
        if prune and not file.name:
            raise ConfigError(
                f"{file.path_name} has no name: --prune would also remove the endpoints of other files so called.",
                'Write name = "…" at its top, another one in each file.  Applied without --prune first, it takes over '
                "the endpoints that it describes.",
            )
        by_mark = {each.managed: each for each in present if each.managed}
        by_id = {each.id: each for each in present}
        steps, used = [], set[str]()
        for each in file.endpoints:
            former = by_mark.get(mark(file.path_name, each.name))
            same = former is not None and former.url == each.fields.get("url")
            found = by_mark.get(mark(file.mark, each.name)) or (former if same else by_id.get(each.adopts))
            if found is not None and found.id in used:
                raise ConfigError(f"{each.place}: another table of the file means the endpoint {found.id} too.")
            try:
                steps.append(self._step(mark(file.mark, each.name), each, found))
            except UsageError as error:
                raise ConfigError(f"{each.place}: endpoint {each.name}: {error.message}", error.hint) from None
            used |= {found.id} if found else set()
        gone = Action.REMOVE if prune else Action.LEFT
        rest = [each for each in present if each.id not in used and each.managed_by == file.mark]
        return steps + [EndpointStep(gone, each.managed.rpartition(":")[2], each, {}) for each in rest]

    def _step(self, managed: str, each: Described, found: Endpoint | None) -> EndpointStep:
        endpoints = Endpoints(self._service, self._principal)
        state: dict[str, Any] = {}
        if each.enabled is not None and each.enabled != (found is None or found.enabled):
            reason = "" if each.enabled else f"Disabled by {managed.rpartition(':')[0]}."
            state = {"enabled": each.enabled, "disabled_reason": reason}
        kept = {"credential": found.credential} if found is not None and each.fields.get("authentication") else {}
        made = endpoints.new({**kept, **each.fields, **state, "managed": managed}, each.secret, each.signature)
        if found is None:
            return EndpointStep(Action.CREATE, each.name, made, {}, each.secret)
        changes = state | _differences(made, found, each.fields.keys())
        secret = each.secret if each.secret != found.secret else None
        if changes:
            endpoints.changed(found, changes)
        return EndpointStep(Action.CHANGE if changes or secret else Action.NONE, each.name, found, changes, secret)

    async def carry_out(self, step: EndpointStep) -> None:
        """Each change is stored with its audit entry.  A new secret is rotated in: the former one signs too."""
        endpoints = Endpoints(self._service, self._principal)
        match step.action:
            case Action.CREATE:
                await endpoints.add(step.endpoint)
            case Action.REMOVE:
                await endpoints.remove(step.endpoint.id)
            case Action.CHANGE:
                if step.changes:
                    await endpoints.change(step.endpoint, step.changes)
                if step.secret is not None:
                    await endpoints.rotate_secret(step.endpoint.id, step.secret)


def _differences(made: Endpoint, found: Endpoint, named: Collection[str]) -> dict[str, Any]:
    """``named``: the fields that the file has.  A URL of another origin needs all credentials again."""
    names = [name for name in _COMPARED if getattr(made, name) != getattr(found, name)]
    stated = [
        name for name in CREDENTIALS if name in named or name not in _ONLY_NAMED or (name == "headers" and made.headers)
    ]
    names += [name for name in stated if name in _ONLY_NAMED and getattr(made, name) != getattr(found, name)]
    moved = _audiences(made) != _audiences(found)
    names = list(dict.fromkeys([*names, *(stated if moved else ())]))
    return {name: getattr(made, name) for name in names}


#: Credentials that stay where the file does not name them.
_ONLY_NAMED: Final = frozenset({"headers", "credential"})


def _audiences(endpoint: Endpoint) -> tuple[object, ...]:
    """Return the origins that get credentials of the endpoint."""
    settings = authentication_of(endpoint.authentication)
    return origin_of(endpoint.url), settings and settings.audience_origin
