"""The messages of the program that people read: each error, finding and result, as a template; and what only commands
show: their help, questions, answers and the titles of their tables.

They are found in the code: what is passed to an error, to a finding or to the result of an attempt, and what is written
in the functions and constants named here.  Values in them are ``{1}``, ``{2}``, …

PYTHONPATH=tests python -m support.program_messages             adds new messages to the catalogues, untranslated
PYTHONPATH=tests python -m support.program_messages --check     fails where one is not translated
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Final, NamedTuple

import click
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from cdc.cli.app import SECTIONS, LazyGroup
from cdc.cli.app import cdc as application
from cdc.cli.doctor import MARKS
from cdc.cli.output import STATES
from cdc.database.sqlfile import load
from cdc.language import DEFAULT, LANGUAGES, sentences
from cdc.model.endpoint import OPTIONS
from support.messages import po_bytes
from support.source_texts import ROOT, VALUE, Scope, SourceModule, Texts, class_of, function_of, modules, name_of

#: Packages, modules, functions and classes (``module:name``), whose messages only a terminal or a program
#: sees, or that only a start without page has.
NOT_ON_THE_PAGE: Final = (
    "admin/managed.py",
    "api/",
    "cli/",
    "demo/",
    "__main__.py",
    "config/load.py",
    "config/section.py:OutboxConfig",
    "config/sending.py",
    "config/url.py",
    "config/write.py",
    "mapping/",
    "outbox/postgres/schema.py",
    "outbox/sqlite/file.py",
    "outbox/transfer.py",
    "runtime/components.py:check_reloadable",
    "runtime/consumer.py",
    "runtime/installation.py",
    "runtime/outboxes.py",
    "runtime/process.py:unit_text",
    "runtime/support.py",
)
#: The functions and classes of these modules whose messages the page shows all the same.
ON_THE_PAGE: Final = (
    "mapping/rule.py:TablePatterns",
    "outbox/sqlite/file.py:keep_private",
    "outbox/sqlite/file.py:open_file",
    "outbox/sqlite/file.py:read_schema",
    "runtime/outboxes.py:expecting",
    "runtime/outboxes.py:marker_finding",
    "runtime/outboxes.py:adoption",
    "runtime/outboxes.py:adopt",
    "runtime/outboxes.py:_position",
    "runtime/outboxes.py:_ask",
)
#: Calls besides errors → which of their arguments are messages.
_SINKS: Final[dict[str, tuple[int | str, ...]]] = {
    "Finding": (0, 2, 3, "check", "detail", "fix"),
    "Proof": (0,),
    "Step": (0,),
    "Coverage": (2, "by"),
    "Answer": ("error",),
    "Attempt": ("error",),
    "Stall": (1, "why"),
    "Verdict": (1, 3, "error", "disable_reason"),
    "fail": (1,),
    "AddressRefused": (0,),
    "NotConfigured": (0,),
    "NotAnExpression": (0,),
    "TokenNotGiven": (0,),
    "TransformFailed": (0,),
}
#: Modules with messages that are not passed where they are written → the functions and constants that hold them.
_HOLDERS: Final[dict[str, tuple[str, ...]]] = {
    "capture/base.py": ("foreign", "remedy"),
    "capture/binlog/inspector.py": ("refused", "advised", "_CONFIGURATION"),
    "capture/estimate.py": ("estimate",),
    "capture/logical/source.py": ("problems",),
    "capture/probe.py": ("_try_another",),
    "capture/logical/slot.py": ("read_state",),
    "capture/slot/plan.py": ("drift",),
    "capture/source.py": ("problems",),
    "capture/slot/postgres.py": ("_table",),
    "capture/spool.py": ("_UNWRITABLE",),
    "capture/triggers/mysql_findings.py": ("_differences",),
    "capture/triggers/mysql_state.py": ("_unfit_tables",),
    "capture/triggers/postgres_plan.py": ("_EXPOSED", "_CHANGED", "append_drift", "drift", "_trigger_drift"),
    "dispatch/address.py": ("inside", "by_name", "refusal", "_REFUSED_4", "_REFUSED_6", "_METADATA"),
    "dispatch/auto_disable.py": ("disable_reason", "_span"),
    "dispatch/failure.py": ("_SENTENCES", "describe_error", "__init__"),
    "dispatch/mail.py": ("_SENTENCES", "describe", "refused_some"),
    "dispatch/transform.py": ("_TOO_LARGE",),
    "dispatch/retry.py": ("describe_status", "judge"),
    "model/connection.py": ("describe",),
    "model/operation.py": ("clock_sentence",),
    "model/filter/program.py": ("_USES", "problem"),
    "mapping/rule.py": ("refusal",),
    "model/finding.py": ("NO_KEY", "NOT_INNODB"),
    "pages/views/endpoints.py": ("switch",),
    "runtime/capture.py": ("_why_not", "_NO_RULE"),
    "model/selection.py": ("_EXCEEDED", "_TOO_DEEP", "_TOO_OFTEN"),
    "web/health.py": ("reasons", "warnings", "refusal", "_since", "_what", "_outbox", "_deliveries", "overdue"),
}
#: What a publication leaves out, in words.
_FLAWS: Final = "postgres/slot/flaws.sql"
#: SQL that commands print, with comments.
_PRINTED_SQL: Final = (
    "postgres/trigger/grants.sql",
    "postgres/trigger/statements.sql#connects",
    "postgres/slot/grants.sql",
    "postgres/outbox/roles.sql",
)
#: Words of the operating system and of OpenSSL in results of attempts, and durations.
_OTHERS: Final = (
    "1 day",
    "1 hour",
    "1 minute",
    "{1} and {2} other tables",
    "Connection refused",
    "Connection reset by peer",
    "Connection timed out",
    "Disabled by hand.",
    "It holds the password and nothing else.",
    "The password file {1} cannot be read: {2}.",
    "Host is unreachable",
    "Hostname mismatch, certificate is not valid for '{1}'",
    "IP address mismatch, certificate is not valid for '{1}'",
    "Name or service not known",
    "Network is unreachable",
    "No address associated with hostname",
    "No route to host",
    "No such file or directory",
    "Permission denied",
    "Temporary failure in name resolution",
    "certificate has expired",
    "certificate is not yet valid",
    "record layer failure",
    "self-signed certificate",
    "self-signed certificate in certificate chain",
    "unable to get local issuer certificate",
    "wrong version number",
    "{1} calls {2} of role {3}",
    "{1} days",
    "{1} days, {2}",
    "{1} hours",
    "{1} minutes",
)


_NAMED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Found(NamedTuple):
    """``place``: of the first code that has it.  ``finding``: it is only the result of a check."""

    place: str
    finding: bool


@cache
def templates() -> dict[str, Found]:
    """Each message of the program that the page may show."""
    found: dict[str, Found] = {}
    for path, module in modules().items():
        for line, text, finding in _of_module(module):
            if _on_the_page(module, line):
                for message in _sentences(text):
                    if _translatable(message, finding):
                        known = found.get(message, Found(f"{path}:{line}", finding))
                        found[message] = known._replace(finding=known.finding and finding)
        for line, check in _checks(module):
            if _on_the_page(module, line):
                found.setdefault(check, Found(f"{path}:{line}", finding=True))
    flaws = {
        flaw: Found("sql/postgres/slot/flaws.sql", finding=False) for flaw in re.findall("'(the [^']+)'", load(_FLAWS))
    }
    return found | flaws | dict.fromkeys(_OTHERS, Found("the system", finding=False))


def _on_the_page(module: SourceModule, line: int) -> bool:
    """Return whether the page may show the messages of the function or class at the top of the module around a line."""
    around = (node for node in module.tree.body if node.lineno <= line <= (node.end_lineno or 0))
    place = f"{module.path}:{getattr(next(around, None), 'name', '')}"
    return place in ON_THE_PAGE or not place.startswith(NOT_ON_THE_PAGE)


#: Calls of commands → which of their arguments a terminal shows.
_SHOWN: Final[dict[str, tuple[int | str, ...]]] = {
    "agreed": (0,),
    "answer": (0,),
    "checked": (0,),
    "choice": (0, 2),
    "confirm": (0,),
    "confirm_loss": (0,),
    "_carry_out_one": (),
    "carry_out": (),
    "echo": (0, 1, 2, 3),
    "fitting": (0,),
    "heading": (0,),
    "hidden_answer": (0,),
    "meant": (2,),
    "print_fields": (0,),
    "print_table": (0, 2),
    "question": (0, 1, 2, 3, 4, 5, 6),
    "read_text_file": (1,),
    "say": (0, 1, 2, 3),
    "secret_from": (1,),
    "spoken": (0,),
    "Styled": (0,),
    "translate": (0,),
    "Verification": (1,),
}
#: Values that are words, not names; and what a check is about.
_ONE_WORD: Final = (
    *(
        "1 row",
        "See",
        "NOT VERIFIED",
        "any address",
        "no endpoint",
        "all",
        "audit log",
        "batches",
        "component",
        "dead",
        "endpoint",
        "endpoint {1}",
        "event",
        "language",
    ),
    *("never", "none", "rate", "retries", "source", "time", "verified"),
)
#: Calls of commands → how many of their first arguments name a check and what it is about.
_NAMES: Final = {"Check": 1, "Finding": 1, "_failed": 2}
#: Functions and constants with texts for a terminal that are not passed where they are written.
_SPOKEN: Final[dict[str, tuple[str, ...]]] = {
    "capture/slot/plan.py": ("_restored", "drop_slot"),
    "capture/triggers/base.py": ("unread_notes",),
    "capture/triggers/mysql_plan.py": ("_notes",),
    "cli/backfill.py": ("backfill_cancellation", "render"),
    "cli/endpoint_fields.py": (
        "_plain",
        "endpoint_fields",
        "authentication_fields",
        "signature_fields",
        "retries_text",
    ),
    "cli/apply.py": ("written",),
    "cli/setup.py": ("_INTRODUCTION",),
    "cli/source.py": ("_following",),
    "config/write.py": ("_SHORT", "_found"),
    "dispatch/mail.py": ("_CONSEQUENCES",),
    "model/connection.py": ("SHARED_RISK", "heading"),
    "runtime/capture.py": ("coverage", "_why_not", "recommend"),
}
#: A text with fewer letters of its own would fit others: ``{1} of {2}``.
_VAGUE: Final = 2
#: Messages of operational events, in mails: their code has examples, too, which are not for people.
_MAILED: Final = (
    "A change ({1}) of the table {2} of source {3} could not be recorded.",
    "Changes of the table {1} of source {2} were not captured.",
    "Endpoint {1} ({2}) has accepted nothing since {3}.",
    "Endpoint {1} ({2}) is disabled: {3}",
    "Endpoint {1} ({2}), which had accepted nothing since {3}, accepts deliveries again, or was enabled by hand.",
    "Endpoint {1} has accepted nothing since {2}.",
    "Endpoint {1} is disabled: {2}",
    "Endpoint {1}, which had accepted nothing since {2}, accepts deliveries again, or was enabled by hand.",
    "It had stood still since {1}.",
    "Deliveries waiting: at least {1}.",
    "Deliveries waiting: {1}.",
    "cdc endpoint enable {1} sends them.",
    "Source {1} is read again.",
    "The last error: {1}",
    "The table is read again, which gives its rows as they are now (events .read).",
    "Unless it accepts something it is disabled on {1}.",
)
#: Texts of click and pydantic, in help and errors.
_LIBRARIES: Final = (
    "(dynamic)",
    "Commands",
    "Did you mean one of: {1}?",
    "Did you mean {1}?",
    "Directory {1} does not exist",
    "Directory {1} is a file",
    "Directory {1} is not readable",
    "Directory {1} is not writable",
    "Error",
    "File {1} does not exist",
    "File {1} is a directory",
    "File {1} is not readable",
    "File {1} is not writable",
    "Got unexpected extra argument ({1})",
    "Got unexpected extra argument {1}",
    "Got unexpected extra arguments ({1})",
    "Got unexpected extra arguments {1}",
    "Invalid value for {1}: {2}.",
    "Missing argument {1}.",
    "Missing command.",
    "Missing option {1}.",
    "No such command {1}.",
    "No such option {1}.",
    "Option {1} does not take a value.",
    "Option {1} requires an argument.",
    "Option {1} requires {2} arguments.",
    "Options",
    "Path {1} does not exist",
    "Show the version and exit.",
    "Show this message and exit.",
    "Try '{1}' for help.",
    "[OPTIONS]",
    "COMMAND [ARGS]...",
    "fix",
    "Next:",
    "reason",
    "source {1}",
    "Usage:",
    "Y/n",
    "default: {1}",
    "env var: {1}",
    "no",
    "required",
    "y/N",
    "yes",
    "{1} tables",
    "{1}: Field required.",
    "{1}: Input should be a valid dictionary or instance of {2}.",
    "{1}: Input should be a valid dictionary.",
    "{1}, line {2}",
    "{1}: Input should be a valid boolean, unable to interpret input.",
    "{1}: Input should be a valid integer, unable to parse string as an integer.",
    "{1}: Input should be a valid integer.",
    "{1}: Input should be a valid number, unable to parse string as a number.",
    "{1}: Input should be a valid number.",
    "{1}: Input should be a valid string.",
    "{1}: Input should be a valid list.",
    "{1}: Input should be greater than or equal to {2}.",
    "{1}: Input should be greater than {2}.",
    "{1}: Input should be less than or equal to {2}.",
    "{1}: Input should be less than {2}.",
    "{1}: Input should be {2}.",
    "{1} is not a valid float.",
    "{1} is not a valid integer.",
    "{1} is not in the range {2}",
    "{1} is not one of {2}",
)


@cache
def terminal() -> dict[str, str]:
    """Each text that only a terminal shows, with its place; and the messages of the page that name a command, which the
    page words without it."""
    found = dict.fromkeys(_LIBRARIES, "libraries") | dict.fromkeys(_MAILED, "model/operation.py")
    texts = list[tuple[str, str]]()
    for path, module in modules().items():
        if path.startswith("api/"):
            continue  # programs read them
        shown = [(line, text) for line, text, _ in _of_module(module) if not _on_the_page(module, line)]
        shown += _of_commands(module)
        shown += _of_scripts(module)
        shown += _of_configuration(module)
        texts += [(f"{path}:{line}", text) for line, text in shown]
    for place, text in (*texts, *_comments()):
        for message in _lines(text):
            if _translatable(message, finding=True) and len(re.sub(r"\{\d+\}|\W", "", message)) > _VAGUE:
                found.setdefault(message, place)
    found |= dict.fromkeys(_titles(), "cli/")
    found |= dict.fromkeys(_help(application, click.Context(application)), "help")
    return {text: place for text, place in found.items() if text not in templates()} | dict.fromkeys(
        with_commands(), "page"
    )


def _of_commands(module: SourceModule) -> Iterator[tuple[int, str]]:
    for name, places in _SHOWN.items():
        if name not in ("Verification", "spoken") and not module.path.startswith(("cli/", "demo/")):
            continue
        for call in module.calls.get(name, []):
            arguments = [each for index, each in enumerate(call.args) if index in places]
            arguments += [each.value for each in call.keywords if each.arg == "done"]
            for argument in arguments:
                body = argument.body if isinstance(argument, ast.Lambda) else argument
                yield from ((call.lineno, text) for text in _all_texts(body, module))
    for call in module.calls.get("counted", []):
        for one in _all_texts(call.args[1], module):
            several = _all_texts(call.args[2], module) if call.args[2:] else [f"{one}s"]
            yield from ((call.lineno, f"{VALUE} {noun}") for noun in (one, *several))
    for name in _SPOKEN.get(module.path, ()):
        holders = [*module.functions.get(name, []), *module.constants.get(name, [])]
        assert holders, f"{module.path} has no {name}"
        for holder in holders:
            for node in _outermost_texts(holder):
                yield from ((node.lineno, text) for text in _all_texts(node, module))


def _of_configuration(module: SourceModule) -> Iterator[tuple[int, str]]:
    """Yield what the sections refuse a value with, which the name of the option begins."""
    if not module.path.startswith("config/"):
        return
    for name, place in (("ValueError", 0), ("matching", 1)):
        for call in module.calls.get(name, []):
            if len(call.args) > place:
                yield from (
                    (call.lineno, f"{VALUE} {text}.") for text in _all_texts(call.args[place], module) if text != VALUE
                )


def _titles() -> Iterator[str]:
    """Yield the titles of tables and of groups of commands, and the names of fields and checks, also those of one
    word."""
    yield from (
        *SECTIONS,
        *(word for word, _ in MARKS.values()),
        *_ONE_WORD,
        *(name.replace("_", " ") for name in OPTIONS),
        *(f"state:{word}" for word in STATES),
    )
    for path, module in modules().items():
        if not path.startswith(("cli/", "demo/")):
            continue
        for name, places in _NAMES.items():
            for argument in (each for call in module.calls.get(name, []) for each in call.args[:places]):
                yield from (text for text in _all_texts(argument, module) if re.fullmatch("[A-Za-z]+", text))
        for call in module.calls.get("print_table", []):
            yield from (text for text in _all_texts(call.args[0], module) if text and VALUE not in text)
        for call in module.calls.get("print_fields", []):
            for node in ast.walk(call.args[0]):
                if isinstance(node, ast.Tuple) and isinstance(node.elts[0], ast.Constant) and node.elts[0].value:
                    yield str(node.elts[0].value)


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield from _sentences(re.sub(r"\{\w*\}", VALUE, line.removeprefix("-- ").removeprefix("# ")))


def _of_scripts(module: SourceModule) -> Iterator[tuple[int, str]]:
    """Yield the comments of SQL in the code; what follows a colon at the end is a statement."""
    for node in _outermost_texts(module.tree):
        for text in _all_texts(node, module):
            if text.startswith("-- "):
                yield node.lineno, text + (VALUE if text.endswith(": ") else "")


def _comments() -> Iterator[tuple[str, str]]:
    """Yield the comments, with their places, of the files of SQL that commands print."""
    for name in _PRINTED_SQL:
        for comment in re.findall("^-- (.+)$", load(name), re.MULTILINE):
            yield f"sql/{name}", re.sub(r"\$(\w+|\{\w+\})", VALUE, comment)


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the paragraphs of a command's help and those of the commands below it, as `cdc.cli.app` translates them."""
    texts = [command.help or "", *(each.help or "" for each in command.params if isinstance(each, click.Option))]
    if isinstance(command, LazyGroup):
        texts += [sentence for _, sentence in command.lazy.values()]
    for paragraph in (each for text in texts for each in cleandoc(text).split("\n\n")):
        if paragraph.startswith("\b"):
            yield from (line.strip() for line in paragraph[1:].split("\n") if line.strip())
        elif paragraph.strip():
            yield " ".join(paragraph.split("\n")).strip()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _help(command.get_command(context, name) or command, context)


