"""``apply`` and ``export``: endpoints as a TOML file, read with the place of each error, and written.  Secrets are
named, never in it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from cdc.admin.admin import Admin
from cdc.admin.endpoint_checks import new_endpoint
from cdc.admin.managed import Action, Described, DescribedFile, EndpointStep
from cdc.api.endpoints import AuthenticationFields, EndpointFields, Pattern, Url
from cdc.api.operation import near_field
from cdc.cli.admin import admin_of, with_admin
from cdc.cli.app import CommandSession, pass_session
from cdc.cli.endpoint_fields import revealed, secret_json
from cdc.cli.environment import opened, opened_outbox, quiet_configuration, run_async
from cdc.cli.output import echo, is_place, json_option, print_json, print_table, say, secret_from, with_comments
from cdc.config import Config
from cdc.dispatch.signing import Signature, signature_of
from cdc.model.endpoint import (
    OPTIONS,
    SECRET_NAMES,
    Endpoint,
    Header,
    authentication_of,
    is_mail,
    is_pull,
    public_url,
    shown_url,
)
from cdc.model.errors import ConfigError, UsageError
from cdc.model.toml_lines import Places
from cdc.runtime import outboxes

_NAME: Final = "[A-Za-z0-9_-]{1,60}"
_ABOUT_SECRETS: Final = "Write secret_file or secret_env; a header's value as @FILE or env:NAME."


class EndpointEntry(EndpointFields):
    """A table ``[endpoint.NAME]``: the fields of the API, and where secrets are."""

    url: Url
    events: Annotated[list[Pattern], Field(min_length=1, max_length=200)]
    signature: Literal["v1", "v1a"] | None = None
    id: str = ""
    enabled: bool | None = None
    secret_file: str | None = None
    secret_env: str | None = None


class EndpointFile(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,100}$")] | None = None
    endpoint: dict[Annotated[str, Field(pattern=f"^{_NAME}$")], EndpointEntry] = Field(default_factory=dict)


def read(path: Path, secret_folder: Path | None = None) -> DescribedFile:
    """Return the endpoints of a file, and its name.  ``secret_folder``: the only one whose files may hold secrets;
    None: that of the file.  Raises `ConfigError` with the file and the line."""
    try:
        text = path.read_text("utf-8-sig")
        places = Places(str(path), text, user=True)
        content = EndpointFile.model_validate(tomllib.loads(text))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}.", "See: cdc apply --help") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", "Correct that line and try again.") from error
    except ValidationError as error:
        raise _wrong(error.errors(include_url=False, include_input=False)[0], places) from None
    secrets = [_Secrets(path.parent, secret_folder or path.parent, []) for _ in content.endpoint]
    entries = zip(content.endpoint.items(), secrets, strict=True)
    described = [_described(name, entry, places, own) for (name, entry), own in entries]
    return DescribedFile(content.name or "", path.name, described)


def _wrong(error: ErrorDetails, places: Places) -> ConfigError:
    path, key = error["loc"], str(error["loc"][-1])
    if error["type"] == "extra_forbidden":
        model: type[BaseModel] = EndpointEntry if path[0] == "endpoint" else EndpointFile
        model = AuthenticationFields if path[-2:-1] == ("authentication",) else model
        near = near_field(key, model)
        hint = _ABOUT_SECRETS if key == "secret" else f"Known keys: {', '.join(sorted(model.model_fields))}."
        hint = f"{near} {hint}" if near and key != "secret" else hint
        return ConfigError(f"{places.of(path, key)}: there is no key {key!r} here.", hint)
    if error["type"] == "missing":
        return ConfigError(f"{places.of(path)}: the key {key!r} is missing.", "Add it.")
    name = ".".join(str(part) for part in path if isinstance(part, str))
    return ConfigError(f"{places.of(path)}: {name}: {error['msg']}.", "See: cdc apply --help")


def _described(name: str, entry: EndpointEntry, places: Places, secrets: _Secrets) -> Described:
    place = places.of(("endpoint", name))
    try:
        given = entry.endpoint_fields()
        if "credential" in given:
            given["credential"] = _credential(given["credential"], secrets)
        if "headers" in given:
            given["headers"] = tuple(_header(header, secrets) for header in given["headers"])
        secret = _secret(entry, secrets)
    except UsageError as error:
        raise ConfigError(f"{place}: endpoint {name}: {error.message}", error.hint) from None
    return Described(name, place, given, secret, entry.signature, entry.enabled, entry.id, secrets.read)


def _header(header: Header, secrets: _Secrets) -> Header:
    name, value = header
    return name, secrets.at(value, f"the header {name}") if is_place(value) else value


def _credential(value: str, secrets: _Secrets) -> str:
    if not is_place(value) or value == "-":
        raise UsageError("A secret of authentication is named in the file, not written.", "Write @FILE or env:NAME.")
    return secrets.at(value, "the secret of the authentication")


def _secret(entry: EndpointEntry, secrets: _Secrets) -> str | None:
    if entry.secret_file is not None and entry.secret_env is not None:
        raise UsageError("secret_file and secret_env exclude each other.", "Give one of them.")
    if entry.secret_file is not None:
        return secrets.at(f"@{entry.secret_file}", "the signing secret")
    return None if entry.secret_env is None else secrets.at(f"env:{entry.secret_env}", "the signing secret")


class _Secrets(NamedTuple):
    """The secrets of an endpoint in a file, whose author may be somebody else than the person who applies it.
    ``folder``: where their paths begin; ``only``: where their files must be; ``read``: a phrase for each."""

    folder: Path
    only: Path
    read: list[str]

    def at(self, place: str, what: str) -> str:
        """Return the secret at a place.  Raises `UsageError`."""
        if place.startswith("@"):
            path, only = (self.folder / place[1:]).resolve(), self.only.resolve()
            if not path.is_relative_to(only):
                raise UsageError(
                    f"The file {path} with {what} is not in {only}.",
                    "Put it there, or name the folder of such files: secret_folder under [dispatch].",
                )
            self.read.append(f"{what} from the file {path}")
            return secret_from(f"@{path}", what)
        if place.startswith(f"env:{_OWN_VARIABLES}"):
            raise UsageError(f"The variable for {what} is one of this program's own.", "Give it another name.")
        self.read.append(
            f"{what} from {place.replace('env:', 'the variable ')}" if place != "-" else f"{what} typed in"
        )
        return secret_from(place, what)


#: What the variables of the configuration begin with; they hold passwords, too.
_OWN_VARIABLES: Final = "CDC_"


# -- writing -----------------------------------------------------------------------------------------------------------


def written(endpoints: Iterable[Endpoint]) -> str:
    """Return a file that describes these endpoints: what differs from the defaults, and no secret."""
    used: set[str] = set()
    return "\n".join(["# cdc apply FILE makes the endpoints equal to this file.", *_tables(endpoints, used)]) + "\n"


def _tables(endpoints: Iterable[Endpoint], used: set[str]) -> Iterator[str]:
    for endpoint in endpoints:
        yield ""
        yield f"[endpoint.{_name(endpoint, used)}]"
        yield f"id = {_toml(endpoint.id)}"
        plain = new_endpoint({"url": endpoint.url, "events": ()}, endpoint.secret, datetime.now(UTC))
        yield f"url = {_toml(endpoint.url)}"
        for name in ("events", *(each for each in OPTIONS if each not in ("headers", "authentication"))):
            if (value := getattr(endpoint, name)) != getattr(plain, name):
                yield f"{_SHOWN_NAMES.get(name, name)} = {_toml(value)}"
        yield from _authentication(endpoint)
        if not endpoint.enabled:
            yield "enabled = false"
        if signature_of(endpoint.secret) is Signature.V1A:
            yield 'signature = "v1a"'
        yield '# secret_file = "…", or secret_env; without them the secret stays'
        for name, _ in endpoint.headers:
            yield f'# headers.{_key(name)} = "env:…" or "@FILE"; without headers they stay'


def _authentication(endpoint: Endpoint) -> Iterator[str]:
    settings = authentication_of(endpoint.authentication)
    if settings is None:
        return
    for name, value in settings.settings().items():
        if isinstance(value, dict):
            yield from (f"authentication.{name}.{_key(each)} = {_toml(text)}" for each, text in value.items())
        else:
            yield f"authentication.{name} = {_toml(value)}"
    yield f'# authentication.{SECRET_NAMES[settings.type]} = "env:…" or "@FILE"; without it the secret stays'


def _name(endpoint: Endpoint, used: set[str]) -> str:
    parts = urlsplit(endpoint.url)
    place = parts.path if is_pull(endpoint.url) else parts.hostname or "mail"
    words = endpoint.managed.rpartition(":")[2] or endpoint.description or place
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", words).strip("-")[:50] or "endpoint"
    name = next(each for each in (slug, *(f"{slug}-{number}" for number in range(2, 100_000))) if each not in used)
    used.add(name)
    return name


def _key(name: str) -> str:
    return name if re.fullmatch(_NAME, name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, str) and "\n" in value and "'''" not in value and value.replace("\n", "").isprintable():
        return f"'''\n{value}'''"
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


#: Characters of a value that a plan shows.
_SHOWN: Final = 60
_WORDS: Final[Mapping[Action, str]] = {Action.NONE: "unchanged", Action.LEFT: "not in the file"}
_SHOWN_NAMES: Final = {field: each.name for field, each in OPTIONS.items()} | {"credential": "authentication's secret"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing; ends with 1 when something differs.")
@click.option(
    "--prune", is_flag=True, help="Remove endpoints that an earlier version of this file described; it needs a name."
)
@json_option
@pass_session
def apply(session: CommandSession, file: Path, dry_run: bool, prune: bool, as_json: bool) -> int:
    """Make endpoints equal to those in a file.

    FILE is TOML with a table for each endpoint; cdc export prints such a file:

    \b
      [endpoint.shop]
      url = "https://shop.example.com/hook"
      events = ["invoice.*"]
      secret_env = "SHOP_SECRET"

    The keys are the fields of the HTTP API (docs/api.md). A field that is left out has its default; but secrets,
    headers and enabled stay as they are. Secrets are not written into the file: secret_file = "PATH" or secret_env =
    "NAME"; a header's value, and client_secret or private_key of authentication, may be "@PATH" or "env:NAME". PATH is
    in the folder of FILE, or in secret_folder of [dispatch] where that is set; a dry run names all of them. A new
    endpoint without a secret gets one, which is printed once. id = "ep_…" takes over an existing endpoint.

    The whole file is checked before anything changes. A second apply changes nothing. The page marks these endpoints
    with the file's name: that of the key name at its top (name = "shop"), else the name of the file without folders,
    which other files must not have. The exit code is 0 when all is done, 2 when the file is wrong.
    """
    config = quiet_configuration(session)
    described = read(file, config.dispatch.secret_folder)
    steps = run_async(applied(config, described, dry_run=dry_run, prune=prune))
    reads = {each.name: list(each.reads) for each in described.endpoints if each.reads}
    pending = sum(step.pending for step in steps)
    if as_json:
        shown = [_as_json(step, applied=not dry_run) | {"reads": reads.get(step.name, [])} for step in steps]
        print_json({"applied": not dry_run, "steps": shown})
    else:
        print_steps(steps, planned=dry_run)
        for name in reads if dry_run else ():
            echo(f"{name} reads {', '.join(reads[name])}.")
        for step in steps if not dry_run else ():
            if _made_secret(step):
                echo(f"{step.name}: {' '.join(revealed(step.endpoint))}")
        say(f"{pending} of {len(steps)} endpoints {'differ' if dry_run else 'changed'}.")
    return 1 if dry_run and pending else 0


def print_steps(steps: Sequence[EndpointStep], *, planned: bool = False) -> None:
    """``planned``: new endpoints have no id yet."""
    rows = [
        (
            _WORDS.get(each.action, each.action),
            each.name,
            "" if planned and each.action is Action.CREATE else each.endpoint.id,
            _what(each),
        )
        for each in steps
    ]
    print_table(("action", "name", "id", "what"), rows, "The file describes no endpoint.")


async def applied(config: Config, file: DescribedFile, *, dry_run: bool, prune: bool) -> list[EndpointStep]:
    store = outboxes.open_outbox(config)
    if not await store.exists():  # before the first endpoint, whose addition creates it
        steps = admin_of(config, store).managed.plan(file, (), prune=prune)
        if dry_run or not steps:
            return steps
        async with opened_outbox(config, create=True) as created:
            return await _carried_out(admin_of(config, created), steps)
    async with opened(store):
        admin = admin_of(config, store)
        steps = admin.managed.plan(file, await admin.endpoints.all(), prune=prune)
        return steps if dry_run else await _carried_out(admin, steps)


async def _carried_out(admin: Admin, steps: list[EndpointStep]) -> list[EndpointStep]:
    for step in steps:
        await admin.managed.carry_out(step)
    return steps


def _made_secret(step: EndpointStep) -> bool:
    signed = not is_mail(step.endpoint.url) and not is_pull(step.endpoint.url)
    return step.action is Action.CREATE and step.secret is None and signed


def _what(step: EndpointStep) -> str:
    changes = [_change(step.endpoint, name, value) for name, value in step.changes.items()]
    if step.secret is not None:
        changes.append("secret")
    return "; ".join(changes) if step.action is Action.CHANGE else shown_url(step.endpoint)


def _change(endpoint: Endpoint, name: str, value: Any) -> str:
    """Return the name in the file and the new value, where it can be shown."""
    shown = _SHOWN_NAMES.get(name, name)
    if name in ("credential", "authentication"):
        return shown
    if name in ("headers", "url"):
        return f"{shown} {', '.join(each for each, _ in value) or 'none'}" if name == "headers" else public_url(value)
    text = f"{shown} {getattr(endpoint, name)!s} → {value!s}"
    return text if len(text) <= _SHOWN and text.isprintable() else shown


def _as_json(step: EndpointStep, *, applied: bool) -> dict[str, Any]:
    made = secret_json(step.endpoint) if applied and _made_secret(step) else {}
    changes = [_SHOWN_NAMES.get(name, name) for name in step.changes] + (["secret"] if step.secret else [])
    return {"action": step.action.value, "name": step.name, "id": step.endpoint.id, "changes": changes, **made}


@click.command()
@click.argument("endpoint_ids", metavar="[ID]...", nargs=-1)
@pass_session
def export(session: CommandSession, endpoint_ids: Sequence[str]) -> None:
    """Print endpoints as a file for cdc apply.

    All of them, or those with these ids. It contains no secrets and no values of headers; URLs are complete. Applied to
    the same outbox, it takes these endpoints over and changes nothing else.
    """

    async def found(admin: Admin) -> list[Endpoint]:
        if endpoint_ids:
            return [await admin.endpoints.get(each) for each in endpoint_ids]
        return await admin.endpoints.all()

    echo(with_comments(written(with_admin(quiet_configuration(session), found))).rstrip("\n"))
