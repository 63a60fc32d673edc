"""The program as a service of systemd on this machine: the steps from what there is to what there should be.

Everything that the service reads or writes is where its own account may: the configuration and the files that it names
under /etc/facturascripts-cdc, the outbox under /var/lib/facturascripts-cdc.  Files with secrets stay closed to it:
systemd reads them, as root, when it starts the service.  A step is listed only where something is to be done, so that a
second installation is an upgrade, and an interrupted one continues."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import cdc
from cdc.config import DEFAULT_FILE, Config, load_config
from cdc.config.rules import catalogue
from cdc.config.section import KEY_VARIABLE
from cdc.config.url import parse_database_url
from cdc.config.write import relocated
from cdc.files import replace_durably
from cdc.logs import readable_line
from cdc.model.errors import CdcError, ConfigError, OutboxMissing, UsageError
from cdc.model.finding import size
from cdc.runtime.process import ACCOUNT, UNIT, UnitSettings, at_home, secret_files, unit_text

#: The first systemd that passes files to a service (LoadCredential=).
OLDEST_SYSTEMD: Final = 247
_NOLOGIN: Final = "/usr/sbin/nologin"
_PROPERTIES: Final = (
    "LoadState,ActiveState,SubState,ActiveEnterTimestamp,InactiveEnterTimestamp,UnitFileState,NRestarts,MemoryCurrent"
)


class InstallStep(NamedTuple):
    """``title``: in the imperative, for people."""

    title: str
    do: Callable[[], object]


@dataclass(frozen=True, slots=True)
class ServicePlaces:
    """The folders of services on this machine, below ``root``."""

    root: Path = Path("/")

    @property
    def configuration(self) -> Path:
        return self.root / "etc/facturascripts-cdc"

    @property
    def units(self) -> Path:
        return self.root / "etc/systemd/system"

    def state(self, settings: UnitSettings) -> Path:
        return self.root / settings.state.relative_to("/")

    def require_systemd(self) -> None:
        """Raise `UsageError` where systemd does not run."""
        if not (self.root / "run/systemd/system").is_dir() or shutil.which("systemctl") is None:
            raise UsageError(
                "systemd does not run on this machine.",
                "Have another supervisor run `cdc --config FILE run`, or use a container: docker/README.md.",
            )


class ServiceAccount(NamedTuple):
    """An account of the system.  ``uid`` and ``gid`` are -1 while it does not exist: it then belongs to no group."""

    name: str
    uid: int
    gid: int
    groups: frozenset[int]

    @staticmethod
    def named(name: str) -> ServiceAccount:
        import pwd

        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return ServiceAccount(name, -1, -1, frozenset())
        return ServiceAccount(name, entry.pw_uid, entry.pw_gid, frozenset(os.getgrouplist(name, entry.pw_gid)))

    def closed(self, path: Path, wanted: int = stat.S_IROTH) -> Path | None:
        """Return the file or the folder on the way to it that is closed to this account; None: it may use the file.
        ``wanted``: bits of a mode, for others."""
        real = path.resolve()
        folders = dict.fromkeys([*reversed(path.absolute().parents), *reversed(real.parents)])
        for each, needed in [*((folder, stat.S_IXOTH) for folder in folders), (real, wanted)]:
            try:
                status = each.stat()
            except PermissionError:  # not even this account may look
                return each.parent
            own, group = status.st_uid == self.uid, status.st_gid in self.groups
            bits = status.st_mode >> (6 if own else 3 if group else 0)
            if self.uid != 0 and bits & needed != needed:
                return each
        return None


def installation(
    config: Config, settings: UnitSettings, places: ServicePlaces, environment: Mapping[str, str]
) -> list[InstallStep]:
    """Return the steps that install the service of this configuration, and start it.  Raises `CdcError` where it cannot
    be installed."""
    account = ServiceAccount.named(settings.user)
    file = _require_installable(config, settings, places, environment, account)
    inside = file.parent == places.configuration.resolve()
    target = places.configuration / (file.name if inside or settings.option else DEFAULT_FILE)
    state, outbox = places.state(settings), config.outbox.path
    moved = dict(_moved_files(config, account, places, keep=inside))
    if outbox is not None and _outbox_moves(outbox, account, state):
        moved[outbox] = state / outbox.name
    text = file.read_text(encoding="utf-8-sig")
    if moved or not inside:
        text = relocated(text, file.parent, moved)
    placed = _checked(config, text, moved, target)
    if not inside and target.exists() and target.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{target} is there already, and is another configuration.",
            f"Install that one: cdc --config {target} service install; or move it away.",
        )
    active = answer("systemctl", "is-active", settings.unit) == "active"
    if outbox is not None and not outbox.exists() and not moved.get(outbox, outbox).exists():
        raise OutboxMissing(f"There is no outbox {outbox}.", "cdc outbox create, or cdc setup")
    # an interrupted installation may have moved it
    moving = [] if outbox not in moved or (moved[outbox].exists() and not outbox.exists()) else [outbox]
    for path in moving:
        _check_outbox(path, moved[path], active=active)

    steps = []
    owner = partial(ServiceAccount.named, settings.user)  # as it is when a step is done: the first one may create it
    if account.uid == -1:
        add = ["--system", "--user-group", "--no-create-home", "--home-dir", str(state), "--shell", _NOLOGIN]
        steps.append(
            InstallStep(f"create the system account {settings.user}", partial(run, "useradd", *add, settings.user))
        )
    if active and (moving or not inside):
        stop = partial(run, "systemctl", "stop", settings.unit)
        steps.append(InstallStep(f"stop {settings.unit} while its files move", stop))
    folder = places.configuration
    if not folder.is_dir() or account.closed(folder, stat.S_IXOTH) is not None:
        title = f"create the folder {folder}, which root and {settings.user} may read"
        steps.append(InstallStep(title, lambda: _make_folder(folder, 0, owner().gid, 0o750)))
    steps += _state_steps(state, account, owner)
    secrets = _secrets(config)
    for old, new in moved.items():
        if old != outbox and not (new.exists() and new.read_bytes() == old.read_bytes()):
            steps.append(InstallStep(f"copy {old} to {new}", partial(_copy, old, new, owner, secret=old in secrets)))
    steps += _move_steps(file, target, text, {path: moved[path] for path in moving}, owner)
    return steps + _unit_steps(placed, settings, places, active=active)


def _require_installable(
    config: Config,
    settings: UnitSettings,
    places: ServicePlaces,
    environment: Mapping[str, str],
    account: ServiceAccount,
) -> Path:
    """Return the file of the configuration.  Raises `UsageError` where it cannot be that of a service."""
    places.require_systemd()
    if settings.systemd < OLDEST_SYSTEMD:
        raise UsageError(
            f"systemd {settings.systemd} cannot pass files with secrets to a service; {OLDEST_SYSTEMD} can.",
            "Use a container: docker/README.md.",
        )
    for source in config.source.values():
        catalogue(source)  # its own rules are right
    if config.file is None:
        raise UsageError("A service needs a configuration file.", f"cdc setup, or cdc config init > {DEFAULT_FILE}")
    only_here = [name for name in sorted(environment) if name == KEY_VARIABLE or name in config.origins.values()]
    if only_here:
        raise UsageError(
            f"Options are set in this shell's environment, which a service does not have: {', '.join(only_here)}.",
            f"Write them into {config.file} (a key into a file: secret_key_file under [outbox]), and unset them.",
        )
    if account.uid == -1 and settings.user != ACCOUNT:
        raise UsageError(f"There is no account {settings.user!r} on this machine.", "Create it, or leave --user out.")
    program = Path(settings.program[0])
    for path in (program, Path(sys.executable), Path(sys.prefix), Path(cdc.__file__)):
        bits = stat.S_IROTH | stat.S_IXOTH if path == program or path.is_dir() else stat.S_IROTH
        if (closed := account.closed(path, bits)) is not None:
            raise UsageError(
                f"The account {account.name} cannot run this program, {path}: {closed} is closed to it.",
                "Install the program for all accounts, from the folder of its source: pipx install --global . (or "
                "python3 -m venv /opt/facturascripts-cdc && /opt/facturascripts-cdc/bin/pip install .), and run "
                "`service install` of that program.",
            )
    return config.file.resolve()


def _read(config: Config) -> Iterator[Path]:
    """Files besides the configuration and the outbox that the service itself opens."""
    for source in config.source.values():
        if isinstance(source.rules, Path):
            yield source.rules
        for url in (source.url, source.admin_url):
            yield from () if url is None else _tls_files(url)
        yield from () if source.nats.ca_file is None else (source.nats.ca_file,)
    if config.outbox.path is None:
        yield from _tls_files(config.outbox.url)
    yield from (each for each in (config.mail.ca_file, config.oidc.ca_file, config.web.brand_logo) if each is not None)


def _tls_files(url: str) -> Iterator[Path]:
    tls = parse_database_url(url, "The URL").tls
    yield from (Path(each) for each in (tls.ca, tls.certificate, tls.key) if each)


def _secrets(config: Config) -> set[Path]:
    """Files that systemd reads for the service, except those of FacturaScripts itself."""
    named = {file for path, file in secret_files(config) if path[-1] != "facturascripts"}
    return named | set(config.dispatch.client_certificates.values())


def _moved_files(
    config: Config, account: ServiceAccount, places: ServicePlaces, *, keep: bool
) -> Iterator[tuple[Path, Path]]:
    """Yield the files that get a copy beside the configuration, with its path: those that the service could not read
    where they are, and those that lie in a home folder or beside a configuration that moves (not ``keep``)."""
    assert config.file is not None, "required"
    secrets, folder, names = _secrets(config), config.file.parent, {DEFAULT_FILE}
    named = dict.fromkeys([*_read(config), *(file for _, file in secret_files(config)), *sorted(secrets)])
    for file in named:
        if not file.is_file():
            raise ConfigError(f"{file}, which the configuration names, is not there.", "Correct the path.")
        if file not in secrets and file in (source.facturascripts for source in config.source.values()):
            continue  # FacturaScripts changes it; systemd reads it wherever it is
        closed = file not in secrets and account.closed(file) is not None
        if not (closed or at_home(file) or (not keep and file.is_relative_to(folder))):
            continue
        name = next(each for each in (file.name, f"{file.parent.name}-{file.name}") if each not in names)
        names.add(name)
        if file != places.configuration / name:
            yield file, places.configuration / name


def _outbox_moves(outbox: Path, account: ServiceAccount, state: Path) -> bool:
    """Return whether the outbox has to move to the folder of the service: its own account could not write it where it
    is, or systemd hides the place."""
    if outbox.parent.resolve() == state.resolve():
        return False
    usable = stat.S_IROTH | stat.S_IWOTH
    closed = account.closed(outbox.parent, usable | stat.S_IXOTH) or (
        account.closed(outbox, usable) if outbox.exists() else None
    )
    return closed is not None or at_home(outbox)


def _checked(config: Config, text: str, moved: Mapping[Path, Path], target: Path) -> Config:
    """Return the configuration of the new text.  Raises `ConfigError` unless it says the same as the old one, but for
    the files that moved."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / target.name
        draft.write_text(text, encoding="utf-8")
        placed = load_config(draft, {}, draft.parent)

    def relocated_value(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: relocated_value(inner) for name, inner in value.items()}
        if isinstance(value, Path):
            return moved.get(value, value)
        if isinstance(value, str) and "://" in value:
            for old, new in moved.items():
                value = value.replace(str(old), str(new))
        return value

    if relocated_value(config.model_dump()) != placed.model_dump():
        raise ConfigError(
            f"The paths in {config.file} cannot be adapted to {target.parent}.",
            f"Move the files there yourself, and correct {', '.join(map(str, moved))} in the configuration.",
        )
    placed.read_from(target, placed.origins)
    return placed


