"""The language of filters: what expressions mean, and that another implementation says the same."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cel
import pytest

from cdc.model.errors import UsageError
from cdc.model.filter.program import Program
from cdc.model.filter.values import LONGEST, Meter, Span, Time, Type
from cdc.model.selection import Condition
from support.filter_language import Filters

ROWS = [{"a": 1, "total": 1, "text": "A"}, {"a": None, "total": 2.5, "text": "Peña", "paid": True}]
VARIABLES: dict[str, Any] = {
    "event": "invoice.paid",
    "timestamp": "2026-11-24T21:48:00.123456Z",
    "inferred": False,
    "key": {"id": "1"},
    "previous": {"total": 7},
    "data": {
        "total": 121.0,
        "text": "A-12",
        "nothing": None,
        "paid": True,
        "lines": ROWS,
        "numbers": [1, 2, 3],
        "nested": {"a": 1},
        "unsigned": 2**64 - 1,
        "long": "ab" * 50,
        "amount": "150.00",
        "exact": "1234567890123456789012345678.90",
        "least": "-0.10",
        "amounts": ["9.50", "10.00"],
        "code": "007",
    },
}


def result(text: str) -> Any:
    return Program(text, VARIABLES).execute(VARIABLES, Meter())


@pytest.mark.parametrize(
    "text",
    [
        "1 + 2 * 3 - 4 == 3 && -7 / 2 == -3 && -7 % 3 == -1 && 7u / 2u == 3u",
        "1 == 1.0 && 1u == 1 && !(1 == true) && [1] == [1.0] && {'a': 1u} == {'a': 1}",
        "1.5 < 2 && 'a' < 'ñ' && false < true && b'a' < b'b'",
        "(true ? 1 : 2) == 1 && (false ? 1 : true ? 2 : 3) == 2",
        "false && 1 / 0 == 1 || true",
        "1 / 0 == 1 || true",
        "!(1 / 0 == 1 && false)",
        "'\\x41\\101\\u00f1\\U0001F600' == 'AAñ😀' && r'\\d' == '\\\\d' && \"\"\"a\"b\"\"\" == 'a\"b'",
        "b'\\xff' == b'\\377' && b'ñ' == bytes('ñ') && size(b'ñ') == 2 && size('ñ') == 1",
        "data.total == 121 // a comment with )",
        "data.amount == 150 && data.amount != 151 && data.amount >= 150.0 && 149.99 < data.amount",
        "data.amount in [1, 150] && !(data.amount in [1, 2]) && data.amount in ['150.00'] && !(data.code in [7])",
        "data.amount == '150.00' && data.amount != '150' && data.amount < '2' && string(150) != data.code",
        "data.exact > 1234567890123456789012345678.8 && data.exact == 1234567890123456789012345678.9",
        "data.exact > data.amount && data.amount > data.least && data.least == -0.1 && data.least > -0.11",
        "data.amounts.exists(a, a > 9) && !data.amounts.exists(a, a > 11) && data.code != 7 && '12' != 12",
        "data.numbers.map(n, n > 1, n * 2) == [4, 6] && data.numbers.filter(n, n > 2) == [3]",
        "data.numbers.exists_one(n, n == 2) && data.numbers.existsOne(n, n == 2) && !data.numbers.exists_one(n, n > 1)",
        "data.nested.all(name, name == 'a') && 'a' in data.nested && !('b' in data.nested)",
        "has(data.total) && !has(data.missing) && has(data.nothing) && has(data.nested.a)",
        "data.numbers[0] == 1 && data['total'] == 121.0 && [[1]][0][0] == 1 && {1: 'x'}[1] == 'x'",
        "timestamp('2026-11-24T01:00:00+02:00') == timestamp('2026-11-23T23:00:00Z')",
        "timestamp('2026-11-24T01:02:03.004+02:00').getHours() == 1",
        "timestamp('2026-11-24T01:02:03Z').getMonth() == 10 && timestamp('2026-11-24T00:00:00Z').getDayOfWeek() == 2",
        "timestamp('2026-11-24T00:00:00Z') - duration('1h') == timestamp('2026-11-23T23:00:00Z')",
        "duration('1h30m').getMinutes() == 90 && string(duration('90s')) == '1m30s' && duration('-1s') < duration('0')",
        "string(1.0) == '1' && string(1e20) == '100000000000000000000' && string(1u) == '1' && string(b'a') == 'a'",
        "int('-12') == -12 && int(1.9) == 1 && uint('5') == 5u && double('1e3') == 1000.0 && double(1) == 1.0",
        "type(1) == int && type(1u) == uint && type(null) == null_type && type(data) == map && type([]) == list",
        "data.text.matches('^A-[0-9]+$') && 'Peña'.matches('^\\\\w+$') && 'ab'.contains('b') && 'ab'.endsWith('b')",
        "data.unsigned > 9223372036854775807 && -9223372036854775808 < 0 && 0x1F == 31",
    ],
)  # fmt: skip
def test_these_hold(text: str) -> None:
    assert result(text) is True


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("data.missing", LookupError),
        ("data.numbers[3]", LookupError),
        ("data.numbers[-1]", LookupError),
        ("{1: 2}['a']", LookupError),
        ("data.total.x", TypeError),
        ("1 < 'a'", TypeError),
        ("1 + 1.0", TypeError),
        ("1 && true", TypeError),
        ("null < null", TypeError),
        ("0.0 / 0.0 < 1.0", TypeError),
        ("[1] < [2]", TypeError),
        ("1.0 in {1: 2}", TypeError),
        ("'abc'.exists(c, true)", TypeError),
        ("9223372036854775807 + 1", ArithmeticError),
        ("5u - 6u", ArithmeticError),
        ("1 / 0", ArithmeticError),
        ("1 % 0", ArithmeticError),
        ("int(1e30)", ArithmeticError),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", ArithmeticError),
        ("int(' 12')", ValueError),
        ("size(1)", ValueError),
        ("'a'.contains(1)", ValueError),
        ("timestamp('2026-02-30T00:00:00Z')", ValueError),
        ("duration('1d')", ValueError),
    ],
)
def test_these_fail(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        result(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("9223372036854775808", "is too large"),
        ("'a", "a text in quotes does not end"),
        ("'\\q'", "unknown escape"),
        ("data.in", "unexpected in"),
        ("has(data)", "has() asks for a field"),
        ("data.lines.all(1, true)", "the first argument of all() is no name"),
        ("while == 1", "unexpected while"),
        ("[1, 2", "it ends where more is needed"),
        ("data.size(1)", "with the wrong arguments"),
        ("data.text.matches('(')", "invalid regular expression"),
        ("data.lines.all(x, true) && x == 1", "uses x"),
    ],
)
def test_these_are_no_filters(text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        result(text)
    assert told in str(refused.value)


#: What the other implementation does otherwise: it counts bytes of texts, and cannot negate these.
OTHERWISE = ("-data.unsigned", '-data["unsigned"]', "'Peña'", "u00f1")


@pytest.mark.parametrize("seed", range(10))
def test_another_implementation_says_the_same(seed: int) -> None:
    source = Filters(seed)
    for _ in range(100):
        text = source.any()
        mine = _outcome(lambda text=text: result(text))
        if len(text) > LONGEST or mine[0] == "refused" or any(each in text for each in OTHERWISE):
            continue
        assert mine == _outcome(lambda text=text: cel.compile(text).execute(VARIABLES)), text


def _outcome(evaluate: Any) -> tuple[str, Any]:
    try:
        return "value", _plain(evaluate())
    except UsageError:
        return "refused", None
    except LookupError:
        return "missing", None
    except TypeError:
        return "types", None
    except ArithmeticError:
        return "number", None
    except (ValueError, RuntimeError):
        return "function", None


def _plain(value: Any) -> Any:
    """As Python has it, lists of names in order: of a map, another implementation gives them in any."""
    if isinstance(value, Time | Span):
        length = timedelta(microseconds=value.nanoseconds // 1000)
        return datetime(1970, 1, 1, tzinfo=UTC) + length if isinstance(value, Time) else length
    if isinstance(value, list):
        return sorted(map(_plain, value), key=lambda each: json.dumps(each, sort_keys=True, default=repr))
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.name if isinstance(value, Type) else value


ROOT = Path(__file__).parents[3]
DOCUMENTED = [
    text
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for text in re.findall(
        r"--filter '([^']+)'|`((?:data|previous)\.[a-z]+ [<>=].*?)`", page.read_text(encoding="utf-8")
    )
]


@pytest.mark.parametrize("found", DOCUMENTED)
def test_filters_in_the_documentation_are_accepted(found: tuple[str, str]) -> None:
    Condition("".join(found))
