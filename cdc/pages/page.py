"""One request by one principal: the input of a view, its answer, and the resources that all requests share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import cache, lru_cache
from http import HTTPStatus
from itertools import islice
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web
from heroicons.jinja import heroicon_micro, heroicon_mini
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from multidict import MultiMapping

from cdc import __version__
from cdc.access.model import Role
from cdc.admin.admin import Admin
from cdc.admin.base import Service
from cdc.admin.endpoints import cut, unfinished
from cdc.admin.principal import STRANGER, Principal
from cdc.admin.process import RunningProcess
from cdc.api.application import body_seconds
from cdc.api.token_auth import RateLimit
from cdc.language import LANGUAGES
from cdc.model.clock import Clock
from cdc.model.colour import lightened
from cdc.model.endpoint import public_url, shown_url
from cdc.model.errors import CdcError
from cdc.outbox.store import OutboxStore
from cdc.pages.language import Language
from cdc.pages.session_auth import SessionAuth, SessionPrincipal

#: The lightest surface of the dark theme of ``page.css`` that links are on.
_DARK_SURFACE: Final = "#2a2f35"
_PROGRAM: Final = "facturascripts-cdc"
#: Icons up to this size (pixels) are drawn with fewer details.
_MICRO: Final = 16


@dataclass(frozen=True, slots=True)
class Brand:
    """``accent``: ``#rrggbb``, readable on light surfaces; empty: the program's.  ``logo``: its content type and bytes;
    None: there is none."""

    name: str = _PROGRAM
    accent: str = ""
    logo: tuple[str, bytes] | None = None

    @property
    def style(self) -> str:
        """Return the stylesheet that goes after ``page.css``; empty where the colour is the program's."""
        if not self.accent:
            return ""
        dark = f"{{ --accent: {lightened(self.accent, _DARK_SURFACE)}; --accent-ink: #10151a; }}"
        return (
            f":root {{ --accent: {self.accent}; --accent-ink: #ffffff; }}\n"
            f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {dark} }}\n'
            f':root[data-theme="dark"] {dark}\n'
        )


#: The documentation.
_HELP: Final = "https://github.com/facturascripts-cdc/facturascripts-cdc/tree/main/docs"


#: Of all other pages.
_OWN_BRAND: Final = Brand()


@cache
def environment() -> Environment:
    """Return the templates: one set in a process, each compiled when it is first shown."""
    loader = PackageLoader("cdc.pages", "templates")
    made = Environment(
        loader=loader,
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"public_url": public_url, "shown_url": shown_url}
    made.filters["plain"] = _plain
    made.filters["moment"] = datetime.fromisoformat
    made.filters["cut"] = cut
    made.filters["unfinished"] = unfinished
    made.globals |= {"version": __version__, "help": _HELP, "heroicon": _icon}
    return made


@lru_cache(maxsize=1024)
def _icon(name: str, label: str, size: int) -> str:
    """Return an icon as inline SVG.  ``label``: its name for screen readers; empty: it only adorns a text."""
    draw = heroicon_micro if size <= _MICRO else heroicon_mini
    read = {"role": "img", "aria-label": label, "aria-hidden": "false"} if label else {"aria-hidden": "true"}
    return draw(name, size=size, **{"class": "icon", **read})


def _plain(text: str) -> str:
    """Sentences of the catalogue are Markdown."""
    return text.replace("`", "")


@dataclass(frozen=True)
class NavigationEntry:
    """An entry of the navigation, for those who may see its page (`Route`).  ``icon``: a name of heroicons.  ``also``:
    a page that it leads to.  ``portal``: tenants without a user may, too."""

    path: str
    title: str
    icon: str
    role: Role = Role.VIEWER
    every_source: bool = False
    also: str = ""
    portal: bool = False

    def holds(self, path: str) -> bool:
        """Return whether the page at ``path`` is this one, or below it."""
        above = [each for each in (self.path, self.also) if each]
        return path in above or path.startswith(tuple(f"{each}/" for each in above if each != "/"))


@dataclass(frozen=True, slots=True)
class Health:
    """The number of problems that a principal has, and the kind of the worst: ``good``, ``warn`` or ``bad``."""

    number: int = 0
    kind: str = "good"


_WELL: Final = Health()


@dataclass(frozen=True)
class Site:
    """The resources that all requests share.  ``zone``: in which times are shown; None: in the browser's.
    ``strangers``: their requests for a public catalogue, by address, together with those to the API.
    ``brand``: of portals.  ``health``: of principals by their sources, and when it was found (monotonic)."""

    service: Service
    process: RunningProcess
    auth: SessionAuth
    zone: tzinfo | None
    sections: Sequence[NavigationEntry]
    strangers: RateLimit
    brand: Brand = field(default_factory=Brand)
    templates: Environment = field(default_factory=environment)
    health: dict[tuple[str, ...], tuple[float, Health]] = field(default_factory=dict)

    @property
    def public_catalogue(self) -> bool:
        return self.service.config.web.public_catalogue

    @property
    def store(self) -> OutboxStore:
        return self.service.store

    @property
    def clock(self) -> Clock:
        return self.service.clock


