"""Every type, written once and captured twice, by triggers and from the log: the same images, byte for byte."""

from __future__ import annotations

import random
import re
from typing import Any

import orjson
import pytest

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.model.change import RowChange
from cdc.model.column import Capture
from cdc.model.image import opened
from support.database import Database
from support.logical import install_slot, reading

TYPES = """
CREATE TYPE mood AS ENUM ('well', 'ill');
CREATE DOMAIN money2 AS numeric(12, 4);
CREATE DOMAIN stamps AS timestamptz[];
CREATE TYPE inner_pair AS (a boolean, b text);
CREATE TYPE pair AS (a integer, b text, at timestamp, seen timestamptz, parts integer[], more inner_pair, doc jsonb);
"""
#: Type → values of it, as SQL literals.
VALUES: dict[str, list[str]] = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["12.50", "-0.000", "123456789012345678901234567890.123", "1e-20", "NaN"],
    "money2": ["7.1"],
    "double precision": ["0", "-0", "121", "0.1", "1e300", "5e-324", "NaN", "-Infinity"],
    "real": ["0.1", "16777216", "3.4e38", "1e-45", "Infinity"],
    "money": ["12.34", "-1234567.89"],
    "text": ["", "ñ \" ' \\ \t\n", "null", "NULL"],
    "varchar(10)": ["  pad "],
    "char(5)": ["ab"],
    '"char"': ["x"],
    "name": ["n"],
    "bytea": ["\\x", "\\x00ff5c"],
    "date": ["2026-02-28", "0044-03-15 BC", "infinity", "20000-01-01"],
    "time": ["10:00:00.50", "24:00:00"],
    "timetz": ["10:00:00.5+05:30"],
    "timestamp": ["2026-11-24 23:48:00.120", "0044-03-15 01:02:03.5 BC", "infinity", "12026-01-01 00:00:00"],
    "timestamptz": [
        "2026-11-24 10:00:00+05",
        "2026-03-29 00:59:59.999999+00",
        "1880-01-01 00:00:00+00",
        "0001-01-01 00:00:00+00",
        "0044-03-15 00:00:00+00 BC",
        "9999-12-31 23:59:59+00",
        "120260-07-01 00:00:00+00",
        "-infinity",
    ],
    "interval": ["1 year 2 mons -3 days 04:05:06.7", "-00:00:01"],
    "json": ['{"b":  1.50, "a": "\\u0000"}', " [1, 2] ", "null", '"x"', "1e400"],
    "jsonb": ['{"b": 1.50, "a": [null, {"c": ""}]}', "null", "true"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "inet": ["10.0.0.1", "::1/64"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "bit(3)": ["101"],
    "varbit": ["", "1"],
    "mood": ["ill"],
    "point": ["(1.5,-2)"],
    "path": ["[(0,0),(1,1)]"],
    "oid": ["4294967295"],
    "pg_lsn": ["16/B374D848"],
    "regclass": ["pg_class", "kinds"],
    "tsvector": ["a:1 'b c'"],
    "int4range": ["[1,5)", "empty", "(,)"],
    "numrange": ["(1.10,2.5]"],
    "tstzrange": ["[2026-11-24 10:00:00+05,)"],
    "tsrange": ["[2026-11-24 10:00:00,2026-11-25 00:00:00.5)"],
    "pair": [
        '(1,"x ""y\\\\",2026-11-24 10:00:00.5,2026-11-24 10:00:00+05,"{1,NULL}","(t,""a b"")","{""k"": [1, 2.0]}")',
        "(,,,,,,)",
        '(2,"",infinity,,{},"(f,)",true)',  # JSON's null within another value is NULL to triggers
    ],
    "integer[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={7,8}", "[2:3][-1:0]={{1,2},{3,4}}"],
    "boolean[]": ["{t,f,NULL}"],
    "numeric[]": ["{1.50,NaN,-0.0}"],
    "double precision[]": ["{121,0.1,-0,NaN,1e300,Infinity}"],
    "text[]": ['{a,"b c",NULL,"NULL","","q\\"\\\\","d,e","{x}"}', '{"\u00a0","\t","\x0b"}'],
    "date[]": ["{2026-02-28,infinity}"],
    "timestamp[]": ["{2026-11-24 10:00:00.5,infinity,0044-03-15 00:00:00 BC}"],
    "timestamptz[]": ["{2026-11-24 10:00:00+05,0044-03-15 00:00:00+00 BC,infinity}"],
    "stamps": ["{2026-11-24 10:00:00+05}"],
    "bytea[]": ['{"\\\\x00ff"}'],
    "uuid[]": ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"],
    "interval[]": ['{"1 day 02:00:00"}'],
    "jsonb[]": ['{"{\\"a\\": [1, 1.50]}","[1, 2]","\\"x\\""}'],
    "json[]": ['{"{\\"a\\":  1}"}'],
    "mood[]": ["{well,ill}"],
    "box[]": ["{(1,1),(0,0);(3,3),(2,2)}"],
    "pair[]": ['{"(1,\\"x y\\",,,\\"{1,2}\\",,)",NULL}'],
    "int4range[]": ['{"[1,5)",empty}'],
    "int2vector": ["1 2 3"],
    "money2[]": ["{1.5}"],
}
#: What not every server has.
MAYBE: dict[str, list[str]] = {
    "xml": ["<a b='1'>x</a>"],
    "int4multirange": ["{[1,2),[5,9)}"],
    "tstzmultirange": ["{[2026-11-24 10:00:00+05,2026-11-25 00:00:00+00)}"],
    "numrange[]": ['{"[1.0,2.0]"}'],
    "hstore": ['"a"=>"1", "b \\""=>NULL', ""],
    "hstore[]": ['{"\\"a\\"=>\\"1\\""}'],
    "citext": ["MiXed"],
}
HOSTILE = (
    "SET TimeZone = 'Asia/Tokyo'; SET bytea_output = escape; SET intervalstyle = iso_8601; SET datestyle = 'German';"
    "SET extra_float_digits = -3; SET client_encoding = UTF8"
)


