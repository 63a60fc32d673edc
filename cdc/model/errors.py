"""Every error that this package raises on purpose.

::

    CdcError                 one sentence: what is wrong and where; ``hint`` says how to fix it
    ├── UsageError           the command or its input is wrong (exit code 2)
    │   ├── ConfigError      a configuration file, variable or rule is wrong
    │   ├── NotFound         what is named is not there
    │   └── CredentialsNotGiven  headers, proxy or certificate were entered for another origin than the new URL's
    ├── LimitReached         a source or principal has as much as it may ([limits]; exit code 2)
    ├── SourceError          the FacturaScripts database cannot be read as asked
    │   ├── SourceUnavailable  no connection now; trying again may help
    │   ├── ApiError         FacturaScripts' API answers with an error
    │   ├── JournalMissing   the journal is not installed (or not for this version)
    │   ├── OutboxOutdated   the journal was acknowledged by another outbox, or by a newer state of this one
    │   ├── LogRefused       the server does not give its log
    │   │   └── LogPurged    what comes next is no longer, or not, in the server's log
    │   ├── LogIncomplete    the log does not hold what is needed to know what changed
    │   ├── RowUnreadable    a change's images are not what its table's triggers write
    │   ├── MalformedEvent   an event of the database's log is not what the protocol says
    │   └── SchemaMismatch   a table in the log is not what is known of it
    ├── InstallError         triggers cannot be installed or removed as asked
    │   ├── LockTimeout      another connection holds a lock for too long; it is named
    │   └── TableAltered     a table was altered between looking at it and changing its triggers
    ├── OutboxError          the outbox cannot be opened, migrated or written
    │   ├── PositionMoved    another process has stored for the same source
    │   ├── OutboxMissing    there is none where the configuration names one
    │   ├── OutboxRefused    it cannot hold what was to be stored, for its content
    │   ├── OutboxLost       it was deleted or replaced while it was open
    │   └── OutboxUnavailable  no connection to it now; trying again may help
    ├── Defect               an unexpected exception ended a component or a read, which is retried
    ├── ProviderError        the identity provider cannot be asked, or its documents cannot be used
    ├── EndpointRefused      an endpoint does not agree to get events
    └── AccessRefused        who asks is not let in
        └── TooManyAttempts  not now: too many failed before

Anything else that escapes is a defect, shown with its traceback.  `printable` escapes foreign text for a terminal.
"""

from __future__ import annotations

import errno
import math
import os
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final


class CdcError(Exception):
    """Base of all errors on purpose.

    ``message``: one sentence saying what and where, without secrets.  ``hint``: how to fix it (may be empty).
    ``field``: of an endpoint, which is wrong; empty: none alone.  ``exit_code``: what the command line ends with.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(CdcError):
    """The command or its input is wrong.  ``others``: what else is wrong with the same input."""

    exit_code = 2
    others: Sequence[UsageError] = ()


@contextmanager
def about(field: str) -> Iterator[None]:
    """Name the field in a `UsageError` that names none."""
    try:
        yield
    except UsageError as error:
        error.field = error.field or field
        raise


class ConfigError(UsageError):
    """A configuration file, environment variable or rule is wrong; the message names the place."""


class NotFound(UsageError):
    """An endpoint, a delivery or an event of that name does not exist."""


class LimitReached(CdcError):
    """A source or a principal has as much as the configuration allows.  ``limit``: of what (`cdc.model.quota.Limited`).
    ``retry_after``: seconds after which there may be room without any change; None: something must be removed."""

    exit_code = 2

    def __init__(self, *message_and_hint: str, limit: str, retry_after: int | None = None) -> None:
        super().__init__(*message_and_hint)
        self.limit = limit
        self.retry_after = retry_after


class CredentialsNotGiven(UsageError):
    """Headers, a proxy or a client certificate were entered for another origin than that of the new URL."""


class SourceError(CdcError):
    """The FacturaScripts database cannot be read as asked."""


class SourceUnavailable(SourceError):
    """The database does not answer now; trying again may help."""


class ApiError(SourceError):
    """FacturaScripts' API answers with an error; ``status``: of its answer."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        self.status = status
        super().__init__(message, hint)


class JournalMissing(SourceError):
    """The journal is not installed in this database, or belongs to another version of the product."""


class OutboxOutdated(SourceError):
    """The journal was acknowledged by another outbox, or by a newer state of this one: changes are missing in it."""


class LogRefused(SourceError):
    """The server does not give its log; the message holds the server's own words."""


class LogPurged(LogRefused):
    """The server's log does not continue the position: purged, reset, or written by a server that is gone."""


class LogIncomplete(SourceError):
    """The log does not hold what is needed to know what changed; the hint is the setting that fixes it."""


class MalformedEvent(SourceError):
    """An event of the database's log is not what the protocol says; no value of it is in the message."""


class RowUnreadable(SourceError):
    """The images of one change are not what the triggers of its table write; reading it again gives the same."""