def _check_outbox(outbox: Path, target: Path, *, active: bool) -> None:
    """Raise `UsageError` when the outbox cannot move.  ``active``: the service runs, and is stopped before."""
    from cdc.outbox.sqlite.file import ProcessLock

    if target.exists():
        raise UsageError(
            f"There are two outboxes: {outbox} and {target}.",
            "Move away the one that is not to be used: the service has one of them.",
        )
    needed = outbox.stat().st_size
    place = next(each for each in target.parents if each.is_dir())
    if shutil.disk_usage(place).free < needed * 1.1:
        raise UsageError(f"The outbox has {size(needed)}, and the disk of {place} has less space.", "Free space there.")
    lock = ProcessLock(outbox)
    if not active and outbox.with_name(f"{outbox.name}-dispatch").exists():
        if not lock.take():
            raise UsageError(f"A cdc run works with {outbox}.", "Stop it (Ctrl-C), then install the service again.")
        lock.release()


def _state_steps(state: Path, account: ServiceAccount, owner: Callable[[], ServiceAccount]) -> Iterator[InstallStep]:
    """Yield the step that gives the folder of the outbox, and the files in it, to the service's account."""
    if not state.is_dir():
        title = f"create the folder {state} for {account.name} alone"
        yield InstallStep(title, lambda: _make_folder(state, owner().uid, owner().gid, 0o700))
        return
    others = [each for each in (state, *state.iterdir()) if each.lstat().st_uid != account.uid]
    if others or stat.S_IMODE(state.stat().st_mode) & 0o077:

        def give() -> None:
            for each in others:
                os.chown(each, owner().uid, owner().gid, follow_symlinks=False)
            state.chmod(0o700)

        yield InstallStep(f"give {state}, with its files, to {account.name} alone", give)


