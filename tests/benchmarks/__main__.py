"""Measures dagger beside its peers, and writes docs/benchmarks.md; or profiles one case.

Without --only, every case but the long ones. Results are added to those of former calls in benchmarks.json, so that a
long case can be run by itself; the tables are made of all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
if __package__ in (None, ""):
    sys.path.insert(0, str(TOP))

from tests.benchmarks import bulk, busy, change, cold, memory, noop, old, peers, profiling, start, tools  # noqa: E402
from tests.benchmarks.harness import Contender, Result, call, progress, save  # noqa: E402
from tests.benchmarks.table import tables, verdicts  # noqa: E402


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        run: Yields results for a number of tasks and of rounds.
        share: The part of the rounds that it gets: fewer where one takes long.
        option: What on the command line includes it, if it is left out otherwise.
    """

    run: Callable[[int, int], Iterator[Result]]
    share: float = 1.0
    option: str = ""


CASES = {
    "start": Case(start.start, 4.0),
    "modules": Case(start.modules),
    "noop": Case(noop.noop),
    "noop-small": Case(noop.small, 0.2),
    "scaling": Case(noop.scaling, 0.4),
    "curve": Case(noop.curve, 0.6),
    "change": Case(change.change, 0.6),
    "cold-functions": Case(cold.functions, 0.3),
    "cold-redun": Case(cold.functions_small, 0.15),
    "cold-scripts": Case(cold.scripts, 0.2),
    "busy-even": Case(busy.even, 0.5),
    "busy-uneven": Case(busy.uneven, 0.5),
    "digest": Case(bulk.digest),
    "restore": Case(bulk.restore, 0.5),
    "array": Case(bulk.array, 0.3),
    "memory": Case(memory.memory, 0.2),
    "old": Case(old.old, 1.0, "old"),
    "million": Case(noop.million, 0.15, "million"),
}

PROFILES: dict[str, Callable[[int], Contender]] = {
    "noop-fan": lambda n: tools.built(tools.DAGGER[1], "fan", n),
    "noop-layers": lambda n: tools.built(tools.DAGGER[1], "layers", n),
    "noop-fan-scripts": lambda n: tools.built(tools.DAGGER[0], "fan", n),
    "noop-layers-scripts": lambda n: tools.built(tools.DAGGER[0], "layers", n),
    "cold-functions": lambda n: tools.unbuilt(tools.DAGGER_VALUES, "fan", n),
    "cold-scripts": lambda n: tools.unbuilt(tools.DAGGER[0], "fan", n),
}


def main() -> None:
    """Do what the command line says."""
    options = _options()
    if options.profile:
        print(profiling.profile(PROFILES[options.profile](options.n), options.top))
        return
    rounds = max(2, options.rounds // 5) if options.quick else options.rounds
    kept: list[Result] = []
    for name, case in CASES.items():
        is_asked = name in options.only if options.only else not case.option or getattr(options, case.option)
        if is_asked:
            progress(f"{name}:")
            load = f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
            results = [
                replace(result, revision=peers.revision(), notes=[*result.notes, load])
                for result in case.run(options.n, max(2, round(rounds * case.share)))
            ]
            print(tables(results), flush=True)
            kept = save(results, options.out / "benchmarks.json")
            call([sys.executable, "-m", "tests.benchmarks.report", str(options.out.resolve())], TOP)
    print(verdicts(kept))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000, help="tasks (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of a quick case (%(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", choices=CASES, help=", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    parser.add_argument("--million", action="store_true", help="also a hundred times N tasks")
    parser.add_argument("--old", action="store_true", help="also a cache with a million records")
    parser.add_argument("--out", type=Path, default=TOP / "docs", help="where the results go (docs/)")
    parser.add_argument("--profile", metavar="CASE", choices=PROFILES, help=f"instead: {', '.join(PROFILES)}")
    parser.add_argument("--top", type=int, default=30, help="lines of a profile's tables (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
