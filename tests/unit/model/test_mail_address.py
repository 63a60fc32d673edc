"""Endpoints that are e-mail addresses: what is one, and what would be more than an address."""

from __future__ import annotations

import pytest

from cdc.dispatch.address import EgressPolicy, check_url
from cdc.model.endpoint import MOST_RECIPIENTS, is_mail, public_url, recipients
from cdc.model.errors import UsageError

MAIL = EgressPolicy(mail=True)


def test_one_or_several_addresses() -> None:
    assert recipients("mailto:ops@example.com") == ("ops@example.com",)
    several = "MailTo:ops+cdc@example.com,o'neil.a@mail-1.example.com,root@localhost"
    assert recipients(several) == ("ops+cdc@example.com", "o'neil.a@mail-1.example.com", "root@localhost")
    assert is_mail(several)
    assert not is_mail("https://example.com/mailto:x")
    assert check_url(several, MAIL) == public_url(several) == several


@pytest.mark.parametrize(
    "url",
    [
        "mailto:",
        "mailto:ops",
        "mailto:ops@",
        "mailto:@example.com",
        "mailto:ops@example.com,",
        "mailto:ops@example.com, b@example.com",
        "mailto:a@example.com\r\nBcc: b@example.com",
        "mailto:a@example.com\nSubject:x",
        "mailto:a@example.com%0d%0aBcc:b@example.com",
        "mailto:a@example.com?subject=x&bcc=b@example.com",
        "mailto:Ops <ops@example.com>",
        'mailto:"a b"@example.com',
        "mailto:a..b@example.com",
        "mailto:.a@example.com",
        "mailto:ops@-example.com",
        "mailto:ops@example..com",
        "mailto:ops@exämple.com",
        "mailto:a@b@example.com",
        f"mailto:{'a' * 250}@example.com",
        "mailto://ops@example.com",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is not an e-mail address"):
        check_url(url, MAIL)


def test_too_many() -> None:
    addresses = ",".join(f"a{number}@example.com" for number in range(MOST_RECIPIENTS + 1))
    with pytest.raises(UsageError, match="21 addresses are too many"):
        check_url(f"mailto:{addresses}", MAIL)


def test_without_a_mail_server_there_is_no_such_endpoint() -> None:
    with pytest.raises(UsageError, match=r"no mail server is configured.*Set host and sender under \[mail\]"):
        check_url("mailto:ops@example.com", EgressPolicy(private=True, plain=True))
