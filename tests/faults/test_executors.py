"""Functions run in whatever executor a person has: the same results, the same cache, failures told as they are."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

EXECUTORS = {
    "threads": "ThreadPoolExecutor(2)",
    "spawned processes": "ProcessPoolExecutor(2, mp_context=get_context('spawn'))",
    "forked processes": "ProcessPoolExecutor(2, mp_context=get_context('fork'))",
    "at once": "AtOnce()",
    "elsewhere": "Elsewhere()",
    "threads elsewhere": "ThreadsElsewhere()",
}

# `AtOnce` is the simplest that the protocol allows; `Elsewhere` stands for MPI and clusters: what is called is pickled
# and sent to an interpreter that knows nothing of this one. `ThreadsElsewhere` is what dask does.
PREAMBLE = """
import json, os, pickle, subprocess, sys, threading, time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask, WorkflowManager
from dagger.core.report import WorkflowError

class AtOnce(Executor):
    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

class Elsewhere(Executor):
    there = "import pickle as p, sys; f, a, k = p.load(sys.stdin.buffer); p.dump(f(*a, **k), sys.stdout.buffer)"

    def submit(self, fn, /, *args, **kwargs):
        future, sent = Future(), pickle.dumps((fn, args, kwargs))
        def go():
            done = subprocess.run([sys.executable, "-c", self.there], input=sent, stdout=subprocess.PIPE, cwd="/")
            future.set_result(pickle.loads(done.stdout))
        threading.Thread(target=go).start()
        return future

def threaded(calls):
    with ThreadPoolExecutor(len(calls)) as threads:
        return [it.result() for it in [threads.submit(fn, *args) for fn, args in calls]]

class ThreadsElsewhere(Executor):
    def __init__(self):
        self.pool = ProcessPoolExecutor(1, mp_context=get_context("fork"))
        self.lock, self.waiting = threading.Lock(), []

    def submit(self, fn, /, *args):
        future = Future()
        with self.lock:
            self.waiting.append((future, fn, args))
        threading.Timer(0.1, self.send).start()
        return future

    def send(self):
        with self.lock:
            calls, self.waiting = self.waiting, []
        if calls:
            results = self.pool.submit(threaded, [call[1:] for call in calls]).result()
            for call, result in zip(calls, results):
                call[0].set_result(result)

    def shutdown(self, wait=True, **_):
        self.pool.shutdown(wait)

def mark(name):
    with open("marks", "a") as file:
        file.write(name + "\\n")

def marks():
    if not os.path.exists("marks"):
        return []
    with open("marks") as file:
        found = sorted(file.read().split())
    os.remove("marks")
    return found
"""

MIXED = """
SCALE = 2

def make(n):
    mark(f"make-{n}")
    return {"x": n * SCALE, "big": [n] * 20000}

def add(a, b, big):
    mark("add")
    big.append(1)
    return {"sum": a + b + len(big)}

def write(total, report, extra):
    mark("write")
    with open(extra) as file, open(report, "w") as out:
        out.write(f"{total} {file.read()}")
    return {"report": report}

def last(report, model):
    mark("last")
    with open(report) as file:
        return {"text": f"{file.read().strip()} {model}"}

def graph():
    one = FunctionTask("one", make, {"n": MemoryDatum(pointer=1)}, {"x": None, "big": None})
    two = FunctionTask("two", make, {"n": MemoryDatum(pointer=2)}, {"x": None, "big": None})
    both = PklTask("both", add, {"a": one["x"], "b": two["x"], "big": two["big"]}, {"sum": "both.pkl"})
    wrote = FunctionTask(
        "wrote", write, {"total": both["sum"], "extra": FileDatum(pointer="extra.txt")}, {"report": "out/report.txt"}
    )
    script = ScriptTask("script", {"i": wrote["report"]}, {"o": "out/upper.txt"}, script="tr a-z A-Z < {i} > {o}")
    return FunctionTask("end", last, {"report": script["o"], "model": both["sum"]}, {"text": None})

