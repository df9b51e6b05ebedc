"""Several managers on one project and cache at once: right results, nothing twice, nothing in each other's way."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter

import pytest

# Each task leaves a mark when it is executed, by one write to a file that is only appended to.
PIPELINE = """
import os, sys, time
from dagger.abstract import DatumList
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask, WorkflowManager

PACE = float(os.environ.get("PACE", "0.05"))
ROUND = os.environ.get("ROUND", "0")

def mark(name):
    descriptor = os.open("marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{ROUND} {name}\\n".encode())
    os.close(descriptor)

def value(n, turn):
    mark(f"value-{n}")
    time.sleep(PACE)
    return {"x": n + turn, "big": [n] * 3000}

def total(a, b, big):
    mark("total")
    time.sleep(PACE)
    return {"sum": a + b + len(big)}

def write(sum, report):
    mark("write")
    with open(report, "w") as file:
        file.write("half")
        file.flush()
        time.sleep(PACE)
        file.seek(0)
        file.write(f"sum {sum}")

def tree(x, whole):
    mark(f"tree-{x}")
    for name in range(5):
        with open(f"{whole}/{name}", "w") as file:
            file.write(f"{x} {name}")
        time.sleep(PACE / 5)

def count(trees, upper):
    mark("count")
    names = [os.path.join(tree, name) for tree in trees for name in sorted(os.listdir(tree))]
    texts = [open(name).read() for name in names]
    return {"text": f"{open(upper).read().strip()} {len(texts)} {texts[-1]}"}

def graph(turn):
    turn = MemoryDatum(pointer=turn)
    values = [FunctionTask(f"value-{n}", value, {"n": MemoryDatum(pointer=n), "turn": turn}, {"x": None, "big": None})
              for n in range(6)]
    summed = {"a": values[0]["x"], "b": values[1]["x"], "big": values[2]["big"]}
    both = PklTask("total", total, summed, {"sum": "out/total.pkl"})
    wrote = FunctionTask("write", write, {"sum": both["sum"]}, {"report": "out/report.txt"})
    marking = f"echo {ROUND} upper >> marks; sleep {PACE}; tr a-z A-Z < {{i}} > {{o}}"
    upper = ScriptTask("upper", {"i": wrote["report"]}, {"o": "out/upper.txt"}, script=marking)
    copying = f"echo {ROUND} parts >> marks; mkdir -p out/parts; for n in 1 2 3; do cp {{i}} out/parts/$n.part; done"
    parts = ScriptTask("parts", {"i": wrote["report"]}, {"parts": "out/parts/*.part"}, script=copying)
    trees = [FunctionTask(f"tree-{n}", tree, {"x": values[n]["x"]}, {"whole": f"out/tree-{n}/"}) for n in (3, 4, 5)]
    all_trees = DatumList(FileDatum, [it["whole"] for it in trees])
    ends = FunctionTask("count", count, {"trees": all_trees, "upper": upper["o"]}, {"text": None})
    return {"all": [ends, parts], "left": [upper, values[5]], "right": [parts, trees[0], trees[1]], "end": [ends]}

if __name__ == "__main__":
    turn, which = int(sys.argv[1]), sys.argv[2]
    wanted = graph(turn)[which]
    WorkflowManager(wanted, jobs=2, undeclared="ignore").run()
    if which in ("all", "end"):
        print(wanted[0]["text"].pointer)
