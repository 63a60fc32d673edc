"""``apply`` and ``export``: endpoints as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from cdc.admin.admin import Admin
from cdc.admin.managed import Action, DescribedFile, Step
from cdc.api.endpoint_resource import FIELD_NAMES
from cdc.cli.admin import admin_of, with_admin
from cdc.cli.asynchronous import opened, opened_outbox, run_async
from cdc.cli.endpoint_file import read, written
from cdc.cli.endpoint_show import revealed, secret_json
from cdc.cli.output import echo, json_option, print_json, print_table, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.dispatch.address import public_url
from cdc.model.endpoint import Endpoint, is_mail, is_pull
from cdc.runtime import outboxes

#: Characters of a value that a plan shows.
_SHOWN: Final = 60
_WORDS: Final[Mapping[Action, str]] = {Action.NONE: "unchanged", Action.LEFT: "not in the file"}
_SHOWN_NAMES: Final = {field: name for name, field in FIELD_NAMES.items()} | {"credential": "authentication's secret"}


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
    "NAME"; a header's value, and client_secret or private_key of authentication, may be "@PATH" or "env:NAME". A new
    endpoint without a secret gets one, which is printed once. id = "ep_…" takes over an existing endpoint.

    The whole file is checked before anything changes. A second apply changes nothing. The page marks these endpoints
    with the file's name: that of the key name at its top (name = "shop"), else the name of the file without folders,
    which other files must not have. The exit code is 0 when all is done, 2 when the file is wrong.
    """
    config = quiet_configuration(session)
    steps = run_async(applied(config, read(file), dry_run=dry_run, prune=prune))
    pending = sum(step.pending for step in steps)
    if as_json:
        print_json({"applied": not dry_run, "steps": [_as_json(step, applied=not dry_run) for step in steps]})
    else:
        print_steps(steps, planned=dry_run)
        for step in steps if not dry_run else ():
            if _made_secret(step):
                echo(f"{step.name}: {' '.join(revealed(step.endpoint))}")
        say(f"{pending} of {len(steps)} endpoints {'differ' if dry_run else 'changed'}.")
    return 1 if dry_run and pending else 0


def print_steps(steps: Sequence[Step], *, planned: bool = False) -> None:
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


async def applied(config: Config, file: DescribedFile, *, dry_run: bool, prune: bool) -> list[Step]:
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


async def _carried_out(admin: Admin, steps: list[Step]) -> list[Step]:
    for step in steps:
        await admin.managed.carry_out(step)
    return steps


def _made_secret(step: Step) -> bool:
    signed = not is_mail(step.endpoint.url) and not is_pull(step.endpoint.url)
    return step.action is Action.CREATE and step.secret is None and signed


def _what(step: Step) -> str:
    changes = [_change(step.endpoint, name, value) for name, value in step.changes.items()]
    if step.secret is not None:
        changes.append("secret")
    return "; ".join(changes) if step.action is Action.CHANGE else public_url(step.endpoint.url)


def _change(endpoint: Endpoint, name: str, value: Any) -> str:
    """Return the name in the file and the new value, where it can be shown."""
    shown = _SHOWN_NAMES.get(name, name)
    if name == "credential":
        return shown
    if name in ("headers", "url"):
        return f"{shown} {', '.join(each for each, _ in value) or 'none'}" if name == "headers" else public_url(value)
    text = f"{shown} {getattr(endpoint, name)!s} → {value!s}"
    return text if len(text) <= _SHOWN and text.isprintable() else shown


def _as_json(step: Step, *, applied: bool) -> dict[str, Any]:
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

    echo(written(with_admin(quiet_configuration(session), found)).rstrip("\n"))
