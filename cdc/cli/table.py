"""``table list``: every table, captured or not, and why."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cdc.cli.output import json_option, print_json, print_table, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import of_each, quiet_configuration, select_sources, sources_option
from cdc.runtime import survey


@click.group()
def table() -> None:
    """List tables, and why each is captured or not."""


@table.command("list")
@sources_option
@click.option("--captured/--not-captured", default=None, help="Only captured tables, or only the others.")
@json_option
@pass_session
def list_(session: CommandSession, sources: tuple[str, ...], captured: bool | None, as_json: bool) -> None:
    """List all tables, captured or not, and why.

    "rows" is the server's estimate.  `tables = ["miplugin_*"]` of a source captures more tables, by name or pattern.
    "hidden" are secret columns, which are not sent; `reveal = ["TABLE.COLUMN"]` in the rules sends one.
    """
    chosen = select_sources(quiet_configuration(session), sources)
    described, failed = of_each(chosen, lambda source: (source.name, survey.described_tables(source)))
    found = [
        (name, each) for name, tables in described for each in tables if captured is None or each.captured is captured
    ]
    if as_json:
        print_json({"tables": [_as_json(name, each) for name, each in found]})
    else:
        _print(found)
    if failed:
        raise failed


def _print(found: Sequence[tuple[str, survey.DescribedTable]]) -> None:
    several = len({name for name, _ in found}) > 1
    rows = [
        (
            *([name] if several else []),
            each.name,
            each.rows,
            each.captured,
            each.events,
            each.why,
            each.model,
            each.hidden,
        )
        for name, each in found
    ]
    titles = ("table", "rows", "captured", "events", "why", "model", "hidden")
    print_table((*(["source"] if several else []), *titles), rows, "No table matches.")
    missing = {each.fix for _, each in found if each.fix}
    for command in sorted(missing):
        names = ", ".join(each.name for _, each in found if each.fix == command)
        say(f"Not captured yet: {names}.  Run: {command}")


def _as_json(source: str, table: survey.DescribedTable) -> dict[str, object]:
    fields = table._asdict()
    # "mend": programs read it by the name that released versions gave it
    return {"source": source, "mend": fields.pop("fix"), **fields}
