"""A server that refuses an account says why: its own words are part of the error."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from cdc.database.mysql_connection import connect
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceError
from support.database import Database


def _refusal(info: ConnectionInfo) -> SourceError:
    with pytest.raises(SourceError) as caught, closing(connect(info)):
        pass
    return caught.value


def test_refusals_keep_the_words_of_the_server_without_the_password(db: Database) -> None:
    user = f"refused_{db.name[-8:]}"
    db.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'denied-s3cret'")
    try:
        known = db.info.as_user(user, "denied-s3cret")
        wrong = _refusal(known.as_user(user, f"not-{known.password}"))
        assert f"Access denied for user '{user}'@" in wrong.message
        assert wrong.message.endswith("(using password: YES) (error 1045).")
        assert "FS_DB_PASS" in wrong.hint
        elsewhere = _refusal(known)
        assert f"Access denied for user '{user}'@'%' to database '{db.name}' (error 1044)" in elsewhere.message
        assert f"GRANT SELECT ON `{db.name}`.* TO '{user}'@'%';" in elsewhere.hint
        missing = _refusal(replace(db.info, database=f"{db.name}_none"))
        assert f"Unknown database '{db.name}_none' (error 1049)" in missing.message
        assert "FS_DB_NAME" in missing.hint
        assert not any("s3cret" in each.message + each.hint for each in (wrong, elsewhere, missing))
    finally:
        db.execute(f"DROP USER '{user}'@'%'")
