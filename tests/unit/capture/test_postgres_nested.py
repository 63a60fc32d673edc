"""What PostgreSQL's JSON says of arrays, composite values and hstore, as PostgreSQL itself prints them."""

from __future__ import annotations

import pytest

from cdc.database.postgres_types import PgType, ToText, to_text

INTEGER, BOOLEAN, TEXT, STAMP, MOMENT, JSON, BOX, PAIR, DOMAIN, HSTORE = range(1, 11)
ARRAYS = {name: 100 + oid for name, oid in (("integers", INTEGER), ("booleans", BOOLEAN), ("texts", TEXT))}
ARRAYS |= {"stamps": 100 + STAMP, "moments": 100 + MOMENT, "documents": 100 + JSON, "boxes": 100 + BOX}
ARRAYS |= {"pairs": 100 + PAIR, "stores": 100 + HSTORE}
VECTOR = 300


def _base(oid: int, name: str) -> PgType:
    return PgType(oid, name, "b", 0, 0, ",", ())


TYPES = {
    **{oid: _base(oid, name) for oid, name in ((INTEGER, "int4"), (BOOLEAN, "bool"), (TEXT, "text"), (BOX, "box"))},
    **{oid: _base(oid, name) for oid, name in ((STAMP, "timestamp"), (MOMENT, "timestamptz"), (JSON, "jsonb"))},
    HSTORE: _base(HSTORE, "hstore"),
    PAIR: PgType(PAIR, "pair", "c", 0, 0, ",", (BOOLEAN, STAMP, 100 + INTEGER, TEXT)),
    DOMAIN: PgType(DOMAIN, "stamps", "d", 100 + STAMP, 0, ",", ()),
    **{oid: PgType(oid, "_x", "b", 0, oid - 100, ";" if oid == 100 + BOX else ",", ()) for oid in ARRAYS.values()},
    VECTOR: PgType(VECTOR, "int2vector", "b", 0, INTEGER, ",", ()),
}


def converter(name: str) -> ToText:
    return to_text({"domain": DOMAIN, "pair": PAIR, "store": HSTORE, "vector": VECTOR, **ARRAYS}[name], TYPES)


@pytest.mark.parametrize(
    ("name", "json", "expected"),
    [
        ("integers", "[1,null,[2]]", "{1,NULL,{2}}"),
        ("integers", "[]", "{}"),
        ("booleans", "[true,false]", "{t,f}"),
        ("texts", '["a","b c","","nUll","q\\"\\\\","d,e","\u00a0"]', '{a,"b c","","nUll","q\\"\\\\","d,e",\u00a0}'),
        ("stamps", '["2026-11-24T10:00:00","infinity"]', '{"2026-11-24 10:00:00",infinity}'),
        ("moments", '["2026-11-24T10:00:00.5+00:00"]', '{"2026-11-24 10:00:00.5+00"}'),
        ("moments", '["0044-03-15T00:00:00+05:30 BC"]', '{"0044-03-15 00:00:00+05:30 BC"}'),
        ("documents", '[{"a": [1, 1.50]},[1],"x",1]', '{"{\\"a\\": [1, 1.50]}",[1],"\\"x\\"",1}'),
        ("boxes", '["(1,1),(0,0)","(2,2),(0,0)"]', "{(1,1),(0,0);(2,2),(0,0)}"),
        ("pairs", '[{"a":true,"b":null,"c":[1,2],"d":""}]', '{"(t,,\\"{1,2}\\",\\"\\")"}'),
        (
            "pair",
            '{"a":false,"b":"2026-11-24T10:00:00","c":null,"d":"q\\"\\\\"}',
            '(f,"2026-11-24 10:00:00",,"q""\\\\")',
        ),
        ("pair", '{"a":1}', "(1)"),
        ("store", '{"a": "1", "b \\"": null}', '"a"=>"1", "b \\""=>NULL'),
        ("stores", '[{"a": "1"}]', '{"\\"a\\"=>\\"1\\""}'),
        ("domain", '["2026-11-24T10:00:00"]', '{"2026-11-24 10:00:00"}'),
        ("vector", "[1,2]", "1 2"),
        ("pair", '"it was a text before"', "it was a text before"),
        ("integers", "7", "7"),
        ("store", '"x"', "x"),
    ],
)
def test_values(name: str, json: str, expected: str) -> None:
    assert converter(name)(json) == expected
    assert converter(name)("null") is None


def test_a_type_that_is_not_known() -> None:
    assert to_text(999, {})('"x"') == "x"
