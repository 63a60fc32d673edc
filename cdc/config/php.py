"""Reads FacturaScripts' ``config.php`` without PHP: its ``define()`` lines, as text, never run.

Understood: ``define('NAME', value);`` and ``const NAME = value;`` with string, number, boolean or null literals,
strings joined by dots, and constants defined above; comments; statements over several lines.  The first definition of
a name wins, as in PHP.  Anything else (``getenv()``, variables, ``require``) is stored as unreadable, and complained
about only when the connection needs it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path
from zoneinfo import available_timezones

from cdc.config.url import DEFAULT_PORTS, tls_mode
from cdc.files import read_regular
from cdc.model.connection import ConnectionInfo, Engine, Tls
from cdc.model.errors import ConfigError

Literal = None | bool | int | float | str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that only PHP itself could work out."""

    line: int


Constants = Mapping[str, Literal | Unreadable]

#: The name under which the first definition is stored whose name or end could not be understood.
UNREAD = ""
#: Where mysqli looks for the server's socket when the host is localhost; FacturaScripts' installer sets it.
SOCKET_SETTING = "mysqli.default_socket"


class _Kind(StrEnum):
    STRING = auto()
    NUMBER = auto()
    WORD = auto()
    SIGN = auto()
    OPAQUE = auto()  # a string that needs PHP: interpolation, heredoc


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    value: Literal
    line: int


