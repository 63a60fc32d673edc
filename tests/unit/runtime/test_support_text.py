"""What is taken out of texts and log lines."""

from __future__ import annotations

import json

import pytest

from cdc.runtime.support import open_lines, scrubbed


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("mysql database fs at db:3306 as ana", "mysql database <database> at <host>:3306 as <account>"),
        (
            "The DEFINER ana@% is missing; write to ana@example.com",
            "The DEFINER <address> is missing; write to <address>",
        ),
        ("https://u:p@example.com/t0k3n is disabled", "<url> is disabled"),
        ("mailto:ana@example.com bounced at 10.1.2.3", "<address> bounced at <ip>"),
        ("whsec_QUFB is short", "<secret> is short"),
        ("25 tables to capture", "25 tables to capture"),
        ("anagram of ana", "anagram of <account>"),
    ],
)
def test_what_tells_who_and_where_is_replaced(text: str, left: str) -> None:
    assert scrubbed(text, {"fs": "<database>", "db": "<host>", "ana": "<account>", "": "<nothing>"}) == left


def test_a_line_keeps_numbers_ids_and_places_in_our_code() -> None:
    traceback = (
        '  File "/srv/ana/x/cdc/relay.py", line 12, in run\n    self.go("Ana")\nbuiltins.ValueError\nled to:\n'
        '  File "/srv/ana/x/aiohttp/web.py", line 9, in ana\n    self.go("Ana")\ncdc.model.errors.CdcError'
    )
    line = {"level": "error", "message": "attempt broke off", "endpoint": "ep_1", "number": 2, "exception": traceback}
    (told,) = open_lines(iter([json.dumps(line | {"url": "https://x", "error": "Ana is unknown"}).encode()]))
    assert json.loads(told) == {
        "level": "error",
        "message": "attempt broke off",
        "endpoint": "ep_1",
        "number": 2,
        "exception": ["cdc/relay.py:12 run", "cdc.model.errors.CdcError"],
    }


def test_what_other_libraries_say_is_left_out_and_so_is_what_is_no_json() -> None:
    lines = [
        b'{"level": "warning", "logger": "aiohttp.server", "message": "Ana Sanz sent nonsense"}',
        b"Ana Sanz",
        b"[1]",
    ]
    assert [json.loads(line) for line in open_lines(iter(lines))] == [{"level": "warning", "logger": "aiohttp.server"}]


def test_a_value_that_looks_like_none_of_ours_is_left_out() -> None:
    lines = [b'{"source": "Ana \\u00d1", "message": "from ana@example.com", "changed": ["source main", "x@y"]}']
    assert [json.loads(line) for line in open_lines(iter(lines))] == [{}]
