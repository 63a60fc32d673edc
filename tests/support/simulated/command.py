"""``make simulate``: runs of several consumers, dispatchers and receivers with faults, each decided by a number.

    python -m support.simulated --first 0 --seeds 1000

Prints each seed that failed, and what was wrong; ``--seed 17`` runs that one alone and prints everything that happened.
Exits with 1 when a seed failed.
"""

from __future__ import annotations

import argparse
import gc
import time

from support.simulated.world import Result, simulate

#: Seeds between two lines about the progress.
_PROGRESS = 250


def main() -> int:
    options = _options()
    if options.seed is not None:
        result = simulate(options.seed, trace=True)
        print("".join(result.trace), end="")
        report(result)
        return 1 if result.violations else 0
    return _many(options.first, options.seeds)


def _many(first: int, seeds: int) -> int:
    started, failed, requests, changes, simulated = time.process_time(), 0, 0, 0, 0.0
    for number, seed in enumerate(range(first, first + seeds), 1):
        result = simulate(seed)
        requests, changes, simulated = requests + result.requests, changes + result.changes, simulated + result.seconds
        if result.violations:
            failed += 1
            report(result)
        if not number % 20:
            gc.collect()
        if not number % _PROGRESS or number == seeds:
            spent = time.process_time() - started
            print(
                f"{number} seeds ({first} to {seed}): {failed} failed; {changes} changes, {requests} requests, "
                f"{simulated / 3600:.1f} simulated hours; {1000 * spent / number:.1f} ms of a processor each",
                flush=True,
            )
    return 1 if failed else 0


def report(result: Result) -> None:
    print(f"seed {result.plan.seed}: {len(result.violations)} violations, digest {result.digest}")
    for violation in result.violations[:10]:
        print(f"  {violation}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    return parser.parse_args()
