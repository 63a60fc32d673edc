"""The command ``cdc``: its options, its subcommands, and how every error ends.

Exit codes: 0 done; 1 a check or operation failed; 2 the command, its input or the configuration is wrong; 130 Ctrl-C or
the answer no.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

import click

from cdc import __version__
from cdc.cli.signals import release_hangup
from cdc.language import VARIABLE, Messages, chosen, terminal_messages
from cdc.model.errors import CdcError, printable, reportable_error


@dataclass
class CommandSession:
    """One run of the command line.  Commands that need the configuration read it (`cdc.cli.environment`):
    ``cdc --help`` starts fast and works without one."""

    config_path: Path | None = None
    verbose: bool = False
    log_format: str | None = None
    as_json: bool = False

    @cached_property
    def language(self) -> str:
        """The code of the language that this command speaks."""
        return chosen(os.environ, "" if os.environ.get(VARIABLE) else self._configured_language())

    @cached_property
    def messages(self) -> Messages:
        """The program's sentences in that language."""
        return terminal_messages(self.language)

    def _configured_language(self) -> str:
        """Return ``language`` under ``[process]``, without reading and checking the whole configuration: help and the
        errors of a wrong configuration are shown in this language, too."""
        path = self.config_path or Path(os.environ.get("CDC_CONFIG") or "cdc.toml")
        if variable := os.environ.get("CDC_PROCESS_LANGUAGE"):
            return variable
        try:
            text = path.read_text(encoding="utf-8-sig")
            if "language" not in text:
                return ""
            import tomllib  # noqa: PLC0415 - most commands need no TOML to know their language

            process = tomllib.loads(text).get("process")
        except (OSError, ValueError):  # the command says so when it reads it
            return ""
        return str(process.get("language", "")) if isinstance(process, dict) else ""


pass_session = click.make_pass_decorator(CommandSession)


def translate(text: str) -> str:
    """Return a text of the program in the language of the running command."""
    context = click.get_current_context(silent=True)
    session = context.find_object(CommandSession) if context is not None else None
    return session.messages.lines(text) if session is not None else text


class TranslatingFormatter(click.HelpFormatter):
    """Writes help in the language of the running command."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        for words in ("[OPTIONS]", "COMMAND [ARGS]..."):
            args = args.replace(words, translate(words))
        super().write_usage(prog, args, prefix or f"{translate('Usage:')} ")

    def write_heading(self, heading: str) -> None:
        super().write_heading(translate(heading))

    def write_text(self, text: str) -> None:
        super().write_text("\n\n".join(translated_help(each) for each in text.split("\n\n")))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(term, translated_help(text)) for term, text in rows], col_max, col_spacing)


def translated_help(paragraph: str) -> str:
    """Translate one paragraph of a help text, or the text of an option with what click adds in brackets."""
    if paragraph.startswith("\b"):
        return paragraph[:1] + translate(paragraph[1:])
    text, bracket, added = " ".join(paragraph.split("\n")).partition("  [")
    extras = "; ".join(map(translate, added.removesuffix("]").split("; ")))
    return translate(text) + (f"  [{extras}]" if bracket else "")


click.Context.formatter_class = TranslatingFormatter


class CommandGroup(click.Group):
    """A group whose list of commands is translated: click shortens their sentences before it writes them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        limit = formatter.width - 6 - max(len(name) for name, _ in shown)
        with formatter.section("Commands"):
            formatter.write_dl([(name, _short(command, limit)) for name, command in shown if command is not None])


def _short(command: click.Command, limit: int) -> str:
    paragraph = (command.help or "").partition("\n\n")[0]
    return click.Command(None, help=translated_help(paragraph)).get_short_help_str(limit)


def _imported(module: str) -> ModuleType:
    """Import a command's module without Python's garbage collector, which would look through what imports make again
    and again, and once more at the end: a third of the processor's time of a short command."""
    if module in sys.modules:
        return sys.modules[module]
    collecting = gc.isenabled()
    gc.disable()
    try:
        if not {"structlog", "rich"} & sys.modules.keys():
            # imports rich where it finds it, for tracebacks that logs never have: a sixth of a short command's time
            sys.modules["rich"] = None  # type: ignore[assignment]  # Python's way to say that it is not there
            import_module("structlog")
            del sys.modules["rich"]
        return import_module(module)
    finally:
        gc.freeze()  # what was imported stays until the process ends
        if collecting:
            gc.enable()


class LazyGroup(click.Group):
    """``lazy``: command name → (``module:attribute``, help sentence), in the order in which help lists them."""

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command = getattr(_imported(module), attribute)
        assert isinstance(command, click.Command), f"{module}:{attribute} is no command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.lazy and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=self.lazy, ctx=ctx)
        return super().resolve_command(ctx, args)


