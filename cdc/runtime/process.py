"""This process and the system that runs it: its priority and open files; notifications to the service manager over the
socket that it provides (sd_notify(3)), where there is one; the systemd unit that runs a configuration."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog

from cdc.config import Config
from cdc.config.load import variable_name
from cdc.model.clock import Clock
from cdc.model.errors import UsageError
from cdc.model.worker import ProcessRole

log = structlog.get_logger()

#: Open files: more is never needed, and a process that closes all it might have open would take long.
MOST = 65_536


def stand_back(nice: int) -> None:
    """Let others of this machine go first, to ``nice`` of 0 to 19; never forward again, which takes a privilege.

    To be called before threads begin: on Linux each has a priority of its own, and takes over that of its maker.
    Sandboxes may refuse it (systemd's ``SystemCallFilter=~@resources``): then it is said, and nothing else.
    """
    if not hasattr(os, "nice"):
        log.debug("priority kept", nice=nice, reason="the system has no such priorities")
        return
    further = nice - os.getpriority(os.PRIO_PROCESS, 0)
    if further <= 0:
        return
    try:
        os.nice(further)
    except PermissionError:
        log.warning("priority kept", nice=nice, reason="the sandbox refuses another: set it there (Nice= of a unit)")


def raise_limit(most: int = MOST) -> None:
    """Raise the soft limit of open files as far as the hard one allows.  Shells set it to 1,024, though a process may
    take more by itself.  Sandboxes may refuse even the question (systemd's ``SystemCallFilter=~@resources``): the unit
    sets the limit there."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = most if hard == resource.RLIM_INFINITY else min(hard, most)
        if soft != resource.RLIM_INFINITY and soft < limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError) as error:
        log.debug("limit of open files kept", reason=str(error))


def peak_memory_mb() -> int | None:
    """Return the most memory that this process has had resident; None where the system does not say it as Linux does.
    (`resource` counts that of the process which started this one, too.)"""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)


_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
#: Notifications within the time after which the service manager ends a silent process.
_TIMES = 3


