"""The doctor's findings about modes and owners of configuration, keys, passwords and outbox."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cdc.config import Config, load_config
from cdc.model.finding import Finding, Severity
from cdc.runtime import doctor
from cdc.runtime.doctor import file_findings

_PLAIN = '[source.main]\nurl = "mysql://cdc@127.0.0.1/fs"\npassword_file = "password"\n'
_WITH_KEY = '[outbox]\nsecret_key_file = "key"\n[dispatch.client_certificates]\nbank = "bank.pem"\n'
_NAMES = ("cdc.toml", "password", "key", "bank.pem", "cdc.db", "cdc.db-dispatch", "cdc.db-wal")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """All of its files are there, as they should be."""
    for name in _NAMES:
        (tmp_path / name).write_text(_PLAIN + _WITH_KEY if name == "cdc.toml" else "x", encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    return load_config(environment={}, folder=tmp_path)


def _repair(findings: list[Finding]) -> None:
    for finding in findings:
        assert finding.severity is Severity.WARNING
        subprocess.run(["/bin/sh", "-c", finding.fix], check=True)


def test_private_files_are_no_finding(config: Config) -> None:
    assert file_findings(config) == []


@pytest.mark.parametrize("name", _NAMES[1:])
@pytest.mark.parametrize("mode", [0o604, 0o660, 0o606])
def test_a_secret_that_others_reach_is_a_warning_whose_command_repairs_it(
    config: Config, tmp_path: Path, name: str, mode: int
) -> None:
    (tmp_path / name).chmod(mode)
    (finding,) = findings = file_findings(config)
    assert f"{tmp_path / name} (mode {mode:04o})" in finding.detail
    _repair(findings)
    assert file_findings(config) == []


def test_a_log_of_the_outbox_that_is_removed_meanwhile_is_no_finding(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cdc.db-wal").chmod(0o660)
    present = Path.exists

    def removed_after(path: Path) -> bool:
        found = present(path)
        if path.name == "cdc.db-wal":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "exists", removed_after)
    assert file_findings(config) == []


def test_an_outbox_that_its_group_reads_is_a_warning(config: Config, tmp_path: Path) -> None:
    (tmp_path / "cdc.db").chmod(0o640)
    (tmp_path / "key").chmod(0o640)  # the group of the service's account may
    (finding,) = file_findings(config)
    assert (finding.check, finding.fix) == ("outbox mode", f"chmod go-rwx {tmp_path / 'cdc.db'}")


def test_a_configuration_may_be_read_unless_it_holds_a_password(config: Config, tmp_path: Path) -> None:
    (tmp_path / "cdc.toml").chmod(0o644)
    assert file_findings(config) == []
    with (tmp_path / "cdc.toml").open("a", encoding="utf-8") as file:
        file.write('[source.other]\nurl = "mysql://cdc:hunter2@127.0.0.1/other"\n')
    (finding,) = findings = file_findings(config)
    assert finding.check == "configuration mode"
    assert "hunter2" not in finding.detail
    _repair(findings)
    (tmp_path / "cdc.toml").chmod(0o620)
    (finding,) = findings = file_findings(config)
    assert "Other accounts can change" in finding.detail
    _repair(findings)
    assert file_findings(config) == []


def test_a_folder_that_everybody_writes_to_is_a_warning(config: Config, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (finding,) = findings = file_findings(config)
    assert finding.check == "folder mode"
    tmp_path.chmod(0o1777)
    assert file_findings(config) == []
    tmp_path.chmod(0o777)
    _repair(findings)
    assert file_findings(config) == []


def test_a_file_of_another_account_is_a_warning(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = (tmp_path / "key").stat().st_uid
    monkeypatch.setattr(doctor, "_trusted", lambda _config: {owner + 1})
    findings = file_findings(config)
    assert [finding.check.rpartition(" ")[2] for finding in findings] == ["owner"] * len(_NAMES)
    assert "who can change it" in findings[0].detail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_trusts_the_account_that_owns_the_outbox(config: Config, tmp_path: Path) -> None:
    os.chown(tmp_path / "cdc.db", 4711, -1)
    os.chown(tmp_path / "key", 4711, -1)
    assert [finding.check for finding in file_findings(config)] == []
    os.chown(tmp_path / "key", 4712, -1)
    (finding,) = file_findings(config)
    assert (finding.check, finding.fix) == ("secret_key_file owner", f"chown root {tmp_path / 'key'}")