def unknown_places() -> list[str]:
    """Return the places named here that are not in the code."""
    known = {path: module.tree.body for path, module in modules().items()}
    names = {f"{path}:{node.name}" for path, body in known.items() for node in body if isinstance(node, _NAMED)}
    places = [*NOT_ON_THE_PAGE, *ON_THE_PAGE, *_HOLDERS]
    return [each for each in places if each not in names and not any(path.startswith(each) for path in known)]


def with_commands() -> set[str]:
    """Return the messages that name a command, except those of checks, which are for users of the command line."""
    return {message for message, found in templates().items() if not found.finding and names_command(message)}


def names_command(text: str) -> bool:
    return _NAMES_COMMAND.search(text) is not None


def _checks(module: SourceModule) -> Iterator[tuple[int, str]]:
    """Names of checks in one word; names of settings are what they are."""
    for call in module.calls.get("Finding", []):
        for text in Texts().of(call.args[0], Scope(module, function_of(call))):
            if re.fullmatch("[A-Za-z]+", text):
                yield call.lineno, text


@cache
def _errors() -> frozenset[str]:
    bases = {
        node.name: {name_of(base) for base in node.bases}
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"CdcError"}
    while more := {name for name, names in bases.items() if names & found} - found:
        found |= more
    return frozenset(found)