class Supervisor:
    """The service manager's socket at ``address``; empty: there is none.  ``silence_limit``: seconds without a
    notification after which this process is ended and started again; None: never."""

    def __init__(self, address: str = "", silence_limit: float | None = None) -> None:
        self._address = address.replace("@", "\0", 1) if address.startswith("@") else address
        self.silence_limit = silence_limit if address else None

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> Supervisor:
        """Return the service manager of the environment variables, if they are meant for this process."""
        watched = environment.get(_WATCHDOG, "")
        mine = environment.get(_WATCHDOG_PID, str(os.getpid())) == str(os.getpid())
        silence_limit = int(watched) / 1_000_000 if mine and watched.isdecimal() and int(watched) else None
        return Supervisor(environment.get(_SOCKET, ""), silence_limit)

    def ready(self, status: str) -> None:
        self._notify("READY=1", f"STATUS={status}")

    def reloading(self, clock: Clock) -> None:
        self._notify("RELOADING=1", f"MONOTONIC_USEC={int(clock.monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        self._notify("STOPPING=1", "STATUS=Stopping.")

    def waiting(self, status: str, seconds: float) -> None:
        """Report that the start takes longer, and is not hanging; the next report comes within ``seconds``."""
        self._notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", f"STATUS={status}")

    def alive(self, status: str) -> None:
        self._notify("WATCHDOG=1", f"STATUS={status}")

    def _notify(self, *lines: str) -> None:
        if not self._address:  # as everywhere without systemd
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
                manager.setblocking(False)  # a manager that does not read must not delay this process
                manager.connect(self._address)
                manager.send("\n".join(line.replace("\n", " ") for line in lines).encode())
        except OSError as error:
            log.warning("service manager not notified", message=lines[0], error=error.strerror)


async def keep_alive(
    supervisor: Supervisor,
    hangs: Callable[[datetime], Sequence[str]],
    status: Callable[[datetime], str],
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Report until ``stop`` that this process works; be silent while a part of it hangs, so that the service manager
    starts it again."""
    if supervisor.silence_limit is None:
        return
    while not stop.is_set():
        now = clock.now()
        if why := hangs(now):
            log.error("watchdog not notified", reasons=list(why))
        else:
            supervisor.alive(status(now))
        await clock.wait(stop, supervisor.silence_limit / _TIMES)


UNIT: Final = "facturascripts-cdc.service"
#: The account of a service.
ACCOUNT: Final = "facturascripts-cdc"
STATE: Final = Path("/var/lib/facturascripts-cdc")
#: The first systemd that knows Type=notify-reload.
RELOADS_SINCE: Final = 253
#: The first that has a name (%d) for the folder of the files that it passes.
_NAMES_CREDENTIALS_SINCE: Final = 250
#: Options that name files which nobody else should read; in each source, and in the other tables.
_SECRET_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "source": ("facturascripts", "password_file", "admin_password_file"),
    "outbox": ("password_file", "secret_key_file"),
    "mail": ("password_file",),
    "web": ("metrics_token_file",),
    "oidc": ("client_secret_file",),
}
#: Bound of the memory (MB), of the process and for each source: several times what docs/performance.md measures.
MEMORY_MB: Final = 512
MEMORY_MB_SOURCE: Final = 4
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """``program``: the words of the command ``cdc``, absolute.  ``user``: the account that it runs as.  ``systemd``:
    the version that the unit is for.  ``role``: the work of the process, after which the unit is named."""

    program: tuple[str, ...]
    user: str = ACCOUNT
    systemd: int = RELOADS_SINCE
    role: ProcessRole = ProcessRole.ALL

    @property
    def option(self) -> str:
        return "" if self.role is ProcessRole.ALL else f" --role {self.role}"

    @property
    def unit(self) -> str:
        return UNIT if self.role is ProcessRole.ALL else UNIT.replace(".", f"-{self.role}.")

    @property
    def state(self) -> Path:
        """The folder that systemd creates for the unit."""
        return STATE.with_name(self.unit.removesuffix(".service"))


def unit_text(config: Config, settings: UnitSettings) -> str:
    """Raises `UsageError` for a configuration that is not in a file."""
    if config.file is None:
        raise UsageError(
            "A service needs a configuration file.", "cdc config init > cdc.toml, then: cdc --config cdc.toml …"
        )
    reloads = settings.systemd >= RELOADS_SINCE
    program = " ".join(map(_word, settings.program))
    outbox = config.outbox.path
    written = [] if outbox is None or outbox.parent == settings.state else [outbox.parent]
    values = {
        "HOWTO": f"""# `cdc service install` does all this, and gives the account what it needs.  By hand:
#
#   useradd --system --home-dir {STATE} --shell /usr/sbin/nologin {settings.user}
#   cdc service unit{settings.option} > /etc/systemd/system/{settings.unit}
#   systemctl daemon-reload && systemctl enable --now {settings.unit}
""",
        "CONFIG": str(config.file),
        "CONFIG_WORD": _word(str(config.file)),
        "TYPE": "Type=notify-reload" if reloads else "Type=notify\nExecReload=/bin/kill -HUP $MAINPID",
        "PROGRAM": program,
        "COMMAND": f"service unit{settings.option}",
        "ROLE": settings.option,
        "STATE": settings.state.name,
        "USER": settings.user,
        "NICE": str(config.process.nice),
        "MEMORY": str(MEMORY_MB + MEMORY_MB_SOURCE * len(config.source)),
        "WRITES": "".join(f"ReadWritePaths={_quoted(_path(folder))}\n" for folder in written),
        "CREDENTIALS": "".join(_credentials(config, settings)) or "# (This configuration names none.)\n",
        "HOME": "read-only" if any(map(at_home, _read(config, settings))) else "yes",
    }
    text = (files("cdc.runtime") / UNIT).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def homes_of(config: Config, settings: UnitSettings) -> list[Path]:
    """Return the paths in home folders that the service's account must be able to read."""
    return [path for path in _read(config, settings) if at_home(path)]


def _read(config: Config, settings: UnitSettings) -> Iterator[Path]:
    """Files that the process itself opens; credentials are opened for it."""
    yield Path(settings.program[0])
    if config.file is not None:
        yield config.file
    if config.outbox.path is not None:
        yield config.outbox.path
    yield from (source.rules for source in config.source.values() if isinstance(source.rules, Path))


def at_home(path: Path) -> bool:
    """Return whether a path is in a folder that ``ProtectHome=yes`` hides from a service."""
    return any(path.is_relative_to(home) for home in _HOMES)


def _credentials(config: Config, settings: UnitSettings) -> Iterator[str]:
    """A line that has systemd read each file, and one that has the option name where it then is."""
    folder = "%d" if settings.systemd >= _NAMES_CREDENTIALS_SINCE else f"/run/credentials/{settings.unit}"
    for path, file in secret_files(config):
        name = ".".join(path).replace("source.", "", 1)
        yield f"LoadCredential={name}:{_path(file)}\n"
        yield f"Environment={variable_name(path)}={folder}/{name}\n"
    certificates = config.dispatch.client_certificates
    for name, file in certificates.items():
        yield f"LoadCredential=certificate.{name}:{_path(file)}\n"
    if certificates:
        places = ",".join(f"{name}={folder}/certificate.{name}" for name in certificates)
        yield f'Environment="{variable_name(("dispatch", "client_certificates"))}={places}"\n'


def secret_files(config: Config) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield each option that names a file with a secret, and the file."""
    tables: list[tuple[tuple[str, ...], object]] = [(("source", name), each) for name, each in config.source.items()]
    tables += [((name,), getattr(config, name)) for name in ("outbox", "mail", "web", "oidc")]
    for path, table in tables:
        for option in _SECRET_FILES[path[0]]:
            file = getattr(table, option)
            if file is not None:
                yield (*path, option), file
    for name, source in config.source.items():
        if source.rest.token_file is not None:
            yield ("source", name, "rest", "token_file"), source.rest.token_file
        if source.nats.password_file is not None:
            yield ("source", name, "nats", "password_file"), source.nats.password_file


def _path(path: Path) -> str:
    return str(path).replace("%", "%%")


def _word(text: str) -> str:
    """One word of a command line, as systemd reads it."""
    escaped = text.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return _quoted(escaped)


def _quoted(escaped: str) -> str:
    return f'"{escaped}"' if any(each.isspace() or each in "\"'\\;" for each in escaped) else escaped
