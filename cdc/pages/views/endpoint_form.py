"""The form of an endpoint: the kinds of endpoints that the page offers, its fields, and how they are read."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import EnumType
from itertools import groupby
from string import Formatter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args, get_origin

import orjson
from multidict import MultiMapping

from cdc.admin.endpoint_checks import MAILS_AT_ONCE
from cdc.dispatch.mail import mail_text
from cdc.dispatch.transform import preset
from cdc.model.broker import SCHEMES, scheme_of
from cdc.model.endpoint import (
    JWT,
    OPTIONS,
    SECRET_NAMES,
    SETTINGS,
    Destination,
    Endpoint,
    EndpointOption,
    authentication_of,
    settings_text,
)
from cdc.model.errors import UsageError
from cdc.model.event import check_pattern, selects
from cdc.pages.language import Language, parsed_number
from cdc.pages.page import Page

if TYPE_CHECKING:
    from cdc.admin.deliveries import EventType


class EndpointKind(NamedTuple):
    """A kind of endpoint to add.  ``address``: its URL, with the fields of the form that it is made of.  ``preset``: of
    its transform.  ``example``: a URL.  ``steps``: how to get what the form asks for.  Texts are in English."""

    title: str
    use: str
    icon: str
    destination: Destination = "program"
    address: str = "{url}"
    example: str = ""
    preset: str = ""
    steps: tuple[str, ...] = ()

    @property
    def signed(self) -> bool:
        """Return whether its receivers can verify a signature."""
        return self.destination in ("program", "broker")

    @property
    def address_fields(self) -> list[str]:
        return [name for _, name, _, _ in Formatter().parse(self.address) if name]

    def parts(self, url: str) -> dict[str, str] | None:
        """Return the fields of the form for a URL, which are empty for an empty one; None: it has another form."""
        if not url:
            return dict.fromkeys(self.address_fields, "")
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.*)", re.escape(self.address))
        match = re.fullmatch(pattern, url)
        return match.groupdict() if match else None


_WEBHOOK_URL: Final = (
    "Copy the webhook's URL into the field below: it is a secret, because everybody who has it can write."
)
KINDS: Final[Mapping[str, EndpointKind]] = {
    "program": EndpointKind(
        "My program", "Webhooks for a shop, a CRM, your own code", "code-bracket",
        example="https://shop.example.com/webhooks",
        steps=(
            "Your program gets each event as JSON in a POST request, and answers with a status 2xx.",
            "After you add it, the page shows a secret once, with code that verifies the signature.",
        ),
    ),
    "telegram": EndpointKind(
        "Telegram", "A message from a bot", "paper-airplane", "chat", preset="telegram",
        address="https://api.telegram.org/bot{bot_token}/sendMessage?chat_id={chat}",
        steps=(
            "In Telegram write /newbot to @BotFather. It answers with the token of your new bot.",
            "Open a chat with your bot and press Start; or add it to a group, or as an administrator to a channel.",
            "Write a message there and open https://api.telegram.org/bot<token>/getUpdates in a browser.",
            "Under chat, id is the chat's number, with a minus sign for groups. A public channel is @ and its name.",
        ),
    ),
    "slack": EndpointKind(
        "Slack", "A message in a channel", "hashtag", "chat", preset="slack",
        example="https://hooks.slack.com/services/T000/B000/XXXX",
        steps=(
            "At api.slack.com/apps create an app for your workspace, and activate Incoming Webhooks.",
            "Add New Webhook to Workspace, and choose the channel.",
            _WEBHOOK_URL,
        ),
    ),
    "teams": EndpointKind(
        "Microsoft Teams", "A message in a channel", "user-group", "chat", preset="teams",
        example="https://prod-00.westeurope.logic.azure.com/workflows/…",
        steps=(
            "At the channel, under … and Workflows, choose the template for messages from webhook requests.",
            "Choose team and channel, and add the workflow.",
            _WEBHOOK_URL,
        ),
    ),
    "discord": EndpointKind(
        "Discord", "A message in a channel", "chat-bubble-left-right", "chat", preset="discord",
        example="https://discord.com/api/webhooks/000/XXXX",
        steps=("In the channel's settings, under Integrations, Webhooks, create a webhook.", _WEBHOOK_URL),
    ),
    "google-chat": EndpointKind(
        "Google Chat", "A message in a space", "chat-bubble-bottom-center-text", "chat", preset="google-chat",
        example="https://chat.googleapis.com/v1/spaces/…",
        steps=("In the space's menu, under Apps and integrations, add a webhook.", _WEBHOOK_URL),
    ),
    "mattermost": EndpointKind(
        "Mattermost", "A message in a channel", "chat-bubble-oval-left", "chat", preset="mattermost",
        example="https://mattermost.example.com/hooks/XXXX",
        steps=("In the menu, under Integrations, Incoming Webhooks, add one for the channel.", _WEBHOOK_URL),
    ),
    "n8n": EndpointKind(
        "n8n", "Start a workflow", "arrow-path-rounded-square", example="https://n8n.example.com/webhook/…",
        steps=(
            "In n8n begin a workflow with a Webhook node: method POST, respond immediately.",
            "Copy the node's Production URL into the field below, and activate the workflow.",
            "To verify signatures, put a Code node after it; the page shows its code with the secret, once.",
        ),
    ),
    "email": EndpointKind("E-mail", "A mail for each event", "envelope", "mail", address="mailto:{addresses}"),
    "broker": EndpointKind(
        "Message broker", "Redis, NATS, RabbitMQ, Kafka", "queue-list", "broker",
        example="rediss://broker.example.com/0/facturascripts.{source}",
        steps=(
            "redis://HOST/DATABASE/STREAM, nats://HOST/SUBJECT, amqp://HOST/VHOST/EXCHANGE/KEY or kafka://HOST/TOPIC.",
            "With TLS they begin with rediss, tls, amqps or kafkas.",
            "{source}, {event} and {entity} are replaced by those of each event. User and password are stored sealed.",
        ),
    ),
    "fetch": EndpointKind(
        "Fetched by a program", "For programs behind a firewall", "arrow-down-tray", "fetch", address="pull:{consumer}",
        steps=(
            "Your program fetches the events when it wants: with cdc consume and this name, or by the HTTP API.",
        ),
    ),
}  # fmt: skip


def kind_of(url: str, transform: str) -> str:
    """Return the name of the kind that an endpoint has."""
    for name, kind in KINDS.items():
        if kind.address != "{url}" and url and kind.parts(url) is not None:
            return name
    if scheme_of(url) in SCHEMES:
        return "broker"
    return next((name for name, kind in KINDS.items() if kind.preset and preset(kind.preset) == transform), "program")


_HOUR = 3600.0
#: Options with a field of one text in the form → its name there.
_TEXTS: Final = {name: name for name in OPTIONS if name not in ("sources", "headers", "authentication")} | {
    "retry_schedule": "retries"
}


def option_text(each: EndpointOption, value: Any, written: Callable[[float], str]) -> str:
    """Return the value of an option as a field of the form shows it."""
    if isinstance(value, bool):
        return _YES if value else _NO
    if each.hours:
        return written(value / _HOUR)
    if isinstance(value, float | int):
        return written(value)
    if get_args(each.type)[:1] == (float,):
        delays = list(map(written, value))
        return ("; " if any("," in delay for delay in delays) else ", ").join(delays)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


_YES: Final = "yes"
_NO: Final = "no"
#: What a form shows for a new endpoint.
_NEW: Final[Mapping[str, str]] = {
    "patterns": "",
    **{shown: option_text(OPTIONS[name], OPTIONS[name].default, "{:g}".format) for name, shown in _TEXTS.items()},
    "authentication": "",
    "token_url": "",
    "client_id": "",
    "client_authentication": "basic",
    "scope": "",
    "parameters": "",
    "audience": "",
    "issuer": "",
    "key_id": "",
    "lifetime": "60",
    "header": "Authorization",
    "signature": "v1",
}
#: Fields that the form shows as chosen before.
_CHOSEN = ("proxy", "client_certificate")
#: A chat refuses more than about one message a second.
_CHAT_RATE: Final = "1"
#: Fields, and the places of errors, that are in view while "More options" is folded.
_IN_VIEW: Final = frozenset({"", "url", "description", "events", "sources"})


@dataclass(frozen=True, slots=True)
class EndpointForm:
    """``kind``: a name of `KINDS`.  ``values``: what each text field shows.  ``url``: what the fields of the address
    make.  ``events``, ``sources``: ticked boxes.  ``errors``: field → sentence; under an empty name: of several fields.
    ``fields``: of `Endpoint`, as far as they were sent.  ``again``: it asks for proxy and certificate again, as they
    belong to another origin than the URL's.  ``unseen``: secret fields that were sent, and are not shown again."""

    kind: str
    values: dict[str, str]
    url: str = ""
    events: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    errors: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    again: bool = False
    unseen: frozenset[str] = frozenset()

    @property
    def about(self) -> EndpointKind:
        return KINDS[self.kind]

    @property
    def address(self) -> dict[str, str]:
        """Return the fields of the form for the URL."""
        parts = self.about.parts(self.url)
        return {"url": self.url} if parts is None else parts

    def asking_again(self, endpoint: Endpoint) -> EndpointForm:
        """Return the form with proxy and certificate left open where they are as before."""
        left_open = {name: "" for name in _CHOSEN if self.values[name] == getattr(endpoint, name)}
        return replace(self, values=self.values | left_open, again=True)

    def refused(self, error: UsageError, language: Language) -> EndpointForm:
        """Return the form with the error at its field, the last one of the address where it is about the URL."""
        place = list(self.address)[-1] if error.field == "url" else _TEXTS.get(error.field, error.field)
        return replace(self, errors={**self.errors, place: language.error(error)})

    def concerns(self, name: str) -> bool:
        """Return whether the form has a field for this option: it concerns the kind, or is set all the same."""
        shown = self.values.get(_TEXTS.get(name, name), "")
        return OPTIONS[name].concerns(self.about.destination) or shown != _NEW.get(_TEXTS.get(name, name), "")

    @property
    def changed(self) -> int:
        """Return how many fields under "More options" differ from those of a new endpoint."""
        names, new = self.values.keys() - _IN_VIEW - {"language"}, new_values(self.about)
        return sum(self.values[name] != new[name] for name in names)

    @property
    def unfolded(self) -> bool:
        return bool(self.unseen or self.errors.keys() - _IN_VIEW - self.address.keys())


