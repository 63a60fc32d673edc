"""``make chaos``: 20 sources and 50 endpoints, at first in peace, then while some of them fail; prints the figures.

    python -m support.chaos --minutes 60 --seed 7

Each of the two phases takes that long.  Exits with 1 when a change was lost, reordered or doubled, when the process
ended, or when the p99 of a healthy source or endpoint was more than twice that of the phase without failures; the
folder that is printed then holds the plan, what was received and the log.  The same seed chooses the same failures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from support.chaos.plan import Plan
from support.chaos.run import Result, raise_priority, run
from support.chaos.verdict import FACTOR, p99
from support.fault.frame import conclude, options_of, say
from support.fault.judge import Verdict
from support.servers import kept_servers


def main() -> int:
    options = _options()
    if options.priority:
        raise_priority()
    seconds = options.minutes * 60
    plan = Plan(options.seed, seconds, options.rate)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    say(f"seed {plan.seed}")
    with kept_servers() as client:
        result = run(plan, seconds, client, folder, priority=options.priority, say=say)
    print(report(result))
    return conclude([*result.wrong, *result.judgement.slow()], result.judgement.examples, folder, plan.seed)


def _options() -> argparse.Namespace:
    parser = options_of("make chaos", __doc__)
    parser.add_argument("--minutes", type=float, default=60, help="of each of the two phases")
    parser.add_argument("--rate", type=float, default=1.0, help="transactions a second of each source")
    parser.add_argument("--priority", action="store_true", help="before other processes of this machine (root)")
    return parser.parse_args()


def report(result: Result) -> str:
    """Markdown: latencies of the healthy, failures by kind, what arrived."""
    lines = ["| healthy | events | p99 without failures | p99 with | times |", "| --- | --- | --- | --- | --- |"]
    measured = sorted(result.judgement.latencies.items(), key=lambda item: (item[0].split()[0], -item[1].ratio))
    for name, each in measured:
        if each.quiet and each.chaos:
            figures = f"{p99(each.quiet) * 1000:.0f} ms | {p99(each.chaos) * 1000:.0f} ms | {each.ratio:.2f}"
            lines.append(f"| {name} | {len(each.quiet) + len(each.chaos)} | {figures} |")
    worst = max((each.ratio for _, each in measured), default=0.0)
    kinds: Counter[str] = Counter()
    for (_, kind), count in result.failures.items():
        kinds[kind] += count
    total = result.judgement.total
    return "\n".join(
        [
            *lines,
            "",
            f"worst: {worst:.2f} times, allowed {FACTOR:g}",
            "failures: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())),
            f"changes {result.changes}, delivered {total['delivered']}, again {total['again']}",
            ", ".join(f"{name} {total[name]}" for name in Verdict.FAULTS),
            f"seed {result.plan.seed}, {result.plan.seconds / 60:g} minutes each, {result.seconds:.0f} s in all",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