class SchemaMismatch(SourceError):
    """A table in the log does not have the columns that are known of it: it was altered in between."""


class InstallError(CdcError):
    """Triggers cannot be installed, repaired or removed as asked.  ``statements``: SQL that an administrator of the
    server runs to change that."""

    def __init__(self, message: str, hint: str = "", statements: Sequence[str] = ()) -> None:
        super().__init__(message, hint)
        self.statements = tuple(statements)

    @staticmethod
    def of_all(errors: Sequence[InstallError]) -> InstallError | None:
        """Return one error that names them all, with a line for each hint; None of none."""
        if len(errors) < 2:  # noqa: PLR2004 - two are several
            return next(iter(errors), None)
        statements = dict.fromkeys(line for error in errors for line in error.statements)
        hints = [error.hint for error in errors if error.hint]
        return InstallError(" ".join(error.message for error in errors), "\n".join(hints), tuple(statements))


class LockTimeout(InstallError):
    """Another connection holds a lock for longer than the installer may wait; the message names it."""


class TableAltered(InstallError):
    """A table was altered between looking at it and changing its triggers, which are as they were; look again."""


class OutboxError(CdcError):
    """The outbox cannot be opened, migrated or written."""


class OutboxRefused(OutboxError):
    """The outbox cannot hold what was to be stored, for its content: trying again does not help."""


class PositionMoved(OutboxError):
    """Another process has stored for the source, or has its lease: the batch may already have been stored."""


class OutboxMissing(OutboxError):
    """No outbox exists where the configuration names one; only an explicit step creates it."""


class OutboxLost(OutboxError):
    """The outbox was deleted or replaced while it was open; nothing more is stored in it."""


class OutboxUnavailable(OutboxError):
    """The server that keeps the outbox does not answer now; trying again may help."""


class EndpointRefused(CdcError):
    """An endpoint that was asked does not agree to get events, or does not answer."""


class ProviderError(CdcError):
    """The identity provider does not answer, or its configuration and keys cannot be used."""


class AccessRefused(CdcError):
    """The caller is refused; the message does not say which of name, password and code is wrong."""


class TooManyAttempts(AccessRefused):
    """The sign-in is refused after too many failures.  ``seconds``: after which the next attempt may be made."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__("Too many attempts to sign in have failed.", f"Try again in {math.ceil(seconds)} s.")


class Defect(CdcError):
    """An unexpected exception ended a component or a read, which is retried."""


def first_error(error: Exception) -> Exception:
    """Return the first exception of a group, or the exception itself."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


#: Errors of files for want of space.
DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_ROOM: Final = "Make room on its disk, or raise the limit: df, quota; temporary files are in TMPDIR."
_RIGHT: Final = "Let the user of this process use the file and its folder."
_OPEN: Final = "Raise the limit of open files: LimitNOFILE of the unit, or ulimit -n."
_FILE_TROUBLE: Final = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EACCES: _RIGHT,
    errno.EPERM: _RIGHT,
    errno.EROFS: "The file's disk is read-only: mount it for writing, or name another folder.",
    errno.EMFILE: _OPEN,
    errno.ENFILE: _OPEN,
    errno.EIO: "The disk failed: see the system's log.",
}


def reportable_error(error: Exception) -> CdcError:
    """Return the error as it may be logged and shown.  An unexpected exception is reduced to type and place: its text
    may quote a row or a secret."""
    if isinstance(error, CdcError):
        return error
    places = traceback.extract_tb(error.__traceback__)  # empty for an exception that was never raised itself
    where = f" in {Path(places[-1].filename).name}, line {places[-1].lineno}" if places else ""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, OSError) and number in _FILE_TROUBLE:
        reason = os.strerror(number or 0)  # the system's words: those of the error may quote anything
        file = f" ({error.filename})" if isinstance(error.filename, str) else ""
        return Defect(f"A file{file} cannot be used{where}: {reason}.", _FILE_TROUBLE[number or 0])
    return Defect(f"Unexpected {type(error).__name__}{where}.")


# Foreign text as a terminal may show it.  Control characters move the cursor, retitle the window or hide text;
# direction marks change the order in which a text is shown.  Both become \uXXXX, the same character in JSON.
_DIRECTIONS: Final = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_HALVES: Final = "\ud800-\udfff"  # no stream can encode them
_CONTROLS: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_DIRECTIONS}{_HALVES}]")
_BREAKS: Final = re.compile(f"[\x00-\x1f\x7f-\x9f{_DIRECTIONS}{_HALVES}]")


def printable(text: str) -> str:
    """Escape control characters, except tabs and line feeds, and direction marks.  JSON stays the same JSON."""
    return _CONTROLS.sub(_escaped, text)


def printable_line(text: str) -> str:
    """`printable`, with tabs and line feeds escaped too: a value cannot pretend to be the next line."""
    return _BREAKS.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