def _of_module(module: SourceModule) -> Iterator[tuple[int, str, bool]]:
    """Line, text, and whether it is of a finding."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            for argument in _messages_of(node):
                for text in _all_texts(argument, module):
                    yield node.lineno, text, name_of(node.func) == "Finding"
    for line, text in _of_holders(module):
        yield line, re.sub(r"\{\w*(:\w+)?\}", VALUE, text), False


def _all_texts(node: ast.AST, module: SourceModule) -> list[str]:
    texts = Texts()
    return texts.of(node, Scope(module, function_of(node))) + texts.phrases


def _messages_of(call: ast.Call) -> Sequence[ast.expr]:
    name = name_of(call.func)
    if name in _errors() or (name == "__init__" and class_of(call) in _errors()):
        return [*call.args, *(each.value for each in call.keywords if each.arg in ("message", "hint"))]
    wanted = _SINKS.get(name, ())
    found = [argument for index, argument in enumerate(call.args) if index in wanted]
    return [*found, *(each.value for each in call.keywords if each.arg in wanted)]


def _of_holders(module: SourceModule) -> Iterator[tuple[int, str]]:
    """All texts within the holders of a module, but for docstrings."""
    for name in _HOLDERS.get(module.path, ()):
        holders = [*module.functions.get(name, []), *module.constants.get(name, [])]
        assert holders, f"{module.path} has no {name}"
        for holder in holders:
            for node in _outermost_texts(holder):
                yield from ((node.lineno, text) for text in _all_texts(node, module))


def _outermost_texts(node: ast.AST) -> Iterator[ast.Constant | ast.JoinedStr]:
    if isinstance(node, ast.Constant | ast.JoinedStr):
        yield node
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for child in ast.iter_child_nodes(node):
            yield from _outermost_texts(child)


#: A value that is a sentence, before another sentence.
_SENTENCE_BEFORE: Final = re.compile(rf"^{VALUE} (?=[A-Z][a-z]+ )")
_NAMES_COMMAND: Final = re.compile(rf"\bcdc ({'|'.join(application.lazy)})\b|(^| )--[a-z]|\bopenssl\b|\bpip \b")
#: The same in each language: commands and statements, with nothing said about them.
_COMMAND: Final = re.compile(
    r"\w+ = \".*\"|(cdc [a-z][\w-]*( (--?[\w-]+|[a-z-]+|[A-Z]+|\{\d\}))*(; )?)+"
    r"|(GRANT|ALTER|DROP|INSERT|SET GLOBAL|SET TRANSACTION|START TRANSACTION|SELECT|CALL|REINDEX|CONVERT|chmod|chown) "
    r"(?!.*(, which|, then|; then|; or|; and|, and| to the | TO the |\(beyond|replication\)|if nobody)).*"
)


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences with ``{1}``, ``{2}``, … for the values; adjacent values are one."""
    for part in sentences(_SENTENCE_BEFORE.sub("", re.sub(f"{VALUE}+", VALUE, text)).strip()):
        words = part.split(VALUE)
        yield "".join(f"{word}{{{number}}}" for number, word in enumerate(words[:-1], 1)) + words[-1]


