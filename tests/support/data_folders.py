"""Initial data of test servers, made once and copied: initialised data folders, and a certificate."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trustme

from support.programs import CACHE, NoServerError


def copy_folder(source: Path, target: Path) -> None:
    """Copy as an administrator does it, with owners and times, but without the zeros of which most files consist."""
    if target.exists():
        shutil.rmtree(target)
    run_program(["cp", "-a", "--sparse=always", source, target])


def kept_folder(name: str, make: Callable[[Path], None]) -> Path:
    """Return an initialised data folder that is kept in the cache: making one takes long."""
    kept = CACHE / "data" / name
    if not kept.exists():
        building = kept.with_name(f"{kept.name}.{os.getpid()}.{threading.get_ident()}")
        building.parent.mkdir(parents=True, exist_ok=True)
        make(building)
        try:
            building.rename(kept)
        except OSError:
            if not kept.exists():
                raise
            shutil.rmtree(building)  # another run was quicker
    return kept


def tls_options() -> list[str]:
    """Return the options of MariaDB and MySQL that name a certificate: making a key takes longer than the rest of a
    start."""
    folder = kept_folder("tls", _make_certificate)
    return [f"--ssl-cert={folder / 'certificate.pem'}", f"--ssl-key={folder / 'key.pem'}"]


def _make_certificate(folder: Path) -> None:
    made = trustme.CA().issue_cert("localhost", "127.0.0.1")
    folder.mkdir()
    made.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")


def run_program(command: Sequence[str | Path], **popen: Any) -> None:
    """Run a preparing program; what it said is in the error when it fails."""
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, **popen)
    if done.returncode != 0:
        message = f"{command[0]} failed ({done.returncode}): {done.stdout}{done.stderr}"
        raise NoServerError(message)
