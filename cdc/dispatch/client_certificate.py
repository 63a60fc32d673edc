"""Certificates by which deliveries say who sends them, where receivers ask for one (mTLS)."""

from __future__ import annotations

import ssl
from pathlib import Path

from cdc.model.errors import ConfigError

_HINT = "It holds, as PEM without a password, the certificate, those that it was issued by, and the private key."


def client_context(name: str, path: Path) -> ssl.SSLContext:
    """Verifies receivers as without it, and shows them this certificate.  ``name``: in the configuration.  Raises
    `ConfigError`."""
    context = ssl.create_default_context()
    where = f"The client certificate {name!r} in {path}"
    try:
        context.load_cert_chain(path, password=_no_password)
    except _Encrypted:
        raise ConfigError(f"{where} has a private key that is encrypted.", _HINT) from None
    except ssl.SSLError as error:  # an OSError: first
        reason = (error.reason or "no PEM").replace("_", " ").lower()
        raise ConfigError(f"{where} is not usable: {reason}.", _HINT) from None
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}.", _HINT) from error
    return context


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    """Asked for by an encrypted key; without it OpenSSL would ask on the terminal."""
    raise _Encrypted
