"""Dispatchers as processes of their own, on one outbox."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from support.commands import Forked, start_command
from support.consumer import NO_STANDING_BACK
from support.notify_socket import NotifySocket, notify_socket
from support.waiting import HANG_SECONDS


@dataclass
class Dispatcher:
    """``cdc run --role dispatch``, with a name that it keeps when it is started again."""

    folder: Path
    name: str
    process: Forked | None = None
    manager: NotifySocket | None = None
    _is_ready: bool = False
    _sockets: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self._sockets.close()
        self._is_ready = False
        self.manager = self._sockets.enter_context(notify_socket(self.folder, f"@cdc-{secrets.token_hex(8)}"))
        arguments = ["--config", str(self.folder / "cdc.toml"), "run", "--role", "dispatch"]
        environment = os.environ | {"CDC_DISPATCH_WORKER": self.name, "NOTIFY_SOCKET": self.manager.address}
        self.process = start_command(arguments, self.log, self.log, environment)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    async def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def ready(self) -> None:
        assert self.manager is not None
        if not self._is_ready:  # which it says once
            await self.manager.until(lambda told: "READY" in told)
        self._is_ready = True

    async def stop(self) -> int:
        """The exit code.  One that was started a moment ago must be there before it can be asked to stop."""
        assert self.process is not None
        await self.ready()
        self.process.terminate()
        code = await asyncio.to_thread(self.process.wait, HANG_SECONDS)
        self._sockets.close()
        return code


def configure(folder: Path, url: str) -> None:
    text = f'[outbox]\nurl = "{url}"\n{NO_STANDING_BACK}[dispatch]\nallow_private = true\n'
    (folder / "cdc.toml").write_text(f'{text}[web]\nlisten = ""\n[log]\nlevel = "warning"\n')
