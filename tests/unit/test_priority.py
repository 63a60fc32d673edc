"""How a process stands back: mostly in processes of their own, since no way leads forward again."""

import os
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from cdc.runtime.process import stand_back


def priorities(*nices: int) -> list[int]:
    """After one call each, of a thread that begins then."""
    code = (
        "import os, threading\nfrom cdc.runtime.process import stand_back\n"
        "def tell(): print(os.getpriority(os.PRIO_PROCESS, 0))\n"
        f"for nice in {nices}:\n"
        "    stand_back(nice)\n"
        "    thread = threading.Thread(target=tell)\n"
        "    thread.start()\n"
        "    thread.join()\n"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return [int(line) for line in said.split()]


def test_a_process_stands_back_and_stays_there() -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)  # now: a test before this one may have stood back
    assert priorities(ours, 17, 16, 0, 19) == [ours, max(17, ours), max(17, ours), max(17, ours), 19]


def test_a_sandbox_that_refuses_it_is_no_reason_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_further: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "nice", refused)
    monkeypatch.setattr(os, "getpriority", lambda _which, _who: 0)
    with capture_logs() as logs:
        stand_back(0)
        stand_back(5)
    assert [(entry["event"], entry["nice"]) for entry in logs] == [("priority kept", 5)]