def _prepared(database: Database) -> dict[str, list[str]]:
    """Column → its values; the table ``kinds`` has one column a type."""
    database.execute(f"ALTER DATABASE {database.name} SET timezone = 'Europe/Madrid'")
    database.script(TYPES)
    for extension in ("hstore", "citext"):
        if database.execute("SELECT FROM pg_available_extensions WHERE name = %s", [extension]):
            database.execute(f"CREATE EXTENSION {extension}")
    database.execute("CREATE TABLE kinds (id integer PRIMARY KEY)")
    every = {**VALUES, **{name: values for name, values in MAYBE.items() if _known(database, name, values[0])}}
    columns = {}
    for number, (type_, values) in enumerate(every.items()):
        database.execute(f"ALTER TABLE kinds ADD COLUMN c{number} {type_}")
        columns[f"c{number}"] = values
    return columns


def _known(database: Database, name: str, value: str) -> bool:
    writer = database.connect()
    try:
        writer.execute(f"SELECT %s::{name}", [value])
    except Exception:  # noqa: BLE001 - whatever keeps the type from being had here
        return False
    return True


def _bytes(change: RowChange) -> list[Any]:
    images = [None if image is None else orjson.dumps(opened(image)) for image in (change.before, change.after)]
    return [change.operation, change.table, orjson.dumps(change.key), *images, sorted(change.secrets_changed)]


async def _both(database: Database, captures: list[Capture], work: Any) -> tuple[list[list[Any]], list[list[Any]]]:
    """The changes that the work makes, from the journal and from the log."""
    installer = PostgresInstaller(database.info)
    installer.apply(installer.plan_install(captures), lambda _title: None)
    install_slot(database, captures)
    work()
    journal = PostgresJournal(database.info, captures)
    await journal.connect()
    rows = await journal.peek(10_000)
    await journal.disconnect()
    noted = [_bytes(row.change) for row in rows]
    async with reading(database, captures) as read:
        logged = [_bytes(change) for change in await read.changes()]
    return noted, logged


