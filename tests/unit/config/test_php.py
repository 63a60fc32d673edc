"""config.php as FacturaScripts' installer writes it, and as people change it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.config.php import Unreadable, connection_from, parse_php, read_config_php
from cdc.model.connection import Engine
from cdc.model.errors import ConfigError

CONFIG = Path("config.php")
MYSQL = """<?php
define('FS_COOKIES_EXPIRE', 31536000);
define('FS_ROUTE', '');
define('FS_DB_TYPE', 'mysql');
define('FS_DB_HOST', 'localhost');
define('FS_DB_PORT', 3306);
define('FS_DB_NAME', 'facturascripts');
define('FS_DB_USER', 'root');
define('FS_DB_PASS', 's3cret');
define('FS_DB_FOREIGN_KEYS', true);
define('FS_DB_TYPE_CHECK', true);
define('FS_MYSQL_CHARSET', 'utf8mb4');
define('FS_MYSQL_COLLATE', 'utf8mb4_unicode_520_ci');

ini_set('mysqli.default_socket', '/run/mysqld/mysqld.sock');
define('FS_LANG', 'es_ES');
define('FS_TIMEZONE', 'Europe/Madrid');
define('FS_HIDDEN_PLUGINS', '');
define('FS_DEBUG', false);
define('FS_DISABLE_ADD_PLUGINS', false);
define('FS_DISABLE_RM_PLUGINS', false);
"""
POSTGRES = """<?php
define('FS_DB_TYPE', 'postgresql');
define('FS_DB_HOST', 'db.example.org');
define('FS_DB_PORT', 5433);
define('FS_DB_NAME', 'fs');
define('FS_DB_USER', 'erp');
define('FS_DB_PASS', 'pw');
define('FS_PGSQL_SSL', 'require');
define('FS_PGSQL_ENDPOINT', '');
"""


def value_of(expression: str) -> object:
    return parse_php(f"<?php define('X', {expression});")["X"]


def test_mysql_of_the_installer() -> None:
    info = connection_from(parse_php(MYSQL), CONFIG)
    assert (info.engine, info.database, info.user, info.password) == (Engine.MYSQL, "facturascripts", "root", "s3cret")
    assert (info.host, info.port, info.socket) == ("localhost", 3306, "/run/mysqld/mysqld.sock")


def test_the_socket_counts_only_for_localhost_as_in_mysqli() -> None:
    info = connection_from(parse_php(MYSQL.replace("'localhost'", "'p:127.0.0.1'")), CONFIG)
    assert (info.host, info.socket) == ("127.0.0.1", "")


def test_postgresql_of_the_installer() -> None:
    info = connection_from(parse_php(POSTGRES), CONFIG)
    assert (info.engine, info.host, info.port, info.tls.mode) == (Engine.POSTGRESQL, "db.example.org", 5433, "require")


def test_a_postgresql_host_may_be_a_socket_folder() -> None:
    info = connection_from(parse_php(POSTGRES.replace("db.example.org", "/var/run/postgresql")), CONFIG)
    assert info.socket == "/var/run/postgresql"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'it\\'s'", "it's"),
        (r"'a\\b\n'", r"a\b\n"),
        (r'"a\n\t\$x\"\\\x41\101\u{e1}\q"', 'a\n\t$x"\\AAá\\q'),
        (r'"\xc3\xa1"', "á"),
        ("true", True),
        ("FALSE", False),
        ("NULL", None),
        ("0x1F", 31),
        ("010", 8),
        ("1_000", 1000),
        ("-3", -3),
        ("1.5e3", 1500.0),
        ("'a' . \"b\"", "ab"),
        ("'# no comment' /* c */", "# no comment"),
        ("getenv('Y') ?: 'z'", Unreadable(1)),
        ('"host $name"', Unreadable(1)),
        ("UNKNOWN", Unreadable(1)),
    ],
)
def test_values(expression: str, value: object) -> None:
    assert value_of(expression) == value


def test_comments_lines_case_and_namespace() -> None:
    text = """<html>define('A', 'html');<?php
    // define('A', 'one');
    # define('A', 'two');
    /* define('A', 'three'); */
    $s = "define('A', 'four');";
    if (!defined('A')) {
        \\DEFINE ( "A" ,
            'right'
        ) ;
    }
    define('A', 'second');
    const B = A;
    ?> define('C', 1); <?php define('D', 4);
    """
    assert parse_php(text) == {"A": "right", "B": "right", "D": 4}


def test_heredoc_hides_what_looks_like_a_definition() -> None:
    assert parse_php("<?php $x = <<<EOT\ndefine('A', 1);\nEOT;\ndefine('B', 2);") == {"B": 2}


def test_what_needs_php_is_told_with_its_line_and_without_its_content() -> None:
    text = MYSQL.replace("'s3cret'", "getenv('HIDDEN_THING') ?: 's3cret'")
    with pytest.raises(ConfigError, match=r"config\.php line 9: the value of FS_DB_PASS") as caught:
        connection_from(parse_php(text), CONFIG)
    assert "s3cret" not in str(caught.value)
    assert "HIDDEN" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("'mysql'", "'oracle'", "FS_DB_TYPE is 'oracle'"),
        ("define('FS_DB_USER', 'root');", "", "does not define FS_DB_USER"),
        ("3306", "'many'", "FS_DB_PORT is 'many'"),
        ("3306", "70000", "FS_DB_PORT is '70000'"),
    ],
)
def test_wrong_files(before: str, after: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        connection_from(parse_php(MYSQL.replace(before, after)), CONFIG)


def test_files_that_are_missing_or_in_an_old_encoding(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config_php(tmp_path / "none.php")
    old = tmp_path / "config.php"
    old.write_bytes(MYSQL.replace("s3cret", "contraseña").encode("latin-1"))
    assert read_config_php(old).password == "contraseña"


no_null = st.text(st.characters(exclude_categories=["Cs"]))


@given(no_null)
def test_single_quotes_round_trip(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    assert value_of(f"'{quoted}'") == text


@given(no_null)
def test_double_quotes_round_trip(text: str) -> None:
    quoted = "".join(f"\\u{{{ord(c):x}}}" if c in '"\\$' or not c.isalnum() else c for c in text)
    assert value_of(f'"{quoted}"') == text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert value_of(f'"{escaped}"') == text


@given(st.text())
def test_any_text_is_parsed_without_an_error(text: str) -> None:
    assert isinstance(parse_php("<?php " + text), dict)


@pytest.mark.parametrize(
    "statement",
    [
        "foreach ($settings as $name => $value) { define($name, $value); }",
        "define('FS_DB_' . $suffix, 's3cret');",
        "define(name: 'FS_DB_PASS', value: 's3cret');",
        "require __DIR__ . '/secrets.php';",
        "define('FS_DB_PASS', 's3cret'",
        "const A = 1, FS_DB_PASS = 's3cret';",
        "define('FS_DB_PASS', getenv('HIDDEN'));",
        "define('FS_DB_PASS', SECRET);",
        "if (DEBUG) { define('FS_DB_PASS', 'a'); } else { define('FS_DB_PASS', 's3cret'); }",
        "if (DEBUG) define('FS_DB_PASS', 'a'); else define('FS_DB_PASS', 's3cret');",
    ],
)
def test_statement_that_only_php_understands_is_an_error_and_no_empty_password(statement: str) -> None:
    text = MYSQL.replace("define('FS_DB_PASS', 's3cret');", "") + "\n" + statement
    line = text.count("\n") + 1
    with pytest.raises(ConfigError, match=rf"config\.php line {line}\b.*FS_DB_PASS") as caught:
        connection_from(parse_php(text), CONFIG)
    assert "s3cret" not in str(caught.value)


def test_missing_password_is_an_error_and_an_empty_one_is_not() -> None:
    with pytest.raises(ConfigError, match="does not define FS_DB_PASS"):
        connection_from(parse_php(MYSQL.replace("define('FS_DB_PASS', 's3cret');", "")), CONFIG)
    assert connection_from(parse_php(MYSQL.replace("s3cret", "")), CONFIG).password == ""


def test_definitions_that_are_guarded_or_equal_are_read() -> None:
    guarded = "<?php defined('A') || define('A', 1); if (!defined('B')) { define('B', 2); } define('B', 3);"
    assert parse_php(guarded) == {"A": 1, "B": 2}
    assert parse_php("<?php if (X) { define('A', 1); } else { define('A', 1); }") == {"A": 1}
