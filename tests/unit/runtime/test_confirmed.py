"""What doctor calls WRONG was wrong a second before, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.model.finding import Finding, Severity
from cdc.runtime import doctor


def wrong(*details: str) -> list[Finding]:
    return [Finding("position", Severity.WRONG, detail) for detail in details]


FINE = [Finding("position", Severity.OK, "fine")]


@pytest.mark.parametrize(
    ("readings", "shown"),
    [
        ([FINE], 0),
        ([wrong("cut"), FINE], 1),
        ([wrong("lost before 0/AB12"), wrong("lost before 0/CD34")], 1),
        ([wrong("cut", "lost"), wrong("lost")], 1),
        ([wrong("cut"), wrong("lost"), wrong("lost")], 2),
        ([wrong("cut"), wrong("lost"), FINE], 2),
        ([wrong(word) for word in ("a", "b", "c", "d", "e")], 4),
    ],
)
def test_wrong_is_shown_when_it_was_wrong_twice(
    readings: list[list[Finding]], shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "AGAIN_SECONDS", 0)
    left: Iterator[list[Finding]] = iter(readings)
    assert doctor.confirmed(lambda: next(left), lambda finding: finding) == readings[shown]
    assert next(left, None) is None
