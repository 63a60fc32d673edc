"""The systemd unit that is printed, judged by systemd's own programs where they are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFIG = """
[source.main]
facturascripts = "/var/www/html/config.php"
[source.bilbao]
url = "mysql://cdc@db/facturascripts"
password_file = "/etc/facturascripts-cdc/100%/bilbao"
[outbox]
url = "sqlite:////srv/out box/cdc.db"
secret_key_file = "/etc/facturascripts-cdc/key"
[dispatch]
client_certificates = { bank = "/etc/facturascripts-cdc/bank.pem" }
[mail]
host = "mail.example.com"
sender = "cdc@example.com"
user = "cdc"
password_file = "/etc/facturascripts-cdc/mail"
[web]
metrics_token_file = "/etc/facturascripts-cdc/metrics"
"""


@pytest.fixture
def unit(run_cdc: Callable, tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "cdc.toml").write_text(CONFIG, encoding="utf-8")

    def printed(*options: str) -> str:
        return str(run_cdc("--config", str(tmp_path / "cdc.toml"), "service", "unit", *options).stdout)

    return printed


def test_secrets_are_credentials_and_only_the_outbox_is_written(unit: Callable[..., str]) -> None:
    lines = unit().splitlines()
    assert [line for line in lines if line.startswith(("LoadCredential=", "Environment=", "ReadWritePaths="))] == [
        'ReadWritePaths="/srv/out box"',
        "LoadCredential=main.facturascripts:/var/www/html/config.php",
        "Environment=CDC_SOURCE_MAIN_FACTURASCRIPTS=%d/main.facturascripts",
        "LoadCredential=bilbao.password_file:/etc/facturascripts-cdc/100%%/bilbao",
        "Environment=CDC_SOURCE_BILBAO_PASSWORD_FILE=%d/bilbao.password_file",
        "LoadCredential=outbox.secret_key_file:/etc/facturascripts-cdc/key",
        "Environment=CDC_OUTBOX_SECRET_KEY_FILE=%d/outbox.secret_key_file",
        "LoadCredential=mail.password_file:/etc/facturascripts-cdc/mail",
        "Environment=CDC_MAIL_PASSWORD_FILE=%d/mail.password_file",
        "LoadCredential=web.metrics_token_file:/etc/facturascripts-cdc/metrics",
        "Environment=CDC_WEB_METRICS_TOKEN_FILE=%d/web.metrics_token_file",
        "LoadCredential=certificate.bank:/etc/facturascripts-cdc/bank.pem",
        'Environment="CDC_DISPATCH_CLIENT_CERTIFICATES=bank=%d/certificate.bank"',
    ]


@pytest.mark.parametrize("role", ["capture", "dispatch", "web"])
def test_each_role_has_a_unit_of_its_own(unit: Callable[..., str], role: str) -> None:
    printed = unit("--role", role)
    assert f"--log-format json run --role {role}\n" in printed
    assert f"StateDirectory=facturascripts-cdc-{role}\n" in printed
    saved = f"cdc service unit --role {role} > /etc/systemd/system/facturascripts-cdc-{role}.service\n"
    assert saved in printed
    assert f"enable --now facturascripts-cdc-{role}.service\n" in printed
    for whole in (unit(), unit("--role", "all")):
        assert "--log-format json run\n" in whole
        assert "StateDirectory=facturascripts-cdc\n" in whole
        assert "service unit > /etc/systemd/system/facturascripts-cdc.service\n" in whole


def test_an_older_systemd_is_told_how_to_reload(unit: Callable[..., str]) -> None:
    assert "Type=notify-reload\n" in unit("--systemd", "253")
    older = unit("--systemd", "249")
    assert "Type=notify\nExecReload=/bin/kill -HUP $MAINPID\n" in older
    credential = "/run/credentials/facturascripts-cdc.service/main.facturascripts"
    assert f"Environment=CDC_SOURCE_MAIN_FACTURASCRIPTS={credential}\n" in older
    assert "%d" not in older


def test_it_stands_back_as_the_configuration_says(unit: Callable[..., str], tmp_path: Path) -> None:
    assert "Nice=5\n" in unit()
    (tmp_path / "cdc.toml").write_text(f"{CONFIG}[process]\nnice = 12\n", encoding="utf-8")
    printed = unit()
    assert "Nice=12\n" in printed
    assert "SystemCallFilter=~@privileged @resources\n" in printed, "it could not by itself"


def test_it_bounds_files_and_memory_by_the_number_of_sources(unit: Callable[..., str], tmp_path: Path) -> None:
    printed = unit()
    assert "LimitNOFILE=65536\n" in printed
    assert "LimitCORE=0\n" in printed
    assert "MemoryMax=520M\n" in printed, "512 and 4 for each of two sources"
    more = "".join(f'[source.s{number}]\nurl = "mysql://cdc@db/fs{number}"\n' for number in range(98))
    (tmp_path / "cdc.toml").write_text(CONFIG + more, encoding="utf-8")
    assert "MemoryMax=912M\n" in unit()


def test_it_runs_this_program_with_this_configuration(unit: Callable[..., str], tmp_path: Path) -> None:
    start = next(line for line in unit("--user", "www").splitlines() if line.startswith("ExecStart="))
    program = Path(sys.executable).with_name("cdc")
    assert start == f"ExecStart={program} --config {tmp_path / 'cdc.toml'} --log-format json run"
    assert "User=www\n" in unit("--user", "www")


def test_systemd_finds_nothing_wrong_with_it(unit: Callable[..., str], tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("not verified: there is no systemd-analyze on this machine")
    file = tmp_path / "facturascripts-cdc.service"
    file.write_text(unit(), encoding="utf-8")
    verified = subprocess.run([program, "verify", "--man=no", str(file)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    exposed = [program, "security", "--offline=true", "--threshold=20", str(file)]
    judged = subprocess.run(exposed, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-200:]


def test_a_configuration_that_is_no_file_has_no_unit(
    run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cdc.toml").unlink()
    monkeypatch.setenv("CDC_SOURCE_MAIN_URL", "mysql://cdc@db/facturascripts")
    refused = run_cdc("service", "unit", code=2)
    assert "needs a configuration file" in refused.stderr