def _move_steps(
    file: Path, target: Path, text: str, moving: Mapping[Path, Path], owner: Callable[[], ServiceAccount]
) -> Iterator[InstallStep]:
    """Yield the step that puts configuration and outbox (``moving``) into their places.  Order: the copy of the outbox,
    the configuration that names it, the copy's own name, then the old files' names.  Interrupted before the last two,
    the old outbox is still the only one."""

    def write() -> None:
        _write(target, text.encode(), (0, owner().gid), 0o640)

    def move() -> None:
        from cdc.outbox.sqlite.file import place_outbox

        for old, new in moving.items():
            place_outbox(old, new, (owner().uid, owner().gid), write)
        if not moving:
            write()
        if file != target:
            file.rename(file.with_name(f"{file.name}.moved"))

    titles = [f"{old} ({size(old.stat().st_size)}) to {new}" for old, new in moving.items()]
    if file != target:
        titles.append(f"{file} to {target}")
    if titles:
        yield InstallStep(f"move {' and '.join(titles)}; the old files are then called *.moved", move)
    elif target.read_text(encoding="utf-8-sig") != text or owner().closed(target) is not None:
        yield InstallStep(f"adapt {target}, and let {owner().name} read it", move)


def _unit_steps(config: Config, settings: UnitSettings, places: ServicePlaces, *, active: bool) -> list[InstallStep]:
    steps = []
    unit = places.units / settings.unit
    content = unit_text(config, settings)
    if not unit.exists() or unit.read_text(encoding="utf-8") != content:
        title = f"{'replace' if unit.exists() else 'write'} {unit}"
        steps.append(InstallStep(title, partial(_write, unit, content.encode(), (0, 0), 0o644)))
        steps.append(InstallStep("have systemd read it", partial(run, "systemctl", "daemon-reload")))
    if answer("systemctl", "is-enabled", settings.unit) != "enabled":
        steps.append(InstallStep("start it with the machine", partial(run, "systemctl", "enable", settings.unit)))
    verb = "restart" if active else "start"
    steps.append(InstallStep(f"{verb} it, and wait until it is ready", partial(_start, settings)))
    return steps


