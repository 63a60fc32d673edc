"""What a command would destroy, counted: the questions that `confirm_loss` asks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from cdc.access.model import ApiToken, Role, User
from cdc.capture.triggers.base import Plan
from cdc.dispatch.address import public_url
from cdc.model.backfill import Backfill
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint
from cdc.model.event import format_time


def counted(number: int, one: str, several: str = "") -> str:
    """``1 waiting delivery``, ``4,310 waiting deliveries``; without ``several``: one with an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def waiting_and_logged(counts: dict[DeliveryState, int]) -> tuple[int, int]:
    """Return the deliveries that are not finished, and the finished ones."""
    waiting = sum(number for state, number in counts.items() if not state.final)
    return waiting, sum(counts.values()) - waiting


def endpoint_removal(endpoint: Endpoint, counts: dict[DeliveryState, int]) -> str:
    waiting, logged = waiting_and_logged(counts)
    credentials = "secret and headers" if endpoint.headers else "secret"
    return (
        f"Endpoint {endpoint.id} ({public_url(endpoint.url)}) has {_waiting(waiting)} and {logged:,} in the log.\n"
        f"The waiting ones will be cancelled and its {credentials} deleted; the log stays.  Remove it?"
    )


def secret_rotation(endpoint: Endpoint, counts: dict[DeliveryState, int], overlap: timedelta) -> str:
    waiting, _ = waiting_and_logged(counts)
    until = f"also signs for {overlap.total_seconds() / 3600:g} h" if overlap else "stops signing at once"
    former = endpoint.former_secret_until
    earlier = f"\nThe secret before it, valid until {format_time(former)}, stops signing at once." if former else ""
    return (
        f"Endpoint {endpoint.id} ({public_url(endpoint.url)}) has {_waiting(waiting)}.  Its present secret {until}; "
        f"then a receiver that still has it refuses every request.{earlier}  Replace it?"
    )


def token_removal(token: ApiToken) -> str:
    used = f"last used {format_time(token.last_used_at)}" if token.last_used_at else "never used"
    return f"Token {token.name} ({token.id}, scope {token.scope}, {used}) will stop working at once.  Remove it?"


def user_removal(user: User, users: Sequence[User]) -> str:
    managers = sum(each.role is Role.MANAGER for each in users if each.key != user.key)
    return (
        f"User {user.name} ({user.role}) will be signed out and can no longer sign in; "
        f"{counted(managers, 'manager')} will remain.  Remove the user?"
    )


def totp_removal(user: User) -> str:
    return f"The authenticator app of user {user.name} will no longer work, and all sessions end.  Continue?"


def source_adoption(name: str, tables: Sequence[str]) -> str:
    return (
        f"Changes of source {name} that were read by another outbox, or by a newer state of this one, will not be sent "
        f"as such: {counted(len(tables), 'table')} will be read again, and deleted records are not reported.  Adopt?"
    )


def quarantine_removal(number: int) -> str:
    return (
        f"{counted(number, 'skipped change')} will be deleted, with the rows before and after it.  "
        "Their records can no longer be sent by cdc quarantine reread.  Remove?"
    )


def backfill_cancellation(backfills: Sequence[Backfill]) -> str:
    lines = [
        f"Backfill {each.id} of {each.table} has sent {_rows(each)}; it cannot be resumed after this."
        for each in backfills
    ]
    return "\n".join([*lines, "Cancel?"])


def trigger_removal(source: str, plan: Plan) -> str:
    return (
        f"Source {source}: the triggers of {_tables(plan)} and the journal will be removed; "
        "changes will no longer be captured.  Remove them?"
    )


def slot_removal(source: str, plan: Plan) -> str:
    return (
        f"Source {source}: the replication slot and the publication of {_tables(plan)} will be removed; "
        "changes will no longer be captured.  Remove them?"
    )


def _tables(plan: Plan) -> str:
    return counted(len({step.table for step in plan.steps if step.table}), "table")


def _rows(backfill: Backfill) -> str:
    rows = counted(backfill.rows, "row")
    return rows if backfill.estimate is None else f"{rows} of about {backfill.estimate:,}"


def _waiting(number: int) -> str:
    return counted(number, "waiting delivery", "waiting deliveries")
