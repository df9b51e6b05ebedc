"""How many tasks of a graph can run at once, and that no more workers are started than that."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import pytest
from hypothesis import given, strategies as st

from dagger.core import FunctionTask, MemoryDatum, WorkflowManager, engine
from dagger.core.events import TaskStarted
from dagger.core.graph import most_at_once, slots_of


@st.composite
def graphs(draw):
    """What each of some tasks needs, all of it before itself, and which of them count."""
    count = draw(st.integers(1, 7))
    needs = [draw(st.sets(st.integers(0, number - 1))) if number else set() for number in range(count)]
    return needs, draw(st.lists(st.booleans(), min_size=count, max_size=count))


def _widest(needs, counted) -> int:
    """The most of those that count of which none needs another, through however many others."""
    above = []
    for direct in needs:
        above.append(direct.union(*(above[it] for it in direct)))
    free = [it for it in range(len(needs)) if counted[it]]
    for size in range(len(free), 0, -1):
        for some in combinations(free, size):
            if not any(one in above[other] or other in above[one] for one, other in combinations(some, 2)):
                return size
    return 1


@given(graphs(), st.integers(1, 8))
def test_no_more_can_run_at_once_than_is_told(graph, enough):
    """What is told is never too few, and what is enough changes nothing but where it ends."""
    needs, counted = graph
    tasks = [FunctionTask(f"task{number}", print) for number in range(len(needs))]
    slots = slots_of({task: [tasks[it] for it in direct] for task, direct in zip(tasks, needs, strict=True)})
    told = most_at_once(slots, lambda slot: counted[slots.index(slot)], len(slots))
    assert most_at_once(slots, lambda slot: counted[slots.index(slot)], enough) == min(told, enough)
    assert _widest(needs, counted) <= told <= max(1, sum(counted))


PIPELINE = """
import os
from dagger.abstract import DatumList
from dagger.core import FileDatum, FunctionTask, MemoryDatum, WorkflowManager

def workers(source):
    with open(f"/proc/{os.getppid()}/task/{os.getppid()}/children") as file:
        children = file.read().split()
    lines = [open(f"/proc/{child}/cmdline").read() for child in children]
    return {"count": sum("dagger.core.worker" in line for line in lines)}

def most(counts):
    return {"most": max(counts)}

parts = [
    FunctionTask(f"part{n}", workers, {"source": FileDatum(pointer=f"{n}.txt")}, {"count": None}, version=SALT)
    for n in range(3)
]
whole = FunctionTask(
    "whole", most, {"counts": DatumList(MemoryDatum, [it["count"] for it in parts])}, {"most": None}
)
WorkflowManager(whole, jobs=9, undeclared="ignore").run()
print(*[it["count"].pointer for it in parts])
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_no_worker_is_started_that_nothing_can_be_for(project):
    for number in range(3):
        project.write(f"{number}.txt", "1")
    project.write("pipeline.py", PIPELINE.replace("SALT", "1"))
    assert project.run("pipeline.py").stdout.split() == ["3", "3", "3"]
    project.write("1.txt", "22")
    assert project.run("pipeline.py").stdout.split() == ["3", "1", "3"]


def test_of_a_large_graph_the_first_runs_while_the_rest_is_looked_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "_TO_KNOW_MORE", 0.0)

    def same(number):
        return {"number": number}

    def run(first: int) -> list[type]:
        numbers = (first, *range(1, 60))
        tasks = [
            FunctionTask(f"task{it}", same, {"number": MemoryDatum(pointer=it)}, {"number": None}) for it in numbers
        ]
        events: list[object] = []
        with ThreadPoolExecutor(1) as pool:
            WorkflowManager(tasks, executor=pool, listeners=[events.append]).run()
        return [type(it) for it in events]

    run(0)
    for memo in (tmp_path / ".dagger" / "v2" / "memos").glob("run-*"):
        memo.unlink()
    told = run(-1)
    assert told.index(TaskStarted) < 30
    assert told.count(TaskStarted) == 1
