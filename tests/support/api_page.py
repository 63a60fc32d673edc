"""docs/api.md, from the operations: `python -m support.api_page`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import Any

from cdc.api.application import LARGEST_BODY, OPERATIONS, PREFIX
from cdc.api.documents import document
from cdc.api.operation import PROBLEM_TYPES, VALUE_CODES, ApiOperation
from cdc.api.token_auth import ADDRESS_BURST, ADDRESS_RATE, TOKEN_BURST, TOKEN_RATE
from cdc.config.section import LimitsConfig

_LIMITS = LimitsConfig()
_HEAD = f"""\
# HTTP API

<!-- Written by `python -m support.api_page` (make docs); do not edit. -->

`cdc run` serves the API beside the management page (`[web] listen`), under `{PREFIX}`. Its OpenAPI 3.1 description is
at `{PREFIX}/openapi.json`, without a token; with a token that may read, it also has the events, your own rules'
included, as `webhooks`. Objects have the same keys as with `--json` on the command line.

```sh
cdc token add shop --scope manage            # prints the token once
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8600{PREFIX}/endpoints
```

**Tokens.** Every request has the header `Authorization: Bearer cdct_…`. The scope `read` reads, `manage` also changes,
`consume` only fetches and acknowledges events of consumers.
Tokens are stored as digests, [expire](access.md#tokens) after a year by default, may be limited to networks, and end at
once when they are removed (`cdc token remove`). The audit log lists their changes.

**Errors** are `application/problem+json` (RFC 9457): `type` (a URL of its [section](#problems)), `title`, `status`,
`detail` (one sentence), often `hint` (a remedy), and `errors`: all wrong values of body and query at once, each with
its place (`pointer` or `parameter`), a sentence, and a `code`.

| status | reason |
| --- | --- |
| 400 | invalid JSON, an unexpected body, or an invalid `Idempotency-Key` |
| 401, 403 | no valid token; its scope is too small, or it may not be used from this address |
| 404, 405 | not found; method not allowed |
| 408, 413, 415 | the body is late, has more than {LARGEST_BODY // 1024} KB, or is not `application/json` |
| 409 | the `Idempotency-Key` belongs to another request, or its request is still running; a limit is reached |
| 422 | an invalid value |
| 429 | too many requests, keys, streams or previews; wait `Retry-After` seconds |
| 503 | the outbox does not answer |

**Pages.** Listings have `items` and `next`: the `cursor` of the next page, null on the last one. A page of deliveries
or events may be short or empty and still have a `next`: the search continues there.

**Idempotency.** With an `Idempotency-Key` (1 to 255 printable characters) a POST is executed once in 24 hours: the same
request gets the same answer (with `Idempotency-Replayed: true`), another one with that key gets 409. Answers over 64 KB
are not kept, and a token has at most {_LIMITS.idempotency_keys_per_principal:,} keys and 4 MB of answers in 24 hours:
then 429. `endpoint-preview` and `replay-count` change nothing and take no key.

**Request ids.** Every answer has `X-Request-Id`: that of the request, if it has one of 1 to 128 letters, digits and
`._:+/=@-`, else a new one. The log has it as `request_id`; of requests that changed nothing at the level `debug`.

**Rate limits.** A token has {TOKEN_RATE:g} requests a second, {TOKEN_BURST:g} at once after a pause, and
{_LIMITS.streams_per_principal} open streams or requests for a consumer's events; an address without a valid token
{ADDRESS_RATE:g} a second, {ADDRESS_BURST:g} at once. Answers say what is left (draft-ietf-httpapi-ratelimit-headers):
`RateLimit-Policy: "token";q={TOKEN_BURST:g};w={TOKEN_BURST / TOKEN_RATE:g}`, `RateLimit: "token";r=57;t=3`: 57 more
now, all of them in 3 s.

**Limits.** What a token and its sources may have is [limited](configuration.md#limits-of-tenants): one object too many
gets 409, one stream or preview too many 429 with `Retry-After`; `detail` names the option.

**Times** are RFC 3339; in answers UTC with six digits: `2026-11-24T21:48:00.123456Z`.
"""


@cache
def _described() -> Mapping[str, Any]:
    return document(OPERATIONS, PREFIX)


def text() -> str:
    described = _described()
    schemas: Mapping[str, Any] = described["components"]["schemas"]
    parts = [_HEAD, *_contents()]
    for tag, operations in groupby(OPERATIONS, key=lambda each: each.tag):
        parts.append(f"\n## {tag.capitalize()}")
        for each in operations:
            parts += _operation(each, described["paths"][PREFIX + each.path][each.method.lower()])
    parts.append("\n## Objects\n\n`*` = always present / required.")
    for name, schema in schemas.items():
        if "properties" in schema:
            parts += _object(name, schema)
    parts += _problems()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip("\n")


def _problems() -> Iterator[str]:
    yield "\n## Problems\n\nThe `type` of a problem is the URL of its section; its end never changes.\n"
    for name, (statuses, sentence) in PROBLEM_TYPES.items():
        yield f"### {name}\n\n{', '.join(map(str, statuses))}. {sentence}\n"
    codes = ", ".join(f"`{code}`" for code in VALUE_CODES)
    yield f"Values have these codes: {codes}. More may come: treat one that you do not know as `invalid`."


def _contents() -> Iterator[str]:
    yield "| request | scope | does |\n| --- | --- | --- |"
    for each in OPERATIONS:
        anchor = re.sub(r"[^a-z0-9 -]", "", f"{each.method} {PREFIX}{each.path}".lower()).replace(" ", "-")
        yield f"| [`{each.method} {each.path}`](#{anchor}) | {each.scope} | {each.summary} |"


def _operation(each: ApiOperation, described: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n### {each.method} {PREFIX}{each.path}\n"
    yield f"{each.summary} {each.description}".strip() + f" Scope: `{each.scope}`.\n"
    rows = [
        (one["name"], one["schema"], one.get("description", ""))
        for one in described["parameters"]
        if one["in"] == "query"
    ]
    if rows:
        yield from _table("parameter", rows, ())
    answered = f"Answer: {each.status:d}, {each.stream or 'without a body'}."
    if each.answer is not None:
        answered = f"Answer: {each.status:d}, {_link(each.answer.__name__)}."
    if each.body is not None:
        optional = " (may be left out)" if each.body_optional else ""
        answered = f"Body{optional}: {_link(each.body.__name__)}. {answered}"
    yield answered


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _object(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n### {name}\n"
    if "description" in schema:
        yield f"{schema['description']}\n"
    rows = [(key, values, values.get("description", "")) for key, values in schema["properties"].items()]
    yield from _table("key", rows, schema.get("required", ()))


def _table(title: str, rows: Iterable[tuple[str, Mapping[str, Any], str]], required: Iterable[str]) -> Iterator[str]:
    yield f"| {title} | type | |\n| --- | --- | --- |"
    for name, schema, description in rows:
        text = " ".join(description.split()).replace("|", "\\|")
        default = schema.get("default")
        known = f" Default: `{default}`." if default not in (None, "", []) else ""
        mark = " *" if title == "key" and name in required else ""
        yield f"| `{name}`{mark} | {_kind(schema)} | {text}{known} |"
    yield ""


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        return _named(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    kind = "time" if schema.get("format") == "date-time" else str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return kind + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    """Return the range of a number; empty without both bounds."""
    least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if least is None or most is None:
        return ""
    return f", {'over ' if 'exclusiveMinimum' in schema else ''}{least:.15g} to {most:.15g}"


def _named(name: str) -> str:
    schema = _described()["components"]["schemas"][name]
    return _kind(schema) if "enum" in schema else _link(name)


if __name__ == "__main__":
    sys.stdout.write(text() + "\n")
