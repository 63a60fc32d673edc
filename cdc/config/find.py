"""Where FacturaScripts may be on this machine: the ``config.php`` of each installation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Where web servers, panels and people put it.
_PLACES: Final = (
    "var/www/config.php",
    "var/www/*/config.php",
    "var/www/html/*/config.php",
    "var/www/*/public_html/config.php",
    "var/www/*/htdocs/config.php",
    "var/www/vhosts/*/httpdocs/config.php",
    "srv/www/*/config.php",
    "srv/http/*/config.php",
    "srv/*/config.php",
    "usr/share/nginx/html/config.php",
    "usr/share/nginx/html/*/config.php",
    "home/*/public_html/config.php",
    "home/*/www/config.php",
    "opt/lampp/htdocs/*/config.php",
)
_MARK: Final = b"FS_DB_NAME"


def find_facturascripts(here: Path, root: Path = Path("/")) -> list[Path]:
    """Those that can be read: the one in the folder ``here`` first, then by path."""
    found = {path for place in _PLACES for path in root.glob(place)}
    return [path for path in (here / "config.php", *sorted(found - {here / "config.php"})) if _is_one(path)]


def _is_one(path: Path) -> bool:
    """What cannot be read cannot be used either."""
    try:
        return _MARK in path.read_bytes()
    except OSError:
        return False
