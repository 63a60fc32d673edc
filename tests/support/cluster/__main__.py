"""``make cluster``: workers that share sources on one replicated PostgreSQL outbox, while they and it fail.

    python -m support.cluster --workers 4 --sources 200 --events 1000000 --faults 60 --failovers 2 --seed 7

Exits with 1 when an event was lost, invented, reordered, doubled under another id, wrong or split, when repetitions
with the same id are 1 % or more, or when a worker ended by itself; the folder that is printed then holds ledger,
received requests and logs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from support.cluster.run import Plan, Result, run
from support.fault.frame import conclude, options_of, say
from support.memory import WANTED
from support.servers import kept_servers

#: Share of repetitions that is too much.
MOST_AGAIN = 0.01
#: Events whose databases need less than 4 GB; those of more are kept on the disk ($TMPDIR).
FEW = 200_000


def main() -> int:
    plan = _plan()
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    say(f"seed {plan.seed}; {folder}")
    if plan.events > FEW:
        os.environ.setdefault(WANTED, "0")
    with kept_servers() as client:
        result = run(plan, client, folder, say)
    print(report(result))
    wrong = result.wrong
    if result.again >= MOST_AGAIN:
        wrong.append(f"repetitions: {result.again:.2%}")
    return conclude(wrong, result.verdict.examples, folder, plan.seed)


def _plan() -> Plan:
    parser = options_of("make cluster", __doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--sources", type=int, default=200, help="databases, of MariaDB and PostgreSQL")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=500.0, help="events a second that the ERPs write")
    parser.add_argument("--faults", type=int, default=60, help="workers killed, stopped and cut off")
    parser.add_argument("--failovers", type=int, default=2, help="of the outbox's PostgreSQL")
    parser.add_argument("--former", default="", help="Python with a former release: its workers are upgraded")
    return Plan(**vars(parser.parse_args()))


def report(result: Result) -> str:
    """Markdown: what arrived, and how long the others needed."""
    v = result.verdict
    lines = ["| events | lost | invented | reordered | doubled | wrong | split | again |", "|" + " --- |" * 8]
    numbers = (v.delivered, v.lost, v.invented, v.reordered, v.doubled, v.wrong, v.split)
    lines.append("| " + " | ".join(map(str, numbers)) + f" | {v.again} ({result.again:.2%}) |")
    lines += ["", ", ".join(f"{name} {count}" for name, count in sorted(result.faults.items()))]
    for name, seconds in sorted(result.seconds.items()):
        lines.append(f"{name}: at most {max(seconds):.1f} s of {len(seconds)}")
    return "\n".join([*lines, f"seed {result.plan.seed}, {result.duration:.0f} s"])


if __name__ == "__main__":
    sys.exit(main())
