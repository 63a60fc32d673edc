"""Fixtures shared by all tests: databases on real servers (see `support.servers`)."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import resource
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest
import structlog
from aiohttp import web_app
from hypothesis import HealthCheck, settings

from cdc.cli.environment import LOOP_FACTORY
from support.consumer import kill_started
from support.database import Database, create_database, fresh_database
from support.forked_worker import forking
from support.memory import in_memory
from support.selection import LONG, examples, short_run, work_less
from support.server import Spec
from support.servers import ADDRESS, KeeperClient, KeeperProcess, shared_server
from support.servers import own_server as start_own_server

FLAVOURS = ("postgresql", "mariadb", "mysql")
LOGGED = Spec("postgresql", options=("max_replication_slots=40", "max_wal_senders=40", "synchronous_commit=on"))
_keeper_process = pytest.StashKey[KeeperProcess]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--short", action="store_true", help="a part of each kind of test (support.selection)")


def pytest_configure(config: pytest.Config) -> None:
    """Start the keeper, unless the environment names one: that of the process that began the run."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: commands would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Test certificates have authorities of their own; reading those of the machine is most of what a connection costs.
    os.environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull, "CDC_LANG": "en"}
    _log_plainly()
    if config.option.short:
        work_less()
    # what an example takes on a busy machine says nothing about the code
    settings.register_profile(
        "suite", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("suite")
    if not hasattr(config, "workerinput") and not config.option.collectonly and ADDRESS not in os.environ:
        config.add_cleanup(_print_cpu)  # the last, when all processes have ended
        keeper = config.stash[_keeper_process] = KeeperProcess()
        os.environ[ADDRESS] = keeper.address
        if any("forked_worker" in each for each in config.getoption("tx", None) or ()):
            workers = ExitStack()
            workers.enter_context(forking(config.invocation_params.args))
            config.add_cleanup(workers.close)
        if memory := in_memory():  # outboxes are written through at each commit
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without Python's garbage collector, and exempt what was collected from it: half a million objects that
    live as long as the run, which it would look through again and again.  Tests leave more of them, so it looks less
    often than by default: it took a tenth of a worker's time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(100_000, 10, 10)
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker has as many long tests, not of one kind at once, with short ones between them and at the end: the
    processors always have some of both, and what is left at the end can be shared.  (pytest-xdist gives each worker a
    part of the list to begin with, one behind the other.)"""
    if config.option.short:
        items[:], rest = short_run(items)
        config.hook.pytest_deselected(items=rest)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if not LONG.isdisjoint(item.path.parts)]
    short = [item for item in items if LONG.isdisjoint(item.path.parts)]
    dealt: list[pytest.Item] = []
    for number in range(workers):
        mine = long[len(long) * number // workers : len(long) * (number + 1) // workers]
        mine.sort(key=_limit, reverse=True)
        share = (len(items) - len(dealt)) // (workers - number)
        rest = max(share - len(mine), 0)
        dealt += _mixed(mine, short[:rest])
        short = short[rest:]
    items[:] = [*dealt, *short]


def _limit(item: pytest.Item) -> float:
    """Return the seconds that a test asks for by itself: the longest, which must not be the last to begin."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0


def _mixed(long: Sequence[pytest.Item], short: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """The long ones one behind the other, with as many short ones behind each and a fifth of these at the end."""
    between = len(short) * 4 // 5 // max(len(long), 1)
    for number, item in enumerate(long):
        yield item
        yield from short[number * between : (number + 1) * between]
    yield from short[len(long) * between :]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the event loop of the product, which also takes less of the processor's time."""
    return {"product": LOOP_FACTORY or asyncio.new_event_loop}


def pytest_unconfigure(config: pytest.Config) -> None:
    keeper = config.stash.get(_keeper_process, None)
    if keeper is not None:
        keeper.end()


def _print_cpu() -> None:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"CPU: {sum(each.ru_utime + each.ru_stime for each in used):.0f} s in all processes and servers")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seeds of random tests, and the engines that the tests ran on."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, number in report.user_properties:
            if name == "seed":
                terminalreporter.write_line(f"seed {number}: {report.nodeid}")
    keeper = config.stash.get(_keeper_process, None)
    if keeper is not None:
        client = KeeperClient(keeper.address)
        labels = client.ask("labels")
        client.close()
        terminalreporter.write_line(f"databases: {', '.join(labels) or 'none'}")


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """A random seed, which the end of the run shows whether the test passes or fails; ``CDC_TEST_SEED`` repeats it."""
    number = int(os.environ.get("CDC_TEST_SEED") or random.randrange(1 << 32))
    record_property("seed", number)
    return number


@pytest.fixture(autouse=True)
def no_consumer_is_left() -> Iterator[None]:
    yield
    kill_started()


def _log_plainly() -> None:
    """Log without structlog's pictures of exceptions, each of which takes a tenth of a second to draw."""
    structlog.reset_defaults()
    process = structlog.processors
    structlog.configure([process.add_log_level, process.format_exc_info, process.KeyValueRenderer(["level", "event"])])


@pytest.fixture(autouse=True, scope="module")
def no_application_is_held() -> Iterator[None]:
    """aiohttp caches the handlers of a thousand routes, and with them the applications and outboxes of tests."""
    yield
    web_app._cached_build_middleware.cache_clear()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands configure logging for their process; that of a test has more to do."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    _log_plainly()


@pytest.fixture(scope="session")
def keeper() -> Iterator[KeeperClient]:
    client = KeeperClient(os.environ[ADDRESS])
    yield client
    client.close()


def _database(keeper: KeeperClient, spec: Spec, *, erp: bool = False) -> Iterator[Database]:
    with fresh_database(shared_server(keeper, spec), erp=erp) as database:
        yield database


@pytest.fixture
def postgres_db(keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, Spec("postgresql"))


@pytest.fixture
def postgres_outbox_db(keeper: KeeperClient) -> Iterator[Database]:
    """With the tables of an empty outbox."""
    with fresh_database(shared_server(keeper, Spec("postgresql")), outbox=True) as database:
        yield database


@pytest.fixture
def mariadb_db(keeper: KeeperClient) -> Iterator[Database]:
    """MariaDB as Debian installs it: without a binlog."""
    yield from _database(keeper, Spec("mariadb"))


@pytest.fixture
def mariadb_binlog_db(keeper: KeeperClient) -> Iterator[Database]:
    """A second MariaDB, with a row binlog."""
    yield from _database(keeper, Spec("mariadb", binlog=True))


@pytest.fixture
def mysql_db(keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, Spec("mysql"))


@pytest.fixture
def mysql_binlog_db(keeper: KeeperClient) -> Iterator[Database]:
    """Another one of the same server, which writes a row binlog anyhow."""
    yield from _database(keeper, Spec("mysql"))


@pytest.fixture
def postgres_erp(keeper: KeeperClient) -> Iterator[Database]:
    """With FacturaScripts' tables and seed rows, as the other ``_erp`` fixtures."""
    yield from _database(keeper, Spec("postgresql"), erp=True)


@pytest.fixture
def postgres_log_db(keeper: KeeperClient) -> Iterator[Database]:
    """On a second PostgreSQL, for those that read its log: many slots, and what is committed is in the log at once."""
    yield from _database(keeper, LOGGED)


@pytest.fixture
def postgres_log_erp(keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, LOGGED, erp=True)


@pytest.fixture
def mariadb_erp(keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, Spec("mariadb"), erp=True)


@pytest.fixture
def mariadb_binlog_erp(keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, Spec("mariadb", binlog=True), erp=True)


@pytest.fixture
def mysql_erp(keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, Spec("mysql"), erp=True)


@pytest.fixture(params=FLAVOURS)
def database(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    """The same test on every engine."""
    yield from _database(keeper, Spec(request.param))


@pytest.fixture(params=FLAVOURS)
def erp(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    """The same test on every engine, with FacturaScripts' tables and seed rows."""
    yield from _database(keeper, Spec(request.param), erp=True)


OwnServer = Callable[..., Database]


@pytest.fixture
def own_server(keeper: KeeperClient) -> Iterator[OwnServer]:
    """``own_server(flavour, *options, binlog=False, erp=False)``: a database on a server of the test's own.

    It may be stopped, killed, started and restarted through ``.server``; commits are durable.  Options are the engine's
    own (``--name=value``; PostgreSQL ``name=value``).
    """
    with ExitStack() as at_end:

        def make(flavour: str, *options: str, binlog: bool = False, erp: bool = False) -> Database:
            server = start_own_server(keeper, Spec(flavour, binlog, options, durable=True))
            at_end.callback(server.discard)
            # not dropped: it goes with its server, which may not even run at the end
            database = Database(server, create_database(server, erp=erp))
            at_end.callback(database.close)
            return database

        yield make