async def test_every_type_by_both_routes(postgres_log_db: Database) -> None:
    columns = _prepared(postgres_log_db)
    most = max(map(len, columns.values()))

    def work() -> None:
        writer = postgres_log_db.connect(autocommit=True)
        writer.execute(HOSTILE)
        names = ", ".join(columns)
        for number in range(most):
            values = [values[number] if number < len(values) else None for values in columns.values()]
            marks = ", ".join(["%s"] * len(values))
            writer.execute(f"INSERT INTO kinds (id, {names}) VALUES ({number}, {marks})", values)
        for name, values in columns.items():
            writer.execute(f"UPDATE kinds SET {name} = NULL WHERE id = 0")
            writer.execute(f"UPDATE kinds SET {name} = %s WHERE id = 0", [values[-1]])
        writer.execute("DELETE FROM kinds")

    noted, logged = await _both(postgres_log_db, [Capture("kinds")], work)
    assert len(noted) == most * 2 + 2 * len(columns)
    for by_trigger, from_log in zip(noted, logged, strict=True):
        for trigger_image, log_image in zip(by_trigger, from_log, strict=True):
            if isinstance(trigger_image, bytes):
                old, new = orjson.loads(trigger_image), orjson.loads(log_image)
                different = {
                    (name, str(old.get(name)), str(new.get(name))) for name in old if old[name] != new.get(name)
                }
                assert not different
            assert log_image == trigger_image


class RandomValues:
    """Values that quoting, escaping and calendars find hard; as parameters of the statements below."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def text(self) -> str | None:
        alphabet = "ab \\t\\n\"'\\\\{}(),;=>[]:.NULnul%ñ€😀\u00a0\x0b\x0c"
        return None if self._dice.random() < 0.1 else "".join(self._dice.choices(alphabet, k=self._dice.randrange(6)))

    def number(self) -> str | None:
        digits = f"{self._dice.randrange(-(10**12), 10**12)}.{self._dice.randrange(1000)}"
        return self._dice.choice((None, "NaN", "0", "-0.00", digits, f"1e{self._dice.randrange(-40, 40)}"))

    def double(self) -> float:
        return self._dice.choice(
            (0.0, -0.0, self._dice.uniform(-1, 1), self._dice.uniform(-1e300, 1e300), 1e22, 5e-324)
        )

    def moment(self) -> str:
        year = self._dice.choice((self._dice.randrange(1, 4713), self._dice.randrange(1, 20000), 2026, 1, 9999, 1893))
        day = f"{year:04}-{self._dice.randrange(1, 13):02}-{self._dice.randrange(1, 29):02}"
        clock = f"{self._dice.randrange(24):02}:{self._dice.randrange(60):02}:{self._dice.randrange(60):02}"
        micros = self._dice.choice(("", f".{self._dice.randrange(10**6):06}"))
        zone = self._dice.choice(("+00", "-08:30", "+05"))
        era = " BC" if year < 4713 and self._dice.random() < 0.3 else ""
        return f"{day} {clock}{micros}{zone}{era}"

    def document(self) -> str:
        return orjson.dumps(self._inner(3)).decode()

    def _inner(self, depth: int) -> Any:
        kind = self._dice.randrange(6 if depth else 3)
        if kind > 3:
            return {str(number): self._inner(depth - 1) for number in range(self._dice.randrange(3))}
        if kind == 3:
            return [self._inner(depth - 1) for _ in range(self._dice.randrange(3))]
        return (self.text() or "", self._dice.randrange(100), True)[kind]


RANDOM_TABLE = """
CREATE TYPE item AS (label text, price numeric, at timestamptz, tags text[]);
CREATE TABLE odd (
    id integer PRIMARY KEY, t text, texts text[], n numeric, numbers numeric[], d float8, doubles float8[], r real,
    at timestamptz, stamp timestamp, moments timestamptz[], period tstzrange, j json, b jsonb, docs jsonb[],
    bytes bytea, one item, many item[], span interval
);
"""
RANDOM_ROW = """
INSERT INTO odd
SELECT
    id, t, ARRAY[t, u, v], n, ARRAY[n, m], d, ARRAY[d, e], CASE WHEN abs(e) > 1e250 THEN e / 1e280 ELSE 0.1 END::real,
    at, at AT TIME ZONE 'UTC', ARRAY[at, later], tstzrange(least(at, later), greatest(at, later)),
    j::json, j::jsonb, ARRAY[j::jsonb, to_jsonb(t)], convert_to(coalesce(t, ''), 'UTF8'),
    ROW(u, n, later, ARRAY[v, t])::item, ARRAY[ROW(v, m, at, NULL)::item, NULL],
    make_interval(secs => (id * 7919 % 100000) / 7.0, days => id - 200)
