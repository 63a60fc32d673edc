"""Sign-in at a provider in Chromium: another site sends the browser back, and its session's cookie works at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from support.browser import PHONE, WIDE, Tab
from support.identity_provider import CLIENT, SECRET, identity_provider
from support.managing import managing
from support.memory_outbox import MemoryOutbox
from support.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


@pytest.mark.parametrize(("code", "size", "script"), [("en", WIDE, True), ("es", PHONE, False)])
async def test_button_leads_to_the_provider_and_back(
    browser: Browser, tmp_path: Path, code: str, size: tuple[int, int], script: bool
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    async with identity_provider("localhost") as provider:  # for browsers another site than 127.0.0.1
        oidc = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret_file": tmp_path / "secret"}
        oidc |= {"groups": {"admins": {"role": "manager"}}, "name": "Example SSO", "allow_networks": ["127.0.0.0/8"]}
        async with managing(MemoryOutbox(), port=port, oidc=oidc, web={"url": base}) as managed:
            provider.clock = managed.clock
            tab = await Tab.open(browser, base, code, size, script=script)
            await tab.go("/events?type=invoice.paid")
            button = tab.page.get_by_role("link", name=tab.text("Sign in with %(name)s", name="Example SSO"))
            await expect(button).to_be_visible()
            if script:
                assert await tab.barriers() == []
            assert await tab.too_wide() <= 0
            await button.click()
            await tab.page.get_by_role("link", name="Sign in as eva").click()
            await tab.page.wait_for_url(f"{base}/events?type=invoice.paid")
            await tab.open_menu()
            await expect(tab.page.get_by_role("link", name="eva", exact=True)).to_be_visible()
            await tab.button("Sign out").click()
            await tab.page.wait_for_url(f"{provider.issuer}/end?**")
            assert provider.ended == [{"client_id": CLIENT, "post_logout_redirect_uri": f"{base}/sign-in"}]
            await tab.go("/events")
            await expect(button).to_be_visible()
            assert tab.errors == []
            await tab.close()
