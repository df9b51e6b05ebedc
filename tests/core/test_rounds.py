"""Short tasks are sent together; still each finds a worker as the first one did, and has a log of its own."""

from __future__ import annotations

import json

PIPELINE = """
import json
from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

{body}

tasks = [FunctionTask(f"task-{{n:02}}", task, {{"n": MemoryDatum(pointer=n)}}, {{"seen": None}}) for n in range(60)]
report = WorkflowManager(tasks, jobs=1, listeners=[]).run()
logs = {{it.task: it.log for it in report.tasks}}
print(json.dumps([[it["seen"].pointer for it in tasks], [logs[it.identifier] for it in tasks]]))
"""


def _run(project, body: str) -> tuple[list[object], list[str]]:
    project.write("pipeline.py", PIPELINE.format(body=body))
    said = project.run("pipeline.py")
    seen, logs = json.loads(said.stdout)
    return seen, logs


def test_each_task_has_what_it_printed_itself(project):
    """Whether the one before printed something or not, and whatever it did to the streams."""
    body = """
import os
import sys

def task(n):
    seen = sys.stdout.encoding, sys.stdout.line_buffering, sys.stdout.closed
    if n % 3 == 1:
        print("number", n)
    if n % 10 == 1:
        sys.stdout.reconfigure(line_buffering=False, encoding="ascii")
        sys.stdout.write("held back")
    if n % 10 == 3:
        sys.stdout.close()
    if n % 10 == 5:
        sys.stderr.detach()
    if n % 10 == 7:
        os.close(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if n % 10 == 9:
        os.write(2, b"raw")
    return {"seen": seen}
"""
    seen, logs = _run(project, body)
    assert seen == [["utf-8", True, False]] * 60
    for n, log in enumerate(logs):
        expected = f"number {n}\n" if n % 3 == 1 else ""
        expected += "held back" if n % 10 == 1 else "raw" if n % 10 == 9 else ""
        assert n % 10 == 7 or log == expected, n


def test_no_task_finds_what_another_did_to_the_process(project):
    """Neither in modules, in the environment and its methods, in `os.open`, nor in threads and random numbers."""
    body = """
import os
import random
import sys
import threading

COUNT = []

def fake(*arguments, **options):
    raise OSError("patched")

def task(n):
    COUNT.append(n)
    seen = [COUNT == [n], os.environ.get("LEFT"), os.getcwd() != "/", "own_module" in sys.modules, len(sys.argv)]
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    seen += [os.environ.get("HOME") is not None, sys.stdout is not None]
    os.environ["LEFT"] = "behind"
    os.chdir("/")
    sys.modules["own_module"] = threading
    del sys.modules["own_module"]
    sys.argv.append("more")
    os.open = fake
    type(os.environ).__getitem__ = fake
    return {"seen": [*seen, random.random()]}
"""
    seen, _ = _run(project, body)
    numbers = [one.pop() for one in seen]
    assert seen == [[True, None, True, False, seen[0][4], True, True]] * 60
    assert len(set(numbers)) == 60


def test_a_class_that_goes_while_a_task_is_tidied_up_after(project):
    """The collector may take one at any moment: neither that task fails by it nor the ones after it."""
    body = """
import gc
import cloudpickle.cloudpickle as by_value

held = []

class Key:
    is_in = False

    def __hash__(self):
        if self.is_in:
            held.clear()
            gc.collect()
        return 1

def task(n):
    held.append(type("Held", (), {}))
    key = Key()
    by_value._DYNAMIC_CLASS_TRACKER_BY_ID[key] = held[0]
    key.is_in = True
    return {"seen": n}
"""
    seen, _ = _run(project, body)
    assert seen == list(range(60))


def test_what_cannot_be_undone_ends_the_worker(project):
    """The task fails that did it; no other runs where it did, nor fails by it."""
    project.write(
        "pipeline.py",
        """
import sys
from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

def task(n):
    before = "spoilt" in sys.modules
    if n % 20 == 10:
        sys.modules["spoilt"] = type("Spoilt", (), {"__class__": property(lambda self: 1 / 0)})()
    return {"seen": before}

tasks = [FunctionTask(f"task-{n:02}", task, {"n": MemoryDatum(pointer=n)}, {"seen": None}) for n in range(60)]
manager = WorkflowManager(tasks, jobs=2)
try:
    manager.run(keep_going=True)
finally:
    print([it["seen"].pointer for it in tasks if it in manager.complete])
""",
    )
    run = project.run("pipeline.py", check=False)
    assert project.came_out("failed") == {"task-10", "task-30", "task-50"}
    assert run.stdout.strip() == str([False] * 57)
    assert run.stderr.count("ZeroDivisionError: division by zero") >= 3
    assert "cannot be undone" not in run.stderr


