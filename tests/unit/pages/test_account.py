"""A visitor's own account."""

from __future__ import annotations

import re

import pyotp

from support.browsing import visiting
from support.managing import managing
from support.memory_outbox import MemoryOutbox


async def test_two_step_verification_is_turned_on_by_the_code_of_the_key_that_is_shown() -> None:
    async with managing(MemoryOutbox()) as managed, visiting(managed, "bob") as visitor:
        page = (await visitor.get("/account")).text
        assert re.search(r'<div class="qr" role="img" aria-label="[^"]+"><svg ', page)
        match = re.search(r'name="secret" value="([A-Z2-7]+)"', page)
        assert match
        code = pyotp.TOTP(match[1]).at(managed.clock.now())
        assert (await visitor.send("/account/totp-on", {"secret": match[1], "code": code})).status == 303
        user = await managed.access.user("bob")
        assert user is not None
        assert user.totp_secret == match[1]
