"""Cold: what running a task costs beside the work itself, which here is next to nothing.

Targets for 10,000 tasks: functions in worker processes faster than doit, joblib and redun, and under 0.4 ms a task;
scripts at most 1.2 times ninja, which runs the same command in the same shell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tests.benchmarks import tools
from tests.benchmarks.harness import Contender, Result, Target, race
from tests.benchmarks.tools import SCRIPTS, VALUES

PER_TASK = 0.0004


def functions(n: int, rounds: int) -> Iterator[Result]:
    """Run N tiny functions that each give a number, and add these up."""
    limit = Contender(f"{PER_TASK * 1000} ms a task", constant=PER_TASK * n)
    joblib = tools.unbuilt(tools.JOBLIB_VALUES, "fan", n)
    entrants = [
        _printing(tools.unbuilt(tools.DAGGER_VALUES, "fan", n), f"{n + 1} ran"),
        _printing(tools.unbuilt(tools.DOIT_VALUES, "fan", n), ".  half:0\n", ".  total\n"),
        replace(joblib, check=lambda _: _count(joblib.folder.rglob("output.pkl"), n + 1)),
        limit,
    ]
    samples = race(entrants, rounds)
    targets = [Target(VALUES, name, 1.0) for name in ("doit -n 2", "joblib.Memory, Parallel", limit.name)]
    result = Result("cold-functions", "tiny functions in worker processes, nothing known", n, samples, targets)
    result.notes.append(f"{VALUES}: {result.median(VALUES) / n * 1000:.3f} ms a task, of at most {PER_TASK * 1000}")
    yield result


def functions_small(n: int, rounds: int) -> Iterator[Result]:
    """Run a thousand, with redun."""
    n = min(n, 1000)
    entrants = (tools.DAGGER_VALUES, tools.REDUN_VALUES)
    samples = race([tools.unbuilt(tool, "fan", n) for tool in entrants], rounds)
    yield Result("cold-redun", "tiny functions, nothing known, with redun", n, samples, [Target(VALUES, "redun", 1.0)])


def scripts(n: int, rounds: int) -> Iterator[Result]:
    """Run N tiny scripts under bash."""
    dagger, ninja = (tools.unbuilt(tool, "fan", n) for tool in (tools.DAGGER[0], tools.NINJA_BASH))
    entrants = [
        _printing(dagger, f"{n + 1} ran"),
        replace(ninja, check=lambda _: _count((ninja.folder / "out").iterdir(), n + 1)),
    ]
    samples = race(entrants, rounds)
    targets = [Target(SCRIPTS, "ninja, bash", 1.2)]
    result = Result("cold-scripts", "tiny scripts under `bash -euo pipefail -c`, nothing known", n, samples, targets)
    result.notes += [f"{name}: {result.median(name) / n * 1000:.2f} ms a task" for name in samples]
    yield result


def _printing(contender: Contender, *fragments: str) -> Contender:
    """Return a contender that has failed if it does not print these: it might have had nothing to do."""

    def check(text: str) -> None:
        missing = [fragment for fragment in fragments if fragment not in text]
        if missing:
            raise RuntimeError(f"{contender.name} did not print {missing}")

    return replace(contender, check=check)


def _count(made: Iterable[object], expected: int) -> None:
    found = sum(1 for _ in made)
    if found != expected:
        raise RuntimeError(f"{found} results where {expected} were expected")
