"""No-op: the cost of knowing that nothing is to be done.

Whole processes, the user's script included. Targets for 10,000 tasks: dagger at most 3 times ninja's time with scripts
as tasks, like ninja's own, and at least 8 times faster than doit and joblib.Memory; 100,000 tasks at most 11 times the
cost of 10,000; a million finishes, linear, under 4 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tests.benchmarks import graphs, tools
from tests.benchmarks.harness import Result, Sample, Target, race
from tests.benchmarks.tools import FUNCTIONS, SCRIPTS, Tool

ALL = (*tools.DAGGER, tools.FLOOR, tools.NINJA, tools.MAKE, tools.DOIT, tools.JOBLIB)
SMALL = (*tools.DAGGER, tools.NINJA, tools.REDUN, tools.SNAKEMAKE, tools.PYTASK)
# Who is shown at which size of the plot: a first build with the others would take hours.
CURVE = {
    100: (*SMALL, tools.MAKE, tools.DOIT, tools.JOBLIB),
    1_000: ALL,
    100_000: (tools.DAGGER[1], tools.FLOOR, tools.NINJA, tools.MAKE),  # doit's no-op takes minutes
}
TARGETS = (
    Target(SCRIPTS, "ninja", 3),
    Target(SCRIPTS, "doit", 1 / 8),
    Target(SCRIPTS, "joblib.Memory", 1 / 8),
    Target(FUNCTIONS, "doit", 1 / 8),
    Target(FUNCTIONS, "joblib.Memory", 1 / 8),
)
GIB = 2**30


def noop(n: int, rounds: int) -> Iterator[Result]:
    """Compare dagger with ninja, make, doit and joblib on both shapes."""
    for shape in graphs.SHAPES:
        result = _race(shape, n, rounds, ALL)
        result.targets += TARGETS
        yield result


def small(n: int, rounds: int) -> Iterator[Result]:
    """Compare it with those that are too slow for more than a thousand tasks."""
    yield replace(_race("fan", min(n, 1000), rounds, SMALL), case="noop-small")


def curve(n: int, rounds: int) -> Iterator[Result]:
    """Measure what the plot shows besides: other sizes of one shape."""
    for size, entrants in CURVE.items():
        if size != n:
            yield _race("fan", size, rounds if size <= n else max(2, rounds // 5), entrants)


def scaling(n: int, rounds: int) -> Iterator[Result]:
    """Compare a graph with one ten times as large, side by side."""
    for shape in graphs.SHAPES:
        yield _scaled(f"scaling-{shape}", shape, n, 10, rounds, 11, (tools.DAGGER[1], tools.NINJA))


def million(n: int, rounds: int) -> Iterator[Result]:
    """Find a hundred times as many tasks up to date, linear, under 4 GiB."""
    # Without ninja, which would be at the first build of a million for an hour: each of its commands is a shell.
    result = _scaled("million", "fan", n, 100, rounds, 110, tools.DAGGER[1:])
    yield result
    large = {FUNCTIONS: result.samples[f"{FUNCTIONS}, {100 * n:,}"]}
    yield Result("noop-fan", "no-op of fan", 100 * n, large)
    peaks = {name: [Sample(it.peak / GIB) for it in rounds] for name, rounds in large.items()}
    peaks["limit"] = [Sample(4.0)]
    target = Target(FUNCTIONS, "limit", 1.0)
    yield Result("million-memory", "the largest resident set of that", 100 * n, peaks, [target], "GiB")


def _scaled(case: str, shape: str, n: int, factor: int, rounds: int, limit: float, entrants: Sequence[Tool]) -> Result:
    contenders = [
        replace(tools.built(tool, shape, size), name=f"{tool.name}, {size:,}")
        for size in (n, factor * n)
        for tool in entrants
    ]
    target = Target(f"{FUNCTIONS}, {factor * n:,}", f"{FUNCTIONS}, {n:,}", limit)
    samples = race(contenders, rounds, settle=1)
    return Result(case, f"no-op of {shape}, {factor} times as many tasks", n, samples, [target])


def _race(shape: str, n: int, rounds: int, entrants: Sequence[Tool]) -> Result:
    contenders = [tools.built(tool, shape, n) for tool in entrants]
    before = {it.name: tools.newest_output(it.folder) for it in contenders}
    samples = race(contenders, rounds, settle=1)
    wrong = [it.name for it in contenders if tools.newest_output(it.folder) != before[it.name]]
    if wrong:
        raise RuntimeError(f"this was no no-op: {', '.join(wrong)}")
    return Result(f"noop-{shape}", f"no-op of {shape}", n, samples)
