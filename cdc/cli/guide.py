"""Asks, and does each step by the plain command that it prints: what `cdc setup` is made of."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import click

from cdc.cli.output import Styled, say
from cdc.cli.session import CommandSession
from cdc.model.errors import CdcError, UsageError
from cdc.model.printable import printable

T = TypeVar("T")


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
        say(Styled("  Not possible: ", "red"), error.message)
        for line in error.hint.splitlines():
            say(f"  {line}")

    def agreed(self, question: str) -> bool:
        """Raises `UsageError` when there is nobody to ask."""
        if self.yes:
            return True
        self._somebody(question, "--yes")
        return click.confirm(printable(question), default=True, err=True)

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
        number = click.prompt(_asked(question), type=click.IntRange(1, len(among)), default=1, err=True)
        return among[number - 1]

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
    return printable(question.removesuffix("?"))
