"""Nothing is lost, doubled or reordered, whatever happens to the connection, the log or the server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from cdc.capture.binlog.log_position import LogPosition
from cdc.model.connection import ConnectionInfo, Tls
from cdc.model.errors import LogPurged, LogRefused, SourceUnavailable
from support.database import Database, create_database
from support.log_reading import Seen, head, numbers, once, opened, plain, read, read_all, seen, tables_of
from support.mysql_pair import RESET, pair, promoted
from support.server import Spec
from support.servers import KeeperClient, own_server
from support.tcp_proxy import Proxy, proxy
from support.waiting import HANG_SECONDS

WORK = (
    "INSERT INTO a VALUES ('', 1), ('', 2);"
    "BEGIN; INSERT INTO a VALUES ('', 3); SAVEPOINT s; INSERT INTO a VALUES ('', 4); ROLLBACK TO s;"
    "UPDATE a SET v = REPEAT('x', 3000) WHERE id < 3; INSERT INTO other VALUES (1); COMMIT;"
    "INSERT INTO my VALUES ('', 5);"
    "INSERT INTO other VALUES (2);"
    "ALTER TABLE a ADD n INT FIRST;"
    "FLUSH BINARY LOGS;"
    "XA START 'x'; INSERT INTO a (id) VALUES (6); XA END 'x'; XA PREPARE 'x'"
)
MEANWHILE = "INSERT INTO a (id) VALUES (7)"
AND_THEN = "XA COMMIT 'x'; BEGIN; DELETE FROM a WHERE id = 6; COMMIT; TRUNCATE my"


def made(keeper: KeeperClient, flavour: str, *options: str) -> Database:
    server = own_server(keeper, Spec(flavour, binlog=True, options=options, durable=True))
    database = Database(server, create_database(server, erp=False))
    database.script(
        "CREATE TABLE a (v TEXT, id INT PRIMARY KEY) ENGINE=InnoDB;"
        "CREATE TABLE my (v TEXT, id INT PRIMARY KEY) ENGINE=MyISAM;"
        "CREATE TABLE other (id INT PRIMARY KEY) ENGINE=InnoDB"
    )
    return database


@pytest.fixture(params=["mariadb", "mysql"])
def db(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    database = made(keeper, request.param)
    yield database
    database.close()
    database.server.discard()


def from_there(position: LogPosition, *, by_gtids: bool) -> LogPosition:
    return position if by_gtids else position._replace(gtids="")


class TestCut:
    """The log of ``WORK``, read over connections that are cut."""

    @pytest.fixture
    def way(self, db: Database) -> Iterator[Proxy]:
        with proxy(db.server.port) as made:
            yield made

    @staticmethod
    def whole(db: Database, *, by_gtids: bool) -> tuple[LogPosition, list[Seen]]:
        start = from_there(head(db), by_gtids=by_gtids)
        db.script(WORK)
        db.connect(autocommit=True).cursor().execute(MEANWHILE)
        db.script(AND_THEN)
        return start, once(read_all(db.info, start))

    @staticmethod
    def stream(info: ConnectionInfo, start: LogPosition) -> bytes:
        """All that the server says, to the packet with which it ends."""
        data = b""
        with opened(info, start) as connection:
            for chunk in connection.chunks():
                data += chunk
                if data[-9:-6] == b"\5\0\0" and data[-5] == 0xFE:
                    break
        return data

    @staticmethod
    def until_cut(
        info: ConnectionInfo, position: LogPosition, *, by_gtids: bool
    ) -> tuple[list[Seen], LogPosition, bool]:
        """What was seen, where reading stands, whether that is the end of the log."""
        found = []
        try:
            for each, behind in read(info, position):
                found += [each] if each else []
                position = behind
        except SourceUnavailable:
            return found, from_there(position, by_gtids=by_gtids), False
        return found, position, True

    @pytest.mark.parametrize("by_gtids", [True, False], ids=["gtids", "place"])
    def test_at_every_event(self, db: Database, way: Proxy, by_gtids: bool) -> None:
        start, whole = self.whole(db, by_gtids=by_gtids)
        info = plain(db.info, way.port)
        data, at, cuts = self.stream(plain(db.info), start), 0, []
        while at < len(data):
            cuts += [at, at + 4]
            at += 4 + int.from_bytes(data[at : at + 3], "little")
        assert len(cuts) > 60
        assert numbers(whole)[-3:] == [[7], [6], [6]]
        for cut in cuts:
            way.limit = cut
            found, position, complete = self.until_cut(info, start, by_gtids=by_gtids)
            assert not complete
            way.limit = None
            rest, _, complete = self.until_cut(info, position, by_gtids=by_gtids)
            assert complete
            assert once([*found, *rest]) == whole, cut

    @pytest.mark.parametrize("by_gtids", [True, False], ids=["gtids", "place"])
    def test_at_random_bytes_again_and_again(self, db: Database, way: Proxy, by_gtids: bool) -> None:
        start, whole = self.whole(db, by_gtids=by_gtids)
        size = len(self.stream(plain(db.info), start))
        for seed in range(8):
            chance, position, found = random.Random(seed), start, list[Seen]()
            for _ in range(1000):
                way.limit = chance.randrange(size)
                more, position, complete = self.until_cut(plain(db.info, way.port), position, by_gtids=by_gtids)
                found += more
                if complete:
                    break
            assert complete
            assert once(found) == whole, seed

    @pytest.mark.parametrize("mode", ["require", "disable"])
    def test_a_server_that_says_nothing_any_more_is_dead(self, db: Database, way: Proxy, mode: str) -> None:
        """Although its connection stands."""
        info = replace(db.info, port=way.port, tls=Tls(mode))
        with opened(info, head(db), heartbeat=1, follow=True) as connection:
            items = connection.items(tables_of(db.name))
            for _ in range(3):
                next(items)
            way.deaf.set()
            with pytest.raises(SourceUnavailable, match=r"silent for 2\.5 seconds"):
                list(items)

    def test_one_that_is_gone_is_unavailable(self, db: Database) -> None:
        info, start = db.info, head(db)
        db.server.stop()
        with pytest.raises(SourceUnavailable):
            read_all(info, start)
        db.server.start()


class Follower(threading.Thread):
    """Reads on and on, over as many connections as it takes."""

    def __init__(self, info: ConnectionInfo, start: LogPosition, last: int) -> None:
        super().__init__(daemon=True)
        self.info, self.position, self.last = info, start, last
        self.found: list[Seen] = []
        self.lost = 0
        self.enough = threading.Event()
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self._follow()
            except SourceUnavailable:
                self.lost += 1
                self.stop.wait(0.02)

    def _follow(self) -> None:
        with opened(self.info, self.position, heartbeat=0.5, follow=True) as connection:
            for item in connection.items(tables_of(self.info.database)):
                each = seen(item, self.info.database)
                if each is not None:
                    self.found.append(each)
                    if self.last in numbers([each])[0]:
                        self.enough.set()
                self.position = item.position
                if self.stop.is_set():
                    return

    def end(self) -> None:
        self.stop.set()
        self.join(HANG_SECONDS)
        assert not self.is_alive()


def write(db: Database, first: int, last: int) -> None:
    """Transactions of one row and of three."""
    cursor = db.connect(autocommit=True).cursor()
    for number in range(first, last):
        if number % 4:
            cursor.execute("INSERT INTO a (id) VALUES (%s)", [number])
        else:
            for statement in ("BEGIN", *[f"INSERT INTO a (id) VALUES ({number}{part})" for part in "12"]):
                cursor.execute(statement)
            cursor.execute("INSERT INTO a (id) VALUES (%s)", [number])
            cursor.execute("COMMIT")


def committed(first: int, last: int) -> list[list[int]]:
    return [[number] if number % 4 else [number * 10 + 1, number * 10 + 2, number] for number in range(first, last)]


def test_the_server_is_killed_and_started_again(db: Database) -> None:
    follower = Follower(db.info, head(db), last=399)
    follower.start()
    for first in range(100, 400, 100):
        write(db, first, first + 100)
        db.close()
        if first == 200:
            db.server.stop()  # in good order
        else:
            db.server.kill()
        db.server.start()
    assert follower.enough.wait(HANG_SECONDS)
    follower.end()
    assert follower.lost >= 2
    assert numbers(once(follower.found)) == committed(100, 400)


def test_the_log_is_rotated_while_it_is_read(db: Database) -> None:
    follower = Follower(db.info, head(db), last=499)
    follower.start()
    writer = threading.Thread(target=partial(write, db, 100, 500))
    writer.start()
    while writer.is_alive():
        db.execute("FLUSH BINARY LOGS")
        writer.join(0.01)  # a slow writer makes no thousands of files
    assert follower.enough.wait(HANG_SECONDS)
    follower.end()
    assert follower.lost == 0
    assert numbers(follower.found) == committed(100, 500)


class TestGone:
    """What the server cannot give any more is said, and never left out."""

    def purged(self, db: Database) -> tuple[LogPosition, str]:
        """A position whose log is gone, and the oldest file that there is."""
        db.execute("INSERT INTO a VALUES ('', 1)")
        position = head(db)
        db.script("INSERT INTO a VALUES ('', 2); FLUSH BINARY LOGS; INSERT INTO a VALUES ('', 3); FLUSH BINARY LOGS")
        deadline = time.monotonic() + HANG_SECONDS
        while (oldest := self._purge(db)) <= position.file:  # while a connection before this one still reads the file
            assert time.monotonic() < deadline, f"the server keeps {oldest}"
        return position, oldest

    def _purge(self, db: Database) -> str:
        """Return the oldest file that is left.  MariaDB may keep the last one before the newest for itself."""
        db.execute(f"PURGE BINARY LOGS TO '{head(db).file}'")
        return str(db.execute("SHOW BINARY LOGS")[0][0])

    def test_purged_transactions_are_named(self, db: Database) -> None:
        position, oldest = self.purged(db)
        with pytest.raises(LogPurged) as caught:
            read_all(db.info, position)
        if db.flavour == "mysql":
            server, last = position.gtids.rsplit("-", 1)
            missing = f"{server.split(':')[0]}:{int(last) + 1}-{int(last) + 2}"
        else:
            missing = f"{position.gtids} on, but the oldest file there is, {oldest}, begins behind 0-1-"
        assert missing in caught.value.message
        assert 'on_purged = "reread"' in caught.value.hint

    def test_a_purged_file_is_named(self, db: Database) -> None:
        position, oldest = self.purged(db)
        with pytest.raises(LogPurged) as caught:
            read_all(db.info, position._replace(gtids=""))
        assert position.file in caught.value.message
        assert str(position.offset) in caught.value.message
        assert oldest in caught.value.message

    def test_who_may_not_ask_why_is_told_in_the_servers_words(self, db: Database) -> None:
        position, _ = self.purged(db)
        db.execute("CREATE USER reader IDENTIFIED BY 'secret-too'")
        db.script(f"GRANT SELECT ON {db.name}.* TO reader; GRANT REPLICATION SLAVE ON *.* TO reader")
        with pytest.raises(LogRefused) as caught:
            read_all(db.info.as_user("reader", "secret-too"), position._replace(gtids=""))
        assert "(error 1236)" in caught.value.message
        assert "GRANT REPLICATION CLIENT" in caught.value.hint

    def test_a_place_behind_the_end(self, db: Database) -> None:
        position = head(db)._replace(gtids="", offset=10**8)
        with pytest.raises(LogPurged, match="ends before that"):
            read_all(db.info, position)

    def test_a_log_that_was_reset(self, db: Database) -> None:
        db.script("INSERT INTO a VALUES ('', 1); INSERT INTO a VALUES ('', 2)")
        position = head(db)
        db.execute(RESET[db.flavour])
        db.execute("INSERT INTO a VALUES ('', 3)")
        with pytest.raises(LogPurged, match="its log was reset"):
            read_all(db.info, position)


def test_mariadb_knows_what_it_has_not_got_yet_from_what_it_never_had(keeper: KeeperClient) -> None:
    db = made(keeper, "mariadb")
    domain, _, number = head(db).gtids.split("-")
    later, other = f"{domain}-77-{int(number) + 5}", f"{domain}-77-{int(number)}"
    with pytest.raises(SourceUnavailable, match=f"does not have transaction {later} yet"):
        read_all(db.info, head(db)._replace(gtids=later))
    with pytest.raises(LogPurged, match=f"does not hold transaction {other}"):
        read_all(db.info, head(db)._replace(gtids=other))
    db.close()
    db.server.discard()


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_fail_over_to_a_replica(flavour: str, own_server: Callable[..., Database]) -> None:
    """By GTIDs, with the primary lost: what it replicated has the same names and times on the other server."""
    shop, replica = pair(flavour, own_server)
    start = head(shop)
    shop.execute("CREATE TABLE a (v TEXT, id INT PRIMARY KEY)")
    write(shop, 100, 150)
    found = [(each, position) for each, position in read(shop.info, start) if each]
    write(shop, 150, 200)
    on_primary = [each for each, _ in read(shop.info, start) if each]
    standby = promoted(flavour, shop, replica)
    write(standby, 200, 250)

    resumed = read_all(standby.info, found[-1][1])
    assert numbers(each for each, _ in found) == committed(100, 150)
    assert numbers(resumed) == committed(150, 250)
    in_the_middle = next(at for at, (each, _) in enumerate(found) if numbers([each]) == [[125]])
    again = read_all(standby.info, found[in_the_middle][1])
    assert numbers(again) == committed(126, 250)
    assert [(each.token, each.time) for each in again[:74]] == [
        (each.token, each.time) for each in on_primary[in_the_middle + 1 :]
    ]
    standby.close()
