"""Why did I not get an event: one question, one answer with its evidence and links."""

from __future__ import annotations

from aiohttp import web

from cdc.admin.explain import Explanation, Question
from cdc.model.errors import UsageError
from cdc.pages.page import Page, Route
from cdc.pages.views.delivery_log import endpoint_choice, time_of

_FIELDS = ("record", "event", "endpoint", "at", "source", "inspect")


async def explain(page: Page) -> web.StreamResponse:
    given = {name: page.query(name) for name in _FIELDS}
    choice, found, problem = await endpoint_choice(page, given["endpoint"]), None, ""
    if given["record"] or given["event"]:
        try:
            found = await _explained(page, {**given, "endpoint": choice.chosen})
        except UsageError as error:
            problem = page.language.error(error)
    admin, language = page.admin, page.language
    sentence, step = found.texts(language.text, language.message, language.moment) if found else ("", "")
    sources = admin.sources.names()
    return page.render(
        "explain.html",
        given=given,
        choice=choice,
        sources=sources if len(sources) > 1 else [],
        found=found,
        sentence=sentence,
        step=step,
        problem=problem,
        endpoints=await admin.endpoints.by_ids([found.endpoint_id] if found else []),
    )


async def _explained(page: Page, given: dict[str, str]) -> Explanation:
    at = time_of(page, given["at"])
    question = Question(given["record"], given["event"], given["endpoint"], at, given["source"])
    inspect = bool(given["inspect"]) and page.manages
    return await page.admin.explanations.explain(question, inspect=inspect, reveal=page.manages)


ROUTES = (Route("GET", "/explain", explain),)
