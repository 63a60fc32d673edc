"""Writes the reference of the command line: ``python -m cdc.cli.reference > docs/cli.md``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cdc.cli.app import cdc

_HEAD = """# Command line

<!-- Generated from the commands themselves: python -m cdc.cli.reference > docs/cli.md -->

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 a check or operation failed,
2 the command, its input or the configuration is wrong, 130 ended by Ctrl-C.
"""


def reference() -> str:
    """Every command's help, as Markdown."""
    root = click.Context(cdc, info_name="cdc", terminal_width=100, max_content_width=100, **cdc.context_settings)
    return "\n".join([_HEAD, *_sections(cdc, root)])


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    level = "##" if context.parent is None or isinstance(context.parent.command, type(cdc)) else "###"
    yield f"{level} `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            yield from _sections(inner, click.Context(inner, info_name=name, parent=context))


if __name__ == "__main__":
    click.echo(reference(), nl=False)