def _make_folder(folder: Path, uid: int, gid: int, mode: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, uid, gid)
    folder.chmod(mode)


def _copy(old: Path, new: Path, owner: Callable[[], ServiceAccount], *, secret: bool) -> None:
    _write(new, old.read_bytes(), (0, 0 if secret else owner().gid), 0o600 if secret else 0o640)


def _write(file: Path, content: bytes, owner: tuple[int, int], mode: int) -> None:
    """Replace a file, at once or not at all."""
    number, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    with os.fdopen(number, "wb") as draft:
        draft.write(content)
        os.fchown(number, *owner)
        os.fchmod(number, mode)
        draft.flush()
        os.fsync(number)
    replace_durably(Path(name), file)


def _start(settings: UnitSettings) -> None:
    """Return when the service has reported that it is ready (``Type=notify``).  Raises `CdcError` with the end of its
    log."""
    try:
        run("systemctl", "restart", settings.unit)
    except CdcError as error:
        log = answer("journalctl", "--unit", settings.unit, "--lines", "8", "--output", "cat").splitlines()
        lines = "\n".join(map(readable_line, log))
        raise CdcError(
            f"{settings.unit} does not start.", f"{lines}\nMore: cdc service logs, systemctl status {settings.unit}"
        ) from error


def removal(settings: UnitSettings, places: ServicePlaces, *, purge: bool) -> list[InstallStep]:
    """Return the steps that remove the service; with ``purge`` also its configuration, outbox and account."""
    places.require_systemd()
    steps = []
    unit = places.units / settings.unit
    if unit.exists():
        disable = partial(run, "systemctl", "disable", "--now", settings.unit)
        steps.append(InstallStep(f"stop {settings.unit}, now and for good", disable))
        steps.append(InstallStep(f"remove {unit}", unit.unlink))
        steps.append(InstallStep("have systemd forget it", partial(run, "systemctl", "daemon-reload")))
    if not purge:
        return steps
    others = [each.name for each in sorted(places.units.glob(UNIT.replace(".", "*."))) if each != unit]
    if others:
        raise UsageError(f"{others[0]} uses {places.configuration} too.", "Uninstall it first, or leave --purge out.")
    steps += [
        InstallStep(f"remove {folder}, with all that is in it", partial(shutil.rmtree, folder))
        for folder in (places.configuration, places.state(settings))
        if folder.exists()
    ]
    if settings.user == ACCOUNT and ServiceAccount.named(settings.user).uid != -1:
        steps.append(InstallStep(f"remove the account {settings.user}", partial(run, "userdel", settings.user)))
    return steps


