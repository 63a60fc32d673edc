"""SQL files are found by name, and all of them before there are too few file descriptors."""

from __future__ import annotations

import pytest

from cdc.database import sqlfile


def test_what_was_loaded_needs_no_file_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    sqlfile.load_all()

    def none_left(_package: str) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(sqlfile, "files", none_left)
    assert "cdc_journal" in sqlfile.load("postgres/journal/rows.sql")
    assert "search_path" in sqlfile.load("postgres/pin_names.sql")
    with pytest.raises(OSError, match="Too many"):
        sqlfile.load("no/such.sql")