def once(executor):
    end = graph()
    report = WorkflowManager(end, executor=executor, listeners=[]).run()
    return [end["text"].pointer, sorted(report.ran), sorted(report.restored)]

if __name__ == "__main__":
    with EXECUTOR as executor:
        first = once(executor), marks()
        again = once(executor), marks()
        os.remove("out/upper.txt"), os.remove("both.pkl")
        restored = once(executor), marks()
        with open("extra.txt", "w") as file:
            file.write("changed")
        changed = once(executor), marks()
    print(json.dumps([first, again, restored, changed]))
"""


def _pipeline(project, body: str, executor: str) -> None:
    project.write("pipeline.py", PREAMBLE + body.replace("EXECUTOR", executor))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_results_and_cache_are_those_of_any_other_run(project, executor):
    """Values, pickles, files and scripts; nothing runs twice, one change runs what it must, loky takes up the rest."""
    project.write("extra.txt", "extra")
    _pipeline(project, MIXED, EXECUTORS[executor])
    first, again, restored, changed = json.loads(project.run("pipeline.py").stdout)
    total = 2 + 4 + 20001
    everything = ["both", "end", "one", "script", "two", "wrote"]
    assert first == [[f"{total} EXTRA {total}", everything, []], ["add", "last", "make-1", "make-2", "write"]]
    assert again == [[f"{total} EXTRA {total}", [], []], []]
    assert restored == [[f"{total} EXTRA {total}", [], ["both", "script"]], []]
    assert changed == [[f"{total} CHANGED {total}", ["end", "script", "wrote"], []], ["last", "write"]]
    project.write(
        "pipeline.py",
        (PREAMBLE + MIXED).replace("with EXECUTOR", "with ThreadPoolExecutor()").replace("executor=executor, ", ""),
    )
    assert json.loads(project.run("pipeline.py").stdout)[0] == [[f"{total} CHANGED {total}", [], []], []]


FAILING = """
class Odd(BaseException):
    pass

def fail(how):
    if how == "error":
        raise ValueError("this went wrong")
    if how == "exit":
        sys.exit(0)
    if how == "base":
        raise Odd("no exception")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "form":
        return 7
    if how == "unpicklable":
        return {"x": threading.Lock()}
    return {"x": how}

if __name__ == "__main__":
    hows = HOWS
    tasks = [FunctionTask(how, fail, {"how": MemoryDatum(pointer=how)}, {"x": None}) for how in hows]
    with EXECUTOR as executor:
        try:
            WorkflowManager(tasks, executor=executor, listeners=[]).run(keep_going=True)
        except WorkflowError as error:
            print(error)
            print(json.dumps({name: it.message for name, it in error.failures.items()}))
    print([str(task.state.name) for task in tasks])
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_each_failure_is_told_as_it_is(project, executor):
    """An exception of any kind fails its own task, with the person's frame in the traceback."""
    # Where the task runs in the main thread, an interrupt is the person's.
    hows = ["error", "exit", "base", *(["interrupt"] if executor != "at once" else []), "form", "unpicklable", "fine"]
    _pipeline(project, FAILING.replace("HOWS", repr(hows)), EXECUTORS[executor])
    lines = project.run("pipeline.py").stdout.splitlines()
    told = json.loads(lines[-2])
    assert set(told) == set(hows) - {"fine"}
    assert "this went wrong" in told["error"]
    assert "sys.exit(0)" in told["exit"]
    assert "no exception" in told["base"]
    assert "int" in told["form"]
    assert "'x'" in told["unpicklable"]
    assert any("in fail" in line for line in lines)
    assert not any("dagger/core" in line for line in lines)
    assert lines[-1].count("FAILED") == len(hows) - 1
    assert lines[-1].endswith("'COMPLETE']")


