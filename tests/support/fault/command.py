"""``make faults``: routes at work while faults are injected; prints the figures.

    python -m support.fault --route mariadb-triggers --faults 2000 --seed 7

Without --route every route runs.  Exits with 1 when a change was lost, invented, reordered, doubled, wrong or split, a
write of the ERP failed, or doctor called a healthy source WRONG; the folder that is printed then holds ledger,
deliveries and logs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from support.fault import doctors
from support.fault.drive import Result, go, table
from support.fault.faults import FAULTS, WEIGHTS
from support.fault.frame import conclude, options_of, say
from support.fault.routes import ROUTES
from support.fault.run import Plan
from support.servers import ADDRESS, KeeperClient, kept_servers


def main() -> int:
    options = _options()
    results, broken = [], []
    context = multiprocessing.get_context("spawn")
    with kept_servers(), ProcessPoolExecutor(options.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        running = {pool.submit(_run, name, options): name for name in options.route}
        for done in as_completed(running):
            error = done.exception()
            if error is not None:
                broken.append(running[done])
                say(f"{running[done]}: {type(error).__name__}: {error}")
                continue
            results.append(done.result())
            _report(results[-1])
    print(table(sorted(results, key=lambda each: each.route)))
    return 1 if broken or any(each.failures for each in results) else 0


def _options() -> argparse.Namespace:
    parser = options_of("make faults", __doc__)
    parser.add_argument("--route", nargs="+", choices=list(ROUTES), default=list(ROUTES))
    parser.add_argument("--faults", type=int, default=200, help="how many, on each route")
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), help="these faults, each as often as the others")
    parser.add_argument(
        "--doctors", type=int, default=0, help="run cdc doctor that often beside faults that it must not report"
    )
    parser.add_argument("--changes", type=int, default=6, help="transactions for each fault")
    parser.add_argument("--tables", type=int, default=0, help="further captured tables, which nobody writes")
    parser.add_argument("--bulk", type=int, default=10_000, help="rows of the table that is updated as a whole")
    parser.add_argument("--jobs", type=int, default=2, help="routes at work at the same time")
    return parser.parse_args()


def _run(name: str, options: argparse.Namespace) -> Result:
    weights = dict.fromkeys(options.only, 1) if options.only else doctors.WEIGHTS if options.doctors else WEIGHTS
    faults = 0 if options.doctors else options.faults
    plan = Plan(
        options.seed,
        faults,
        weights,
        options.changes,
        options.bulk,
        tables=options.tables,
        doctors=options.doctors,
    )
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
    client = KeeperClient(os.environ[ADDRESS])
    try:
        return go(ROUTES[name], plan, client, folder)
    finally:
        client.close()


def _report(result: Result) -> None:
    """Print the result to stderr; keep the folder of a failed run."""
    verdict = result.verdict
    say(f"{result.route}: {verdict.numbers()} {dict(result.faults)} {result.seconds:.0f} s")
    tally = result.tally
    met = f"{tally.rollbacks} rollbacks, {tally.conflicts} conflicts ({tally.silent} not reported by the server),"
    say(f"  ERP: {tally.commits} commits, {met}")
    if result.called:
        say(f"  doctor: {result.called} calls, WRONG: {len(result.misjudged)}")
    say(f"  {tally.lost} lost connections; {result.stuck} waits without progress")
    conclude(result.failures, verdict.examples, result.folder, result.seed)
