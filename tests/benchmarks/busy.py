"""Busy workers: does the work itself keep every core at work?

Targets on two workers: 200 tasks of 50 ms CPU reach at least 95 % of the ideal; a wide graph of uneven tasks whose
times are known from before comes within 5 % of list scheduling by longest path. Start and end of the process count.

What burns CPU time takes longer where others use the machine; a bare pool of processes with the same work shows by how
much, and tasks that sleep show what is dagger's own. The uneven ones sleep: it is their order that counts.
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

# A version that is new in each run sends every task back to run, while the times of the last run are remembered.
UNEVEN = """
import json
import time
from pathlib import Path

from dagger.abstract import DatumList
from dagger.core import FunctionTask, MemoryDatum, WorkflowManager


def work(seconds, above):
    time.sleep(seconds)
    return {"done": True}


tasks = []
for number, (seconds, above) in enumerate(json.loads(Path("graph.json").read_text())):
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
    (folder / "pipeline.py").write_text(EVEN.replace("WORK", "burn"))
    (folder / "sleeping.py").write_text(EVEN.replace("WORK", "time.sleep"))
    (folder / "bare.py").write_text(BARE)
    ideal = TASKS * SECONDS / WORKERS
    samples = race(
        [
            Contender("dagger", (peers.dagger_python(), "pipeline.py"), folder),
            Contender("dagger, sleeping", (peers.dagger_python(), "sleeping.py"), folder),
            Contender("ProcessPoolExecutor", (peers.dagger_python(), "bare.py"), folder),
            Contender("ideal", constant=ideal),
        ],
        rounds,
    )
    targets = [Target(name, "ideal", 1 / 0.95) for name in ("dagger", "dagger, sleeping")]
    targets.append(Target("dagger", "ProcessPoolExecutor", 1.05))
    result = Result(
        "busy-even", f"{TASKS} tasks of {SECONDS * 1000:.0f} ms CPU on {WORKERS} workers", TASKS, samples, targets
    )
    result.notes += [f"{name}: {ideal / result.median(name):.1%} of the ideal" for name in samples]
    yield result


def uneven(n: int, rounds: int) -> Iterator[Result]:  # noqa: ARG001
    """Run a random graph whose longest path decides."""
    import json

    folder = _folder("uneven")
    graph = random_graph(random.Random(1), 60)
    (folder / "graph.json").write_text(json.dumps(graph))
    (folder / "pipeline.py").write_text(UNEVEN)
    command = (peers.dagger_python(), "pipeline.py")
    call(command, folder)
    planned = makespan(graph, WORKERS)
    samples = race(
        [
            Contender("dagger", command, folder),
            Contender("list scheduling", constant=planned),
        ],
        rounds,
    )
    targets = [Target("dagger", "list scheduling", 1.05)]
    result = Result("busy-uneven", f"60 uneven tasks in a wide graph on {WORKERS} workers", 60, samples, targets)
    least = sum(seconds for seconds, _ in graph) / WORKERS
    result.notes.append(f"list scheduling by longest path: {planned:.2f} s; all work on {WORKERS} cores: {least:.2f} s")
    yield result


def random_graph(random: random.Random, count: int) -> list[tuple[float, list[int]]]:
    """Return the seconds of each task and the tasks above it: short ones, some long, and one long chain at the end."""
    graph: list[tuple[float, list[int]]] = []
    for number in range(count - 6):
        above = sorted(random.sample(range(number), min(number, random.choice((0, 0, 0, 1, 2)))))
        graph.append((round(random.choice((0.02, 0.05, 0.1, 0.3)), 3), above))
    for number in range(6):
        graph.append((0.3, [len(graph) - 1] if number else []))
    return graph


def makespan(graph: Sequence[tuple[float, list[int]]], workers: int) -> float:
    """Return how long the graph takes where each free worker takes the ready task with the longest way to the end."""
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
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, number = heapq.heappop(ready)
            heapq.heappush(running, (now + graph[number][0], number))
        now, ended = heapq.heappop(running)
        for other in below[ended]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, (-way[other], other))
    return now


def _folder(name: str) -> Path:
    folder = peers.home() / "busy" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
