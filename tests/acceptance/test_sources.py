"""Several FacturaScripts databases in one configuration, each connected as its ``config.php`` or a URL says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database

INSERT = "INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', %s, %s)"
#: As FacturaScripts' installer writes it.
CONFIG_PHP = """<?php

define('FS_COOKIES_EXPIRE', 31536000);
define('FS_LANG', 'es_ES');
define('FS_TIMEZONE', 'Europe/Madrid');
define('FS_ROUTE', '');

define('FS_DB_TYPE', '{kind}');
define('FS_DB_HOST', '{info.host}');
define('FS_DB_PORT', {info.port});
define('FS_DB_NAME', '{info.database}');
define('FS_DB_USER', '{info.user}');
define('FS_DB_PASS', '{info.password}');
define('FS_DB_FOREIGN_KEYS', true);
define('FS_DB_TYPE_CHECK', true);
define('FS_MYSQL_CHARSET', 'utf8mb4');
define('FS_MYSQL_COLLATE', 'utf8mb4_unicode_520_ci');

define('FS_HIDDEN_PLUGINS', '');
define('FS_DEBUG', false);
define('FS_DISABLE_ADD_PLUGINS', false);
define('FS_DISABLE_RM_PLUGINS', false);
"""


def _write_config_php(path: Path, database: Database) -> None:
    kind = "postgresql" if database.flavour == "postgresql" else "mysql"
    path.write_text(CONFIG_PHP.format(kind=kind, info=database.info), encoding="utf-8")


async def test_one_consumer_reads_two_databases(postgres_erp: Database, mariadb_erp: Database, tmp_path: Path) -> None:
    _write_config_php(tmp_path / "config.php", mariadb_erp)
    sources = (
        f'[source.madrid]\nurl = "{database_url(postgres_erp.info)}"\n[source.bilbao]\nfacturascripts = "config.php"'
    )
    consumer = Consumer.with_sources(tmp_path, sources)
    await consumer.call("install-triggers")
    both, only_bilbao = Inbox(), Inbox()
    async with receiving(both) as first, receiving(only_bilbao) as second:
        await asyncio.to_thread(consumer.add_endpoint, first)
        await asyncio.to_thread(consumer.add_endpoint, second, "customer.*", "--source", "bilbao")
        await consumer.call("endpoint", "add", second, "--events", "*", "--source", "sevilla", expect=2)
        async with consumer.running():
            await consumer.logged("reading", times=2)
            postgres_erp.execute(INSERT, ["M", "De Madrid"])
            mariadb_erp.execute(INSERT, ["B", "De Bilbao"])
            await both.until_count(2)
            await only_bilbao.until_count(1)
            checks = json.loads(await consumer.call("doctor", "--json"))["checks"]
            assert {"source madrid", "source bilbao"} <= {check["about"] for check in checks}
    told = {(event["source"], event["data"]["nombre"]) for event in both.events}
    assert told == {("madrid", "De Madrid"), ("bilbao", "De Bilbao")}
    assert [event["source"] for event in only_bilbao.events] == ["bilbao"]


async def test_one_database_down_does_not_hold_up_the_other(
    postgres_erp: Database, mariadb_erp: Database, tmp_path: Path
) -> None:
    sources = f"""
        [source.up]
        url = "{database_url(postgres_erp.info)}"
        [source.down]
        url = "{database_url(mariadb_erp.info)}"
    """
    consumer = Consumer.with_sources(tmp_path, sources)
    await consumer.call("install-triggers", "--source", "up")  # the other has no journal: it cannot be read
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            failure = await consumer.logged("source failed")
            assert failure["source"] == "down"
            assert "cdc install-triggers" in failure["error"]
            postgres_erp.execute(INSERT, ["U", "Ada"])
            await inbox.until_count(1)
            await consumer.call("install-triggers", "--source", "down")
            await consumer.logged("reading", times=2)
            mariadb_erp.execute(INSERT, ["D", "Grace"])
            await inbox.until_count(2)


async def test_one_that_is_configured_wrongly_does_not_hold_up_the_other(
    postgres_erp: Database, tmp_path: Path
) -> None:
    """Its config.php is not there yet; once it is, it is read without a restart."""
    sources = f"""
        [source.up]
        url = "{database_url(postgres_erp.info)}"
        [source.wrong]
        facturascripts = "later/config.php"
    """
    consumer = Consumer.with_sources(tmp_path, sources)
    await consumer.call("install-triggers", "--source", "up")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            failure = await consumer.logged("source failed")
            assert (failure["source"], "later/config.php" in failure["error"]) == ("wrong", True)
            postgres_erp.execute(INSERT, ["U", "Ada"])
            await inbox.until_count(1)
            (tmp_path / "later").mkdir()
            _write_config_php(tmp_path / "later" / "config.php", postgres_erp)
            standby = await consumer.logged("standby")  # the same database: it would be read, if nobody read it
            assert standby["source"] == "wrong"


async def test_each_engine_by_its_config_php(erp: Database, tmp_path: Path) -> None:
    _write_config_php(tmp_path / "config.php", erp)
    consumer = Consumer.with_sources(tmp_path, '[source.main]\nfacturascripts = "config.php"')
    await consumer.call("install-triggers")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.created")
        async with consumer.running():
            erp.execute(INSERT, ["C", "O&#39;Brien"])
            await inbox.until_count(1)
    assert inbox.events[0]["data"]["nombre"] == "O'Brien"
