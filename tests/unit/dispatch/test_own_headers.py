"""Headers of an endpoint's own."""

from __future__ import annotations

import pytest

from cdc.admin.endpoint_checks import basic, bearer, check_headers
from cdc.model.errors import UsageError
from support.signed import signed_request


def test_they_go_with_each_request() -> None:
    headers = signed_request(headers=(("X-Tenant", "42"), ("Authorization", "Bearer abc"))).headers
    assert headers["X-Tenant"] == "42"
    assert headers["Authorization"] == "Bearer abc"
    assert set(signed_request().headers) == set(headers) - {"X-Tenant", "Authorization"}


def test_of_several_with_a_name_the_last_counts() -> None:
    assert check_headers([("X-A", "1"), ("X-B", "2"), ("x-a", "3")]) == (("x-a", "3"), ("X-B", "2"))


@pytest.mark.parametrize("name", sorted(signed_request(origin="events.example.com").headers))
def test_none_replaces_what_a_delivery_says_itself(name: str) -> None:
    for spelt in (name, name.upper(), name.lower()):
        with pytest.raises(UsageError, match="set by every delivery itself"):
            check_headers([(spelt, "x")])


@pytest.mark.parametrize(
    "name", ["Host", "Content-Length", "transfer-encoding", "Connection", "Expect", "Proxy-Authorization", "Webhook-X"]
)
def test_none_touches_the_connection(name: str) -> None:
    with pytest.raises(UsageError, match="set by every delivery itself"):
        check_headers([(name, "x")])


@pytest.mark.parametrize("name", ["", "X A", "X:A", "X-A\r\nX-B", "Ünicode", "(x)"])
def test_names_are_tokens(name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a header"):
        check_headers([(name, "x")])


@pytest.mark.parametrize(
    "value",
    ["", " ", "hunter2\r\nX: b", "hunter2\n", "\rhunter2", "hunter2\0", " hunter2", "hunter2 ", "hunter2ñ", "\x7f"],
)
def test_values_stay_on_their_line_and_are_not_repeated(value: str) -> None:
    with pytest.raises(UsageError, match="The value of the header X-A is empty, begins") as refused:
        check_headers([("X-A", value)])
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("value", ["a", "a b\tc", "Basic dXNlcjpwYXNz", "~!@#$%^&*()_+{}|:\"<>?`-=[]\\;',./"])
def test_printable_values_pass(value: str) -> None:
    assert check_headers([("X-A", value)]) == (("X-A", value),)


def test_there_are_bounds() -> None:
    with pytest.raises(UsageError, match="too many headers"):
        check_headers([(f"X-{n}", "x") for n in range(51)])
    with pytest.raises(UsageError, match="too many headers"):
        check_headers([("X-A", "x" * 8000)])


def test_authorization() -> None:
    assert bearer("abc") == ("Authorization", "Bearer abc")
    assert basic("Aladdin:open sesame") == ("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")  # of RFC 7617
    with pytest.raises(UsageError, match="needs user:password") as refused:
        basic("hunter2")
    assert "hunter2" not in str(refused.value)
