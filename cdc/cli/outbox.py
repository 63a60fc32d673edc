"""``outbox …``: the key that seals the secrets in it; copying and moving it; its tables in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, TaskID

from cdc.cli.admin import admin_of, opened_access
from cdc.cli.app import CommandGroup, CommandSession, pass_session
from cdc.cli.environment import create_outbox, opened_outbox, quiet_configuration, run_async
from cdc.cli.output import echo, json_option, print_json, print_script, say, with_comments
from cdc.config import Config
from cdc.config.section import OutboxConfig
from cdc.config.url import mask_url
from cdc.model.errors import ConfigError, UsageError
from cdc.model.finding import Finding, Severity
from cdc.outbox.secret_box import new_key
from cdc.outbox.store import OutboxStore
from cdc.runtime import outboxes

_KEY_HINT = "cdc outbox new-key makes one: for CDC_SECRET_KEY, or the file that [outbox] secret_key_file names."


@click.group(cls=CommandGroup)
def outbox() -> None:
    """Create, back up and move the store of the events."""


@outbox.command()
@click.option("--anyway", is_flag=True, help="Also when another outbox, lost or of another cell, has read a source.")
@pass_session
def create(session: CommandSession, anyway: bool) -> None:
    """Create an empty outbox, before the first `cdc run`.

    `cdc setup` and `cdc endpoint add` create it, too.  `cdc run` never does, because a new outbox in place of a lost
    one has no endpoints.  An existing outbox stays as it is.
    """
    config = quiet_configuration(session)
    if not run_async(create_outbox(config, outboxes.open_outbox(config), anyway=anyway)):
        say(f"The outbox {config.outbox.describe()} exists.")


@outbox.command("new-key")
def print_new_key() -> None:
    """Print a new key to encrypt secrets with.

    Store it in the file of [outbox] secret_key_file, or in the variable CDC_SECRET_KEY: cdc keeps no copy.
    """
    echo(new_key())


@outbox.command()
@json_option
@pass_session
def rekey(session: CommandSession, as_json: bool) -> None:
    """Encrypt all secrets with the first, current key.

    To change the key: add the new key before the old one, restart `cdc run`, run this command, remove the old key.
    """
    config = quiet_configuration(session)
    if not config.outbox.secret_keys().keys:
        raise ConfigError("There is no key to encrypt with.", _KEY_HINT)
    sealed = run_async(_rekey(config))
    if as_json:
        print_json({"encrypted": sealed})
    say(f"{sealed} secrets were encrypted again; all now use the current key.")
    if config.outbox.seal_payloads:
        say("cdc run encrypts payloads again in the background: remove the old key when cdc doctor says so.")


async def _rekey(config: Config) -> int:
    async with opened_outbox(config) as store, opened_access(config) as access:
        return await admin_of(config, store).rekey(access)


@outbox.command("sql")
def print_sql() -> None:
    """Print the SQL of the outbox's tables in PostgreSQL.

    For a DBA, if the account of [outbox] url may not create a schema; otherwise use `cdc outbox create`.
    """
    print_script(outboxes.outbox_script() + "\n")


@outbox.command()
@click.option("--prefix", default="", help="The accounts' names are PREFIX_capture and so on [the database's name].")
@pass_session
def grants(session: CommandSession, prefix: str) -> None:
    """Print the SQL of three accounts, each for one role of `cdc run`.

    For an outbox in PostgreSQL, whose processes then can do nothing but their own work: a stolen one that sends makes
    no user, token or endpoint.  One account that owns the tables is enough, too.
    """
    print_script(with_comments(outboxes.grants_script(quiet_configuration(session).outbox, prefix)) + "\n")


@outbox.command()
@pass_session
def upgrade(session: CommandSession) -> None:
    """Bring the outbox's tables to this version, as their owner.

    `cdc run` does this by itself, unless its account may not change tables.  Then run what `cdc outbox grants` prints.
    """
    config = quiet_configuration(session)

    async def work() -> None:
        async with opened_outbox(config), opened_access(config):
            pass

    run_async(work())
    say(f"The outbox {config.outbox.describe()} is as this version needs it.")


@outbox.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@json_option
@pass_session
def migrate(session: CommandSession, source: str, target: str, as_json: bool) -> None:
    """Copy everything to another, empty outbox.

    FROM and TO are URLs as in [outbox] url; PGPASSWORD or ~/.pgpass can hold a password of PostgreSQL.  Stop every `cdc
    run` first.  Then write TO into the configuration, and keep FROM only as a backup.
    """
    config = quiet_configuration(session, required=False)
    there, here = _outbox_at(source, config), _outbox_at(target, config)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = bar.add_task(table, total=total)
            bar.update(tasks[table], completed=done)

        moved = run_async(outboxes.migrate_outbox(there, here, config.outbox.secret_keys(), progress))
    if as_json:
        print_json(moved)
    say(
        f"{moved['event']} events and {moved['delivery']} deliveries moved. Now set [outbox] url to {mask_url(target)}."
    )


@outbox.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@pass_session
def backup(session: CommandSession, target: Path, as_json: bool) -> None:
    """Copy an SQLite outbox to FILE, also while `cdc run` works.

    FILE must not exist.  It holds payloads and signing secrets like the outbox: keep it as safe, and the key that
    encrypts the secrets elsewhere.
    """
    size = outboxes.back_up_outbox(quiet_configuration(session).outbox, target)
    if as_json:
        print_json({"file": str(target), "bytes": size})
    say(f"{target}: {size / 1e6:.1f} MB.")


def _outbox_at(url: str, config: Config) -> OutboxConfig:
    """Raises `UsageError`."""
    if url == config.outbox.url:
        return config.outbox
    try:
        found = OutboxConfig(url=url)
    except ValidationError:
        raise UsageError(
            f"{mask_url(url)} is not the URL of an outbox.",
            "Write sqlite:///file.db, or postgresql://user:password@host:5432/database.",
        ) from None
    if found.path is None:
        found.connection()
    return found


async def check_secrets(config: Config, store: OutboxStore) -> Finding:
    """Check, for the doctor, that the secrets are encrypted, all with the present key."""
    keys = config.outbox.secret_keys().keys
    if not keys:
        detail = "The endpoints' secrets and URLs are stored in plain text: no key is configured to encrypt them with."
        return Finding("secrets", Severity.WARNING, detail, _KEY_HINT)
    async with opened_access(config) as access:
        former = await store.seal_secrets(dry_run=True) + await access.seal_secrets(dry_run=True)
    if former:
        detail = f"{former} secrets are encrypted with a former key, which must not be taken away yet."
        return Finding("secrets", Severity.WARNING, detail, "cdc outbox rekey")
    if await store.reseal_pending():
        detail = "Payloads are still being encrypted with the present key; a former one must not be taken away yet."
        return Finding("secrets", Severity.WARNING, detail, "cdc run does it; look again later")
    if len(keys) > 1:
        detail = "All secrets are encrypted with the present key; the former one is not needed any more."
        return Finding("secrets", Severity.OK, detail)
    return Finding("secrets", Severity.OK, "The secrets are encrypted.")
