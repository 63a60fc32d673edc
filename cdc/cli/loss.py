"""The questions of `confirm_loss`: they name what a command destroys, with numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cdc.access.model import ApiToken, Role, User
from cdc.capture.triggers.base import Plan
from cdc.model.backfill import Backfill
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint, shown_url


def counted(number: int, one: str, several: str = "") -> str:
    """``1 waiting delivery``, ``4,310 waiting deliveries``; without ``several``: one with an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def waiting_and_logged(counts: dict[DeliveryState, int]) -> tuple[int, int]:
    """Return the deliveries that are not finished, and the finished ones."""
    waiting = sum(number for state, number in counts.items() if not state.final)
    return waiting, sum(counts.values()) - waiting


def endpoint_removal(endpoint: Endpoint, counts: dict[DeliveryState, int]) -> str:
    waiting, logged = waiting_and_logged(counts)
    return _question(
        f"Endpoint {endpoint.id}, {shown_url(endpoint)}:",
        f"{_waiting(waiting)} will be cancelled; {logged:,} finished stay in the log.",
        f"Its {'secret and headers' if endpoint.headers else 'secret'} will be deleted.",
        "Remove it?",
    )


def secret_rotation(endpoint: Endpoint, counts: dict[DeliveryState, int], overlap: timedelta) -> str:
    waiting, _ = waiting_and_logged(counts)
    until = (
        f"also signs for {overlap.total_seconds() / 3600:g} h, then no longer" if overlap else "stops signing at once"
    )
    former = endpoint.former_secret_until
    return _question(
        f"Endpoint {endpoint.id}, {shown_url(endpoint)}, with {_waiting(waiting)}:",
        f"Its present secret {until}.",
        *([f"The secret before it, valid until {_time(former)}, stops signing at once."] if former else []),
        "Replace it?",
    )


def header_removal(
    endpoint: Endpoint, counts: dict[DeliveryState, int], names: Sequence[str], *, authentication: bool = False
) -> str:
    """``names``: those of the headers whose values nobody can read again.  ``authentication``: its secret goes too.
    Empty where nothing is lost."""
    lost = [f"the {'header' if len(names) == 1 else 'headers'} {', '.join(names)}"] if names else []
    lost += ["the secret of its authentication"] if authentication and endpoint.credential else []
    if not lost:
        return ""
    (waiting, _), text = waiting_and_logged(counts), " and ".join(lost)
    return _question(
        f"Endpoint {endpoint.id}, {shown_url(endpoint)}, with {_waiting(waiting)}:",
        f"{text[:1].upper()}{text[1:]} will be deleted with the stored values.",
        "Continue?",
    )


def token_removal(token: ApiToken) -> str:
    used = f"last used {_time(token.last_used_at)}" if token.last_used_at else "never used"
    return _question(
        f"Token {token.name} ({token.id}, scope {token.scope}):",
        f"{used[:1].upper()}{used[1:]}.  Programs that use it will be refused at once.",
        "Remove it?",
    )


def user_removal(user: User, users: Sequence[User], sessions: int) -> str:
    managers = sum(each.role is Role.MANAGER for each in users if each.key != user.key)
    secrets = (("password", user.password_hash), ("key of the authenticator app", user.totp_secret))
    lost = [name for name, stored in secrets if stored]
    return _question(
        f"User {user.name} ({user.role}):",
        f"{counted(sessions, 'open session')} will end.",
        *([f"The {' and the '.join(lost)} will be deleted."] if lost else []),
        f"{counted(managers, 'manager')} will remain; the audit log keeps what the user did.",
        "Remove the user?",
    )


def totp_removal(user: User) -> str:
    return _question(
        f"User {user.name}:", "The authenticator app in use stops working, and all sessions end.", "Continue?"
    )


def source_adoption(name: str, tables: Sequence[str]) -> str:
    return _question(
        f"Source {name}:",
        "The journal no longer has the changes that another outbox has read.",
        f"{counted(len(tables), 'table')} will be read again; deleted records are not reported.",
        "Adopt it?",
    )


def quarantine_removal(number: int) -> str:
    return _question(
        f"{counted(number, 'skipped change')} will be deleted, with the rows before and after.",
        "cdc quarantine reread can then no longer send their records.",
        "Remove?",
    )


def backfill_cancellation(backfills: Sequence[Backfill]) -> str:
    lines = [f"Backfill {each.id} of {each.table} has sent {_rows(each)}." for each in backfills]
    return _question(*lines, "A cancelled backfill cannot be resumed.", "Cancel?")


def trigger_removal(source: str, plan: Plan) -> str:
    return _question(
        f"Source {source}:",
        f"The triggers of {_tables(plan)} and the journal will be removed.",
        "Changes will no longer be captured.",
        "Remove them?",
    )


def slot_removal(source: str, plan: Plan) -> str:
    return _question(
        f"Source {source}:",
        f"The replication slot and the publication of {_tables(plan)} will be removed.",
        "Changes will no longer be captured.",
        "Remove them?",
    )


def _question(about: str, *lines: str) -> str:
    """The facts indented below their subject, the question last."""
    *facts, question = lines
    return "\n".join([about, *(f"  {fact}" for fact in facts), question])


def _tables(plan: Plan) -> str:
    return counted(len({step.table for step in plan.steps if step.table}), "table")


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC")


def _rows(backfill: Backfill) -> str:
    rows = counted(backfill.rows, "row")
    return rows if backfill.estimate is None else f"{rows} of about {backfill.estimate:,}"


def _waiting(number: int) -> str:
    return counted(number, "waiting delivery", "waiting deliveries")
