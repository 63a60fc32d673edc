"""How a process stands back: in processes of their own, since no way leads forward again."""

import os
import subprocess
import sys

OURS = os.getpriority(os.PRIO_PROCESS, 0)


def priorities(*nices: int) -> list[int]:
    """After one call each, of a thread that begins then."""
    code = (
        "import os, threading\nfrom cdc.priority import stand_back\n"
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
    assert priorities(OURS, 17, 16, 0, 19) == [OURS, max(17, OURS), max(17, OURS), max(17, OURS), 19]
