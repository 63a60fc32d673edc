"""A dispatcher with few endpoints considers all of them; one with many looks up those with something due."""

from __future__ import annotations

import pytest

from cdc.dispatch import dispatcher


@pytest.fixture(params=["few", "many"])
def few_or_many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test once with few endpoints, and once as with many."""
    if request.param == "many":
        monkeypatch.setattr(dispatcher, "FEW", 0)
