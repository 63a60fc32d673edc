"""The sentence for what kept an answer from arriving."""

from __future__ import annotations

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from cdc.dispatch.failure import describe_error
from cdc.dispatch.request import WebhookRequest


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Proxy Authentication Required", "407 Proxy Authentication Required"),
        ("", "407"),
        ("cl\udce9 refus\u00e9e \0", "407 cl\ufffd refus\u00e9e \ufffd"),
    ],
)
def test_what_a_proxy_says_can_be_kept(message: str, told: str) -> None:
    info = aiohttp.RequestInfo(URL("http://proxy/"), "CONNECT", CIMultiDictProxy(CIMultiDict()), URL("http://proxy/"))
    error = aiohttp.ClientHttpProxyError(info, (), status=407, message=message)
    sentence = describe_error(error, WebhookRequest("https://example.com/x", {}, b"", 1.0, "outside"))
    assert sentence == f"The proxy outside answered {told}."
    sentence.encode()  # as every outbox does
