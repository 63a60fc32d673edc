"""Say which Spanish page lags behind its English one: ``python -m support.translations [--accept PAGE …]``.

The first line of a Spanish page names the pages that it follows and the digest that they had when it was last compared
with them.  ``--accept`` stamps pages with the present digests, after somebody has translated what changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
#: Made of the catalogue and its translations (`support.spanish_events_page`).
_GENERATED: Final = "events.md"
_STAMP: Final = re.compile(r"<!-- Follows (?P<pages>.+), as of (?P<digest>[0-9a-f]{12}\b|now) -->\n")


def spanish_pages(root: Path = ROOT) -> list[Path]:
    written = (page for page in sorted((root / "docs/es").glob("*.md")) if page.name != _GENERATED)
    return [root / "README.es.md", *written]


def lagging(page: Path) -> Sequence[Path]:
    """Return the English pages of a Spanish one when they have changed since it was stamped.  Raises `ValueError` for
    a page without a stamp."""
    followed, stamped = _stamp(page)
    return [] if _digest(followed) == stamped else followed


def accept(page: Path) -> None:
    followed, stamped = _stamp(page)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace(f"as of {stamped} -->", f"as of {_digest(followed)} -->", 1), encoding="utf-8")


def _stamp(page: Path) -> tuple[list[Path], str]:
    match = _STAMP.match(page.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{page}: the first line does not say which page it follows")
    return [page.parent / name for name in match["pages"].split(" and ")], match["digest"]


def _digest(pages: Sequence[Path]) -> str:
    """Return the digest of the words, so that filling lines again changes nothing."""
    words = [" ".join(page.read_text(encoding="utf-8").split()) for page in pages]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--accept"]:
        for name in arguments[1:]:
            accept(Path(name))
        return 0
    late = [(page, followed) for page in spanish_pages() if (followed := lagging(page))]
    for page, followed in late:
        names = " or ".join(os.path.relpath(each, ROOT) for each in followed)
        print(f"{page.relative_to(ROOT)} lags behind {names}: translate what changed, then", file=sys.stderr)
        print(f"  PYTHONPATH=tests python -m support.translations --accept {page.relative_to(ROOT)}", file=sys.stderr)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