def new_values(kind: EndpointKind) -> dict[str, str]:
    """Return what the form for a new endpoint of this kind shows."""
    if kind.preset:
        return dict(_NEW) | {"transform": preset(kind.preset), "rate": _CHAT_RATE}
    return dict(_NEW) | ({"concurrency": str(MAILS_AT_ONCE)} if kind.destination == "mail" else {})


def empty_form(kind: str, language: Language) -> EndpointForm:
    return EndpointForm(kind, new_values(KINDS[kind]) | {"language": language.code})


def form_of_endpoint(endpoint: Endpoint, known: frozenset[str], written: Callable[[float], str]) -> EndpointForm:
    """``written``: how the reader's language writes a number.  ``known``: the names and patterns that have a box."""
    values = {
        "patterns": ", ".join(pattern for pattern in endpoint.events if pattern not in known),
        **{shown: option_text(OPTIONS[name], getattr(endpoint, name), written) for name, shown in _TEXTS.items()},
        "signature": _NEW["signature"],
        **_shown_authentication(endpoint),
    }
    ticked = frozenset(pattern for pattern in endpoint.events if pattern in known)
    kind = kind_of(endpoint.url, endpoint.transform)
    return EndpointForm(kind, values, endpoint.url, ticked, frozenset(endpoint.sources))