@pytest.mark.parametrize("executor", ["threads", "forked processes", "at once"])
def test_another_root_is_where_paths_count_from(project, executor):
    """Whatever the working directory of the process in which a task runs."""
    (project.path / "inner").mkdir()
    project.write("inner/extra.txt", "extra")
    body = """
    def copy(given, whole, out):
        with open(given) as file, open(out, "w") as to:
            to.write(file.read())
        with open(whole + "/1", "w") as to:
            to.write("one")

    def use(out, pickled):
        with open(out) as file:
            return {"x": file.read() + str(pickled)}

    def seven():
        return {"p": 7}

    if __name__ == "__main__":
        given = FileDatum()
        given.populate("extra.txt")
        made = FunctionTask("copy", copy, {"given": given}, {"out": "sub/out.txt", "whole": "whole/"})
        seven = PklTask("seven", seven, outputs={"p": "seven.pkl"})
        used = FunctionTask("use", use, {"out": made["out"], "pickled": seven["p"]}, {"x": None})
        for n in range(2):
            with EXECUTOR as executor:
                report = WorkflowManager(used, executor=executor, root_dir="inner", listeners=[]).run()
            print(used["x"].pointer, len(report.ran))
    """
    import textwrap

    _pipeline(project, textwrap.dedent(body), EXECUTORS[executor])
    assert project.run("pipeline.py").stdout.split() == ["extra7", "3", "extra7", "0"]
    assert sorted(os.listdir(project.path / "inner")) == [".dagger", "extra.txt", "seven.pkl", "sub", "whole"]


def test_a_pool_that_breaks_fails_what_it_ran(project):
    """The one that died is named, what could not run says so, and it ends."""
    body = """
def die():
    time.sleep(0.3)
    os._exit(7)

def fine(i):
    return {"x": i}

if __name__ == "__main__":
    tasks = [FunctionTask("die", die, outputs={"x": None})]
    tasks += [FunctionTask(f"f{i}", fine, {"i": MemoryDatum(pointer=i)}, {"x": None}, [tasks[0]]) for i in range(2)]
    script = ScriptTask("script", outputs={"o": "o.txt"}, script="echo o > {o}")
    with EXECUTOR as executor:
        WorkflowManager([*tasks, script], executor=executor, jobs=2).run(keep_going=True)
"""
    _pipeline(project, body, EXECUTORS["forked processes"])
    ended = project.dagger("run", "pipeline.py", check=False, timeout=60)
    assert ended.returncode == 1
    assert project.came_out("failed") == {"die"}
    assert project.came_out("skipped") == {"f0", "f1"}
    assert project.came_out("ran") == {"script"}
    assert "worker process died" in ended.stderr


