"""What deliveries are sent with, as the configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.config import Config

if TYPE_CHECKING:
    from cdc.dispatch.address import Reach
    from cdc.dispatch.sender import HttpSender


def http_sender(config: Config) -> HttpSender:
    """Loads the client certificates now.  Raises `ConfigError` for one that is not usable."""
    from cdc.dispatch.client_certificate import client_context
    from cdc.dispatch.sender import HttpSender

    dispatch = config.dispatch
    return HttpSender(
        dispatch.allow_private,
        allow_networks=dispatch.allow_networks,
        allow_http=dispatch.allow_http,
        client_certificates={name: client_context(name, path) for name, path in dispatch.client_certificates.items()},
        proxies=dispatch.proxies,
    )


def reach(config: Config) -> Reach:
    """Where deliveries may go."""
    from cdc.dispatch.address import Reach

    dispatch = config.dispatch
    return Reach(dispatch.allow_private, dispatch.allow_networks, plain=dispatch.http_allowed)