async def read_form(page: Page, shown: EndpointForm, present: Endpoint | None = None) -> EndpointForm:
    """Read the form that was ``shown``: its fields, and the errors in them.  What was not sent stays as it is.
    ``present``: the endpoint that is changed.  A proxy or certificate that is as before counts as entered only where
    the form asked for it again."""
    sent = await page.form()
    values = {name: sent.get(name, before).strip() for name, before in shown.values.items()}
    ticked = frozenset(sent.getall("events", []))
    sources = frozenset(name for text in sent.getall("sources", []) for name in _source_names(page, text))
    reader = _FormReader(page)
    url = _entered_url(shown, sent)
    fields: dict[str, Any] = {
        "url": url,
        "events": reader.parse(lambda: _patterns([*sorted(ticked), *_words(values["patterns"])]), "Events", "events"),
        "sources": tuple(sorted(sources)),
    }
    texts = {name: shown for name, shown in _TEXTS.items() if shown in sent or present is None}
    fields |= {name: reader.option(OPTIONS[name], values[shown], shown) for name, shown in texts.items()}
    if "authentication" in sent:
        read = reader.parse(lambda: _authentication(values, sent), "Authentication", "authentication")
        fields |= read or {}
    headers = reader.parse(lambda: _headers(sent), "Headers", "headers")
    if headers is not None:
        fields["headers"] = headers
    if present is not None and "credential" not in fields and fields.get("authentication") == present.authentication:
        del fields["authentication"]  # unchanged: the endpoint keeps the sources of the user who set it
    again = bool(sent.get("again"))
    if present is not None and not again:
        fields = {
            name: value for name, value in fields.items() if name not in _CHOSEN or value != getattr(present, name)
        }
    unseen = frozenset(name for name in ("headers", *SECRET_NAMES.values()) if sent.get(name, "").strip())
    return EndpointForm(shown.kind, values, url, ticked, sources, reader.errors, fields, again, unseen)


