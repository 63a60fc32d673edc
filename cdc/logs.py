"""Structured logs on standard error: for people, or one JSON object a line.

Modules log with ``structlog.get_logger()``; libraries that use `logging` come out in the same shape.  Logs never hold
secrets: nobody passes any, `_mask_secrets` makes sure, and the texts of exceptions are left out.
"""

from __future__ import annotations

import logging
import os
import re
import select
import stat
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from io import StringIO
from typing import Any, TextIO, cast
from urllib.parse import urlsplit

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from cdc.model.errors import printable, printable_line

_LIBRARY_LEVEL = logging.WARNING
#: Bytes of the log that may wait for a reader; lines beyond them are dropped.
_WAITING_BYTES = 1 << 20
#: Seconds that the end of the process waits for the reader.
_LAST_LINES_SECONDS = 2.0
#: Seconds that `say_after` waits for earlier lines.
_EARLIER_LINES_SECONDS = 0.2
_SECRET_KEYS = re.compile(r"(secret|password|passwd|pass|token|authorization)\Z", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"whsec_[A-Za-z0-9+/=]+|(?<=://)([^/@\s:]*):[^/@\s]*(?=@)")


def configure_logs(style: str, level: str, stream: TextIO | None = None, *, several: bool = False) -> None:
    """``style``: ``text`` or ``json``; ``level``: ``debug``, ``info``, ``warning`` or ``error``.  For the whole
    process, once, by its entry point.  ``stream``: standard error unless set.  ``several``: text lines of attempts
    name the source."""
    stream = cast("TextIO", _UnbreakableStream(stream or sys.stderr))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.ExceptionRenderer(_raised),
        _mask_secrets,
    ]
    closing = _closing_processors(style, stream, several)
    structlog.configure(
        processors=[*shared, *closing],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Loggers(stream, info=level in ("debug", "info")),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *closing],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(_LIBRARY_LEVEL, logging.getLevelName(level.upper())), force=True)


def log_many(message: str, lines: Iterable[Mapping[str, Any]]) -> None:
    """An info line each, written at once.  For what comes by the thousand: in JSON a line costs a fraction of one that
    goes through all processors.  The lines must hold nothing secret: nothing is masked."""
    config = structlog.get_config()
    loggers = config["logger_factory"]
    as_json = bool(config["processors"]) and isinstance(config["processors"][-1], structlog.processors.JSONRenderer)
    stream = loggers.stream if as_json and isinstance(loggers, _Loggers) and loggers.info else None
    if stream is None:
        log = structlog.get_logger().bind()
        for line in lines:
            log.info(message, **line)
        return
    closing = {"level": "info", "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"), "message": message}
    text = b"".join([orjson.dumps({**line, **closing}, option=orjson.OPT_APPEND_NEWLINE) for line in lines])
    harmless = text.isascii() and b"\x7f" not in text  # JSON escapes the other control characters of ASCII
    stream.write(text.decode() if harmless else printable(text.decode()))
    stream.flush()


class _UnbreakableStream:
    """A stream that drops lines instead of raising while its reader is gone or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: it was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


@contextmanager
def written_aside(stream: TextIO) -> Iterator[TextIO]:
    """Give a stream for `configure_logs` whose lines a thread writes to ``stream``: a reader that is alive and does
    not read (a stopped ``tee``, a paused terminal) delays no delivery.  A file is written directly."""
    try:
        direct = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it has no file descriptor, or closed
        direct = True
    if direct:
        yield stream
        return
    buffered = _BufferedStream(stream)
    try:
        yield cast("TextIO", buffered)
    finally:
        buffered.close()


def say_after(stream: TextIO, text: str) -> None:
    """Print to standard output, after the log's lines so far where both go to one terminal."""
    if isinstance(stream, _BufferedStream):
        stream.drain(_EARLIER_LINES_SECONDS)
    with suppress(OSError, ValueError):  # nobody reads it
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class _BufferedStream:
    """Lines that wait for their thread, up to `_WAITING_BYTES`.  What was dropped is counted in the log itself."""

    def __init__(self, stream: TextIO) -> None:
        self.isatty = stream.isatty
        self._fd = stream.fileno()
        self._part = ""  # of a line that has no end yet
        self._waiting: deque[bytes] = deque()
        self._size = self._dropped = 0
        self._closed = self._writing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="cdc-logs", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        with self._changed:
            lines, end, self._part = (self._part + text).rpartition("\n")
            data = (lines + end).encode(errors="backslashreplace")
            if not data:
                return len(text)
            if self._size + len(data) > _WAITING_BYTES:
                self._dropped += data.count(b"\n")
            else:
                self._waiting.append(data)
                self._size += len(data)
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes as fast as the reader reads."""

    def drain(self, seconds: float) -> None:
        """Wait until the thread has written every line so far, but no longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._writing), seconds)

    def close(self) -> None:
        """Wait for the thread, but not long."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_LAST_LINES_SECONDS)

    def _run(self) -> None:
        while data := self._next():
            self._write(data)

    def _next(self) -> bytes:
        """Empty when closed and all is written."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._dropped or self._closed)
            self._writing = True
            if self._waiting:
                data = self._waiting.popleft()
                self._size -= len(data)
                return data
            dropped, self._dropped = self._dropped, 0
        return f"{dropped} lines of the log were dropped: its reader did not read.\n".encode() if dropped else b""

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        with suppress(OSError):  # the reader is gone
            while rest:
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:  # another process made the stream non-blocking
                    select.select([], [self._fd], [])


