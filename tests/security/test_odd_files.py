"""A `config.php` that is replaced by a FIFO holds up neither a reload nor a stop of a running consumer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from support.consumer import Consumer
from support.database import Database


async def test_fifo_in_place_of_config_php_holds_up_neither_reload_nor_stop(
    postgres_db: Database, tmp_path: Path
) -> None:
    info = postgres_db.info
    php = tmp_path / "config.php"
    php.write_text(
        f"<?php define('FS_DB_TYPE', 'postgresql'); define('FS_DB_HOST', '{info.host}');\n"
        f"define('FS_DB_PORT', '{info.port}'); define('FS_DB_NAME', '{info.database}');\n"
        f"define('FS_DB_USER', '{info.user}'); define('FS_DB_PASS', '{info.password}');\n"
    )
    consumer = Consumer.with_sources(tmp_path / "cdc", f'[source.main]\nfacturascripts = "{php}"\n')
    consumer.start()
    await consumer.logged("source failed")  # there is no journal, and it is asked for again and again
    php.unlink()
    os.mkfifo(php)
    assert consumer.process is not None
    consumer.process.send_signal(signal.SIGHUP)
    told = await consumer.logged("configuration not reloaded: the present one stays in force")
    assert "no regular file" in told["error"]
    assert await consumer.stop() == 0
