"""Names, scopes, entries of the audit log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.access.model import Role, Scope, UserChange, check_name, clean_name, user_key
from cdc.model.audit import AuditEntry
from cdc.model.errors import UsageError
from support.accesses import entry, session, user
from support.outboxes import NOW


def test_manage_includes_read() -> None:
    assert Scope.MANAGE.allows(Scope.READ)
    assert Scope.MANAGE.allows(Scope.MANAGE)
    assert Scope.READ.allows(Scope.READ)
    assert not Scope.READ.allows(Scope.MANAGE)
    assert (Role.VIEWER.scope, Role.MANAGER.scope) == (Scope.READ, Scope.MANAGE)


@given(st.text())
def test_a_key_is_the_key_of_every_way_to_write_the_name(name: str) -> None:
    key = user_key(name)
    assert user_key(key) == key
    assert user_key(f" \t{name}\n") == key
    assert user_key(clean_name(name)) == key
    key.encode()


@given(st.from_regex(r"\A[a-z0-9][a-z0-9.@+-]{0,20}\Z"))
def test_case_does_not_make_a_name(name: str) -> None:
    assert user_key(name.upper()) == user_key(name.title()) == user_key(name)


@pytest.mark.parametrize("name", ["ann", "Zoë", "ann@example.com", " shop-1 ", "日本", "a" * 64])
def test_names(name: str) -> None:
    assert check_name(name) == name.strip()


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\0", "-a", "a" * 65, "a/b", "cdct_abc", "TOK_1", "whsec_x", "a\u200bb", "<b>", "a:b"]
)
def test_what_is_no_name_is_not_repeated(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_name(name)
    assert "abc" not in str(refused.value)


def test_an_entry_is_small_and_printable() -> None:
    with pytest.raises(ValueError, match="larger"):
        entry(note="x" * 5000)
    for words in (("a\0", "b", "c"), ("a", "b\n", "c"), ("a", "b", "\ud800"), ("a", "b", "c" * 201)):
        with pytest.raises(ValueError, match="printable"):
            AuditEntry(NOW, *words)


def test_a_new_password_needs_a_new_stamp() -> None:
    for fields in ({"password_hash": "h"}, {"totp_secret": ""}, {"stamp": "s"}):
        with pytest.raises(AssertionError):
            UserChange(**fields)  # type: ignore[arg-type]  # mypy takes each name for any field


def test_nothing_secret_is_shown() -> None:
    shown = repr([user(password_hash="planted-1", totp_secret="planted-2"), session("planted-3")])
    assert "planted" not in shown
    assert "planted" not in repr(UserChange(password_hash="planted", totp_secret="planted", stamp="s"))
