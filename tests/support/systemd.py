"""A small systemd for tests: ``systemctl`` starts the unit's program as the unit's account, with its credentials, and
waits for ``READY=1``; ``useradd``, ``userdel`` and ``journalctl`` beside it.  Each notes how it was called.

PYTHONPATH=tests python -m support.systemd FOLDER systemctl restart UNIT     what those programs run
"""

from __future__ import annotations

import os
import pwd
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = ("systemctl", "journalctl", "useradd", "userdel")


@dataclass(frozen=True)
class Systemd:
    """``folder``: the root of a machine, whose units are in etc/systemd/system."""

    folder: Path

    @staticmethod
    def on(folder: Path) -> Systemd:
        """Have systemd run on a machine; its programs are in ``bin``."""
        for path in ("run/systemd/system", "etc/systemd/system", "var/lib", "bin", "credentials"):
            (folder / path).mkdir(parents=True)
        tests = Path(__file__).parents[1]
        for name in _PROGRAMS:
            program = folder / "bin" / name
            words = shlex.join([sys.executable, "-m", "support.systemd", str(folder), name])
            program.write_text(f'#!/bin/sh\nexec env PYTHONPATH={tests} {words} "$@"\n', encoding="utf-8")
            program.chmod(0o755)
        return Systemd(folder)

    @property
    def log(self) -> Path:
        return self.folder / "journal"

    def calls(self) -> list[str]:
        """Return what was asked to change something, and forget it."""
        file = self.folder / "calls"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def pid(self) -> int | None:
        file = self.folder / "pid"
        return int(file.read_text(encoding="utf-8")) if file.exists() else None

    def stop(self) -> None:
        """End the service's process, and wait for its end."""
        if (pid := self.pid()) is None:
            return
        (self.folder / "pid").unlink()
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            signal.pidfd_send_signal(process, signal.SIGTERM)
            select.select([process], [], [])
            os.close(process)

    def start(self, unit: str) -> int:
        text = (self.folder / "etc/systemd/system" / unit).read_text(encoding="utf-8")
        options = [line.partition("=")[::2] for line in text.splitlines() if "=" in line and line[0].isalpha()]
        account = pwd.getpwnam(next(value for name, value in options if name == "User"))
        credentials = self.folder / "credentials"
        shutil.rmtree(credentials)
        credentials.mkdir(mode=0o755)
        environment = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(self.folder / "notify")}
        for name, value in options:
            if name == "LoadCredential":
                known, _, file = value.partition(":")
                shutil.copyfile(file, credentials / known)
                os.chown(credentials / known, account.pw_uid, account.pw_gid)
                (credentials / known).chmod(0o400)
            elif name == "Environment":
                variable, _, content = value.strip('"').partition("=")
                environment[variable] = content.replace("%d", str(credentials))
        command = shlex.split(next(value for name, value in options if name == "ExecStart"))
        (self.folder / "notify").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, self.log.open("ab") as log:
            manager.bind(str(self.folder / "notify"))
            (self.folder / "notify").chmod(0o666)
            process = subprocess.Popen(
                command, env=environment, cwd="/", user=account.pw_uid, group=account.pw_gid,
                extra_groups=[], umask=0o077, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            (self.folder / "pid").write_text(str(process.pid), encoding="utf-8")
            manager.settimeout(0.2)
            while process.poll() is None:
                with suppress(TimeoutError):
                    if b"READY=1" in manager.recv(4096):
                        return 0
        (self.folder / "pid").unlink()
        return 1


def _called(systemd: Systemd, program: str, words: list[str]) -> int:
    if program == "journalctl":
        sys.stdout.write(systemd.log.read_text(encoding="utf-8"))
        return 0
    if program == "systemctl" and words[0] == "--version":
        sys.stdout.write("systemd 257 (257)\n")
        return 0
    enabled = systemd.folder / "enabled"
    match words:
        case ["is-active", _]:
            sys.stdout.write("active\n" if systemd.pid() else "inactive\n")
            return 0 if systemd.pid() else 3
        case ["is-enabled", _]:
            sys.stdout.write("enabled\n" if enabled.exists() else "disabled\n")
            return 0 if enabled.exists() else 1
        case ["show", unit, *_]:
            loaded = "loaded" if (systemd.folder / "etc/systemd/system" / unit).exists() else "not-found"
            state = "active\nSubState=running" if systemd.pid() else "inactive\nSubState=dead"
            file_state = "enabled" if enabled.exists() else "disabled"
            sys.stdout.write(f"LoadState={loaded}\nActiveState={state}\nUnitFileState={file_state}\nNRestarts=0\n")
            sys.stdout.write("ActiveEnterTimestamp=Wed 2026-12-02 09:00:00 UTC\nMemoryCurrent=73400320\n")
            return 0
    with (systemd.folder / "calls").open("a", encoding="utf-8") as calls:
        calls.write(f"{shlex.join([program, *words])}\n")
    match words:
        case ["enable", _]:
            enabled.touch()
        case ["disable", "--now", _]:
            enabled.unlink()
            systemd.stop()
        case ["stop", _]:
            systemd.stop()
        case ["restart", unit]:
            systemd.stop()
            return systemd.start(unit)
    return 0


if __name__ == "__main__":
    sys.exit(_called(Systemd(Path(sys.argv[1])), sys.argv[2], sys.argv[3:]))
