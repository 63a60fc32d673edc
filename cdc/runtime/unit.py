"""The systemd unit that runs a configuration: hardened, with readiness notifications, secrets as credentials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from cdc.config import Config
from cdc.config.load import variable_name
from cdc.model.errors import UsageError

UNIT: Final = "facturascripts-cdc.service"
STATE: Final = Path("/var/lib/facturascripts-cdc")
#: The first systemd that knows Type=notify-reload.
RELOADS_SINCE: Final = 253
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
    the version that the unit is for."""

    program: tuple[str, ...]
    user: str = "facturascripts-cdc"
    systemd: int = RELOADS_SINCE


def unit_text(config: Config, settings: UnitSettings) -> str:
    """Raises `UsageError` for a configuration that is not in a file."""
    if config.file is None:
        raise UsageError(
            "A service needs a configuration file.", "cdc config init > cdc.toml, then: cdc --config cdc.toml …"
        )
    reloads = settings.systemd >= RELOADS_SINCE
    program = " ".join(map(_word, settings.program))
    values = {
        "HOWTO": _howto(settings.user),
        "CONFIG": str(config.file),
        "CONFIG_WORD": _word(str(config.file)),
        "TYPE": "Type=notify-reload" if reloads else "Type=notify\nExecReload=/bin/kill -HUP $MAINPID",
        "PROGRAM": program,
        "USER": settings.user,
        "NICE": str(config.process.nice),
        "MEMORY": str(MEMORY_MB + MEMORY_MB_SOURCE * len(config.source)),
        "WRITES": "".join(f"ReadWritePaths={_quoted(_path(folder))}\n" for folder in _written(config)),
        "CREDENTIALS": "".join(_credentials(config)) or "# (This configuration names none.)\n",
        "HOME": "read-only" if any(map(_at_home, _read(config, settings))) else "yes",
    }
    text = (files("cdc.runtime") / UNIT).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def homes_of(config: Config, settings: UnitSettings) -> list[Path]:
    """Return the paths in home folders that the service's account must be able to read."""
    return [path for path in _read(config, settings) if _at_home(path)]


def _howto(user: str) -> str:
    return f"""#
#   useradd --system --home-dir {STATE} --shell /usr/sbin/nologin {user}
#   cdc service unit > /etc/systemd/system/{UNIT}
#   systemctl daemon-reload && systemctl enable --now {UNIT}
"""


def _written(config: Config) -> Iterator[Path]:
    path = config.outbox.path
    if path is not None and path.parent != STATE:
        yield path.parent


def _read(config: Config, settings: UnitSettings) -> Iterator[Path]:
    """Files that the process itself opens; credentials are opened for it."""
    yield Path(settings.program[0])
    if config.file is not None:
        yield config.file
    if config.outbox.path is not None:
        yield config.outbox.path
    yield from (source.rules for source in config.source.values() if isinstance(source.rules, Path))


def _at_home(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in _HOMES)


def _credentials(config: Config) -> Iterator[str]:
    """A line that has systemd read each file, and one that has the option name where it then is."""
    for path, file in secret_files(config):
        name = ".".join(path).replace("source.", "", 1)
        yield f"LoadCredential={name}:{_path(file)}\n"
        yield f"Environment={variable_name(path)}=%d/{name}\n"
    certificates = config.dispatch.client_certificates
    for name, file in certificates.items():
        yield f"LoadCredential=certificate.{name}:{_path(file)}\n"
    if certificates:
        places = ",".join(f"{name}=%d/certificate.{name}" for name in certificates)
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