class UnitStatus(NamedTuple):
    """The state of the service as systemd reports it: ``state`` in its own words, such as ``active (running)``."""

    state: str
    since: str
    starts_by_itself: bool
    restarts: str
    memory: str

    @property
    def active(self) -> bool:
        return self.state.startswith("active")


def unit_status(settings: UnitSettings, places: ServicePlaces) -> UnitStatus:
    """Raises `UsageError` where it is not installed."""
    places.require_systemd()
    shown = answer("systemctl", "show", settings.unit, f"--property={_PROPERTIES}")
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    if values.get("LoadState") != "loaded":
        raise UsageError(f"{settings.unit} is not installed.", "As root: cdc service install")
    active = values.get("ActiveState") == "active"
    memory = values.get("MemoryCurrent", "")
    return UnitStatus(
        f"{values.get('ActiveState')} ({values.get('SubState')})",
        values.get("ActiveEnterTimestamp" if active else "InactiveEnterTimestamp", ""),
        values.get("UnitFileState") == "enabled",
        values.get("NRestarts", "0"),
        size(int(memory)) if memory.isdecimal() else "",
    )


def run(*words: str) -> None:
    """Run a program of the system.  Raises `CdcError` with its last words when it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - words of this module, and names of the service
    except OSError as error:
        raise CdcError(f"`{shlex.join(words)}` cannot be run: {error.strerror}.", "Install what it needs.") from error
    if done.returncode:
        raise CdcError(f"`{shlex.join(words)}` failed.", (done.stderr or done.stdout).strip())


def answer(*words: str) -> str:
    """Return what a program of the system prints, also when it fails."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - as in run
    except OSError:
        return ""
