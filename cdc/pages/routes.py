"""Every path of the site, and its navigation."""

from __future__ import annotations

from cdc.pages.page import Route
from cdc.pages.site import NavigationEntry
from cdc.pages.views import backfills, deliveries, endpoints, entrance, events, live, overview, people, replays, sources

#: Titles are texts of the catalogues.
SECTIONS = (
    NavigationEntry("/", "Overview"),
    NavigationEntry("/endpoints", "Endpoints"),
    NavigationEntry("/deliveries", "Deliveries"),
    NavigationEntry("/replays", "Replays", managers_only=True),
    NavigationEntry("/events", "Events"),
    NavigationEntry("/sources", "Sources"),
    NavigationEntry("/people", "Users and tokens", managers_only=True),
)


def routes() -> tuple[Route, ...]:
    return (
        *overview.ROUTES,
        *endpoints.ROUTES,
        *deliveries.ROUTES,
        *replays.ROUTES,
        *events.ROUTES,
        *sources.ROUTES,
        *backfills.ROUTES,
        *people.ROUTES,
        *entrance.ROUTES,
        *live.routes(),
    )