_TOKEN = re.compile(
    r"""
      (?P<skip>      \s+ | (?:\#(?!\[)|//)(?:(?!\?>)[^\r\n])* | /\*.*?(?:\*/|\Z) | \?>.*?(?:<\?(?:php\b|=)|\Z) )
    | (?P<single>    '(?:[^'\\]|\\.)*' )
    | (?P<double>    "(?:[^"\\]|\\.)*" )
    | (?P<heredoc>   <<<[ \t]*(?P<quote>["']?)(?P<label>[A-Za-z_]\w*)(?P=quote)\r?\n.*?^[ \t]*(?P=label)\b )
    | (?P<number>    0[xX][0-9a-fA-F_]+ | 0[bB][01_]+ | 0[oO][0-7_]+ | (?:\d[\d_]*)?\.\d[\d_]*(?:[eE][+-]?\d+)? |
                     \d[\d_]*(?:\.(?!\.))?(?:[eE][+-]?\d+)? )
    | (?P<word>      [A-Za-z_\x80-\U0010ffff\\$][\w\\$]* )
    | (?P<sign>      . )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_DOUBLE_ESCAPE = re.compile(r"\\(?:([nrtvef\\$\"])|([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|u\{([0-9A-Fa-f]+)\})")
_INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*(?:\$[A-Za-z_{]|\{\$)")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "v": "\v", "e": "\x1b", "f": "\f", "\\": "\\", "$": "$", '"': '"'}
_PLAIN = (
    "Write the value there in plain text, as FacturaScripts' installer does; or leave the file and give the database "
    'itself: url = "mysql://USER@HOST/DATABASE" (or postgresql://…) with password_file, in cdc.toml or by cdc setup.'
)
#: No config.php is larger (bytes).
LARGEST = 1_000_000
_WORD_VALUES: Mapping[str, Literal] = {"true": True, "false": False, "null": None}


def read_config_php(path: Path) -> ConnectionInfo:
    """Return how FacturaScripts itself connects.  Raises `ConfigError` naming the file, the constant and the line."""
    return connection_from(_constants(path), path)


def read_timezone(path: Path) -> str:
    """``FS_TIMEZONE``; empty where the file does not name a time zone that is known.  Raises `ConfigError`."""
    zone = _constants(path).get("FS_TIMEZONE")
    return zone if isinstance(zone, str) and zone in available_timezones() else ""


def _constants(path: Path) -> Constants:
    try:
        content = read_regular(path, LARGEST)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.",
            "`facturascripts` is the path of FacturaScripts' config.php; this account must be allowed to read it.",
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # old files; every byte has a meaning there
    return parse_php(text)


def connection_from(constants: Constants, path: Path) -> ConnectionInfo:
    """The connection that these constants describe, as mysqli and pg_connect would make it."""
    kind = _text(constants, "FS_DB_TYPE", path)
    if kind not in tuple(Engine):
        raise ConfigError(f"{path}: FS_DB_TYPE is {kind!r}.", "FacturaScripts knows mysql and postgresql.")
    engine = Engine(kind)
    host = _text(constants, "FS_DB_HOST", path).removeprefix("p:") or "localhost"  # p: is mysqli's "persistent"
    socket, mode = "", "prefer"
    if engine is Engine.MYSQL and host == "localhost":
        socket = _text(constants, SOCKET_SETTING, path, default="")
    elif engine is Engine.POSTGRESQL:
        socket = host if host.startswith("/") else ""
        mode = tls_mode(_text(constants, "FS_PGSQL_SSL", path, default="") or "prefer", f"{path}: FS_PGSQL_SSL")
    return ConnectionInfo(
        engine=engine,
        database=_text(constants, "FS_DB_NAME", path),
        user=_text(constants, "FS_DB_USER", path),
        password=_text(constants, "FS_DB_PASS", path),
        host=host,
        port=_port(constants, engine, path),
        socket=socket,
        tls=Tls(mode=mode),
    )


def parse_php(text: str) -> dict[str, Literal | Unreadable]:
    """Constant → value, ``mysqli.default_socket`` when an ``ini_set()`` gives it, and `UNREAD` for the first statement
    that may define a constant and cannot be understood."""
    begin = re.search(r"<\?(?:php\b|=)", text, re.IGNORECASE)
    if begin is None:
        return {}
    tokens = list(_tokens(text, begin.end()))
    constants: dict[str, Literal | Unreadable] = {}
    branches: set[str] = set()
    depth = 0
    for at, token in enumerate(tokens):
        depth += _is_sign(token, "{") - _is_sign(token, "}")
        if token.kind is not _Kind.WORD:
            continue
        match str(token.value).lstrip("\\").lower():
            case "define":
                before = tokens[at - 1]  # ``if (…) define(…); else define(…);``
                is_else = before.kind is _Kind.WORD and str(before.value).lower() == "else"
                in_branch = depth > 0 or _is_sign(before, ")") or is_else
                _learn(constants, _arguments(tokens, at + 1), token.line, branches if in_branch else None)
            case "const":
                _learn(constants, _assignment(tokens, at + 1), token.line)
            case "require" | "require_once" | "include" | "include_once":
                constants.setdefault(UNREAD, Unreadable(token.line))
            case "ini_set":
                arguments = _arguments(tokens, at + 1)
                if arguments and _value(arguments[0], {}, token.line) == SOCKET_SETTING:
                    constants.pop(SOCKET_SETTING, None)  # unlike define(), the last one counts
                    _learn(constants, arguments, token.line)
    return constants


def _learn(
    constants: dict[str, Literal | Unreadable],
    arguments: Sequence[Sequence[_Token]],
    line: int,
    branches: set[str] | None = None,
) -> None:
    """``branches``: the constants that a branch defines, when this definition is in one: with two values for one
    constant, only PHP knows which of them it takes."""
    match arguments:
        case [of_name, of_value, *_] if isinstance(name := _value(of_name, {}, line), str):
            value = _value(of_value, constants, line)
            if branches is not None and name in branches and constants[name] != value:
                constants[name] = Unreadable(line)
            elif name not in constants:
                constants[name] = value
                if branches is not None:
                    branches.add(name)
        case _:
            constants.setdefault(UNREAD, Unreadable(line))


def _arguments(tokens: Sequence[_Token], at: int) -> list[list[_Token]]:
    """Return the tokens of each argument of the call whose ``(`` is at ``at``; empty when there is none or no end."""
    if at >= len(tokens) or not _is_sign(tokens[at], "("):
        return []
    arguments: list[list[_Token]] = [[]]
    depth = 1
    for token in tokens[at + 1 :]:
        depth += _is_sign(token, "([{") - _is_sign(token, ")]}")
        if depth == 0:
            return arguments
        if depth == 1 and _is_sign(token, ","):
            arguments.append([])
        else:
            arguments[-1].append(token)
    return []


def _assignment(tokens: Sequence[_Token], at: int) -> list[list[_Token]]:
    """``NAME = value ;`` as the two arguments that define() would have; empty for a list of several."""
    if at + 1 >= len(tokens) or tokens[at].kind is not _Kind.WORD or not _is_sign(tokens[at + 1], "="):
        return []
    name = _Token(_Kind.STRING, tokens[at].value, tokens[at].line)
    end = next((n for n in range(at, len(tokens)) if _is_sign(tokens[n], ";")), len(tokens))
    value = list(tokens[at + 2 : end])
    return [] if any(_is_sign(token, ",") for token in value) else [[name], value]


def _is_sign(token: _Token, signs: str) -> bool:
    return token.kind is _Kind.SIGN and str(token.value) in signs


def _value(tokens: Sequence[_Token], constants: Constants, line: int) -> Literal | Unreadable:
    """One literal, a signed number, a known constant, or strings joined by dots."""
    sign = 1
    match tokens:
        case [before, number] if _is_sign(before, "-+") and number.kind is _Kind.NUMBER:
            sign = -1 if before.value == "-" else 1
            tokens = [number]
    if len(tokens) == 1:
        value = _single(tokens[0], constants)
        return value * sign if sign < 0 and isinstance(value, int | float) else value
    parts = [_single(token, constants) for token in tokens[::2]]
    joined = len(tokens) % 2 == 1 and all(_is_sign(token, ".") for token in tokens[1::2])
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if joined and len(texts) == len(parts) else Unreadable(line)


def _single(token: _Token, constants: Constants) -> Literal | Unreadable:
    if token.kind in (_Kind.STRING, _Kind.NUMBER):
        return token.value
    if token.kind is _Kind.WORD:
        word = str(token.value).lstrip("\\")
        if word.lower() in _WORD_VALUES:
            return _WORD_VALUES[word.lower()]
        return constants.get(word, Unreadable(token.line))
    return Unreadable(token.line)


def _tokens(text: str, start: int) -> Iterator[_Token]:
    line = text.count("\n", 0, start) + 1
    for match in _TOKEN.finditer(text, start):
        source = match[0]
        match match.lastgroup:
            case "single":
                yield _Token(_Kind.STRING, re.sub(r"\\([\\'])", r"\1", source[1:-1]), line)
            case "double" if _INTERPOLATION.search(source):
                yield _Token(_Kind.OPAQUE, None, line)
            case "double":
                yield _Token(_Kind.STRING, _double_quoted(source[1:-1]), line)
            case "number":
                yield _Token(_Kind.NUMBER, _number(source), line)
            case "word":
                yield _Token(_Kind.WORD, source, line)
            case "sign":
                yield _Token(_Kind.SIGN, source, line)
            case "skip":
                pass
            case _:
                yield _Token(_Kind.OPAQUE, None, line)
        line += source.count("\n")


def _double_quoted(body: str) -> str:
    """PHP writes bytes: numeric escapes may spell the UTF-8 bytes of one character."""

    def replace(match: re.Match[str]) -> str:
        letter, octal, hexadecimal, point = match.groups()
        if letter:
            return _LETTERS[letter]
        if point:
            code = int(point, 16)
            return chr(code) if code <= sys.maxunicode and code not in _SURROGATES else "\N{REPLACEMENT CHARACTER}"
        byte = int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)
        return bytes([byte]).decode("utf-8", "surrogateescape")

    text = _DOUBLE_ESCAPE.sub(replace, body)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


#: Halves of characters in UTF-16: none by themselves.
_SURROGATES = range(0xD800, 0xE000)


def _number(text: str) -> int | float:
    digits = text.replace("_", "")
    if re.fullmatch(r"\d+", digits):
        return int(digits, 8) if re.fullmatch(r"0[0-7]+", digits) else int(digits)
    return int(digits, 0) if digits[:2].lower() in ("0x", "0b", "0o") else float(digits)


def _text(constants: Constants, name: str, path: Path, default: str | None = None) -> str:
    value = constants.get(name, default)
    if isinstance(value, Unreadable):
        raise ConfigError(f"{path} line {value.line}: the value of {name} is an expression for PHP.", _PLAIN)
    if value is None:
        unread = constants.get(UNREAD)
        if isinstance(unread, Unreadable):
            raise ConfigError(
                f"{path} line {unread.line} cannot be understood without PHP, and {name} is not defined elsewhere.",
                _PLAIN,
            )
        raise ConfigError(
            f"{path} does not define {name}.", "Is it the config.php that FacturaScripts' installer wrote?"
        )
    if isinstance(value, bool):
        return "1" if value else ""  # as PHP turns them into text
    return str(value)


def _port(constants: Constants, engine: Engine, path: Path) -> int:
    text = _text(constants, "FS_DB_PORT", path, default="").strip()
    if text in ("", "0"):
        return DEFAULT_PORTS[engine]
    if not text.isdecimal() or int(text) >= 2**16:
        raise ConfigError(f"{path}: FS_DB_PORT is {text!r}.", "It is a number from 1 to 65535.")
    return int(text)