def _translatable(message: str, finding: bool) -> bool:
    words = re.sub(r"\{\d+\}", "", message)
    if not re.search(r"[A-Za-z]{2}", words) or " " not in message:
        return False
    return not _COMMAND.fullmatch(message) or (not finding and names_command(message))


def written(language: str, wanted: Iterable[str], name: str = "program") -> bytes:
    """Return a catalogue of a language with exactly these messages, in order."""
    known, made = catalogue(language, name), Catalog(locale=language, charset="utf-8", header_comment="", fuzzy=False)
    for message in sorted(wanted):
        found = known.get(message)
        made.add(message, found.string if found else None)
    return po_bytes(made)


def _english() -> set[str]:
    return with_commands() | {str(message.id) for message in catalogue(DEFAULT) if message.id in templates()}


def catalogue(language: str, name: str = "program") -> Catalog:
    with _path(language, name).open("rb") as file:
        return read_po(file, locale=language)


def _path(language: str, name: str = "program") -> Path:
    return ROOT / "locale" / f"{name}.{language}.po"


def missing() -> dict[str, str]:
    """Return the messages without a translation, with their places."""
    found: dict[str, str] = {}
    for name, wanted in (
        ("program", {text: each.place for text, each in templates().items()}),
        ("terminal", terminal()),
    ):
        for code in LANGUAGES.keys() - {DEFAULT}:
            known = catalogue(code, name)
            found |= {text: place for text, place in wanted.items() if not (each := known.get(text)) or not each.string}
    return found


def main(arguments: Sequence[str]) -> int:
    for code in LANGUAGES if arguments != ["--check"] else ():
        _path(code).write_bytes(written(code, _english() if code == DEFAULT else templates()))
        if code != DEFAULT:
            _path(code, "terminal").write_bytes(written(code, terminal(), "terminal"))
    late = missing()
    for text, place in late.items():
        print(f"{place}: not translated: {text}", file=sys.stderr)
    if late:
        print(
            "PYTHONPATH=tests python -m support.program_messages adds them to cdc/locale/*.po, empty", file=sys.stderr
        )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
