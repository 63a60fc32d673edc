"""Asks, and does each step by the plain command that it prints: what `cdc setup` is made of."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import click

from cdc.cli.app import CommandSession, translate
from cdc.cli.output import Styled, agreed, fitting, say
from cdc.files import CLOSED_IN_CHILDREN
from cdc.model.errors import CdcError, UsageError, printable

T = TypeVar("T")
#: Windows has no such flag of `os.open`.
_NO_LINK: Final[int] = getattr(os, "O_NOFOLLOW", 0)


@dataclass(slots=True)
class Guide:
    """``yes``: nobody is asked; what is not given is as recommended.  ``title``: of the step that was begun last."""

    session: CommandSession
    yes: bool
    title: str = ""

    @property
    def asking(self) -> bool:
        """Return whether a person is there to answer."""
        return not self.yes and sys.stdin.isatty()

    def heading(self, text: str) -> None:
        self.title = text
        say("\n", Styled(text))

    def checked(
        self, question: str, option: str, default: str | None, check: Callable[[str], T], given: str | None = None
    ) -> T:
        """Return what ``check`` returns for the answer; ask again while it raises `CdcError`.
        ``given``: the answer, if it is known.  Raises that error when there is nobody to ask."""
        text = self.answer(question, option, default) if given is None else given
        while True:
            try:
                return check(text)
            except CdcError as error:
                if not self.asking:
                    raise
                self.problem(error)
            text = self.answer(question, option, default)

    def problem(self, error: CdcError) -> None:
        head = translate("  Not possible: ")
        say(Styled(head, "red"), fitting(f"{head}{error.message}", "  ", err=True).removeprefix(head))
        for line in error.hint.splitlines():
            say(fitting(f"  {line}", "    ", err=True))

    def agreed(self, question: str) -> bool:
        """Raises `UsageError` when there is nobody to ask."""
        if self.yes:
            return True
        self._somebody(question, "--yes")
        return agreed(question, default=True)

    def answer(self, question: str, option: str, default: str | None) -> str:
        """``option``: what gives the answer without a question; ``default``: the answer to nothing, None if there must
        be one.  Raises `UsageError` when there is nobody to ask and no default."""
        if self.yes and default is not None:
            return default
        self._somebody(question, option)
        return str(click.prompt(_asked(question), default=default, err=True)).strip()

    def choice(self, question: str, option: str, among: Sequence[str]) -> str:
        """One of several.  Raises `UsageError` when there is nobody to ask."""
        self._somebody(question, option)
        for number, each in enumerate(among, start=1):
            say(f"  {number}  {each}")
        answers = {str(number): each for number, each in enumerate(among, start=1)}
        while (answer := str(click.prompt(_asked(question), default="1", err=True)).strip()) not in answers:
            say(f"Choose a number from 1 to {len(among)}.")
        return answers[answer]

    def _somebody(self, question: str, option: str) -> None:
        if not self.asking:
            raise UsageError(f"{question} Nobody is there to ask.", f"Say {option}.")

    def show(self, *arguments: str) -> None:
        """The plain command, as one would type it here."""
        self.say_command(self.typed(*arguments))

    def say_command(self, line: str) -> None:
        say(Styled(f"$ {line}", "cyan"))

    def typed(self, *arguments: str) -> str:
        return shlex.join(["cdc", *self._prefix(), *arguments])

    def run(self, *arguments: str) -> int:
        """Print the plain command and do what it does; its exit code.  What it raises, it raises here."""
        self.show(*arguments)
        root = click.get_current_context().find_root().command
        with root.make_context("cdc", [*self._prefix(), *arguments], obj=CommandSession()) as context:
            code = root.invoke(context)
        return code if isinstance(code, int) else 0

    def _prefix(self) -> list[str]:
        return ["--config", str(self.session.config_path)] if self.session.config_path else []


def _asked(question: str) -> str:
    """Without its question mark: the colon of the prompt follows."""
    text = translate(question)
    return printable(text.removesuffix("?").removeprefix("¿") if text.endswith("?") else text)


_ANSWERS_FILE = ".cdc-setup.json"


@dataclass
class SetupAnswers:
    """The answers given to an interrupted ``setup``, stored beside the configuration until it ends.  ``path``: None
    where nobody is asked, or the file cannot be written: nothing is stored then.

    Passwords and keys are never asked for: only the names of files that hold them.  The receiver's URL may be a secret,
    as in the outbox, which stores it in the clear too: the file is its owner's alone.
    """

    path: Path | None
    given: dict[str, str] = field(default_factory=dict)

    @classmethod
    def beside(cls, configuration: Path, *, asking: bool) -> SetupAnswers:
        """Return the answers of an interrupted setup of this configuration.  ``asking``: questions can be asked."""
        if not asking:
            return cls(None)
        path = configuration.absolute().with_name(_ANSWERS_FILE)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError) as error:
            say(f"{path} is not used: it cannot be read ({type(error).__name__}).")
            return cls(path)
        return cls(path, {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {})

    def keep(self, **more: str) -> None:
        """Add answers, and store them all."""
        self.given |= more
        if self.path is None:
            return
        try:
            opened = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | _NO_LINK | CLOSED_IN_CHILDREN, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                self.path.chmod(0o600)
                json.dump(self.given, file)
        except OSError as error:
            say(f"Answers are not kept: {self.path} cannot be written: {error.strerror}.")
            self.path = None

    def forget(self) -> None:
        """Remove them."""
        self.given.clear()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
