"""The answers given to an interrupted ``setup``, stored beside the configuration until it ends.

Passwords and keys are never asked for: only the names of files that hold them.  The receiver's URL may be a secret, as
in the outbox, which stores it in the clear too: the file is its owner's alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cdc.cli.output import say

NAME = ".cdc-setup.json"


@dataclass
class SetupAnswers:
    """``path``: None where nobody is asked, or the file cannot be written: nothing is stored then."""

    path: Path | None
    given: dict[str, str] = field(default_factory=dict)

    @classmethod
    def beside(cls, configuration: Path, *, asking: bool) -> SetupAnswers:
        """Return the answers of an interrupted setup of this configuration.  ``asking``: questions can be asked."""
        if not asking:
            return cls(None)
        path = configuration.absolute().with_name(NAME)
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
            opened = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                os.fchmod(opened, 0o600)
                json.dump(self.given, file)
        except OSError as error:
            say(f"Answers are not kept: {self.path} cannot be written: {error.strerror}.")
            self.path = None

    def forget(self) -> None:
        """Remove them."""
        self.given.clear()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
