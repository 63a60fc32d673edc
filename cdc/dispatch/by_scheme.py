"""Chooses how a request is sent by its URL."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import Sender
from cdc.model.mail_address import is_mail


class BySchemeSender:
    """A `Sender`: ``mailto:`` goes to ``mail``, everything else to ``http``."""

    def __init__(self, http: Sender, mail: Sender) -> None:
        self._http = http
        self._mail = mail

    def send(self, request: WebhookRequest) -> Coroutine[Any, Any, Answer]:
        return (self._mail if is_mail(request.url) else self._http).send(request)