def _entered_url(shown: EndpointForm, sent: MultiMapping[str]) -> str:
    """Return the URL that the fields of the address make; one as a whole goes before."""
    if "url" in sent:
        return sent["url"].strip()
    parts = {name: sent.get(name, before).strip() for name, before in shown.address.items()}
    if not any(parts.values()):
        return ""
    return shown.about.address.format(**{name: "".join(part.split()) for name, part in parts.items()})


class _FormReader:
    """Notes fields that cannot be read, and continues."""

    def __init__(self, page: Page) -> None:
        self._language = page.language
        self.errors: dict[str, str] = {}

    def parse(self, read: Callable[[], Any], name: str, place: str) -> Any:
        """``name``: of the field, in English.  ``place``: of its error."""
        try:
            return read()
        except UsageError as error:
            self.errors[place] = self._language.error(error)
        except ValueError:
            self.errors[place] = self._language.text("%(name)s: invalid value.", name=self._language.text(name))
        return None

    def option(self, each: EndpointOption, text: str, place: str) -> Any:
        """Return the value of an option; a number that cannot be read counts as 0 for the other checks."""
        if each.type is bool:
            return text == _YES
        if each.type in (float, int):
            number = self.parse(lambda: parsed_number(text), each.label, place) or 0.0
            return each.type(number * _HOUR if each.hours else number)
        if get_args(each.type)[:1] == (float,):
            return self.parse(lambda: _delays(text), each.label, place)
        if get_origin(each.type) is tuple:
            return tuple(_words(text))
        return self.parse(lambda: each.type(text), each.label, place)


def _patterns(words: Sequence[str]) -> tuple[str, ...]:
    if not words:
        raise UsageError("No event is chosen.")
    return tuple(dict.fromkeys(check_pattern(word) for word in words))


def _headers(sent: MultiMapping[str]) -> tuple[tuple[str, str], ...] | None:
    """One ``Name: value`` a line.  None: nothing is said of them, so they stay."""
    text = sent.get("headers", "").strip()
    if not text:
        return () if sent.get("no_headers") else None
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def _shown_authentication(endpoint: Endpoint) -> dict[str, str]:
    settings = authentication_of(endpoint.authentication)
    if settings is None:
        return {name: _NEW[name] for name in ("authentication", *_SETTING_NAMES)}
    shown = {name: str(getattr(settings, name)) for name in _SETTING_NAMES}
    lines = [f"{name}={value}" for name, value in settings.parameters.items()]
    return shown | {"authentication": settings.type, "parameters": "\n".join(lines)}


_SETTING_NAMES: Final = frozenset().union(*SETTINGS.values())


def _authentication(values: Mapping[str, str], sent: MultiMapping[str]) -> dict[str, Any]:
    """The secret stays where none is entered.  Raises `UsageError`, `ValueError`."""
    kind = values["authentication"]
    if kind not in SETTINGS:
        return {"authentication": ""}
    given: dict[str, Any] = {name: values[name] for name in SETTINGS[kind] if values[name]}
    if kind == JWT:
        given["lifetime"] = int(parsed_number(values["lifetime"]))
    elif values["parameters"]:
        pairs = [line.partition("=") for line in values["parameters"].splitlines() if line.strip()]
        given["parameters"] = {name.strip(): value.strip() for name, _, value in pairs}
    secret = sent.get(SECRET_NAMES[kind], "").strip()
    return {"authentication": settings_text({"type": kind, **given})} | ({"credential": secret} if secret else {})