NOTICES: Final[Mapping[str, str]] = {
    "saved": "Saved.",
    "created": "Created.",
    "removed": "Removed.",
    "enabled": "Enabled: waiting deliveries are being sent.",
    "disabled": "Disabled: its events wait until it is enabled again.",
    "retried": "Its waiting deliveries are being sent now.",
    "resent": "It is sent again now, with the same id.",
    "replaying": "The replay has started.",
    "replay-stopped": "The replay has stopped; queued deliveries are sent.",
    "replay-over": "The replay had already ended.",
    "backfill-begun": "The backfill has started: it continues while its source is captured.",
    "backfill-pause": "The backfill is paused.",
    "backfill-resume": "The backfill continues.",
    "backfill-cancel": "The backfill has stopped; rows already read are sent.",
    "backfill-over": "The backfill had already ended.",
    "signed-out": "You have signed out.",
}


class Refused(Exception):
    """The request is answered with a page that says why, in the user's language."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Page:
    """``principal``: None where nobody needs to have signed in."""

    request: web.Request
    site: Site
    language: Language
    principal: SessionPrincipal | None
    health: Health = _WELL

    @property
    def manages(self) -> bool:
        return self.principal is not None and self.principal.manages

    @property
    def actor(self) -> str:
        """Return the actor for the audit log."""
        assert self.principal is not None, "a route with a role has a principal"
        return self.principal.actor

    @property
    def admin(self) -> Admin:
        """The use cases, for the principal."""
        principal = self.principal
        if principal is None:
            return Admin(self.site.service, STRANGER)
        allowed = principal.portal.allowed if principal.portal else ()
        return Admin(self.site.service, Principal(self.actor, principal.sources, allowed))

    @property
    def of_portal(self) -> bool:
        """Return whether the page is a portal's: it has the host's name and colours, and may be in a frame."""
        return bool(self.principal and self.principal.portal) or self.request.path.startswith("/portal/")

    @property
    def several_sources(self) -> bool:
        """Return whether the principal sees several sources, so that a record alone does not say whose it is."""
        visible = (name for name in self.site.service.config.source if self.admin.sources.visible(name))
        return len(list(islice(visible, 2))) > 1

    @property
    def principal_name(self) -> str:
        assert self.principal is not None, "a route with a role has a principal"
        return self.principal.name

    def path(self, name: str) -> str:
        """A value in the path."""
        return self.request.match_info[name]

    def query(self, name: str) -> str:
        """A query parameter without white space around; empty when it is not given."""
        return self.request.query.get(name, "").strip()

    async def form(self) -> MultiMapping[str]:
        """The fields of the form that was sent (no files).  Read once, and then again from memory."""
        try:
            async with asyncio.timeout(body_seconds(self.request)):
                await self.request.read()
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "The form did not come in time.") from None
        return await self.request.post()  # type: ignore[return-value]  # files are refused by the content type

    def render(self, template: str, status: int = HTTPStatus.OK, **values: Any) -> web.Response:
        text = self.site.templates.get_template(template).render(
            **values,
            page=self,
            principal=self.principal,
            lang=self.language,
            languages=LANGUAGES,
            _=self.language.text,
            plural=self.language.plural,
            notice=NOTICES.get(self.query("notice")),
            sections=self.site.sections,
            brand=self.site.brand if self.of_portal else _OWN_BRAND,
        )
        return web.Response(text=text, status=status, content_type="text/html")

    def problem(self, error: CdcError | Refused, status: int = HTTPStatus.UNPROCESSABLE_ENTITY) -> web.Response:
        """Return a page with the problem and how to fix it."""
        if isinstance(error, Refused):
            message = self.language.text(error.message)
            return self.render("problem.html", error.status, message=message, hint="", suggestions=[])
        message, hint = self.language.message(error.message), self.language.message(error.hint)
        return self.render("problem.html", status, message=message, hint=hint, suggestions=[])

    def missing(self, message: str, suggestions: Sequence[tuple[str, str]]) -> web.Response:
        """``suggestions``: what may have been meant, text and path."""
        return self.render("problem.html", HTTPStatus.NOT_FOUND, message=message, hint="", suggestions=suggestions)

    def see(self, path: str, notice: str = "", **query: str) -> web.Response:
        """Go and look there: what a form that did something answers.  ``notice``: a key of `NOTICES`."""
        shown = {"notice": notice, **query} if notice else query
        location = f"{path}?{urlencode(shown)}" if shown else path
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": location})

    def link(self, *parts: str, **query: str | None) -> str:
        """A path of this site, each part quoted; parameters without a value are left out."""
        path = "/" + "/".join(quote(part, safe="") for part in parts)
        given = {name: value for name, value in query.items() if value}
        return f"{path}?{urlencode(given)}" if given else path


View = Callable[[Page], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """``role``: who may; None: everyone, signed in or not.  ``every_source``: only users of all sources.
    ``catalogue``: where the catalogue is public, everyone.  ``enrolment``: users too who must set up a second
    factor.  A POST must carry the user's CSRF token."""

    method: str
    path: str
    view: View
    role: Role | None = Role.VIEWER
    every_source: bool = False
    catalogue: bool = False
    enrolment: bool = False