@pytest.mark.parametrize("executor", ["threads", "forked processes"])
def test_an_executor_that_takes_nothing_more_is_one_clear_failure(project, executor):
    """No inner traceback for one that was shut down."""
    body = """
def fine():
    return {"x": 1}

if __name__ == "__main__":
    executor = EXECUTOR
    executor.shutdown()
    WorkflowManager(FunctionTask("t", fine, outputs={"x": None}), executor=executor).run()
"""
    _pipeline(project, body, EXECUTORS[executor])
    ended = project.dagger("run", "pipeline.py", check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "shutdown" in ended.stderr
    assert project.came_out("failed") == {"t"}


def test_a_forked_pool_holds_no_lock_beyond_its_task(project):
    """A pool that lives on was forked while a lock was held; the next run of the same output must not wait for it."""
    body = """
def make(n, out):
    with open(out, "w") as file:
        file.write(str(n))

if __name__ == "__main__":
    with EXECUTOR as executor:
        for n in range(3):
            made = FunctionTask("t", make, {"n": MemoryDatum(pointer=n)}, {"out": "o.txt"})
            WorkflowManager(made, executor=executor, listeners=[]).run()
            with open("o.txt") as file:
                print(file.read())
"""
    _pipeline(project, body, EXECUTORS["forked processes"])
    assert project.run("pipeline.py", timeout=30).stdout.split() == ["0", "1", "2"]


@pytest.mark.parametrize("executor", ["threads", "forked processes"])
def test_an_interrupt_starts_nothing_more_and_leaves_nothing_half_done(project, executor):
    """What cannot be ended is waited for, so that nothing writes to an output once its lock is let go."""
    body = """
def slow(n, out):
    mark(f"begun-{n}")
    open(f"begun-{n}", "w").close()
    with open(out, "w") as file:
        file.write("half")
        file.flush()
        deadline = time.monotonic() + 30
        while not os.path.exists("go") and time.monotonic() < deadline:
            time.sleep(0.01)
        file.write(" done")
    mark(f"ended-{n}")

def quick():
    return {"x": 1}

if __name__ == "__main__":
    first = FunctionTask("quick", quick, outputs={"x": None})
    slow = [
        FunctionTask(f"s{n}", slow, {"n": MemoryDatum(pointer=n)}, {"out": f"{n}.txt"}, [first]) for n in range(6)
    ]
    with EXECUTOR as executor:
        WorkflowManager(slow, executor=executor, jobs=2).run()
"""
    _pipeline(project, body, EXECUTORS[executor])
    process = project.start("-m", "dagger", "run", "pipeline.py")
    begun = (project.path / "begun-0", project.path / "begun-1")
    _until(lambda: all(path.exists() for path in begun))
    time.sleep(0.7)  # a record may be half a second late
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    (project.path / "go").touch()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert sorted(project.read("marks").split()) == ["begun-0", "begun-1", "ended-0", "ended-1"]
    assert not list(project.path.glob("?.txt"))
    project.dagger("run", "pipeline.py")
    assert project.came_out("up to date") == {"quick"}
    assert [project.read(f"{n}.txt") for n in range(6)] == ["half done"] * 6


def _until(is_so, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_polling_of_the_abstract_manager_drives_it_too(project):
    """The five steps do what `AbstractManager` asks of them: a task at a time, through the cache."""
    body = """
from dagger.abstract import AbstractManager

def add(a, b):
    mark("add")
    if a + b > 99:
        raise ValueError("too much")
    return {"x": a + b}

if __name__ == "__main__":
    def run(start):
        begin = FunctionTask("begin", add, {"a": MemoryDatum(pointer=start), "b": MemoryDatum(pointer=1)}, {"x": None})
        sides = [
            FunctionTask(f"side{n}", add, {"a": begin["x"], "b": MemoryDatum(pointer=n)}, {"x": None}) for n in (1, 2)
        ]
        end = FunctionTask("end", add, {"a": sides[0]["x"], "b": sides[1]["x"]}, {"x": None})
        manager = WorkflowManager(end, listeners=[], jobs=2)
        AbstractManager.run(manager)
        names = [sorted(it.identifier for it in part) for part in
                 (manager.complete, manager.failed, manager.waiting, manager.ready, manager.running)]
        return end["x"].pointer, names, len(marks())
    print(json.dumps([run(1), run(1), run(70)]))
"""
    _pipeline(project, body, "")
    first, again, failing = json.loads(project.run("pipeline.py").stdout)
    everything = [["begin", "end", "side1", "side2"], [], [], [], []]
    assert first == [7, everything, 4]
    assert again == [7, everything, 0]
    assert failing == [None, [["begin", "side1", "side2"], ["end"], [], [], []], 4]


def test_what_is_chosen_by_hand_fits_beside_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither more tasks than `jobs`, nor more of a resource than there is."""
    from dagger.core import FunctionTask, WorkflowManager

    monkeypatch.chdir(tmp_path)
    tasks = [FunctionTask(f"t{n}", dict, resources={"gpu": 1}) for n in range(4)]
    manager = WorkflowManager(tasks, resources={"gpu": 3}, jobs=8, cache=False)
    assert manager._choose_tasks(tasks) == tasks[:3]
    manager.running.append(tasks[0])
    assert manager._choose_tasks(tasks[1:]) == tasks[1:3]
    manager = WorkflowManager(tasks, jobs=2, cache=False)
    assert manager._choose_tasks(tasks) == tasks[:2]
    manager.running.append(tasks[0])
    assert manager._choose_tasks(tasks[1:]) == tasks[1:2]
