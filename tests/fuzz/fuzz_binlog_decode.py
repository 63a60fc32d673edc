"""The binlog decoder under atheris, which looks for bytes that lead it where none has led it before.

    make fuzz SECONDS=600

It ends with an error at the first input that raises anything but the documented error, takes 5 seconds or 512 MB; the
input is then in a file beside, and its name is the last line.  Inputs found on the way stay in .cache/fuzz.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("Fuzzing needs the package atheris, which is not installed: pip install atheris (Linux and macOS).")

with atheris.instrument_imports(include=["cdc"]):
    from support.binlog_fuzz import TARGETS, seeds

CORPUS = Path(__file__).resolve().parents[2] / ".cache" / "fuzz" / "binlog_decode"
_TARGETS = list(TARGETS)


def one_input(data: bytes) -> None:
    """The first byte chooses the target."""
    if data:
        TARGETS[_TARGETS[data[0] % len(_TARGETS)]](data[1:])


def main() -> None:
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, (target, data) in enumerate(seeds()):
        (CORPUS / f"seed-{number}").write_bytes(bytes([_TARGETS.index(target)]) + data)
    limits = ["-timeout=5", "-rss_limit_mb=512", "-max_len=4096", f"-artifact_prefix={CORPUS.parent}/"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], str(CORPUS)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
