"""How many files of ``cdc/`` one changed row passes: docs/architecture.md names the figure."""

from __future__ import annotations

import re
from pathlib import Path

from support.change_trace import BESIDE, traced
from support.database import Database

ARCHITECTURE = Path(__file__).resolve().parents[2] / "docs/architecture.md"


async def test_a_change_passes_no_more_files_than_architecture_says(postgres_erp: Database, tmp_path: Path) -> None:
    said = re.search(r"passes (\d+) files", ARCHITECTURE.read_text(encoding="utf-8"))
    assert said is not None
    passed = await traced(postgres_erp, tmp_path)
    assert {"relay.py", "dispatch/sender.py"} <= passed.keys(), "it was traced from the source to the request"
    assert len(passed.keys() - BESIDE) <= int(said[1]), "\n".join(passed)