"""
NAMES = [*(f"value-{n}" for n in range(6)), "total", "write", "upper", "parts", "count"]


def _expected(turn: int) -> str:
    return f"SUM {1 + 2 * turn + 3000} 15 {5 + turn} 4"


def _names(turn: int) -> list[str]:
    return sorted([*NAMES, *(f"tree-{n + turn}" for n in (3, 4, 5))])


def _start(project, turn: int, *which: str, **environment: str):
    return [project.start("pipeline.py", str(turn), each, env=environment) for each in which]


def _end(processes) -> list[str]:
    said = []
    for process in processes:
        out, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
        assert "locked" not in errors
        assert "cannot be written" not in errors
        assert "Traceback" not in errors
        said.append(out.strip())
    return said


def _marks(project) -> list[str]:
    path = project.path / "marks"
    found = [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(found)


def _is_right(project, turn: int) -> None:
    """The files are as one manager alone would leave them."""
    assert project.read("out/report.txt") == f"sum {1 + 2 * turn + 3000}"
    assert project.read("out/upper.txt") == f"SUM {1 + 2 * turn + 3000}"
    for n in (3, 4, 5):
        assert [project.read(f"out/tree-{n}/{name}") for name in range(5)] == [
            f"{n + turn} {name}" for name in range(5)
        ]


@pytest.fixture
def shared(project):
    project.write("pipeline.py", PIPELINE)
    return project


def test_four_managers_execute_each_task_once(shared, rounds):
    """All kinds of tasks, from nothing and where only files are missing; ``--rounds N`` for more."""
    for turn in range(max(1, rounds // 6)):
        assert _end(_start(shared, turn, *["all"] * 4)) == [_expected(turn)] * 4
        assert _marks(shared) == _names(turn)
        _is_right(shared, turn)
        for name in ("report.txt", "tree-4/2", "parts/2.part", "total.pkl"):
            (shared.path / "out" / name).unlink()
        assert _end(_start(shared, turn, *["all"] * 4)) == [_expected(turn)] * 4
        assert _marks(shared) == []
        _is_right(shared, turn)


def test_four_managers_of_overlapping_graphs_execute_each_task_once(shared):
    """What two of them need is made by one."""
    said = _end(_start(shared, 0, "all", "left", "right", "end"))
    assert said == [_expected(0), "", "", _expected(0)]
    assert _marks(shared) == _names(0)
    _is_right(shared, 0)


def test_an_edit_between_two_managers_gives_each_its_own_result(shared):
    """The later one waits for files that the earlier one is at; the files are the later one's in the end.

    The earlier one may find between two tasks that a file of its own is another one's now: then it says so.
    """
    (first,) = _start(shared, 0, "all", PACE="0.08")
    _until(lambda: (shared.path / "marks").exists())
    shared.write("pipeline.py", PIPELINE.replace('return {"x": n + turn,', 'return {"x": n + turn + 100,'))
    (second,) = _start(shared, 0, "all", PACE="0.08", ROUND="1")
    _end([second])
    _, said = first.communicate()
    assert not first.returncode or "was changed meanwhile" in said
    shared.run("pipeline.py", "0", "all", env={"PACE": "0.08", "ROUND": "1"})
    assert shared.read("out/report.txt") == "sum 3201"
    assert [shared.read(f"out/tree-3/{name}") for name in range(5)] == [f"103 {name}" for name in range(5)]


def test_a_killed_manager_does_not_keep_the_others(shared, rounds):
    """Its tasks are taken over once its workers are gone; what it had finished is not done again.

    But for what it finished in its last half second, which need not have been committed: a task in each worker.
    """
    for turn in range(max(1, rounds // 6)):
        killed, *others = _start(shared, turn, *["all"] * 4, PACE="0.6")
        time.sleep(random.Random(turn).uniform(0.6, 1.8))
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert _end(others) == [_expected(turn)] * 3
        _is_right(shared, turn)
        counted = Counter(_marks(shared))
        assert set(counted) == set(_names(turn))
        assert all(count <= 3 for count in counted.values())
        assert sum(counted.values()) <= len(_names(turn)) + 2 * 2  # it ran two at once


COMMANDS = [
    ("cache", "ls", "--json"),
    ("cache", "stats", "--json"),
    ("why", "value-0"),
    ("cache", "show", "value-0"),
    ("cache", "gc"),
    ("cache", "gc", "--max-age", "0"),
    ("cache", "gc", "--max-bytes", "0"),
    ("cache", "verify"),
]


def test_commands_look_and_tidy_during_a_run_without_harm(shared):
    """What is read is right, and nothing goes that a running manager has made or is about to record."""
    processes = _start(shared, 0, "all", "all", PACE="0.25")
    _until(lambda: (shared.path / ".dagger/v2/index/cache.db").exists())
    asked = 0
    while any(process.poll() is None for process in processes):
        command = COMMANDS[asked % len(COMMANDS)]
        reports, shared.reports = shared.reports, shared.path.parent / "unread"
        done = shared.dagger(*command, check=False)
        shared.reports = reports
        assert "locked" not in done.stderr
        assert "Traceback" not in done.stderr
        if command[-1] == "value-0":
            assert done.returncode in (0, 2)  # it may not have run yet
        else:
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        if "--json" in command:
            json.loads(done.stdout)
        asked += 1
    assert asked > 2
    assert _end(processes) == [_expected(0)] * 2
    assert _marks(shared) == _names(0)
    again = shared.run("pipeline.py", "0", "all", env={"PACE": "0.25"})
    assert again.stdout.strip() == _expected(0)
    assert shared.ran() == set()
    _is_right(shared, 0)


def test_clean_during_a_run_costs_time_not_truth(shared):
    """Results that were forgotten under way are made again, the next time or now; the run goes on."""
    processes = _start(shared, 0, "all", "all", PACE="0.08")
    for _ in range(3):
        _until(lambda: (shared.path / "marks").exists())
        assert shared.dagger("clean", check=False).returncode == 0
    assert _end(processes) == [_expected(0)] * 2
    _is_right(shared, 0)
    assert shared.run("pipeline.py", "0", "all").stdout.strip() == _expected(0)
    _is_right(shared, 0)


def _until(is_so, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_tidying_spares_a_value_that_no_record_names_yet(project):
    """A source's value is in the store for the tasks to come, however long ago it was put there."""
    project.write(
        "pipeline.py",
        """
        import os, subprocess, sys
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        def first(big):
            for folder, _, names in os.walk(".dagger/v2/blobs"):
                for name in names:
                    os.utime(os.path.join(folder, name), (0, 0))
            subprocess.run([sys.executable, "-m", "dagger", "cache", "gc"], check=True)
            return {"x": len(big)}

        def second(big, x):
            return {"x": len(big) + x}

        big = MemoryDatum(pointer=list(range(9000)))
        one = FunctionTask("one", first, {"big": big}, {"x": None})
        two = FunctionTask("two", second, {"big": big, "x": one["x"]}, {"x": None})
        WorkflowManager(two, undeclared="ignore").run()
        print(two["x"].pointer)
        """,
    )
    assert project.run("pipeline.py").stdout.strip() == "18000"
