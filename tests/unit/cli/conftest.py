"""The command line with an outbox in a temporary folder and a database that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cdc.capture.triggers.base import Plan, Progress, Step
from cdc.cli.app import cdc
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice
from cdc.model.finding import Finding, Severity
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.runtime import doctor

CONFIG = (
    '[source.main]\nurl = "mysql://cdc:hunter2@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\n[web]\nlisten = ""\n'
)
Cdc = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a ``cdc.toml`` and an empty outbox."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cdc.toml").write_text(CONFIG)
    asyncio.run(_create_outbox(tmp_path))
    return tmp_path


async def _create_outbox(folder: Path) -> None:
    outbox = SqliteOutbox(folder / "cdc.db")
    await outbox.open()
    await outbox.close()


@pytest.fixture
def run_cdc(folder: Path) -> Cdc:
    """``run_cdc("endpoint", "list", code=0)``; whatever it prints, no password of the configuration."""

    def call(*arguments: str, code: int = 0, stdin: str = "") -> Result:
        assert folder.is_dir()
        result = CliRunner().invoke(cdc, arguments, input=stdin)
        assert result.exit_code == code, result.output
        assert "hunter2" not in result.output
        return result

    return call


@dataclass
class FakeInstaller:
    """A database in which everything is to be done, until it is done."""

    findings_given: list[Finding] = field(default_factory=lambda: [Finding("triggers", Severity.OK, "2 of 2")])
    installed: bool = False

    def plan_install(self, captures: Sequence[Capture]) -> Plan:
        steps = [] if self.installed else [Step(f"triggers of {c.table}", c.table, ("CREATE",)) for c in captures]
        return Plan(tuple(steps), notes=("The binlog is off.",))

    def plan_uninstall(self) -> Plan:
        return Plan((Step("journal", "", ("DROP",)),) if self.installed else ())

    def script(self, plan: Plan) -> str:
        return "\n".join(f"-- {step.title}" for step in plan.steps) + "\n"

    def apply(self, plan: Plan, progress: Progress) -> None:
        self.installed = not self.installed
        for step in plan.steps:
            progress(step.title)

    def grants(self, captures: Sequence[Capture], choice: AccountChoice) -> str:
        assert choice.source
        return f"GRANT SELECT ON {captures[0].table} TO cdc;\n"

    def repair(self, tables: Sequence[str]) -> None:
        raise AssertionError(tables)

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        assert captures
        return self.findings_given

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        return {}


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> FakeInstaller:
    fake = FakeInstaller()
    captures = [Capture("facturascli"), Capture("clientes")]
    monkeypatch.setattr("cdc.runtime.capture.installer", lambda _source: fake)
    monkeypatch.setattr("cdc.runtime.capture.inspector", lambda _source: fake)
    monkeypatch.setattr("cdc.runtime.capture.captures", lambda _source: captures)
    monkeypatch.setattr("cdc.runtime.capture.readable", lambda _source, _inspect=None: captures)
    monkeypatch.setattr(doctor, "examine", lambda _source, _outbox, _stored: fake.findings(captures))
    return fake
