"""Busy workers: does the work itself keep every core at work?

Targets on two workers: 200 tasks of 50 ms CPU reach at least 95 % of the ideal; a wide graph of uneven tasks whose
times are known from before comes within 5 % of list scheduling by longest path. Start and end of the process count.

The ideal is measured too: two processes forked at once that do nothing but the work, each its half of it or, of uneven
tasks, what list scheduling gives it. On a machine that wakes a sleeper late, or that others use, even these take longer
than the seconds add up to. Tasks that sleep show what is dagger's own beside them; a bare pool of processes shows what
it takes to hand out work at all. The uneven ones sleep: it is their order that counts.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.harness import Contender, Result, Target, call, race

WORKERS = 2
TASKS = 200
SECONDS = 0.05

BURN = '''
import time


def burn(seconds):
    """Use so much CPU time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))
'''

EVEN = f"""
from dagger.core import FunctionTask, WorkflowManager
{BURN}

def work():
    WORK({SECONDS})
    return {{"done": True}}


tasks = [FunctionTask(f"work-{{number}}", work, outputs={{"done": None}}) for number in range({TASKS})]
WorkflowManager(tasks, jobs={WORKERS}, cache=False).run()
"""

BARE = f"""
from concurrent.futures import ProcessPoolExecutor
{BURN}

with ProcessPoolExecutor({WORKERS}) as pool:
    list(pool.map(burn, [{SECONDS}] * {TASKS}))
"""

# Takes each worker's share, in seconds.
ALONE = f"""
import os
import time
{BURN}

workers = []
for share in SHARES:
    worker = os.fork()
    if not worker:
        for seconds in share:
            WORK(seconds)
        os._exit(0)
    workers.append(worker)
for worker in workers:
    os.waitpid(worker, 0)
"""

# A version that is new in each run sends every task back to run, while the times of the last run are remembered.
UNEVEN = """
import time

from dagger.abstract import DatumList
from dagger.core import FunctionTask, MemoryDatum, WorkflowManager


def work(seconds, above):
    time.sleep(seconds)
    return {"done": True}


tasks = []
for number, (seconds, above) in enumerate(GRAPH):
    tasks.append(
        FunctionTask(
            f"work-{number}",
            work,
            {
                "seconds": MemoryDatum(pointer=seconds),
                "above": DatumList(MemoryDatum, [tasks[other]["done"] for other in above]),
            },
            {"done": None},
            version=str(time.time_ns()),
        )
    )
WorkflowManager(tasks, jobs=2).run()
"""


def even(n: int, rounds: int) -> Iterator[Result]:  # noqa: ARG001
    """Run 200 tasks of 50 ms."""
    folder = _folder("even")
    shares = [[SECONDS] * (TASKS // WORKERS)] * WORKERS
    entrants = [_entrant("ProcessPoolExecutor", folder / "bare.py", BARE)]
    targets = []
    for suffix, work in (("", "burn"), (", sleeping", "time.sleep")):
        name, alone = f"dagger{suffix}", f"the work alone{suffix}"
        entrants.append(_entrant(name, folder / f"{work}.py", EVEN.replace("WORK", work)))
        entrants.append(_alone(alone, folder / f"alone-{work}.py", work, shares))
        targets.append(Target(name, alone, 1 / 0.95))
    targets.append(Target("dagger", "ProcessPoolExecutor", 1.05))
    samples = race(entrants, rounds)
    result = Result(
        "busy-even", f"{TASKS} tasks of {SECONDS * 1000:.0f} ms CPU on {WORKERS} workers", TASKS, samples, targets
    )
    ideal = sum(shares[0])
    result.notes += [f"{name}: {ideal / result.median(name):.1%} of what {ideal:g} s would be" for name in samples]
    yield result


def uneven(n: int, rounds: int) -> Iterator[Result]:  # noqa: ARG001
    """Run a random graph whose longest path decides."""
    folder = _folder("uneven")
    graph = random_graph(random.Random(1), 60)
    dagger = _entrant("dagger", folder / "pipeline.py", UNEVEN.replace("GRAPH", repr(graph)))
    call(dagger.command, folder)
    shares = schedule(graph, WORKERS)
    samples = race([dagger, _alone("list scheduling", folder / "alone.py", "time.sleep", shares)], rounds)
    targets = [Target("dagger", "list scheduling", 1.05)]
    result = Result("busy-uneven", f"60 uneven tasks in a wide graph on {WORKERS} workers", 60, samples, targets)
    planned, least = max(map(sum, shares)), sum(seconds for seconds, _ in graph) / WORKERS
    result.notes.append(f"list scheduling by longest path: {planned:.2f} s; all work on {WORKERS} cores: {least:.2f} s")
    yield result


def _entrant(name: str, script: Path, text: str) -> Contender:
    script.write_text(text)
    return Contender(name, (peers.dagger_python(), script.name), script.parent)


def _alone(name: str, script: Path, work: str, shares: list[list[float]]) -> Contender:
    return _entrant(name, script, ALONE.replace("SHARES", repr(shares)).replace("WORK", work))


def random_graph(random: random.Random, count: int) -> list[tuple[float, list[int]]]:
    """Return the seconds of each task and the tasks above it: short ones, some long, and one long chain at the end."""
    graph: list[tuple[float, list[int]]] = []
    for number in range(count - 6):
        above = sorted(random.sample(range(number), min(number, random.choice((0, 0, 0, 1, 2)))))
        graph.append((round(random.choice((0.02, 0.05, 0.1, 0.3)), 3), above))
    for number in range(6):
        graph.append((0.3, [len(graph) - 1] if number else []))
    return graph


def schedule(graph: Sequence[tuple[float, list[int]]], workers: int) -> list[list[float]]:
    """Return how long each worker is at each task and waits for others, in seconds, one after the other.

    A worker that is free takes the ready task with the longest way to the end.
    """
    below: dict[int, list[int]] = {number: [] for number in range(len(graph))}
    for number, (_, above) in enumerate(graph):
        for other in above:
            below[other].append(number)
    way = [0.0] * len(graph)
    for number in reversed(range(len(graph))):
        way[number] = graph[number][0] + max((way[other] for other in below[number]), default=0.0)
    waits = [len(above) for _, above in graph]
    ready = [(-way[number], number) for number in range(len(graph)) if not waits[number]]
    heapq.heapify(ready)
    shares: list[list[float]] = [[] for _ in range(workers)]
    free = list(range(workers))
    running: list[tuple[float, int, int]] = []
    now = 0.0
    while ready or running:
        while ready and free:
            _, number = heapq.heappop(ready)
            worker, seconds = free.pop(), graph[number][0]
            shares[worker] += [max(0, now - sum(shares[worker])), seconds]
            heapq.heappush(running, (now + seconds, number, worker))
        now, ended, worker = heapq.heappop(running)
        free.append(worker)
        for other in below[ended]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, (-way[other], other))
    return shares


def _folder(name: str) -> Path:
    folder = peers.home() / "busy" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
