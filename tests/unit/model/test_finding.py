"""Findings that differ by their table only are one line."""

from __future__ import annotations

from cdc.model.finding import Finding, Severity, grouped

_OLD, _FIX = "An earlier version made the triggers, or somebody changed them.", "cdc install-triggers"


def of_table(table: str, detail: str = _OLD, severity: Severity = Severity.WRONG) -> Finding:
    return Finding(f"triggers of {table}", severity, detail, _FIX)


def test_equal_findings_of_many_tables_are_one_line() -> None:
    first, last = Finding("journal", Severity.OK, "installed"), Finding("backlog", Severity.OK, "0 changes wait")
    tables = [f"table{number:02}" for number in range(41)]
    found = grouped([first, *map(of_table, tables), of_table("clientes", "It is gone."), last])
    check = "triggers of table00, table01, table02, table03 and 37 other tables"
    assert found == [first, Finding(check, Severity.WRONG, _OLD, _FIX), of_table("clientes", "It is gone."), last]


def test_few_tables_are_all_named() -> None:
    assert [each.check for each in grouped(map(of_table, "abcde"))] == ["triggers of a, b, c, d, e"]
    assert [each.check for each in grouped([of_table("a")])] == ["triggers of a"]
    assert len(grouped([of_table("a"), of_table("b", severity=Severity.WARNING)])) == 2
