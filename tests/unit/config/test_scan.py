"""Installations of FacturaScripts are found, and become sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cdc.config import Config, load_config
from cdc.config.write import InstallationFacts, ScannedInstallation, append, as_toml, scan, with_names
from cdc.model.errors import ConfigError, UsageError

PHP = "<?php\ndefine('FS_DB_TYPE', '{kind}');\ndefine('FS_DB_HOST', 'db');\ndefine('FS_DB_PORT', {port});\n"
PHP += "define('FS_DB_NAME', '{name}');\ndefine('FS_DB_USER', 'u');\ndefine('FS_DB_PASS', 'geheim');\n"


def _install(folder: Path, name: str, kind: str = "mysql") -> Path:
    folder.mkdir(parents=True)
    path = folder / "config.php"
    path.write_text(PHP.format(kind=kind, name=name, port=3306 if kind == "mysql" else 5432), encoding="utf-8")
    return path


def _named(found: list[ScannedInstallation], root: Path) -> dict[str, str]:
    return {str(each.path.relative_to(root)): each.name or each.why for each in found}


def test_each_installation_becomes_a_source(tmp_path: Path) -> None:
    _install(tmp_path / "acme.example" / "html", "acme")
    _install(tmp_path / "Peña e Hijos", "pena", "postgresql")
    _install(tmp_path / "b" / "acme.example" / "public_html", "other")
    (tmp_path / "phpmyadmin").mkdir()
    (tmp_path / "phpmyadmin" / "config.php").write_text("<?php $cfg['host'] = 'db';", encoding="utf-8")
    _install(tmp_path / "acme.example" / "html" / "Plugins" / "x", "copied")
    found = scan([tmp_path, tmp_path / "b"], Config(), 6)
    assert _named(found, tmp_path) == {
        "Peña e Hijos/config.php": "pena-e-hijos",
        "acme.example/html/config.php": "acme-example",
        "b/acme.example/public_html/config.php": "acme-example-2",
    }
    assert "geheim" not in repr(found)
    assert "geheim" not in as_toml(found, {})


def test_what_is_known_and_what_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    first = _install(tmp_path / "a", "one")
    _install(tmp_path / "b", "one")
    broken = tmp_path / "c" / "config.php"
    broken.parent.mkdir()
    broken.write_text("<?php define('FS_DB_NAME', getenv('DB'));", encoding="utf-8")
    file = tmp_path / "cdc.toml"
    file.write_text(f"[source.main]\nfacturascripts = '{first}'\n", encoding="utf-8")
    told = _named(scan([tmp_path], load_config(file), 6), tmp_path)
    assert told["a/config.php"] == "it is the source main already"
    assert told["b/config.php"] == "the source main reads this database already"
    assert "FS_DB_" in told["c/config.php"]


def test_depth_and_links(tmp_path: Path) -> None:
    _install(tmp_path / "a" / "b" / "c", "deep")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert _named(scan([tmp_path], Config(), 2), tmp_path) == {}
    assert _named(scan([tmp_path], Config(), 3), tmp_path) == {"a/b/c/config.php": "c"}
    with pytest.raises(ConfigError, match="There is no"):
        scan([tmp_path / "nowhere"], Config(), 3)


def test_the_file_is_added_to_and_stays_valid(tmp_path: Path) -> None:
    _install(tmp_path / "it's", "one")
    file = tmp_path / "cdc.toml"
    append(file, as_toml(scan([tmp_path], Config(), 3), {"capture": "binlog"}))
    file.chmod(0o640)
    _install(tmp_path / "two", "two")
    append(file, as_toml(scan([tmp_path], load_config(file), 3), {}))
    config = load_config(file)
    assert {name: source.capture for name, source in config.source.items()} == {"it-s": "binlog", "two": "triggers"}
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in scan([tmp_path], config, 3)] == ["", ""]


def test_a_file_that_would_be_wrong_is_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "cdc.toml"
    file.write_text("[source.main]\nurl = 'mysql://a@b/c'\n", encoding="utf-8")
    before = file.read_text(encoding="utf-8")
    with pytest.raises(ConfigError):
        append(file, "[source.main]\nurl = 'mysql://a@b/d'\n")
    assert file.read_text(encoding="utf-8") == before
    assert [each.name for each in tmp_path.iterdir()] == ["cdc.toml"]


def test_entry_that_is_no_file_or_has_an_odd_name_spoils_only_itself(tmp_path: Path) -> None:
    _install(tmp_path / "good", "good")
    _install(tmp_path / "line\nfeed", "odd")
    _install(Path(os.fsdecode(os.fsencode(tmp_path) + b"/bytes-\xff")), "bytes")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "config.php")
    file = tmp_path / "cdc.toml"
    found = scan([tmp_path], Config(), 3)
    append(file, as_toml(found, {}))
    sources = {name: source.facturascripts for name, source in load_config(file).source.items()}
    assert sources == {
        "good": tmp_path / "good" / "config.php",
        "line-feed": tmp_path / "line\nfeed" / "config.php",
    }
    told = {each.path.parent.name: each.why for each in found if not each.name}
    assert "no regular file" in told["fifo"]
    assert any("no text in UTF-8" in why for why in told.values())


@pytest.mark.parametrize(
    ("folder", "schema", "facts", "pattern", "name"),
    [
        ("acme", "fs", InstallationFacts(), "", "acme"),
        ("", "fs_bilbao", InstallationFacts(), "", "bilbao"),
        ("", "fs", InstallationFacts("https://erp.acme.com.es/fs", "Otra"), "", "acme"),
        ("", "fs", InstallationFacts("https://www.tienda.acme.es"), "", "tienda-acme"),
        ("", "fs", InstallationFacts("http://10.0.0.5", "Peña e Hijos, S.L."), "", "pena-e-hijos-s-l"),
        ("", "facturascripts", InstallationFacts("http://localhost"), "", "main"),
        ("taken", "other", InstallationFacts("https://acme.example"), "", "acme"),
        ("taken", "other", InstallationFacts(), "", "taken-2"),
        ("x", "fs_7", InstallationFacts(company="Acme"), "{company}-{database}", "acme-7"),
        ("taken", "x", InstallationFacts(), "{folder}", "taken-2"),
        ("x", "x", InstallationFacts(), "{site}", "main"),
    ],
)
def test_name_is_that_of_folder_site_company_or_database(
    folder: str, schema: str, facts: InstallationFacts, pattern: str, name: str
) -> None:
    found = ScannedInstallation(Path("/x/config.php"), "", schema=schema, folder=folder)
    (named,) = with_names([found], {"taken"}, pattern, {found.path: facts})
    assert named.name == name


def test_folders_with_common_names_say_nothing(tmp_path: Path) -> None:
    for place in ("acme/fs", "bilbao/public_html/erp2", "cadiz/current"):
        _install(tmp_path / place, place.replace("/", "_"))
    assert [each.name for each in scan([tmp_path], Config(), 6)] == ["acme", "bilbao", "cadiz"]


def test_pattern_with_another_word_is_refused(tmp_path: Path) -> None:
    _install(tmp_path / "a", "one")
    with pytest.raises(UsageError, match=r"--name has \{customer\}. It knows \{folder\}, \{site\}"):
        with_names(scan([tmp_path], Config(), 3), (), "{customer}")
