"""What tasks do to fail: each is told once, with its own cause, and nobody else is blamed."""

from __future__ import annotations

import os
import re
import signal
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

HEAD = """
import atexit, os, resource, signal, sys, threading, time
from dagger.core import FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

"""

# One function a line: how a task ends, and what its failure says; None where it ends well.
WAYS = {
    "raises": ("raise ValueError('mine')", "ValueError: mine"),
    "raises_base": ("raise BaseException('mine')", "BaseException: mine"),
    "exits_well": ("sys.exit(0)", "the task called sys.exit(0)"),
    "exits_badly": ("sys.exit('why')", "the task called sys.exit('why')"),
    "closes_generator": ("raise GeneratorExit", "GeneratorExit"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "aborts": ("os.abort()", "its worker process was ended by SIGABRT"),
    "hangs_up": (
        "signal.signal(1, signal.SIG_DFL); os.kill(os.getpid(), 1); time.sleep(60)",
        "its worker process was ended by SIGHUP",
    ),
    "closes_all": ("os.closerange(3, 4000); return {'x': 1}", "its worker process exited with status 1"),
    "closes_all_and_stays": ("os.closerange(3, 4000); time.sleep(9); return {'x': 1}", "its worker process"),
    "exits_at_exit": ("atexit.register(lambda: os._exit(3)); return {'x': 1}", None),
    "leaves_thread": ("threading.Thread(target=threading.Event().wait).start(); return {'x': 1}", None),
    "closes_output": ("os.close(1); os.close(2); return {'x': 1}", None),
    "forks": ("os.fork() or os._exit(0); return {'x': 1}", None),
    "fork_returns": ("pid = os.fork(); return {'x': 1 if pid else 2}", None),
    "fork_raises": ("assert os.fork(); os.wait(); return {'x': 1}", None),
    "fork_exits": ("os.fork() or sys.exit(5); return {'x': os.waitstatus_to_exitcode(os.wait()[1]) - 4}", None),
    "error_no_pickle": ("raise NoPickle(1, 2)", "NoPickle: 3"),
    "result_no_pickle": ("return {'x': lambda: open}, ", "must return a dict"),
    "value_no_pickle": ("return {'x': Never()}", "output 'x' cannot be pickled: it is a __main__.Never"),
    "memory": ("return {'x': within(3 << 30, lambda: len(bytearray(20 << 30)))}", "MemoryError"),
    "recursion": ("return recursion()", "RecursionError: maximum recursion depth exceeded"),
    "elsewhere": ("os.chdir('/'); return {'x': 1}", None),
}

HELPERS = """
class NoPickle(Exception):
    def __init__(self, a, b):
        super().__init__(a + b)
        self.never = lambda: None

class Never:
    def __reduce__(self):
        raise ValueError("not me")

def within(size, function):
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size, before[1]))
    try:
        return function()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

def good(i):
    time.sleep(0.02)
    return {"x": i}

"""


def _pipeline(workers: str) -> str:
    functions = "".join(f"def {name}():\n    {way}\n\n" for name, (way, _) in WAYS.items())
    tasks = "".join(f"    FunctionTask({name!r}, {name}, outputs={{'x': None}}),\n" for name in WAYS)
    return (
        f"{HEAD}{HELPERS}{functions}tasks = [\n{tasks}]\n"
        "tasks += [FunctionTask(f'good{i}', good, {'i': MemoryDatum(pointer=i)}, {'x': None}) for i in range(8)]\n"
        f"WorkflowManager(tasks, jobs=2, undeclared='ignore'{workers}).run(keep_going=True)\n"
    )


def _told(said: str) -> dict[str, str]:
    """What the report at the end says of each failed task, by name."""
    parts = re.split(r"^task '(\w+)': ", said, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("workers", ["", ", executor_kwargs={'timeout': 60}"], ids=["own", "loky"])
def test_each_way_to_fail_is_told_of_the_task_that_took_it(project, workers):
    """The pool goes on, neighbours come out well, and tracebacks show a person's own frames alone."""
    (project.path / "pipeline.py").write_text(_pipeline(workers))
    run = project.dagger("run", "pipeline.py", check=False)
    told = _told(run.stderr)
    expected = {name: text for name, (_, text) in WAYS.items() if text is not None}
    assert run.returncode == 1
    assert project.came_out("failed") == set(expected) == set(told)
    wrong = {name: told[name] for name, text in expected.items() if text not in told[name].splitlines()[0]}
    assert not wrong
    assert project.came_out("ran") == {name for name, (_, text) in WAYS.items() if text is None} | {
        f"good{i}" for i in range(8)
    }
    for name in ("raises", "raises_base", "exits_well", "interrupts", "memory", "error_no_pickle"):
        assert told[name].count("Traceback") == 1
        files = re.findall(r'File "([^"]+)"', told[name])
        assert set(files) == {str(project.path / "pipeline.py")}


def test_a_worker_that_runs_out_of_memory_is_told_with_its_peak(project):
    """The kernel's way is SIGKILL; how much the worker had by then is in the message."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def greedy():
    kept = bytearray(200 << 20)
    os.kill(os.getpid(), signal.SIGKILL)

WorkflowManager(FunctionTask("greedy", greedy, outputs={{"x": None}})).run()
""",
    )
    said = project.run("pipeline.py", check=False).stderr
    found = re.search(r"ended by SIGKILL, at a peak memory of (\d+) MiB", said)
    assert found is not None, said
    assert 200 <= int(found[1]) < 600


def test_a_report_at_the_end_says_who_failed_and_who_could_not_run(project):
    """Scripts with their last lines and their log; after a failure nothing new starts unless it may."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def bad():
    print("a word before")
    raise ValueError("mine")

def use(x):
    return {{"y": x}}

failed = FunctionTask("failed", bad, outputs={{"x": None}})
below = FunctionTask("below", use, {{"x": failed["x"]}}, {{"y": None}})
bottom = FunctionTask("bottom", use, {{"x": below["y"]}}, {{"y": None}})
script = ScriptTask("script", outputs={{"o": "o.txt"}}, script="echo to be seen; exit 4")
other = ScriptTask("other", {{}}, {{"o": "other.txt"}}, [script], script="touch {{o}}")
free = FunctionTask("free", use, {{"x": MemoryDatum(pointer=1)}}, {{"y": None}})
WorkflowManager([bottom, other, free], jobs=1).run()
""",
    )
    run = project.dagger("run", "-k", "pipeline.py", check=False)
    told = _told(run.stderr)
    assert set(told) == {"failed", "script"}
    assert run.stderr.count("dagger: 2 tasks failed") == 1
    assert told["script"].splitlines()[0] == "the script ended with exit code 4"
    assert "  to be seen" in told["script"]
    logs = {name: re.search(r"whole output: (.*)", part) for name, part in told.items()}
    assert {name: log and Path(log[1]).read_text() for name, log in logs.items()} == {
        "failed": "a word before\n",
        "script": "to be seen\n",
    }
    assert re.findall(r"^  (\w+ \(needs .*\))$", run.stderr, re.MULTILINE) == [
        "below (needs failed)",
        "bottom (needs failed)",
        "other (needs script)",
    ]
    assert project.came_out("ran") == {"free"}
    assert len(project.ran()) == 3
    project.dagger("run", "pipeline.py", check=False)
    assert len(project.came_out("failed")) == 1
    assert project.came_out("ran") == set()


