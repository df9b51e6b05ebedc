"""Much of everything: the main process stays small, with few open files, and nothing recurses.

Each pipeline imports a gauge first. It leaves hardly any room on the stack, so that whatever recurses over tasks fails,
and writes at the end how large the main process was and how many files it had open. The bounds are such that holding
what nobody needs (values, logs, rows of what is settled) breaks them. ``--big`` runs all of it at full size.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc"),
    pytest.mark.timeout(3600),
]

MB = 1 << 20
ROOM = 44 * MB
"""What imports, what waits to be written, logs in the report and pages half used may take beside the tasks."""
FILES = 256
"""How many files the main process may have open at once; no more is allowed on macOS."""

GAUGE = """
import atexit, json, os, resource, sys
import dagger.core.engine, dagger.core.checks, dagger.core.explain

def _peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

def look(event=None):
    global _told
    _told += 1
    if _told % 50 == 1:
        _files.append(len(os.listdir("/proc/self/fd")))

def _leave(owner=os.getpid()):
    if os.getpid() == owner:
        with open("gauge.json", "w") as file:
            json.dump({"grown": _peak() - _before, "files": max(_files)}, file)

_told, _files, _before = 0, [0], _peak()
atexit.register(_leave)
resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
depth, frame = 0, sys._getframe()
while frame:
    depth, frame = depth + 1, frame.f_back
sys.setrecursionlimit(depth + 300)
"""

CHAIN = """
import os, time, gauge
from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

