"""FacturaScripts' ``config.php`` for a test database, as its installer writes the connection."""

from __future__ import annotations

from support.database import Database

_TEXT = """<?php
define('FS_DB_TYPE', '{kind}');
define('FS_DB_HOST', '{info.host}');
define('FS_DB_PORT', {info.port});
define('FS_DB_NAME', '{info.database}');
define('FS_DB_USER', '{info.user}');
define('FS_DB_PASS', '{info.password}');
"""


def config_php(database: Database) -> str:
    kind = "postgresql" if database.flavour == "postgresql" else "mysql"
    return _TEXT.format(kind=kind, info=database.info)