def _delays(text: str) -> tuple[float, ...]:
    """Seconds with commas, semicolons or spaces between; between semicolons a comma is that of decimals."""
    return tuple(parsed_number(word) for word in (text.replace(";", " ").split() if ";" in text else _words(text)))


def _source_names(page: Page, text: str) -> list[str]:
    """Return the source of a ticked box, or the names of a list with commas."""
    if text in page.site.service.config.source:
        return [text]
    return [each.strip() for each in text.split(",") if each.strip()]


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


@dataclass(frozen=True, slots=True)
class Group:
    """The events of one entity, those of any row last.  ``whole``: the pattern of all of them.  ``selected``: name →
    the pattern that selects it, which is the name itself where its own box is ticked."""

    entity: str
    kinds: Sequence[EventType]
    whole: str
    selected: Mapping[str, str]

    @property
    def single(self) -> bool:
        """Return whether single events are ticked, which are in view then."""
        return any(name == pattern for name, pattern in self.selected.items())


def event_groups(kinds: Sequence[EventType], form: EndpointForm) -> list[Group]:
    patterns = (*sorted(form.events, key=lambda each: "*" not in each), *_words(form.values["patterns"]))
    grouped = [(entity, sorted(group, key=_rank)) for entity, group in groupby(kinds, key=lambda kind: kind.entity)]
    return [Group(entity, each, whole_of(entity), _selected(each, patterns)) for entity, each in grouped]


#: Events of any row, by the ends of their names, in their order among the others of an entity, which have 1.
_RANKS: Final = {"created": 0, "updated": 2, "deleted": 2, "read": 3, "existing": 3, "truncated": 3}


def _rank(kind: EventType) -> int:
    return _RANKS.get(kind.name.rpartition(".")[2], 1)


def whole_of(entity: str) -> str:
    return f"{entity}.*"


def _selected(kinds: Sequence[EventType], patterns: Sequence[str]) -> dict[str, str]:
    """An operational event is selected by those who name it: ``*`` does not."""
    found: dict[str, str] = {}
    for kind in kinds:
        meant = [each for each in patterns if (each != "*" or kind.table) and selects(kind.name, (each,))]
        if meant:
            found[kind.name] = meant[0]
    return found


def option_groups(form: EndpointForm) -> dict[str, list[tuple[str, EndpointOption, dict[str, str]]]]:
    """Return heading → the options under it that the form has: field, option, and choices."""
    found: dict[str, list[tuple[str, EndpointOption, dict[str, str]]]] = {}
    for name, shown in _TEXTS.items():
        if OPTIONS[name].label:
            group = found.setdefault(OPTIONS[name].group, [])
            if form.concerns(name):
                group.append((shown, OPTIONS[name], _choices(OPTIONS[name])))
    return {heading: group for heading, group in found.items() if group}


def _choices(each: EndpointOption) -> dict[str, str]:
    """Return the values of an option that is chosen → their labels; empty for one that is written."""
    values = [_YES, _NO] if each.type is bool else each.type if isinstance(each.type, EnumType) else ()
    return {str(value): each.choices.get(value, "") or str(value) for value in values}


class ShownMessage(NamedTuple):
    """A body as people see it: ``text`` as a chat or mail program shows it; empty: it is for programs."""

    subject: str
    text: str
    body: str


def shown_message(kind: EndpointKind, body: bytes, mails: str) -> ShownMessage:
    """``mails``: the language of mails."""
    content = body.decode("utf-8", "replace")
    if kind.destination == "mail":
        mail = mail_text(body, mails)
        return ShownMessage(mail.subject, mail.text, "")
    if kind.destination == "chat":
        try:
            text = "\n".join(_texts(orjson.loads(body)))
        except orjson.JSONDecodeError:
            text = content
        return ShownMessage("", html.unescape(text) if kind.preset == "slack" else text, content)
    try:
        return ShownMessage("", "", orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode())
    except orjson.JSONDecodeError:
        return ShownMessage("", "", content)


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a chat's message: those under ``text`` or ``content``."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if name in ("text", "content") and isinstance(each, str):
                yield each
            else:
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
