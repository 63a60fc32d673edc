"""The part of ``setup`` that asks where events are sent, and which: checked before anything is installed."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cdc.admin.endpoint_checks import check_patterns
from cdc.cli.endpoint_input import parse_events
from cdc.cli.guide import Guide
from cdc.cli.output import say
from cdc.cli.setup_answers import SetupAnswers
from cdc.config import Config, load_config
from cdc.config.scan import rewrite
from cdc.config.sending import reach
from cdc.config.show import allowing_private
from cdc.dispatch.address import check_spelling, check_url, refusal
from cdc.model.errors import UsageError

_WHERE = "To which URL shall events be sent?"
_EVENTS = "Which events? Such as invoice.paid,customer.*"
_LOCAL = ("localhost", ".localhost", ".local", ".lan", ".internal")


@dataclass
class ReceiverQuestions:
    """``private``: receivers on this machine and in private networks are allowed: by the configuration, an option, or
    an answer."""

    guide: Guide
    answers: SetupAnswers
    config: Config
    private: bool

    def url(self, given: str | None) -> str:
        """A URL that deliveries may go to.  Raises `UsageError` for a wrong one when nobody is there to ask."""
        given = given or self.answers.given.get("receiver")
        url = self.guide.checked(_WHERE, "--to URL", None, self._checked_url, given)
        self.answers.keep(receiver=url)
        return url

    def _checked_url(self, text: str) -> str:
        url = text.strip()
        if "://" not in url and not url.startswith("mailto:"):
            url = f"{'http' if _inside(urlsplit(f'//{url}').hostname or '') else 'https'}://{url}"
            say(f"  Taken as {url}")
        host = urlsplit(url).hostname or ""
        if not self.private and _inside(host):
            self.private = self.guide.agreed(f"{host} is this machine or a private network. Allow receivers there?")
            if not self.private:
                raise UsageError(
                    f"{host} is not allowed as a receiver.", "Give an address on the Internet, or allow it."
                )
            self.answers.keep(private="yes")
        dispatch = self.config.dispatch.model_copy(update={"allow_private": self.private})
        check_url(url, reach(self.config.model_copy(update={"dispatch": dispatch})))
        check_spelling(url)
        return url

    def events(self, given: str | None) -> str:
        """Patterns that events fit.  Raises `UsageError` as `url`."""
        given = given or self.answers.given.get("events")
        chosen = self.guide.checked(_EVENTS, "--events PATTERN", "*", self._checked_events, given)
        self.answers.keep(events=chosen)
        return chosen

    def _checked_events(self, text: str) -> str:
        check_patterns(self.config, parse_events(text))
        return text


def _inside(host: str) -> bool:
    """Return whether a host is an inside address, or a name that leads to one."""
    if host.endswith(_LOCAL):
        return True
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)} if host else set()
    except (OSError, UnicodeError):  # not known here, or not now: sending will show it
        return False
    return any(refusal(address) is not None for address in found)


def allow_private(path: Path) -> None:
    """Have a configuration that is there allow what was agreed to."""
    if load_config(path).dispatch.allow_private:
        return
    rewrite(path, allowing_private(path.read_text(encoding="utf-8")))
    say(f"{path} now has allow_private = true under [dispatch], as agreed.")
