"""The test servers themselves: isolation, faults on own servers, FacturaScripts-like tables on every engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cdc.facturascripts.schema import specs
from support.database import Database
from support.memory import in_memory
from support.programs import NoServerError
from support.waiting import HANG_SECONDS

TESTS = Path(__file__).parents[1]
FLAVOURS = ["postgresql", "mariadb", "mysql"]
#: Starts a server, and is ended by a signal that it does not handle.
STARTER = """
import sys
from pathlib import Path
from support.server import Spec, make_server

server, _ = make_server(Spec(sys.argv[1]), Path(sys.argv[2]))
server.start()
print("started", flush=True)
sys.stdin.read()
"""


def test_a_database_is_fresh_and_its_own(database: Database) -> None:
    database.script("CREATE TABLE t (n integer PRIMARY KEY); INSERT INTO t VALUES (1)")
    assert database.execute("SELECT n FROM t WHERE n = %s", [1]) == [(1,)]
    connection = database.connect()
    connection.cursor().execute("INSERT INTO t VALUES (2)")  # left uncommitted: must not hold up the end of the test
    assert database.execute("SELECT count(*) FROM t") == [(1,)]


def test_erp_has_every_table_and_its_seed(erp: Database) -> None:
    for spec in specs():
        erp.execute(f"SELECT {', '.join(name for name, _ in spec.columns)} FROM {spec.name}")
    assert erp.execute("SELECT count(*), max(idestado) FROM estados_documentos") == [(27, 27)]
    erp.execute("INSERT INTO estados_documentos (nombre, tipodoc) VALUES ('Nuevo', 'PedidoCliente')")
    assert erp.execute("SELECT idestado FROM estados_documentos WHERE nombre = 'Nuevo'") == [(28,)]


def test_erp_foreign_keys_cascade(erp: Database) -> None:
    erp.execute("INSERT INTO productos (idproducto, referencia) VALUES (1, 'A')")
    erp.execute("INSERT INTO variantes (idvariante, idproducto, referencia) VALUES (1, 1, 'A')")
    erp.execute("DELETE FROM productos")
    assert erp.execute("SELECT count(*) FROM variantes") == [(0,)]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_own_server_survives_kill_and_restart(own_server: Callable[..., Database], flavour: str) -> None:
    database = own_server(flavour)
    database.script("CREATE TABLE t (n integer PRIMARY KEY); INSERT INTO t VALUES (1)")
    database.server.kill()
    with pytest.raises(Exception, match=r"(?i)lost|gone|closed|terminat|refused|broken"):
        database.execute("SELECT n FROM t")
    database.server.start()
    assert database.execute("SELECT n FROM t") == [(1,)]
    database.server.restart()
    database.close()
    assert database.execute("SELECT n FROM t") == [(1,)]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_server_ends_with_its_starter(flavour: str) -> None:
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        Path(folder).chmod(0o711)  # the server may run as another user
        data = Path(folder, "server")
        command = [sys.executable, "-c", STARTER, flavour, data]
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as starter:
            assert starter.stdout is not None
            assert starter.stdout.readline() == b"started\n"
            its = psutil.Process(starter.pid).children(recursive=True)
            starter.terminate()
        assert starter.returncode == -signal.SIGTERM
        assert not psutil.wait_procs(its, HANG_SECONDS)[1]
        assert not data.exists()


def test_shared_server_cannot_be_killed(postgres_db: Database) -> None:
    with pytest.raises(NoServerError, match="own_server"):
        postgres_db.server.kill()


def test_binlog_only_where_asked(mariadb_db: Database, mariadb_binlog_db: Database) -> None:
    assert mariadb_db.execute("SELECT @@log_bin") == [(0,)]
    assert mariadb_binlog_db.execute("SELECT @@log_bin, @@binlog_format") == [(1, "ROW")]


def test_logical_decoding_is_possible(postgres_db: Database) -> None:
    assert postgres_db.execute("SHOW wal_level") == [("logical",)]
    postgres_db.execute("SELECT pg_create_logical_replication_slot('slot_' || current_database(), 'pgoutput')")
    postgres_db.script("CREATE TABLE t (n integer)")
    connection = postgres_db.connect()
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute("PREPARE TRANSACTION 'left behind'")


def test_script_understands_delimiters(mysql_db: Database) -> None:
    mysql_db.script(
        "CREATE TABLE t (n int);\nDELIMITER $$\n"
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.n = 1; SET NEW.n = NEW.n + 1; END $$\n"
        "DELIMITER ;\nINSERT INTO t VALUES (0);\n"
    )
    assert mysql_db.execute("SELECT n FROM t") == [(2,)]
