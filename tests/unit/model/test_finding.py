"""Findings that differ by their table only are one line."""

from __future__ import annotations

import pytest

from cdc.config import load_config
from cdc.config.outbox import OutboxConfig
from cdc.model.finding import Finding, Severity, grouped
from cdc.runtime import doctor

_OLD, _FIX = "An earlier version made the triggers, or somebody changed them.", "cdc install-triggers"


def of_table(table: str, detail: str = _OLD, severity: Severity = Severity.WRONG) -> Finding:
    return Finding(f"triggers of {table}", severity, detail, _FIX)


def test_equal_findings_of_many_tables_are_one_line() -> None:
    first, last = Finding("journal", Severity.OK, "installed"), Finding("backlog", Severity.OK, "0 changes wait")
    tables = [f"table{number:02}" for number in range(41)]
    found = grouped([first, *map(of_table, tables), of_table("clientes", "It is gone."), last])
    check = "triggers of table00, table01, table02, table03 … (41)"
    assert found == [first, Finding(check, Severity.WRONG, _OLD, _FIX), of_table("clientes", "It is gone."), last]


def test_few_tables_are_all_named() -> None:
    assert [each.check for each in grouped(map(of_table, "abcde"))] == ["triggers of a, b, c, d, e"]
    assert [each.check for each in grouped([of_table("a")])] == ["triggers of a"]
    assert len(grouped([of_table("a"), of_table("b", severity=Severity.WARNING)])) == 2


def test_doctor_groups_the_findings_of_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_config(environment={"CDC_SOURCE_MAIN_URL": "mysql://cdc@127.0.0.1:1/fs"}).source["main"]
    monkeypatch.setattr(doctor, "inspector", lambda _source: _Database())
    monkeypatch.setattr(doctor, "checked", lambda _source, _inspect: ([], []))
    checks = [each.check for each in doctor.examine(source, OutboxConfig())]
    assert checks == ["rules", "triggers of a, b"]


class _Database:
    def findings(self, _wanted: object) -> list[Finding]:
        return [of_table("a"), of_table("b")]