def start(x):
    if os.path.exists("hang"):
        open("hangs", "w")
        time.sleep(600)
    return {"y": 1 // x}

def step(x):
    return {"y": x + 1}

tasks = [FunctionTask("t0", start, {"x": MemoryDatum(pointer=int(os.environ.get("X", "1")))}, {"y": None})]
for i in range(1, int(os.environ["N"])):
    tasks.append(FunctionTask(f"t{i}", step, {"x": tasks[-1]["y"]}, {"y": None}))
report = WorkflowManager(tasks[-1], listeners=[gauge.look], undeclared="ignore").run()
print(tasks[-1]["y"].pointer)
"""


@pytest.fixture
def gauged(project) -> Callable[..., dict[str, Any]]:
    """Write a pipeline beside the gauge; returns what says how large its last run was."""
    project.write("gauge.py", GAUGE.replace("FILES", str(FILES)))

    def check(grown: float) -> None:
        found = json.loads(project.read("gauge.json"))
        assert found["grown"] < grown, f"grew by {found['grown'] / MB:.0f} MB, {grown / MB:.0f} are allowed"
        assert found["files"] < FILES

    return check


def test_many_tasks(project, gauged, big):
    """A task costs a few kB while it runs, less when it is up to date; its value and what it printed stay on disk."""
    n = 100_000 if big else 3_000
    project.write(
        "pipeline.py",
        """
        import os, gauge
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        def long(x):
            print("said " * 1600)
            return {"y": bytes(50_000)}

        n = int(os.environ["N"])
        tasks = [FunctionTask(f"t{i}", long, {"x": MemoryDatum(pointer=i)}, {"y": None}) for i in range(n)]
        report = WorkflowManager(tasks, listeners=[gauge.look], undeclared="ignore").run()
        print(len(report.ran), len(report.up_to_date), report.tasks[0].log.count("said"))
        """,
    )
    # Of what a thousand and more tasks printed a report holds the first part alone.
    assert project.run("pipeline.py", env={"N": str(n)}, timeout=3600).stdout.split() == [str(n), "0", "1600"]
    gauged(ROOM + n * 4_500)
    assert project.run("pipeline.py", env={"N": str(n)}, timeout=600).stdout.split() == ["0", str(n), "0"]
    gauged(ROOM / 4 + n * 3_000)


def test_long_chain(project, gauged, big):
    """However deep the graph, it is built, run, shown, explained, continued and ended."""
    n = 100_000 if big else 800
    last, size = f"t{n - 1}", {"N": str(n)}
    project.write("pipeline.py", CHAIN)

    def dagger(*args: str, code: int = 0, **env: str) -> str:
        done = project.dagger(*args, env={**size, **env}, timeout=3600, check=False)
        assert done.returncode == code, done.stderr[-2000:]
        assert "RecursionError" not in done.stderr
        gauged(ROOM + n * 6_000)
        return done.stdout + done.stderr

    project.run("pipeline.py", env={"N": str(n // 2)}, timeout=3600)
    assert f"{n // 2} up to date" in dagger("run", "--dry-run", "pipeline.py")
    assert str(n) in dagger("run", "pipeline.py").split()
    assert len(project.came_out("ran")) == n - n // 2
    assert "nothing to do" in dagger("run", "pipeline.py")
    assert "up to date" in dagger("why", last, "pipeline.py")
    assert f"{n - 1} may run" in dagger("run", "--dry-run", "pipeline.py", X="2")
    assert "t0" in dagger("why", last, "pipeline.py", X="2")
    assert len(dagger("run", "pipeline.py", X="0", code=1)) < 10_000
    assert project.came_out("failed") == {"t0"}
    assert len(project.came_out("skipped")) == n - 1


def test_long_chain_interrupted(project, gauged, big):
    """Ctrl-C ends a run whose remaining tasks nobody has looked at."""
    n = 100_000 if big else 1_500
    project.write("pipeline.py", CHAIN)
    project.write("hang", "")
    running = project.start("-m", "dagger", "run", "pipeline.py", env={"N": str(n)})
    while not project.exists("hangs"):
        assert running.poll() is None, running.communicate()
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=60)[1]
    assert running.returncode == 130, told
    assert "Traceback" not in told
    gauged(ROOM + n * 6_000)


def test_wide_join(project, gauged):
    """A function takes ten thousand values; a script takes ten thousand paths, more than one argument may hold."""
    n = 10_000
    source = project.path / ("a-folder-with-a-name-that-is-neither-short-nor-very-long" * 2)
    source.mkdir()
    for i in range(n):
        (source / f"{i}.txt").write_text(f"{i}\n")
    project.write(
        "pipeline.py",
        """
        import os, sys, gauge
        from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager
        from dagger.abstract import DatumList

        def total(parts):
            return {"y": sum(parts)}

        [folder] = [name for name in os.listdir() if name.startswith("a-folder")]
        paths = [f"{folder}/{i}.txt" for i in range(10_000)]
        values = [MemoryDatum(pointer=i) for i in range(10_000)]
        tasks = [
            FunctionTask("values", total, {"parts": DatumList(MemoryDatum, values)}, {"y": None}),
            ScriptTask("files", {"parts": DatumList(FileDatum, pointer=paths)}, {"y": "y.txt"}, script='''
            cat {parts} > {y}
            '''),
        ]
        WorkflowManager(tasks, listeners=[gauge.look]).run()
        print(tasks[0]["y"].pointer)
        """,
    )
    done = project.run("pipeline.py")
    assert done.stdout.split() == [str(sum(range(n)))]
    assert project.read("y.txt").split() == [str(i) for i in range(n)]
    gauged(ROOM + n * 4_000)
    (source / "5000.txt").write_text("changed\n")
    project.run("pipeline.py")
    assert (project.ran(), project.came_out("up to date")) == ({"files"}, {"values"})


def test_wide_task(project, gauged):
    """A task writes more files than a process may have open; one line says why it runs."""
    project.write(
        "pipeline.py",
        """
        import os, gauge
        from dagger.core import FileDatum, FunctionTask, WorkflowManager
        from dagger.abstract import DatumList

        def write(parts):
            for path in parts:
                with open(path, "w") as file:
                    file.write(os.environ.get("TEXT", "one"))

        paths = [f"{os.environ.get('OUT', 'out')}/{i}" for i in range(2000)]
        parts = DatumList(FileDatum, [FileDatum() for _ in paths], pointer=paths)
        WorkflowManager(FunctionTask("write", write, {}, {"parts": parts})).run()
        """,
    )
    for folder in ("out", "other"):
        done = project.run("pipeline.py", env={"OUT": folder})
        assert project.ran() == {"write"}
        assert len(os.listdir(project.path / folder)) == 2000
        assert len(done.stderr) < 2_000
        gauged(ROOM + 2000 * 6_000)
    assert "and 1990 more" in done.stderr
    project.run("pipeline.py", env={"OUT": "other"})
    assert project.came_out("up to date") == {"write"}


def test_many_failures(project, gauged, big):
    """Thousands of failures are told in a few lines, the rest by number; JSON has each."""
    n = 5_000 if big else 300
    project.write(
        "pipeline.py",
        """
        import os, gauge
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        def fail(x):
            print(f"{x} " * 2000)
            raise ValueError(f"no {x}")

        def after(x):
            return {"y": x}

        n = int(os.environ["N"])
        bad = [FunctionTask(f"t{i}", fail, {"x": MemoryDatum(pointer=i)}, {"y": None}) for i in range(n)]
        end = [FunctionTask(f"after-{task.identifier}", after, {"x": task["y"]}, {"y": None}) for task in bad]
        WorkflowManager(end, listeners=[gauge.look]).run()
        """,
    )
    size = {"N": str(n)}
    done = project.dagger("run", "-k", "--json", "pipeline.py", env=size, check=False, timeout=3600)
    assert done.returncode == 1
    named = {task["task"]: task for run in json.loads(done.stdout)["runs"] for task in run["tasks"]}
    assert {name for name, task in named.items() if task["outcome"] == "failed"} == {f"t{i}" for i in range(n)}
    assert all(named[f"t{i}"]["failure"]["message"] == f"ValueError: no {i}" for i in range(n))
    assert all(named[f"after-t{i}"]["because"] == [f"t{i}"] for i in range(n))
    gauged(ROOM + n * 40_000)
    done = project.dagger("run", "-k", "pipeline.py", env=size, check=False, timeout=3600)
    told = done.stderr[done.stderr.index(f"{n} tasks failed") :]
    assert done.returncode == 1
    assert told.count("Traceback") == 20
    assert f"and {n - 20} more failed" in told
    assert f"and {n - 20} more\n" in told
    assert len(told) < 20_000


def test_large_outputs(project, gauged, big):
    """A file and a value larger than the main process may grow are made, taken, put back and never held by it."""
    size = 2 << 30 if big else 128 * MB
    project.write(
        "pipeline.py",
        """
        import os, gauge
        from dagger.core import FunctionTask, WorkflowManager

        size = int(os.environ["SIZE"])

        def write(path):
            with open(path, "wb") as file:
                file.truncate(size)

        def value():
            return {"y": bytes(size // 2)}

        def measure(path, value):
            return {"y": (os.path.getsize(path), len(value))}

        file = FunctionTask("file", write, {}, {"path": "large.bin"})
        data = FunctionTask("value", value, {}, {"y": None})
        end = FunctionTask("end", measure, {"path": file["path"], "value": data["y"]}, {"y": None})
        WorkflowManager(end, listeners=[gauge.look]).run()
        print(end["y"].pointer)
        """,
    )
    environment = {"SIZE": str(size)}
    for outcome in ("ran", "restored", "up to date"):
        done = project.run("pipeline.py", env=environment, timeout=1200)
        assert done.stdout.strip() == str((size, size // 2))
        assert "file" in project.came_out(outcome)
        gauged(ROOM)
        if outcome == "ran":
            (project.path / "large.bin").unlink()
    assert (project.path / "large.bin").stat().st_size == size


@pytest.mark.parametrize("kind", ["function", "script"])
def test_long_log(project, gauged, big, kind):
    """A million lines are on disk, their end in the report, and none in the way."""
    n = 1_000_000 if big else 200_000
    project.write(
        "pipeline.py",
        """
        import os, gauge
        from dagger.core import FunctionTask, ScriptTask, WorkflowManager

        n = int(os.environ["N"])

        def talk():
            for i in range(n):
                print("line", i + 1)
            raise ValueError("said enough")

        tasks = {
            "function": FunctionTask("talk", talk, {}, {"y": None}),
            "script": ScriptTask("talk", {}, {"y": "y.txt"}, script=f'''
            seq -f 'line %.0f' {n}
            exit 3
            '''),
        }
        WorkflowManager(tasks[os.environ["KIND"]], listeners=[gauge.look]).run()
        """,
    )
    done = project.dagger("run", "pipeline.py", env={"N": str(n), "KIND": kind}, check=False, timeout=600)
    assert done.returncode == 1
    assert f"line {n}\n" in done.stderr or kind == "function"  # which is told by its traceback
    assert len(done.stderr) < 20_000
    [task] = project.tasks()
    assert f"line {n}\n" in task["log"]
    assert len(json.dumps(task)) < 40_000
    with open(task["failure"]["log_path"]) as lines:
        assert sum(line.startswith("line ") for line in lines) == n
    gauged(ROOM)
