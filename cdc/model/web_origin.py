"""The origin of a URL: scheme, host and port, in the one form in which requests look it up and connect to it."""

from __future__ import annotations

from yarl import URL

from cdc.model.mail_address import is_mail


def host_of(url: str) -> str:
    """Return the canonical host, as the HTTP library resolves it; empty if the URL has none.
    Raises `ValueError`."""
    return URL(url).raw_host or ""


def origin_of(url: str) -> str:
    """Return the origin as text, empty for a URL that cannot be read.  All mail has one: the mail server."""
    if is_mail(url):
        return "mailto:"
    try:
        parsed = URL(url)
        port = parsed.port
    except ValueError:
        return ""
    host = parsed.raw_host or ""
    return f"{parsed.scheme}://[{host}]:{port}" if ":" in host else f"{parsed.scheme}://{host}:{port}"
