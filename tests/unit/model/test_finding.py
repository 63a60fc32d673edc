"""Findings that differ by their table only are one line."""

from __future__ import annotations

from dataclasses import replace

from cdc.model.finding import Finding, Severity, by_cause, grouped

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


def test_a_cause_is_one_finding_for_all_sources_and_tables_worst_first() -> None:
    warning = Finding("consumer", Severity.WARNING, "no consumer reads acme, 3 changes wait", "cdc run")
    missing = Finding("journal", Severity.WRONG, "not installed", "cdc source adopt {}")
    found = by_cause(
        [("configuration", Finding("read", Severity.OK, "cdc.toml"))]
        + [(f"source t{number}", Finding("server", Severity.OK, f"PostgreSQL {number}")) for number in range(13, 16)]
        + [("source acme", warning), ("source shop", replace(warning, detail="no consumer reads shop, 7 changes wait"))]
        + [(f"source t{number}", replace(missing, fix=missing.fix.format(f"t{number}"))) for number in range(900)]
        + [("source shop", of_table("clientes", "Missing: cdc_clientes_i.")), ("source acme", of_table("pagos"))]
        + [("source t1", of_table(table, f"Missing: cdc_{table}_i.")) for table in ("pagos", "asientos")]
    )
    assert [(kind, names, each.check, each.fix) for kind, names, _, each in found] == [
        ("source", [f"t{number}" for number in range(900)], "journal", "cdc source adopt NAME"),
        ("source", ["shop", "t1"], "triggers of asientos, clientes, pagos", _FIX),
        ("source", ["acme"], "triggers of pagos", _FIX),
        ("source", ["acme", "shop"], "consumer", "cdc run"),
        ("source", ["t13", "t14", "t15"], "server", ""),
        ("configuration", [], "read", ""),
    ]
    paths = (Finding("password_file mode", Severity.WARNING, f"Others can read /a/{each}.", "chmod") for each in "abc")
    (cause,) = by_cause(("files", path) for path in paths)
    assert (cause.kind, cause.total, cause.finding.detail) == ("files", 3, "Others can read /a/a.")