INTERRUPTED = 130
#: The commands as the help lists them: in groups, those that people need first before all others.
SECTIONS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "Start with": {
        "setup": ("cdc.cli.setup:setup", "Lead from nothing to the first signed webhook."),
        "run": ("cdc.cli.run:run", "Run the consumer: capture changes and send webhooks."),
        "endpoint": ("cdc.cli.endpoint:endpoint", "Add, change and test the URLs that receive events."),
        "delivery": ("cdc.cli.delivery:delivery", "Search the delivery log and retry single deliveries."),
        "doctor": ("cdc.cli.doctor:doctor", "Check everything, and say how to fix what is wrong."),
    },
    "Set up": {
        "demo": ("cdc.cli.demo:demo", "Show everything at work on a PostgreSQL of its own."),
        "config": ("cdc.cli.config:config", "Print a new or the effective configuration."),
        "source": ("cdc.cli.source:source", "List, find and adopt the databases that cdc reads."),
        "grants": ("cdc.cli.trigger:grants", "Print the database accounts that each source needs."),
        "install-triggers": ("cdc.cli.trigger:install_triggers", "Install or update the journal and the triggers."),
        "service": ("cdc.cli.service:service", "Install cdc as a service of systemd, watch and remove it."),
    },
    "Operate": {
        "worker": ("cdc.cli.run:worker", "Show which process reads which source, and empty one."),
        "outbox": ("cdc.cli.outbox:outbox", "Create, back up and move the store of the events."),
        "quarantine": ("cdc.cli.backfill:quarantine", "Show, reread and remove changes that were skipped."),
        "support-bundle": ("cdc.cli.doctor:support_bundle", "Write a ZIP file for support, without personal data."),
    },
    "Send": {
        "replay": ("cdc.cli.delivery:replay", "Send finished deliveries again, with the same ids."),
        "backfill": ("cdc.cli.backfill:backfill", "Send existing rows as events (*.existing)."),
        "apply": ("cdc.cli.apply:apply", "Make endpoints equal to those in a file."),
        "export": ("cdc.cli.apply:export", "Print endpoints as a file for cdc apply."),
        "consume": ("cdc.cli.consume:consume", "Fetch a consumer's events, and run a program for each."),
        "listen": ("cdc.cli.consume:listen", "Receive webhooks here and verify their signatures."),
    },
    "Look": {
        "explain": ("cdc.cli.delivery:explain", "Say why an event did not arrive, or when it did."),
        "event": ("cdc.cli.event:event", "List, follow, export and expunge events."),
        "table": ("cdc.cli.source:table", "List tables, and why each is captured or not."),
        "due": ("cdc.cli.backfill:due", "List the rules by time, and what a day brings."),
    },
    "Access": {
        "user": ("cdc.cli.access:user", "Manage the users of the web page."),
        "token": ("cdc.cli.access:token", "Manage the tokens for programs that call the API."),
        "portal-link": ("cdc.cli.access:portal_link", "Manage links that open the page for one tenant."),
        "audit": ("cdc.cli.access:audit", "Show, export and check the audit log."),
    },
    "Advanced": {
        "uninstall-triggers": ("cdc.cli.trigger:uninstall_triggers", "Remove all triggers and the journal."),
        "install-slot": ("cdc.cli.trigger:install_slot", "Install or update publication and replication slot."),
        "uninstall-slot": ("cdc.cli.trigger:uninstall_slot", "Remove the replication slot and the publication."),
    },
}
COMMANDS: Final = {name: command for commands in SECTIONS.values() for name, command in commands.items()}


class Application(LazyGroup):
    """Turns every way to end into an exit code and, on standard error, one sentence and a hint."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), sentence) for name, (_, sentence) in commands.items()])

    def main(  # type: ignore[override]  # click's overloads choose by a flag whether it returns; ours never does
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        arguments = list(sys.argv[1:] if args is None else args)
        # read here too: an error in the arguments keeps click from reading them to the end
        session = CommandSession(as_json="--json" in arguments)
        extra |= {"standalone_mode": False, "obj": session}
        try:
            code = super().main(arguments, prog_name, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has enough (`cdc event kinds | head`); the rest of the buffer must not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except click.ClickException as error:
            context = error.ctx if isinstance(error, click.UsageError) else None
            hint = f"{context.command_path} --help" if context else ""
            if context is not None and not session.as_json:
                with context.scope(cleanup=False):
                    click.echo(context.get_usage(), err=True)
                    hint = f"Try '{hint}' for help."
            _report(session, error.format_message(), hint, error.exit_code)
        except CdcError as error:
            _report(session, error.message, error.hint, error.exit_code)
        except Exception as error:  # noqa: BLE001 - outermost frame: one sentence and exit code 1
            reported = reportable_error(error)
            _report(
                session,
                reported.message,
                reported.hint
                or ("" if session.verbose else "This is a defect; `cdc --verbose …` shows what was raised and where."),
                1,
            )
        sys.exit(code if isinstance(code, int) else 0)


def _report(session: CommandSession, message: str, hint: str, exit_code: int) -> NoReturn:
    """Print a sentence and a hint, or with --json one line of JSON, and exit; call it within an except clause."""
    refused = isinstance(sys.exception(), click.ClickException)
    lines = [traceback.format_exc().rstrip()] if session.verbose and not refused else []
    if session.as_json:
        error = {"message": message, "hint": hint or None, "exit_code": exit_code}
        lines.append(json.dumps({"error": error}, ensure_ascii=False))
    else:
        spoken = session.messages.lines
        lines += [f"Error: {spoken(message)}", *(f"  {spoken(line)}" for line in hint.splitlines())]
    click.echo(printable("\n".join(lines)), err=True)
    sys.exit(exit_code)


@click.command(cls=Application, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file [CDC_CONFIG, else cdc.toml in the current folder, else the service's].",
)
@click.option("--verbose", "-v", is_flag=True, help="Log more, and show tracebacks of errors.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Log format [log.format].")
@click.version_option(__version__, prog_name="cdc", message="%(prog)s %(version)s")
@click.pass_context
@pass_session
def cdc(
    session: CommandSession, context: click.Context, config_path: Path | None, verbose: bool, log_format: str | None
) -> None:
    """Signed webhooks from the row changes of a FacturaScripts database."""
    if context.invoked_subcommand != "run":  # which takes it when it can reload
        release_hangup()
    if os.environ.get("NO_COLOR"):
        context.color = False
    session.config_path = config_path
    session.verbose = verbose
    session.log_format = log_format
