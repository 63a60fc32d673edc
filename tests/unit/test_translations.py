"""The check of Spanish pages notices a changed English page, and no other formatting of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.translations import accept, lagging, spanish_pages


def test_a_page_lags_until_it_is_accepted(tmp_path: Path) -> None:
    english, spanish = tmp_path / "page.md", tmp_path / "es" / "page.md"
    spanish.parent.mkdir()
    english.write_text("Stop it.\nStart it.\n")
    spanish.write_text("<!-- Follows ../page.md, as of now -->\nDeténgalo. Arránquelo.\n")
    assert lagging(spanish) == [spanish.parent / "../page.md"]
    accept(spanish)
    assert not lagging(spanish)
    english.write_text("Stop it. Start it.\n")
    assert not lagging(spanish), "only the lines are filled otherwise"
    english.write_text("Stop it. Remove it.\n")
    assert lagging(spanish)
    assert spanish.read_text().endswith("Deténgalo. Arránquelo.\n")


def test_every_spanish_page_says_what_it_follows() -> None:
    assert len(spanish_pages()) >= 6
    for page in spanish_pages():
        lagging(page)


def test_a_page_without_a_stamp_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Texto\n")
    with pytest.raises(ValueError, match="does not say"):
        lagging(page)