def test_retries_wait_longer_each_time(project):
    """0.1 s, 0.2 s, ...; what a failed attempt wrote is not there for the next."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def flaky(page):
    there = os.path.exists(page)
    with open("tries.txt", "a") as file:
        print(time.time(), there, file=file)
    with open(page, "w") as file:
        file.write("half")
    if len(open("tries.txt").readlines()) < 4:
        os.kill(os.getpid(), signal.SIGKILL) if len(open("tries.txt").readlines()) == 2 else 1 / 0

WorkflowManager(
    FunctionTask("flaky", flaky, outputs={{"page": "page.txt"}}, retries=3), undeclared="ignore"
).run()
""",
    )
    run = project.dagger("run", "pipeline.py")
    tries = [line.split() for line in project.read("tries.txt").splitlines()]
    times = [float(when) for when, _ in tries]
    assert {there for _, there in tries} == {"False"}
    assert len(times) == 4
    for pause, (before, after) in zip((0.1, 0.2, 0.4), pairwise(times), strict=True):
        assert after - before >= pause
    assert "moved it to" not in run.stderr


def test_a_read_that_is_an_error_names_its_task_once(project):
    """In a report whose every part begins with the task's name."""
    project.write("lookup.txt", "1")
    project.write(
        "pipeline.py",
        f"""{HEAD}
def fit():
    return {{"x": open("lookup.txt").read()}}

WorkflowManager(FunctionTask("fit", fit, outputs={{"x": None}}), undeclared="error").run()
""",
    )
    said = project.dagger("run", "pipeline.py", check=False).stderr
    assert "task 'fit': read lookup.txt, which is not among its inputs" in said
    assert "task 'fit' read" not in said


def test_a_worker_that_is_killed_while_idle_blames_nobody(project):
    """The task that its neighbour runs goes on, and another worker takes its place."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def long(number):
    with open(f"pid{{number}}.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"pid{{number}}.new", f"pid{{number}}")
    while not os.path.exists("go") or (number == 1 and not os.path.exists("go on")):
        time.sleep(0.01)
    return {{"x": os.getpid()}}

def together(x):
    while not (os.path.exists("here0") and os.path.exists("here1")):
        open(f"here{{x}}", "w")
        time.sleep(0.01)
    return {{"x": os.getpid()}}

one, two = (FunctionTask(f"long{{n}}", long, {{"number": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in (1, 2))
ends = [FunctionTask(f"end{{n}}", together, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}, [one]) for n in (0, 1)]
WorkflowManager([one, two, *ends], jobs=2, undeclared="ignore").run()
print(one["x"].pointer, *{{task["x"].pointer for task in ends}})
""",
    )
    process = project.start("-m", "dagger", "run", "pipeline.py", stdin=None)
    project.wait_until(lambda: project.exists("pid1") and project.exists("pid2"))
    project.write("go", "")
    # Its line comes when its worker is idle already.
    for line in process.stderr:
        if line.startswith("ran       long2"):
            break
    os.kill(int(project.read("pid2")), signal.SIGKILL)
    project.write("go on", "")
    pids, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert project.came_out("ran") == {"long1", "long2", "end0", "end1"}
    assert project.read("pid1") in pids.split()[1:]
    assert project.read("pid2") not in pids.split()
    assert len(pids.split()) == 3


def test_an_output_that_cannot_be_taken_away_is_told(project):
    """The run goes on, and says what is left."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, WorkflowManager

        def bad(place):
            with open(place + "/half", "w") as file:
                file.write("half")
            raise ValueError("bad")

        def good(page):
            open(page, "w").close()

        tasks = [
            FunctionTask("bad", bad, outputs={"place": "here/."}),
            FunctionTask("good", good, outputs={"page": "page.txt"}),
        ]
        WorkflowManager(tasks).run(keep_going=True)
        """,
    )
    said = project.dagger("run", "pipeline.py", check=False).stderr
    assert project.came_out("failed") == {"bad"}
    assert project.came_out("ran") == {"good"}
    assert "ValueError: bad" in said
    assert "here/. is left of a task that did not end well" in said
