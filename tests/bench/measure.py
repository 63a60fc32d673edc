"""What the benchmarks share: a database server with its data on a real disk, invoices, paired runs, printed lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

import psutil

from cdc.model.connection import ConnectionInfo
from support.database import Database, create_database
from support.programs import TITLES, version_of_text
from support.server import Spec, ask, maintenance_database, owner_info, running_server
from support.servers import TestServer

#: Name on the command line → server, with the defaults that matter: PostgreSQL prepares no transactions, Debian's
#: MariaDB has no binlog, MySQL has one.
SERVERS = {
    "postgresql": Spec("postgresql", options=("max_prepared_transactions=0",), durable=True),
    "mariadb": Spec("mariadb", durable=True),
    "mariadb-binlog": Spec("mariadb", binlog=True, durable=True),
    "mysql": Spec("mysql", durable=True),
}
_CUSTOMER = "INSERT INTO clientes (codcliente, nombre, razonsocial, cifnif) VALUES ('1', %s, %s, 'B12345678')"
_INVOICE = (
    "INSERT INTO facturascli (idfactura, codigo, numero, codserie, codejercicio, codcliente, nombrecliente, cifnif,"
    " direccion, ciudad, provincia, codpais, codpostal, coddivisa, codpago, codalmacen, idempresa, fecha, hora,"
    " idestado, editable, nick, tasaconv, neto, netosindto, total, totaleuros, totaliva, totalirpf, totalrecargo,"
    " totalbeneficio, totalcoste, dtopor1, dtopor2, irpf)"
    " VALUES (%s, %s, %s, 'A', '2026', '1', %s, 'B12345678', 'Calle de la Rosa 12, bajo', 'Madrid', 'Madrid', 'ESP',"
    " '28001', 'EUR', '30D', 'ALG', 1, '2026-11-24', '10:15:00', 10, true, 'admin', 1, 100, 100, 121, 121, 21, 0, 0,"
    " 40.5, 59.5, 0, 0, 0)"
)


@dataclass
class BenchServer:
    """As much of `support.servers.TestServer` as `Database` needs."""

    spec: Spec
    port: int
    label: str
    process: psutil.Process

    @property
    def flavour(self) -> str:
        return self.spec.flavour

    def info(self, database: str = "") -> ConnectionInfo:
        return owner_info(self.spec, self.port, database or maintenance_database(self.spec.flavour))


@contextmanager
def erp_database(spec: Spec) -> Iterator[tuple[Database, BenchServer]]:
    """A database with FacturaScripts' tables and seed rows on a server of its own, data under $TMPDIR."""
    with running_server(spec) as server:
        port = server.port
        log = " with binlog" if spec.binlog else ""
        label = f"{TITLES[spec.flavour]} {version_of_text(str(ask(spec, port, 'SELECT version()')))}{log}"
        bench = BenchServer(spec, port, label, process_at(port))
        database = Database(cast("TestServer", bench), create_database(cast("TestServer", bench), erp=True))
        try:
            yield database, bench
        finally:
            database.close()


def process_at(port: int) -> psutil.Process:
    """The process that listens there."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return psutil.Process(connection.pid)
    raise SystemExit(f"nothing listens on port {port}")


def add_invoices(database: Database, count: int) -> None:
    """Invoices 1 to ``count`` of one customer, filled as FacturaScripts fills them."""
    connection = database.connect()
    cursor = connection.cursor()
    name = "O&#39;Brien &amp; Sons SL"
    cursor.execute(_CUSTOMER, [name, name])
    cursor.executemany(_INVOICE, [[n, f"FAC2026A{n}", str(n), name] for n in range(1, count + 1)])
    connection.commit()


@contextmanager
def commits_unsynced(database: Database) -> Iterator[Any]:
    """A connection whose commits do not wait for the disk: to fill tables quickly.  Afterwards they wait again."""
    if database.flavour == "postgresql":
        connection = database.connect()
        connection.execute("SET synchronous_commit = off")
        connection.commit()
        yield connection
        connection.close()
        return
    flush = "SET GLOBAL innodb_flush_log_at_trx_commit = {}, GLOBAL sync_binlog = {}"
    database.execute(flush.format(0, 0))
    connection = database.connect()
    yield connection
    connection.close()
    database.execute(flush.format(1, 1))


def change_invoices(database: Database, invoices: int, changes: int) -> None:
    """Change those of `add_invoices` in turn, one a transaction, as FacturaScripts saves."""
    with commits_unsynced(database) as connection:
        cursor = connection.cursor()
        for number in range(changes):
            cursor.execute("UPDATE facturascli SET numdocs = numdocs + 1 WHERE idfactura = %s", [number % invoices + 1])
            connection.commit()


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and all its children, ended or not."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    ended = times[0].children_user + times[0].children_system
    return float(sum(each.user + each.system for each in times) + ended)


@dataclass(frozen=True, slots=True)
class Pair:
    """``ours`` and ``other``: medians.  ``ratio``: the median of the pairs' ratios, ours to other."""

    ours: float
    other: float
    ratio: float


def paired(ours: Callable[[], float], other: Callable[[], float], rounds: int) -> Pair:
    """Both sides in turn, the first one changing; a round before that warms up and does not count."""
    results: list[tuple[float, float]] = []
    for turn in range(rounds + 1):
        if turn % 2:
            first, second = ours(), other()
        else:
            second = other()
            first = ours()
        if turn:
            results.append((first, second))
    mine, others = zip(*results, strict=True)
    return Pair(median(mine), median(others), median(a / b for a, b in results))


def percentile(values: Sequence[float], per_cent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * per_cent / 100))]