def test_workers_that_end_at_once_are_nobody_elses_fault(project):
    """What they were sent meanwhile and have not begun goes to others, however often that happens."""
    project.write(
        "pipeline.py",
        """
import os
import sys
import time
from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

def spoil(n):
    open(f"there-{n}", "w").close()
    while not all(os.path.exists(f"there-{other}") for other in range(4)):
        time.sleep(0.001)
    sys.modules["spoilt"] = type("Spoilt", (), {"__class__": property(lambda self: 1 / 0)})()
    return {"x": n}

def good(n):
    return {"x": n}

def task(name, work, n):
    return FunctionTask(f"{name}-{n}", work, {"n": MemoryDatum(pointer=n)}, {"x": None})

tasks = [task("spoil", spoil, n) for n in range(4)] + [task("good", good, n) for n in range(20)]
WorkflowManager(tasks, jobs=4, undeclared="ignore").run(keep_going=True)
""",
    )
    project.run("pipeline.py", check=False)
    assert project.came_out("failed") == {f"spoil-{n}" for n in range(4)}
    assert project.came_out("ran") == {f"good-{n}" for n in range(20)}


def test_workers_come_up_only_where_a_function_must_run(project):
    """They are started early, but not for what is put back or up to date, nor for scripts."""
    project.write(
        "pipeline.py",
        """
        import sys
        from dagger.core import FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

        def write(n, made):
            with open(made, "w") as file:
                file.write(str(n))

        wrote = FunctionTask("write", write, {"n": MemoryDatum(pointer=1)}, {"made": "made.txt"})
        script = "cat {made} > {copy} # SCRIPT"
        copied = ScriptTask("copy", {"made": wrote["made"]}, {"copy": "copy.txt"}, script=script)
        WorkflowManager(copied).run()
        print("dagger.core.worker_pool" in sys.modules)
        """,
    )
    assert project.run("pipeline.py").stdout == "True\n"
    for name in ("made.txt", "copy.txt"):
        (project.path / name).unlink()
    assert project.run("pipeline.py").stdout == "False\n"
    assert project.came_out("restored") == {"write", "copy"}
    text = project.read("pipeline.py").replace("SCRIPT", "another")
    (project.path / "pipeline.py").write_text(text)
    assert project.run("pipeline.py").stdout == "False\n"
    assert project.ran() == {"copy"}


SCRIPTS = """
from dagger.core import ScriptTask, WorkflowManager

{script}

def text(n):
    return f"echo {{n}} >> begun; {{script(n)}}; : > {{{{o}}}}"

tasks = [ScriptTask(f"task-{{n:02}}", outputs={{"o": f"{{n}}.txt"}}, script=text(n)) for n in range(60)]
WorkflowManager(tasks, jobs=1, listeners=[]).run()
"""


def test_scripts_that_are_kept_by_a_long_one_have_another_turn(project):
    """Each runs once, though some are sent along with others that turn out to take long."""
    project.write("pipeline.py", SCRIPTS.format(script="def script(n): return 'sleep 0.3' if 20 <= n < 23 else ':'"))
    project.run("pipeline.py")
    assert sorted(map(int, project.read("begun").split())) == list(range(60))
    assert len(project.ran()) == 60


def test_scripts_that_were_sent_along_do_not_begin_once_one_has_failed(project):
    """But for those that waited with the guardian, or were just on the way there."""
    after = "'exit 1' if n == 20 else 'sleep 0.2'"
    project.write("pipeline.py", SCRIPTS.format(script=f"def script(n): return {after} if n >= 20 else ':'"))
    project.run("pipeline.py", check=False)
    begun = project.read("begun").split()
    assert "20" in begun
    assert len(begun) < 25
    assert project.came_out("failed") == {"task-20"}
    assert len(project.came_out("skipped")) == 60 - len(begun)
