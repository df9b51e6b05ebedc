"""The worker processes: what one of them comes to does not touch the others, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAD = """
import os, signal, subprocess, sys, time
from dagger.core import FunctionTask, MemoryDatum, WorkflowManager
from dagger.abstract import DatumList

def note(name):
    with open(name, "a") as file:
        file.write(f"{os.getpid()}\\n")

"""


def test_neighbours_of_a_worker_that_dies_go_on(project):
    """They are not run a second time; what waited at the dead worker is, by another."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def neighbour():
    note("neighbour")
    while not os.path.exists("dead"):
        time.sleep(0.01)
    return {{"x": 1}}

def dies():
    while not os.path.exists("neighbour"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

def after(x):
    note("after")
    if len(open("after").read().split()) == 5:
        open("dead", "w")
    return {{"x": x}}

tasks = [FunctionTask("neighbour", neighbour, outputs={{"x": None}}), FunctionTask("dies", dies, outputs={{"x": None}})]
tasks += [FunctionTask(f"after{{n}}", after, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in range(5)]
WorkflowManager(tasks, jobs=2, undeclared="ignore").run(keep_going=True)
""",
    )
    run = project.run("pipeline.py", check=False)
    assert project.came_out("failed") == {"dies"}
    assert "task 'dies': its worker process was ended by SIGKILL" in run.stderr
    assert len(project.read("neighbour").split()) == 1
    assert len(project.read("after").split()) == 5
    assert project.read("neighbour").strip() not in project.read("after").split()


@pytest.mark.parametrize("harm", ["", "os.close(100)"])
def test_what_was_sent_ahead_waits_for_no_long_task(project, harm):
    """A worker that is free takes what waits at another, also at one that cannot be heard any more; each runs once."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def long():
    {harm}
    end = time.monotonic() + 20
    while not os.path.exists("short") or len(open("short").read().split()) < 9:
        assert time.monotonic() < end, "a task waited for this one"
        time.sleep(0.01)
    open("over", "w")
    return {{"x": 1}}

def short(x):
    note("short")
    time.sleep(0.03)
    return {{"x": x}}

long = FunctionTask("long", long, outputs={{"x": None}})
short = [FunctionTask(f"short{{n}}", short, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in range(9)]
WorkflowManager([long, *short], jobs=2, undeclared="ignore").run(keep_going=True)
""",
    )
    project.run("pipeline.py", check=not harm)
    assert project.came_out("ran") >= {f"short{n}" for n in range(9)}
    assert project.read("over") == ""
    assert len(project.read("short").split()) == 9


def test_what_was_sent_ahead_goes_to_the_next_worker(project):
    """Where the other has died, one takes its place for what waits at this one alone."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def long():
    end = time.monotonic() + 20
    while not os.path.exists("after"):
        assert time.monotonic() < end, "a task waited for this one"
        time.sleep(0.01)
    return {{"x": 1}}

def dies():
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)

def after():
    note("after")
    return {{"x": 1}}

tasks = [FunctionTask(work.__name__, work, outputs={{"x": None}}) for work in (long, dies, after)]
WorkflowManager(tasks, jobs=2, undeclared="ignore").run(keep_going=True)
""",
    )
    project.run("pipeline.py", check=False)
    assert project.came_out("ran") == {"long", "after"}


def test_a_round_is_taken_once():
    """Of two processes that take each round at the same time, one has it."""
    taken = subprocess.run([sys.executable, "-c", TAKING], check=True, capture_output=True, text=True).stdout
    ours, theirs = (set(line.split()) for line in taken.splitlines())
    assert not ours & theirs
    assert len(ours | theirs) == 500


TAKING = """
import mmap, os
from dagger.core.offers import CAN_TAKE_BACK, SLOTS, Offers

assert CAN_TAKE_BACK
memory = mmap.mmap(-1, 16 + SLOTS)
steps = memoryview(memory)[:16].cast("Q")
offers = Offers(memory, 16)

def meet(mine, step):
    steps[mine] = step
    while steps[1 - mine] < step:
        os.sched_yield()

def take(mine):
    taken = []
    for number in range(500):
        if mine == 0:
            offers.make(number)
        meet(mine, 2 * number + 1)
        if offers.take(number):
            taken.append(str(number))
        meet(mine, 2 * number + 2)
    return " ".join(taken)

reading, writing = os.pipe()
if not os.fork():
    os.write(writing, take(1).encode())
    os._exit(0)
os.close(writing)
print(take(0))
print(open(reading).read())
"""


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [0, 1])
def test_workers_that_cannot_be_started(project, count, known):
    """The run makes do with those that there are; without any, each task says why."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def work(x):
    return {{"x": os.getpid()}}

start, started = os.posix_spawn, []

def spawn(*arguments, **options):
    if len(started) == {count}:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    started.append(1)
    return start(*arguments, **options)

os.posix_spawn = spawn
tasks = [FunctionTask(f"t{{n}}", work, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in range(6)]
WorkflowManager(tasks, jobs=3, cache={known}).run(keep_going=True)
print(len({{task["x"].pointer for task in tasks}}))
""",
    )
    if known:
        (project.path / ".dagger" / "v2").mkdir(mode=0o700, parents=True)
    run = project.run("pipeline.py", check=False)
    if count:
        assert run.returncode == 0, run.stderr
        assert run.stdout == "1\n"
    else:
        assert run.stderr.count("no worker process can be started: [Errno 11]") >= 6
        assert project.came_out("failed") == {f"t{n}" for n in range(6)}
        assert "Traceback" not in run.stderr.partition("WorkflowError")[0].replace("Traceback (most recent call", "", 1)


def test_a_worker_that_dies_before_it_is_up(project):
    """Others take its work; where none comes up, the task says so, and the run ends."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def work(x):
    return {{"x": os.getpid()}}

os.environ["PYTHONPATH"] = os.getcwd() + os.pathsep + os.environ.get("PYTHONPATH", "")
tasks = [FunctionTask(f"t{{n}}", work, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in range(4)]
WorkflowManager(tasks, jobs=3).run(keep_going=True)
print(len({{task["x"].pointer for task in tasks}}))
""",
    )
    at_start = "import os, sys\nif sys.argv[0] == '-c':\n    "
    project.write("usercustomize.py", "")
    but_for_one = "try:\n        os.mkdir('one')\n    except FileExistsError:\n        os._exit(3)\n"
    project.write("sitecustomize.py", at_start + but_for_one)
    run = project.run("pipeline.py", check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "1\n"
    project.write("sitecustomize.py", at_start + "os._exit(3)\n")
    project.write("pipeline.py", project.read("pipeline.py").replace("os.getpid()", "-os.getpid()"))
    run = project.run("pipeline.py", check=False)
    assert project.came_out("failed") == {f"t{n}" for n in range(4)}
    assert "its worker process exited with status 3" in run.stderr


def test_much_to_say_on_both_sides(project):
    """A job of megabytes, an answer of megabytes, and thousands of short ones sent ahead beside them."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def text(n):
    return {{"text": "x" * 3000}}

def talk(texts):
    print("y" * (4 << 20))
    return {{"size": sum(map(len, texts)), "big": "z" * (4 << 20)}}

texts = [FunctionTask(f"text{{n}}", text, {{"n": MemoryDatum(pointer=n)}}, {{"text": None}}) for n in range(3000)]
joins = [
    FunctionTask(
        f"join{{n}}", talk, {{"texts": DatumList(MemoryDatum, [it["text"] for it in texts])}},
        {{"size": None, "big": None}}, version=str(n),
    )
    for n in range(4)
]
WorkflowManager(joins, jobs=2).run()
print([(it["size"].pointer, len(it["big"].pointer)) for it in joins])
""",
    )
    assert project.run("pipeline.py").stdout == f"{[(9_000_000, 4 << 20)] * 4}\n"


def test_a_workers_own_surroundings(project):
    """It has the manager's import path, arguments and folder, no standard input, and none of its other files."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def look():
    import multiprocessing
    kinds = [os.path.realpath(f"/proc/self/fd/{{n}}") for n in os.listdir("/proc/self/fd")]
    return {{
        "argv": sys.argv, "path": "/of/mine" in sys.path, "folder": os.getcwd(), "input": sys.stdin.read(),
        "open": [kind for kind in kinds if kind.endswith("open.txt")], "group": os.getpgrp() == os.getpid(),
        "key": bytes(multiprocessing.current_process().authkey),
    }}

import multiprocessing
sys.path.append("/of/mine")
sys.argv.append("more")
file = open("open.txt", "w")
os.set_inheritable(file.fileno(), True)
names = ("argv", "path", "folder", "input", "open", "group", "key")
task = FunctionTask("look", look, outputs=dict.fromkeys(names), cache=False)
WorkflowManager(task, undeclared="ignore").run()
found = {{name: task[name].pointer for name in names}}
assert found.pop("key") == bytes(multiprocessing.current_process().authkey)
print(found)
""",
    )
    expected = {"argv": ["pipeline.py", "more"], "path": True, "folder": str(project.path), "input": "", "open": []}
    for _ in range(2):  # the first starts its workers before it knows what is to be done
        assert project.run("pipeline.py").stdout == f"{ {**expected, 'group': True} }\n"


def test_what_is_refused_leaves_no_worker(project):
    """Workers of a first run are started before it is checked."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def write(o):
    open(o, "w")

tasks = [FunctionTask(name, write, {{}}, {{"o": "same.txt"}}) for name in "ab"]
try:
    WorkflowManager(tasks).run()
except Exception as error:
    print(type(error).__name__)
print(open(f"/proc/self/task/{{os.getpid()}}/children").read())
""",
    )
    assert project.run("pipeline.py").stdout == "RefusedError\n\n"
    assert not project.exists(".dagger")


def test_no_logs_are_left_of_what_printed_nothing(project):
    """Nor of workers that were killed with their manager, once there is a next run."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def quiet(x):
    if x == 1:
        print("a word")
    if x == 2 and not os.path.exists("go"):
        print("begun")
        note("begun")
        time.sleep(60)
    return {{"x": x}}

tasks = [FunctionTask(f"t{{n}}", quiet, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in range(3)]
WorkflowManager(tasks, jobs=1, undeclared="ignore").run()
""",
    )
    logs = project.path / ".dagger" / "v2" / "logs"
    process = project.start("pipeline.py")
    project.wait_until(lambda: project.exists("begun"))
    process.kill()
    process.communicate()
    worker = Path(f"/proc/{project.read('begun').strip()}")
    project.wait_until(lambda: not worker.exists())
    assert sorted(log.read_text() for log in logs.iterdir()) == ["a word\n", "begun\n"]
    (logs / "worker-99999999.log").touch()
    project.write("go", "")
    project.run("pipeline.py")
    assert [log.read_text() for log in logs.iterdir()] == ["a word\n"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_workers_are_started(project, number):
    """However early it comes, none of them is left."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def work():
    return {{"x": os.getpid()}}

start = os.posix_spawn

def spawn(*arguments, **options):
    pid = start(*arguments, **options)
    note("workers")
    os.kill(os.getpid(), {int(number)})
    return pid

os.posix_spawn = spawn
WorkflowManager([FunctionTask(f"t{{n}}", work, outputs={{"x": None}}) for n in range(3)], jobs=3).run()
""",
    )
    run = project.run("pipeline.py", check=False, timeout=30)
    assert run.returncode in (143, -number), run.stderr
    workers = [Path(f"/proc/{pid}") for pid in project.read("workers").split()]
    project.wait_until(lambda: not any(worker.exists() for worker in workers), 10)


ODD_PROGRAMS = {
    "a time-out of all sockets": "import socket; socket.setdefaulttimeout(0.3)",
    "a long import path": "sys.path += [f'/{n}' + 'x' * 100 for n in range(5000)]",
    "an import path of other types": "class P(str): pass\nsys.path.insert(0, P('/of/mine')); sys.path.append(None)",
    "arguments of other types": "class A(str): pass\nsys.argv += [A('more'), lambda: 1]",
    "no arguments": "del sys.argv",
    "modules named as the standard library's": (
        "import fcntl, marshal, mmap, pickle, select, signal, socket, struct, threading, typing; "
        "sys.path.insert(0, 'shadows')"
    ),
    "few files": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))",
    "no signals of children": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
}


@pytest.mark.parametrize("program", ODD_PROGRAMS.values(), ids=ODD_PROGRAMS)
def test_odd_programs(project, program):
    """Whatever the manager's program has set, its workers come up, idle as long as they must, and run its tasks."""
    for name in ("signal", "select", "socket", "struct", "marshal", "pickle", "threading", "mmap", "fcntl", "typing"):
        project.write(f"shadows/{name}.py", "raise ImportError('not me')\n")
    project.write(
        "pipeline.py",
        f"""{HEAD}
{program}

def work(x):
    time.sleep(0.7 if x == 0 else 0.01)
    return {{"x": x + 1, "code": subprocess.run(["false"]).returncode}}

given, tasks = {{"x": MemoryDatum(pointer=0)}}, []
for n in range(4):
    given = FunctionTask(f"t{{n}}", work, {{"x": given["x"]}}, {{"x": None, "code": None}})
    tasks.append(given)
tasks += [FunctionTask(f"u{{n}}", work, {{"x": MemoryDatum(pointer=n)}}, {{"x": None, "code": None}}) for n in (5, 6)]
WorkflowManager(tasks, jobs=60, undeclared="ignore").run()
print([(task["x"].pointer, task["code"].pointer) for task in tasks])
""",
    )
    run = project.run("pipeline.py", check=False, timeout=40)
    assert run.stdout == f"{[(n, 1) for n in (1, 2, 3, 4, 6, 7)]}\n", run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_manager_without_standard_streams(project, closed):
    """Its workers have them all the same."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def work():
    print("a word")
    subprocess.run("echo another; echo more >&2", shell=True, check=True)
    open("made.txt", "w").write(sys.stdin.read() + "made")
    return {{"x": 1}}

WorkflowManager(FunctionTask("t", work, outputs={{"x": None}}), undeclared="ignore", listeners=[]).run()
""",
    )
    project._call(["bash", "-c", f'exec "$0" pipeline.py {closed}', sys.executable])
    assert project.read("made.txt") == "made"
    (task,) = project.tasks()
    assert (task["outcome"], task["log"]) == ("ran", "a word\nanother\nmore\n")


CONNECTION = """
    found = [int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]
    number = max(n for n in found if os.readlink(f"/proc/self/fd/{n}").startswith("socket:"))
"""
HARMS = {
    "closes it": "os.close(number); kept.append(socket.socketpair()); time.sleep(60)",
    "has another socket there": "kept.append(socket.socketpair()); os.dup2(kept[0][0].fileno(), number)",
    "hangs up": "socket.socket(fileno=number).shutdown(socket.SHUT_RD)",
    "writes words": "os.write(number, b'hello world, I am...')",
    "writes an answer": "os.write(number, bytes(8))",
    "writes answers": "os.write(number, bytes(80))",
    "answers for another": "os.write(number, (12).to_bytes(8, sys.byteorder) + bytes([7] * 12))",
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_task_that_harms_its_workers_connection(project, harm):
    """It may fail, it alone, and the run ends."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
import socket
kept = []

def work(x):
    time.sleep(0.05)
    return {{"x": x}}

def harm():{CONNECTION}
    {harm}
    time.sleep(0.1)
    return {{"x": 1}}

tasks = [FunctionTask("harm", harm, outputs={{"x": None}})]
tasks += [FunctionTask(f"t{{n}}", work, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in range(20)]
try:
    WorkflowManager(tasks, jobs=2, undeclared="ignore").run(keep_going=True)
finally:
    print([task["x"].pointer for task in tasks[1:]])
""",
    )
    run = project.run("pipeline.py", check=False, timeout=40)
    assert project.came_out("ran") >= {f"t{n}" for n in range(20)}
    assert run.stdout.strip() == str(list(range(20)))


def test_who_closes_the_connection_is_blamed_for_it(project):
    """Not a task that was sent along with it and could not be heard for that."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def work(x):{CONNECTION}
    if x == 60:
        os.close(number)
    return {{"x": x}}

tasks = [FunctionTask(f"t{{n}}", work, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in range(150)]
WorkflowManager(tasks, jobs=2, undeclared="ignore").run(keep_going=True)
""",
    )
    project.run("pipeline.py", check=False)
    assert project.came_out("failed") == {"t60"}


def test_a_worker_that_cannot_tell_what_was_taken_back_runs_nothing(project):
    """As when dagger is installed anew during a run: rather no result than another task's."""
    project.write("hidden/sitecustomize.py", "import sys; sys.modules['dagger.core._system'] = None\n")
    project.write(
        "pipeline.py",
        f"""{HEAD}
from dagger.core.offers import CAN_TAKE_BACK

assert CAN_TAKE_BACK
os.environ["PYTHONPATH"] = os.path.abspath("hidden")

def work(x):
    return {{"x": x}}

tasks = [FunctionTask(f"t{{n}}", work, {{"x": MemoryDatum(pointer=n)}}, {{"x": None}}) for n in range(9)]
WorkflowManager(tasks, jobs=2).run(keep_going=True)
""",
    )
    run = project.run("pipeline.py", check=False)
    assert project.came_out("ran") == set()
    assert "was dagger installed anew meanwhile?" in run.stderr


def test_a_stopped_worker_keeps_no_signal_from_the_manager(project):
    """Nobody waits until it has taken a job, however big that is."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
big = os.urandom(30 << 20)

def idle():
    while not os.path.exists("begun"):  # else one worker may get both, before the other is up
        time.sleep(0.01)
    return {{"x": os.getpid()}}

def busy():
    note("begun")
    while not os.path.exists("go"):
        time.sleep(0.01)
    return {{"x": 1}}

def use(x):
    return {{"x": len(big)}}

task = FunctionTask("idle", idle, outputs={{"x": None}})
other = FunctionTask("busy", busy, outputs={{"x": None}})
used = [FunctionTask(f"use{{n}}", use, {{"x": other["x"]}}, {{"x": None}}) for n in range(3)]

def listen(event):
    if type(event).__name__ == "TaskEnded" and event.report.task == "idle":
        note_of = open("idle.new", "w")
        note_of.write(str(task["x"].pointer))
        note_of.close()
        os.rename("idle.new", "idle")
    if type(event).__name__ == "TaskStarted" and event.task == "use1":
        note("sent")

WorkflowManager([task, *used], jobs=2, undeclared="ignore", listeners=[listen]).run()
""",
    )
    process = project.start("pipeline.py")
    project.wait_until(lambda: project.exists("idle"))
    stopped = int(project.read("idle"))
    os.kill(stopped, signal.SIGSTOP)
    project.write("go", "")
    project.wait_until(lambda: project.exists("sent"))
    time.sleep(0.5)
    begun = time.monotonic()
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - begun < 10
    assert not os.path.exists(f"/proc/{stopped}")


LEAVES = {
    "ends": "return {'x': 1}",
    "fails": "raise ValueError",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "takes too long": "time.sleep(60)",
    "is interrupted": "os.kill(os.getppid(), signal.SIGINT); time.sleep(60)",
    "loses its manager": "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
}


@pytest.mark.parametrize("way", LEAVES.values(), ids=LEAVES)
def test_shared_memory_of_tasks_is_removed(project, way):
    """However a task ends that has not done so, and though nothing of it may outlive its worker."""
    project.write(
        "pipeline.py",
        f"""{HEAD}
def share():
    from multiprocessing import get_context, shared_memory
    shared = shared_memory.SharedMemory(create=True, size=5_000_000)
    lock = get_context("spawn").Lock()
    names = [f"/dev/shm/{{shared.name}}", f"/dev/shm/sem.{{lock._semlock.name[1:]}}"]
    assert all(map(os.path.exists, names))
    with open("names", "w") as file:
        file.write(" ".join(names))
    {way}

WorkflowManager(FunctionTask("share", share, outputs={{"x": None}}, timeout=2), undeclared="ignore").run()
""",
    )
    project.run("pipeline.py", check=False, timeout=40)
    names = project.read("names").split()
    assert len(names) == 2
    project.wait_until(lambda: not any(map(os.path.exists, names)), 15)


def test_a_worker_loads_what_it_needs(project):
    """All wait for the workers, so that what a plain function can do without is left to those that need it."""
    project.write("helpers.py", "def work():\n    import sys\n    return {'x': sorted(sys.modules)}\n")
    project.write(
        "pipeline.py",
        """
        from dagger import core
        from helpers import work

        task = core.FunctionTask("t", work, {}, {"x": None})
        core.WorkflowManager(task).run()
        print(*task["x"].pointer)
        """,
    )
    loaded = set(project.run("pipeline.py").stdout.split())
    assert "dagger.core.worker" in loaded
    ours = {"dagger.core.workflow_manager", "dagger.core.manifest", "dagger.core.engine"}
    assert not loaded & {"cloudpickle", "ctypes", "inspect", "locale", "logging", "random", "socket", "tempfile", *ours}


def test_what_one_task_loads_is_as_new_for_the_next(project):
    """Nothing loads logging for a worker; what a task says of it, or puts in its place, is that task's affair."""
    project.write(
        "helpers.py",
        """
        def stands_in():
            import sys, types
            sys.modules["logging"] = types.ModuleType("logging")
            sys.modules["random"] = None

        def disables():
            import logging
            logging.disable(logging.CRITICAL)
            logging.basicConfig(level=5)
            return logging.getLogger("x").isEnabledFor(logging.WARNING)

        def looks():
            import logging
            log = logging.getLogger("x")
            return log.isEnabledFor(logging.WARNING), log.isEnabledFor(logging.INFO), len(logging.root.handlers)

        def draws():
            import random
            random.seed(1)
            return random.random() < 1
        """,
    )
    project.write(
        "pipeline.py",
        """
        import helpers
        from dagger import core

        names = ["stands_in", "looks", "disables", "looks", "draws"]
        def task(number):
            named = getattr(helpers, names[number])
            return core.FunctionTask(f"t{number}", lambda: {"x": named()}, {}, {"x": None})
        tasks = [task(number) for number in range(len(names))]
        core.WorkflowManager(tasks, jobs=1, undeclared="ignore").run()
        print(*(task["x"].pointer for task in tasks), sep="\\n")
        """,
    )
    seen = "(True, False, 0)"
    assert project.run("pipeline.py").stdout.splitlines() == ["None", seen, "False", seen, "True"]


def test_plain_code_with_types_of_typing_loads_no_cloudpickle(project):
    """What stands in annotations is mostly of `typing`; all but variables of types has a name that a worker knows."""
    project.write(
        "pipeline.py",
        """
        import sys
        from typing import Any, Dict, List, Literal, Optional, Union
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        Numbers = Dict[str, List[Optional[float]]]

        def work(x: Any, mode: Literal["a", "b"] = "a") -> Union[Numbers, None]:
            return {"y": [str(Numbers), x, mode]}

        task = FunctionTask("t", work, {"x": MemoryDatum(pointer=1)}, {"y": None})
        WorkflowManager(task).run()
        print(*task["y"].pointer, "cloudpickle" in sys.modules)
        """,
    )
    said = project.run("pipeline.py").stdout.strip()
    assert said == "typing.Dict[str, typing.List[typing.Optional[float]]] 1 a False"


def test_a_task_of_ones_own_that_cleans_up_by_itself_keeps_its_paths(project):
    """Also in a worker: declared pointers stay."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, WorkflowManager

        class TwoTries(FunctionTask):
            def _run_logic(self, given):
                try:
                    return super()._run_logic(given)
                except OSError:
                    self._fail_cleanup()
                return super()._run_logic(given)

        def work(made, tries=[]):
            tries.append(made)
            with open(made, "w") as file:
                file.write(f"{len(tries)} {made}")
            if len(tries) == 1:
                raise OSError("not yet")

        WorkflowManager(TwoTries("t", work, {}, {"made": "made.txt"})).run()
        print(open("made.txt").read())
        """,
    )
    assert project.run("pipeline.py").stdout == "2 made.txt\n"
