"""`cdc doctor` with many sources: their problems by cause, the worst first, on one screen."""

from __future__ import annotations

import json
from pathlib import Path

from support.commands import run_command
from support.consumer import database_url
from support.database import Database

_SOURCES = 24


def test_doctor_prints_the_problems_of_many_sources_by_cause(erp: Database, tmp_path: Path) -> None:
    url, closed = database_url(erp.info), "postgresql://cdc:x@127.0.0.1:1/fs"
    sources = {f"tenant{number}": url for number in range(_SOURCES)} | {"away": closed}
    text = "".join(f'[source.{name}]\nurl = "{each}"\n' for name, each in sources.items())
    (tmp_path / "cdc.toml").write_text(f'[web]\nlisten = ""\n{text}')
    assert run_command("endpoint", "add", "https://example.com/", "--events", "*", folder=tmp_path).returncode == 0
    done = run_command("doctor", folder=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len([*lines, *done.stderr.splitlines()]) <= 40
    about = f"{_SOURCES} sources (tenant0, tenant1, tenant2, tenant3 … ({_SOURCES}))"
    assert [line for line in lines if line.startswith(f"WRONG    {about}: journal: ")]
    assert [line for line in lines if line.startswith("WRONG    source away: source: ")], "of a cause of its own"
    severities = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert severities == sorted(severities, key=("WRONG", "WARNING", "OK").index)
    alone = run_command("doctor", "--source", "tenant7", folder=tmp_path)
    assert "WRONG    source tenant7: journal: " in alone.stdout
    assert "tenant8" not in alone.stdout
    assert "source away" not in alone.stdout
    checks = json.loads(run_command("doctor", "--json", folder=tmp_path).stdout)["checks"]
    journals = [check["about"] for check in checks if check["check"] == "journal"]
    assert journals == [f"source {name}" for name in sources if name != "away"], "a program gets each, in their order"
