"""Files, environment, defaults and what is said of mistakes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cdc.config import Config, default_toml, load_config
from cdc.config.load import OPTIONS
from cdc.config.model import SECTIONS, SOURCE_TABLES
from cdc.config.write import effective_toml, masked
from cdc.model.errors import ConfigError

URL = "mysql://cdc:hunter2@db/fs"


def load(folder: Path, text: str | None = None, **environment: str) -> Config:
    if text is not None:
        (folder / "cdc.toml").write_text(text, encoding="utf-8")
    return load_config(environment=environment, folder=folder)


def failure(folder: Path, text: str | None = None, **environment: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **environment)
    assert "hunter2" not in str(caught.value)
    return caught.value


def test_without_anything_there_are_defaults(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.file is None
    assert config.source == {}
    assert config.outbox.path == tmp_path / "cdc.db"
    with pytest.raises(ConfigError, match="no source 'main'"):
        config.select_source("main")


def test_every_option_is_documented_and_the_default_file_says_the_defaults(tmp_path: Path) -> None:
    for section, options in OPTIONS.items():
        for option in options:
            name = option.rpartition(".")[2]
            assert re.search(rf"^(# )?{name} = ", default_toml(), re.MULTILINE), f"{section}.{option}"
    everything = re.sub(r"^# (?=\w+ = )", "", default_toml(), flags=re.MULTILINE)
    values = tomllib.loads(everything)
    assert {name: set(table) for name, table in values.items() if name != "source"} == {
        name: set(model.model_fields) for name, model in SECTIONS.items() if name != "source"
    }
    assert set(values["source"]["main"]) == set(SECTIONS["source"].model_fields)
    for table, model in SOURCE_TABLES.items():
        assert set(values["source"]["main"][table]) == set(model.model_fields)
    examples = {
        "url",
        "facturascripts",
        "password_file",
        "user",
        "admin_url",
        "admin_user",
        "admin_password_file",
        "rules",
        "rest",
        "nats",
        "site_url",
    }
    written = load(tmp_path, everything.replace('facturascripts = "/', '#"/'))
    plain = load(tmp_path, f'[source.main]\nurl = "{URL}"\n')
    files = {"password_file", "secret_key_file", "metrics_token_file", "brand_logo", "secret_folder"}
    for section in ("dispatch", "web", "log", "outbox", "retention"):
        dumps = [getattr(each, section).model_dump(exclude=files) for each in (written, plain)]
        assert dumps[0] == dumps[1]
    assert written.source["main"].model_dump(exclude=examples) == plain.source["main"].model_dump(exclude=examples)
    rest = {"url", "token", "token_file"}
    dumps = [each.source["main"].rest.model_dump(exclude=rest) for each in (written, plain)]
    assert dumps[0] == dumps[1]
    assert load(tmp_path, default_toml()).source["main"].facturascripts == Path("/var/www/html/config.php")


def test_paths_are_relative_to_the_file_and_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "my.toml"
    file.write_text('[source.main]\nfacturascripts = "c.php"\n[outbox]\nurl = "sqlite:///d/x.db"\n')
    config = load_config(Path("etc/my.toml"), {"CDC_SOURCE_MAIN_RULES": "r.toml"}, tmp_path)
    assert config.source["main"].facturascripts == tmp_path / "etc" / "c.php"
    assert config.source["main"].rules == tmp_path / "r.toml"
    assert config.outbox.path == tmp_path / "etc" / "d" / "x.db"
    assert load(tmp_path, CDC_CONFIG="etc/my.toml").file == file
    assert load(tmp_path, CDC_OUTBOX_URL="sqlite:////var/x.db").outbox.path == Path("/var/x.db")


def test_the_environment_wins_and_may_hold_a_whole_source(tmp_path: Path) -> None:
    text = '[source.main]\nfacturascripts = "c.php"\n[source.a-b]\nurl = "mysql://a@b/c"\n[dispatch]\nconcurrency = 3\n'
    config = load(
        tmp_path,
        text,
        CDC_SOURCE_MAIN_URL=URL,
        CDC_SOURCE_MAIN_ADMIN_URL=URL,
        CDC_SOURCE_MAIN_INCLUDE="lines, receipts",
        CDC_SOURCE_A_B_REPAIR="no",
        CDC_SOURCE_NEW_SHOP_URL="postgresql://u@h/d",
        CDC_DISPATCH_CONCURRENCY="7",
        CDC_DISPATCH_ALLOW_PRIVATE="true",
        CDC_OUTBOX_URL="",
        CDC_SOMETHING_ELSE="x",
        CDC_WEB_SERVICE_HOST="10.0.0.1",
        CDC_WEB_PORT_8600_TCP_ADDR="10.0.0.1",
    )
    main = config.source["main"]
    assert (main.url, main.facturascripts, main.include) == (URL, None, ("lines", "receipts"))
    assert main.admin_connection().host == "db"
    assert config.source["a-b"].repair is False
    assert config.source["new_shop"].connection().port == 5432
    assert (config.dispatch.concurrency, config.dispatch.allow_private) == (7, True)
    assert {source.name for source in config.source.values()} == {"main", "a-b", "new_shop"}


def test_an_api_s_token_from_the_environment_or_a_file(tmp_path: Path) -> None:
    text = '[source.my-shop]\ncapture = "rest"\n[source.my-shop.rest]\nurl = "https://erp.example.com"\n'
    config = load(tmp_path, text, CDC_SOURCE_MY_SHOP_REST_TOKEN="hunter2", CDC_SOURCE_MY_SHOP_REST_PAGE_SIZE="50")
    rest = config.source["my-shop"].rest
    assert (rest.read_token("my-shop"), rest.page_size, rest.requests_per_minute) == ("hunter2", 50, 60)
    assert "hunter2" not in effective_toml(config) + repr(config) + str(masked(config))
    with pytest.raises(ConfigError, match="through the API: its database is not known"):
        config.source["my-shop"].connection()
    (tmp_path / "token").write_text("other\n")
    read = load(tmp_path, f'{text}token_file = "token"\n').source["my-shop"].rest
    assert read.read_token("my-shop") == "other"
    (tmp_path / "token").write_text("two words\n")
    with pytest.raises(ConfigError, match="holds no token"):
        read.read_token("my-shop")


def test_passwords_from_files(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("other\n")
    source = load(tmp_path, f'[source.main]\nurl = "{URL}"\npassword_file = "pw"\n').source["main"]
    assert source.connection().password == "other"
    assert source.admin_connection().password == "other"
    (tmp_path / "pw").unlink()
    with pytest.raises(ConfigError, match="password file"):
        source.connection()


def test_rules_in_their_file_or_inline(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("tables = []\n")
    source = load(tmp_path, f'[source.main]\nurl = "{URL}"\nrules = "r.toml"\n').source["main"]
    assert source.rules_text() == ("tables = []\n", str(tmp_path / "r.toml"), ())
    text = f'[source.main]\nurl = "{URL}"\n[source.main.rules]\ntables = ["x"]\n'
    inline = load(tmp_path, text).source["main"].rules_text()
    assert inline == (text, str(tmp_path / "cdc.toml"), ("source", "main", "rules"))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[dispatch]\n\nallow_privat = true\n",
            "cdc.toml line 3: there is no option 'allow_privat'",
            "'allow_private'",
        ),
        ("[dispach]\n", "line 1: there is no section 'dispach'", "'dispatch'"),
        ("[dispatch]\nzzz = 1\n", "line 2: there is no option 'zzz'", "There are: allow_private"),
        (f'[source.main]\nurl = "{URL}"\ncaptur = "x"\n', "line 3: there is no option 'captur'", "'capture'"),
        ('[source.main]\ncapture = "rest"\n', "and no `url` below [source.….rest]", ""),
        ('[source.main]\ncapture = "nats"\n', "and no `url` below [source.….nats]", ""),
        ('[source.main]\ncapture = "nats"\nnats = {url = "nats://u:p@h"}\n', "is no stream of NATS. Write nats://", ""),
        ('[source.main]\ncapture = "nats"\nnats = {subject = "a b"}\n', "has 'a b', which is no subject of NATS", ""),
        ('[source.main]\ncapture = "rest"\nrest = {url = "https://a"}\n', "needs `token` or `token_file`", ""),
        ('[source.main.rest]\nurl = "https://u:hunter2@a"\n', "line 2, [source.main.rest] url holds a user", ""),
        ('[source.main.rest]\nurl = "ftp://a"\n', "[source.main.rest] url is not the address of", ""),
        ('[source.main.rest]\ntoken = "hunter2 x"\n', "[source.main.rest] token is no token", ""),
        ('[source.main.rest]\nurll = "x"\n', "no option 'urll' in [source.main.rest]", "'url'"),
        ("[source.main.rest.resources.x]\nkeyy = 'x'\n", "no option 'keyy' in [source.main.rest.resources.x]", "'key'"),
        ("[source.main]\n", "line 1, [source.main] needs `url` or `facturascripts`", ""),
        (f'[source.main]\nurl = "{URL}"\nfacturascripts = "x"\n', "and has both", ""),
        (f'[source.main]\nurl = "{URL}"\nadmin_password_file = "x"\n', "no `admin_url`", ""),
        (f'[source]\nurl = "{URL}"\n', "[source.url] is not a table", "[source.main]"),
        (f'[source.Main]\nurl = "{URL}"\n', "'Main' cannot be the name", "a-z"),
        ("source = 3\n", "line 1, [source] is not a table", ""),
        ("[dispatch]\nlease_seconds = 30\n", "must be more than max_timeout_seconds", ""),
        ("[dispatch]\nconcurrency = 0\n", "line 2, [dispatch] concurrency: ", "CDC_DISPATCH_CONCURRENCY"),
        ('[outbox]\nurl = "mysql://a:hunter2@h/c"\n', "line 2, [outbox] url is not a place", ""),
        ('[web]\ntrusted_header = "X-User"\n', "line 1, [web] has a trusted_header and no trusted_proxies", ""),
        ('[web]\ntrusted_proxies = ["0.0.0.0/0"]\n', "anybody would be believed", ""),
        ('[web]\ntrusted_proxies = ["proxy"]\n', "line 2, [web] trusted_proxies has 'proxy', which is no network", ""),
        ('[web]\ntrusted_header = "Cookie"\n', "line 2, [web] trusted_header is not the name of a header", ""),
        ("[web]\nsession_hours = 0\n", "line 2, [web] session_hours: ", "CDC_WEB_SESSION_HOURS"),
        ('[web]\nfacturascripts_login = "main"\n', "has facturascripts_login = 'main'; the sources are: none", ""),
        ('[web]\nlisten = "8600"\n', "line 2, [web] listen is not HOST:PORT", ""),
        ('[tracing]\nendpoint = "collector:4318"\n', "[tracing] endpoint is not the URL of an OTLP collector", ""),
        ('[tracing]\nendpoint = "http://u:hunter2@h/v1"\n', "OTEL_EXPORTER_OTLP_HEADERS", ""),
        ("[web\n", "is not valid TOML", ""),
        ('[source.main]\nurl = "mysql://u:hunter2@h"\n', "line 2, [source.main] url names no database", ""),
        ("[log]\nlevel = 'loud'\nformat = 3\n", "(And 1 more: ", ""),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, message: str, hint: str) -> None:
    error = failure(tmp_path, text)
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("variable", "value", "message", "hint"),
    [
        ("CDC_DISPATCH_ALLOW_PRIVAT", "1", "sets nothing", "CDC_DISPATCH_ALLOW_PRIVATE"),
        ("CDC_DISPACH_CONCURRENCY", "1", "sets nothing", "CDC_DISPATCH_"),
        ("CDC_SOURCE_MAIN_UR", "x", "sets nothing", "CDC_SOURCE_<NAME>_URL"),
        ("CDC_SOURCE_URL", URL, "sets nothing", "CDC_SOURCE_<NAME>_URL"),
        ("CDC_DISPATCH_CONCURRENCY", "many", "variable CDC_DISPATCH_CONCURRENCY: ", ""),
        ("CDC_SOURCE_MAIN_URL", "mysql://u:hunter2@h", "variable CDC_SOURCE_MAIN_URL names no database", ""),
        ("CDC_SOURCE_MAIN_HTML", "raw", "[source.main] (from CDC_SOURCE_MAIN_HTML …) needs `url`", ""),
        ("CDC_CONFIG", "none.toml", "no configuration file", "cdc config init"),
    ],
)
def test_mistakes_in_the_environment(tmp_path: Path, variable: str, value: str, message: str, hint: str) -> None:
    error = failure(tmp_path, None, **{variable: value})
    assert message in error.message
    assert hint in error.hint


def test_the_effective_configuration_reads_back_and_masks(tmp_path: Path) -> None:
    rules = '[source.main.rules]\ntables = ["a\\"b"]\nnoise = {x = ["y"]}\n'
    config = load(tmp_path, f'[source.main]\nurl = "{URL}"\nadmin_url = "{URL}"\n{rules}', CDC_LOG_LEVEL="debug")
    text = effective_toml(config)
    assert "hunter2" not in text + repr(config) + str(masked(config))
    assert 'level = "debug"  # CDC_LOG_LEVEL' in text
    assert 'url = "mysql://cdc:***@db/fs"  # line 2' in text
    again = load_config(environment={}, folder=tmp_path, named=_written(tmp_path / "again.toml", text))
    assert masked(again) == masked(config)


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_keys_that_seal_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    assert load(tmp_path).outbox.secret_keys().keys == ()
    (tmp_path / "key").write_text("new\nold\n")
    text = '[outbox]\nsecret_key_file = "key"\n'
    assert load(tmp_path, text).outbox.secret_keys() == (
        ("new", "old"),
        f"The secret key file {tmp_path / 'key'}",
        False,
    )
    config = load(tmp_path, text, CDC_SECRET_KEY="hunter2a, hunter2b")
    assert config.outbox.secret_keys() == (("hunter2a", "hunter2b"), "CDC_SECRET_KEY", False)
    assert "hunter2" not in f"{config!r} {effective_toml(config)} {masked(config)}"
    other = load(tmp_path, text, CDC_OUTBOX_SECRET_KEY_FILE="elsewhere").outbox
    with pytest.raises(ConfigError, match=r"elsewhere cannot be read: No such file"):
        other.secret_keys()
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        load(tmp_path, text).outbox.secret_keys()


def test_the_origin_is_a_host_name(tmp_path: Path) -> None:
    assert load(tmp_path, CDC_DISPATCH_ORIGIN="events.example.com").dispatch.origin == "events.example.com"
    assert "is not a host name" in failure(tmp_path, '[dispatch]\norigin = "a b"\n').message


def test_an_outbox_in_postgresql(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    text = '[outbox]\nurl = "postgresql://cdc@db.example.org/hooks"\npassword_file = "password"\n'
    outbox = load(tmp_path, text).outbox
    assert outbox.path is None
    info = outbox.connection()
    assert (info.database, info.user, info.password, info.port) == ("hooks", "cdc", "s3cret", 5432)
    assert outbox.describe() == "postgresql database hooks at db.example.org:5432 as cdc"
    with pytest.raises(ConfigError, match=r"line 2, \[outbox\] url names no database"):
        load(tmp_path, '[outbox]\nurl = "postgresql://cdc:hunter2@h"\n')


@pytest.mark.parametrize("text", ["", "off"])
def test_health_and_metrics_can_be_switched_off(tmp_path: Path, text: str) -> None:
    (tmp_path / "cdc.toml").write_text(f'[web]\nlisten = "{text}"\n', encoding="utf-8")
    assert load_config(None, {}, tmp_path).web.listen == ""
    assert load_config(None, {"CDC_WEB_LISTEN": "127.0.0.1:9"}, tmp_path).web.listen == "127.0.0.1:9"


MAIL = '[mail]\nhost = "mail.example.com"\nsender = "cdc@example.com"\n'


def test_a_mail_server(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("planted pass\n")
    mail = load(tmp_path, f'{MAIL}user = "cdc"\npassword_file = "password"\nca_file = "ca.pem"\n').mail
    assert (mail.host, mail.port, mail.security, mail.password()) == ("mail.example.com", 0, "starttls", "planted pass")
    assert mail.ca_file == tmp_path / "ca.pem"
    assert load(tmp_path, MAIL).mail.password() == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[mail]\nhost = "mail.example.com"\n', "needs both `host`, the mail server, and `sender`"),
        ('[mail]\nsender = "cdc@example.com"\n', "needs both `host`, the mail server, and `sender`"),
        (MAIL.replace("cdc@", "cdc@a\\nBcc: "), "sender is not an e-mail address"),
        (MAIL.replace("mail.example", "smtp://mail.example"), "host is not the name or address of a mail server"),
        (MAIL + 'user = "cdc"\n', "has a `user` and no `password_file`"),
        (MAIL + 'user = "cdc"\npassword_file = "p"\nsecurity = "none"\n', "could be read on the way"),
    ],
)
def test_a_mail_server_that_cannot_be(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(tmp_path, text)


def test_a_password_of_the_mail_server_that_cannot_be_read(tmp_path: Path) -> None:
    mail = load(tmp_path, f'{MAIL}user = "cdc"\npassword_file = "nowhere"\n').mail
    with pytest.raises(ConfigError, match=r"nowhere cannot be read: No such file"):
        mail.password()


def test_no_source_is_called_as_operational_events_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cdc.toml line 1, \[source.cdc\]: no source may be called 'cdc'"):
        load(tmp_path, f'[source.cdc]\nurl = "{URL}"\n')


def test_who_may_sign_in_besides(tmp_path: Path) -> None:
    text = f'[source.main]\nurl = "{URL}"\n[web]\nfacturascripts_login = "main"\ntrusted_header = "X-User"\n'
    config = load(tmp_path, f'{text}trusted_proxies = ["10.0.0.5", "fd12::/48"]\n')
    assert [str(network) for network in config.web.trusted_proxies] == ["10.0.0.5/32", "fd12::/48"]
    assert (config.web.facturascripts_login, config.web.trusted_header) == ("main", "X-User")
    variables = {"CDC_WEB_TRUSTED_PROXIES": "10.1.0.0/16, ::1"}
    networks = load_config(environment=variables, folder=tmp_path / "nowhere").web.trusted_proxies
    assert [str(network) for network in networks] == ["10.1.0.0/16", "::1/128"]
