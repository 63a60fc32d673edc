"""Which way to capture is recommended, of what can be had."""

from __future__ import annotations

import pytest

from cdc.config import SourceConfig
from cdc.runtime import capture
from cdc.runtime.capture import CaptureRoute, recommend

SOURCE = SourceConfig(url="mysql://cdc@db/fs")


@pytest.mark.parametrize(
    ("triggers", "log", "chosen", "why"),
    [
        ("", "", "triggers", "it needs no server setting"),
        ("", "The log is off.", "triggers", "it needs no server setting"),
        ("No right to.", "", "binlog", "triggers cannot be installed"),
        ("No right to.", "The log is off.", "triggers", "neither is possible yet"),
    ],
)
def test_triggers_unless_they_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, triggers: str, log: str, chosen: str, why: str
) -> None:
    monkeypatch.setattr(capture, "_triggers", lambda _: CaptureRoute("triggers", triggers))
    monkeypatch.setattr(capture, "_log", lambda _: CaptureRoute("binlog", log))
    advice = recommend(SOURCE)
    assert advice.route.capture == chosen
    assert why in advice.why
    assert {advice.route.capture, advice.other.capture} == {"triggers", "binlog"}