FROM (
    SELECT
        {id}::integer AS id, {t}::text AS t, {u}::text AS u, {v}::text AS v, {n}::numeric AS n, {m}::numeric AS m,
        {d}::float8 AS d, {e}::float8 AS e, {at}::timestamptz AS at, {later}::timestamptz AS later, {j}::text AS j
) AS given
""".replace("%", "%%")
RANDOM_ROW = re.sub(r"\{(\w+)\}", r"%(\1)s", RANDOM_ROW)


async def test_random_values_by_both_routes(postgres_log_db: Database, seed: int) -> None:
    values = RandomValues(random.Random(seed))
    postgres_log_db.execute(f"ALTER DATABASE {postgres_log_db.name} SET timezone = 'America/New_York'")
    postgres_log_db.script(RANDOM_TABLE)

    def work() -> None:
        writer = postgres_log_db.connect(autocommit=True)
        writer.execute(HOSTILE)
        for number in range(400):
            row: dict[str, Any] = {"id": number, "j": values.document(), "d": values.double(), "e": values.double()}
            row |= {name: values.text() for name in "tuv"} | {name: values.number() for name in "nm"}
            row |= {"at": values.moment(), "later": values.moment()}
            writer.execute(RANDOM_ROW, row)
        writer.execute("UPDATE odd SET id = id + 1000, t = NULL WHERE id % 3 = 0")

    noted, logged = await _both(postgres_log_db, [Capture("odd")], work)
    assert len(noted) == 534
    for by_trigger, from_log in zip(noted, logged, strict=True):
        assert from_log == by_trigger


async def test_secrets_long_values_and_partial_updates_by_both_routes(postgres_log_db: Database) -> None:
    database = postgres_log_db
    database.script(
        "CREATE TABLE users (nick text PRIMARY KEY, password text, level integer, photo text, big jsonb);"
        "ALTER TABLE users ALTER COLUMN photo SET STORAGE EXTERNAL;"
    )
    captures = [Capture("users", frozenset({"password", "iban"}))]

    def work() -> None:
        database.execute("INSERT INTO users VALUES ('a', 'p', 1, repeat('x', 50000), to_jsonb(repeat('y', 90000)))")
        database.execute("UPDATE users SET level = 2")
        database.execute("UPDATE users SET password = NULL")
        database.execute("UPDATE users SET level = 2, password = NULL")
        database.execute("UPDATE users SET nick = 'b'")
        database.execute("UPDATE users SET photo = repeat('z', 50000), level = NULL")
        database.execute("INSERT INTO users VALUES ('c'), ('b') ON CONFLICT (nick) DO UPDATE SET level = 9")
        database.execute("DELETE FROM users")
        database.execute("TRUNCATE users")

    noted, logged = await _both(database, captures, work)
    assert logged == noted
    assert len(logged) == 10
    assert not any(b"password" in (image or b"") for change in logged for image in change[3:5])


@pytest.mark.parametrize("stored", [True, False])
async def test_generated_columns(postgres_log_db: Database, stored: bool) -> None:
    """Stored ones are in the log from PostgreSQL 18 on; virtual ones would make the ERP's own updates fail."""
    database = postgres_log_db
    version = int(database.execute("SHOW server_version_num")[0][0])
    if not stored and version < 180000:
        pytest.skip("no virtual columns before PostgreSQL 18")
    kind = "STORED" if stored else "VIRTUAL"
    database.execute(
        f"CREATE TABLE t (id integer PRIMARY KEY, a integer, g integer GENERATED ALWAYS AS (a * 2) {kind})"
    )
    if not stored:
        with pytest.raises(Exception, match=r"virtual generated columns \(g\)"):
            install_slot(database, [Capture("t")])
        return

    def work() -> None:
        database.execute("INSERT INTO t VALUES (1, 1)")
        database.execute("UPDATE t SET a = 2")

    noted, logged = await _both(database, [Capture("t")], work)
    if version >= 180000:
        assert logged == noted
    else:
        assert [orjson.loads(change[4]) for change in logged] == [{"id": 1, "a": 1}, {"id": 1, "a": 2}]
