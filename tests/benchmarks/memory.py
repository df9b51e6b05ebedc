"""Memory: what a task costs in the main process.

Target for 100,000 tasks: at most 1.5 kB a task, the user's own objects included.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks import peers, tools
from tests.benchmarks.harness import Contender, Result, Target, race
from tests.benchmarks.tools import FUNCTIONS, SCRIPTS

LIMIT = 1.5

# What a run that finds nothing to do leaves behind, against what the imports leave.
PROBE = """
import os, resource, runpy, sys, tracemalloc
import dagger.abstract, dagger.core, dagger.core.engine

def resident():
    if os.path.exists("/proc/self/statm"):
        return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

way, count = sys.argv[1], int(sys.argv[2])
sys.argv[1:] = []
if way != "resident":
    tracemalloc.start()
before = resident()
kept = runpy.run_path("pipeline.py", run_name="__main__")
after = resident()
if way == "resident":
    grown = after - before
else:
    grown = tracemalloc.get_traced_memory()[way == "peak"]
print(grown / count / 1000)
"""


def memory(n: int, rounds: int) -> Iterator[Result]:
    """Measure a no-op of ten times as many tasks."""
    for shape in ("fan", "layers"):
        yield _memory(FUNCTIONS, shape, 10 * n, rounds)
    yield _memory(SCRIPTS, "fan", 10 * n, rounds)


def _memory(name: str, shape: str, n: int, rounds: int) -> Result:
    tool = next(tool for tool in tools.DAGGER if tool.name == name)
    folder = tools.built(tool, shape, n).folder
    contenders = [
        Contender(way, (peers.dagger_python(), "-c", PROBE, way, str(n)), folder, reports=True)
        for way in ("resident", "traced", "peak")
    ]
    contenders.append(Contender("limit", constant=LIMIT))
    titled = {"resident": "growth of the resident set", "traced": "allocated at the end", "peak": "allocated at most"}
    samples = {titled.get(way, way): rounds for way, rounds in race(contenders, rounds).items()}
    targets = [Target(titled["resident"], "limit", 1.0)]
    case = f"memory-{shape}{'-scripts' if name == SCRIPTS else ''}"
    return Result(case, f"memory a task, no-op of {shape}, {name}", n, samples, targets, "kB")