class _Loggers(structlog.PrintLoggerFactory):
    """Factory of loggers to one stream.  ``info``: lines of level info are written."""

    def __init__(self, stream: TextIO, info: bool) -> None:
        super().__init__(stream)
        self.stream = stream
        self.info = info


def _closing_processors(style: str, stream: TextIO, several: bool) -> list[Processor]:
    if style == "json":
        return [
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    plain = structlog.dev.plain_traceback
    renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time", exception_formatter=plain)
    return [_escape, partial(_attempt_for_people, several), renderer]


def readable_line(line: str) -> str:
    """Return a line of a JSON log as the text log has it; another line as it is, escaped."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return printable_line(line)
    if not isinstance(event, dict) or "message" not in event:
        return printable_line(line)
    event["event"] = event.pop("message")
    rendered: Any = event
    for each in _closing_processors("text", StringIO(), several=True):  # no terminal: the caller escapes what it prints
        rendered = each(None, "", rendered)
    return str(rendered)


def _json(value: Any, **_options: Any) -> str:
    return printable(orjson.dumps(value, default=str).decode())


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep foreign text from controlling a terminal, or from looking like a line of its own.  The renderer shows values
    other than text by their `repr`, which escapes."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value) if key == "exception" else printable_line(value)
    return event


#: State of a delivery → how the line of an attempt begins; a success has none.
_RESULTS = {"pending": "failed", "dead": "dead letter", "cancelled": "cancelled"}


def _attempt_for_people(several: bool, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Begin the line of an attempt with event, record and endpoint: ``delivered invoice.paid facturascli:12 →
    shop.example 200 12 ms``, and before the record its source where there are ``several``.  Its ids follow."""
    if event["event"] != "attempt" or "event_name" not in event:
        return event
    fields = [event.pop(name, "") for name in ("event_name", "record", "batch", "url", "status", "seconds", "error")]
    name, record, batch, url, status, seconds, error = fields
    source = event.pop("source", "")
    words = [_RESULTS.get(event.pop("state", ""), "delivered"), name, source if several else ""]
    words += [f"of {batch}" if batch else record, "→"]
    words += [urlsplit(url).netloc or url or event["endpoint"], str(status or ""), f"{seconds * 1000:.0f} ms"]
    event["event"] = " ".join(filter(None, words)) + (f": {error}" if error else "")
    return event


def _raised(exc_info: ExcInfo) -> str:
    """Types and places of an exception, after those in it (a group's) and those that led to it.  Not their text, which
    may quote a row or a secret, nor local variables."""
    return "\nled to:\n".join(reversed([*_each_raised(exc_info[1], set())]))


def _each_raised(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    kind = type(error)
    yield "".join([*traceback.format_tb(error.__traceback__), f"{kind.__module__}.{kind.__qualname__}"])
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _each_raised(part, seen)
    yield from _each_raised(error.__cause__ or (None if error.__suppress_context__ else error.__context__), seen)


def _mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask secrets.  Every line passes here, so the common case, nothing to mask, must cost next to nothing."""
    for key, value in event.items():
        if _names_secret(key):
            event[key] = "***"
        elif isinstance(value, str) and ("whsec_" in value or ("://" in value and "@" in value)):
            event[key] = _SECRET_TEXT.sub(lambda match: f"{match[1]}:***" if match[1] is not None else "***", value)
    return event


@lru_cache(maxsize=1024)
def _names_secret(key: str) -> bool:
    return key != "event" and _SECRET_KEYS.search(key) is not None
