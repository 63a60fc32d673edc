"""A first configuration: what is given stands in the commented default; and FacturaScripts is found where it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cdc.config import default_toml, load_config
from cdc.config.write import Choices, find_facturascripts, initial_toml, short_toml
from cdc.model.errors import UsageError

FILE = Path("/run/token")
MARK = "<?php define('FS_DB_NAME', 'fs');"


def test_without_a_choice_it_is_the_default() -> None:
    assert initial_toml(Choices()) == default_toml()


@pytest.mark.parametrize("toml", [initial_toml, short_toml])
def test_each_choice_stands_in_its_place(toml: Callable[[Choices], str], tmp_path: Path) -> None:
    url = "postgresql://cdc@db:5432/fs"
    outbox = "postgresql://cdc@db/outbox"
    made = Choices(None, url, Path("/run/secret"), "logical", outbox, allow_private=True)
    (tmp_path / "cdc.toml").write_text(toml(made), encoding="utf-8")
    config = load_config(tmp_path / "cdc.toml", environment={})
    source = config.source["main"]
    assert (source.url, source.facturascripts, source.capture) == (url, None, "logical")
    assert source.password_file == Path("/run/secret")
    assert config.outbox.url == outbox
    assert config.dispatch.allow_private


@pytest.mark.parametrize("toml", [initial_toml, short_toml])
def test_an_api_stands_in_its_place(toml: Callable[[Choices], str], tmp_path: Path) -> None:
    made = Choices(api="https://erp.example.com", token_file=Path("/run/token"))
    assert toml(made) == toml(replace(made, capture="rest"))
    (tmp_path / "cdc.toml").write_text(toml(made), encoding="utf-8")
    source = load_config(tmp_path / "cdc.toml", environment={}).source["main"]
    assert (source.capture, source.url, source.facturascripts) == ("rest", None, None)
    assert (source.rest.url, source.rest.token_file) == ("https://erp.example.com", Path("/run/token"))


@pytest.mark.parametrize("toml", [initial_toml, short_toml])
def test_a_path_may_hold_anything(toml: Callable[[Choices], str], tmp_path: Path) -> None:
    place = Path('/srv/"my" shop\\1/config.php')
    (tmp_path / "cdc.toml").write_text(toml(Choices(place)), encoding="utf-8")
    assert load_config(tmp_path / "cdc.toml", environment={}).source["main"].facturascripts == place


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (Choices(Path("/c.php"), "mysql://cdc@db/fs"), "exclude each other"),
        (Choices(url="mysql://cdc:hunter2@db/fs"), "no place for a database's password"),
        (Choices(url="http://db/fs"), "The URL"),
        (Choices(url="mysql://cdc@db/fs", api="https://e.example", token_file=FILE), "--url and --api exclude"),
        (Choices(api="https://e.example"), "--token-file FILE"),
        (Choices(api="https://e.example", token_file=FILE, capture="binlog"), "without a database"),
        (Choices(api="ftp://e.example", token_file=FILE), "What --api says is not the address"),
        (Choices(api="https://ann:hunter2@e.example", token_file=FILE), "holds a user or password"),
        (Choices(capture="rest"), "is not said"),
        (Choices(Path("/c.php"), token_file=FILE), "is not said"),
    ],
)
def test_what_cannot_be_is_refused_without_a_secret(choices: Choices, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        initial_toml(choices)
    assert "hunter2" not in str(refused.value)


def test_facturascripts_is_found_where_people_put_it(tmp_path: Path) -> None:
    here, root = tmp_path / "here", tmp_path / "root"
    places = ["var/www/html", "var/www/shop/public_html", "home/ana/public_html", "etc"]
    for folder in (here, *(root / place for place in places)):
        folder.mkdir(parents=True)
        (folder / "config.php").write_text(MARK, encoding="utf-8")
    other = root / "var/www/blog"
    other.mkdir()
    (other / "config.php").write_text("<?php define('DB_NAME', 'blog');", encoding="utf-8")
    found = [os.path.relpath(path, tmp_path) for path in find_facturascripts(here, root)]
    assert found == [
        "here/config.php",
        "root/home/ana/public_html/config.php",
        "root/var/www/html/config.php",
        "root/var/www/shop/public_html/config.php",
    ]
