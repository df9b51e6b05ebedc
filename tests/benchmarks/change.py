"""One change among N tasks: a no-op plus what must run.

The content of one source changes, so that one task and the join of all N files run. Target: dagger takes at most as
long as its own no-op and those two by themselves: the same change in a graph in which the other files are sources, so
that nothing else is to be known. What two tasks take that have nothing to do with N stands beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import graphs, tools
from tests.benchmarks.harness import Contender, Result, Sample, Target, race
from tests.benchmarks.tools import FUNCTIONS, SCRIPTS


def change(n: int, rounds: int) -> Iterator[Result]:
    """Edit one source before each round."""
    contenders: list[Contender] = []
    for tool in (*tools.DAGGER, tools.NINJA, tools.MAKE, tools.DOIT):
        edited = tools.built(tool, "fan", n, "changed")
        contenders.append(replace(edited, name=f"{tool.name}, one change", before=_editing(edited.folder)))
    for tool in tools.DAGGER:
        rest = tools.built(tool, "rest", n, "changed")
        contenders.append(replace(rest, name=f"{tool.name}, what must run, alone", before=_editing(rest.folder)))
        contenders.append(replace(tools.built(tool, "fan", n), name=f"{tool.name}, no-op"))
        contenders.append(replace(tools.unbuilt(tool, "fan", 1), name=f"{tool.name}, two tasks of one file"))
    samples = race(contenders, rounds, settle=1)
    targets = []
    for name in (SCRIPTS, FUNCTIONS):
        both = f"{name}, no-op + what must run"
        pairs = zip(samples[f"{name}, no-op"], samples[f"{name}, what must run, alone"], strict=True)
        samples[both] = [_sum(one, other) for one, other in pairs]
        targets.append(Target(f"{name}, one change", both, 1.0))
    yield Result("change", "one source of N changed: one task and the join run", n, samples, targets)


def _editing(folder: Path) -> Callable[[], object]:
    return lambda: (folder / "src" / f"{graphs.CHANGED}.txt").write_text(f"{time.time_ns()}\n")


def _sum(one: Sample, other: Sample) -> Sample:
    return Sample(one.value + other.value, one.cpu + other.cpu, max(one.peak, other.peak))
