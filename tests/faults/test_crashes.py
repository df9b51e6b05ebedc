"""Killed at random instants: no wrong reuse, nothing half-written taken for good, finished work kept, nothing left.

One mixed workflow is run again and again in one project. Its sources and its code change between the rounds, so that
what is reused wrongly would show; its manager, or one of its workers, is killed at an instant drawn by lot. What the
tasks do they note in a file outside the project: which began and which ended, in which process, with which inputs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dagger.cache import Cache
from dagger.cache.records import Record

pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc"),
    pytest.mark.timeout(3600),
]

LINES = 6
WIDTH = 4
SECONDS_TO_END = 6.0

HELPERS = """
import os, random, time, zlib

SCALE = {scale}


def worth(*given):
    return zlib.crc32(repr((SCALE, given)).encode())


def note(what, task, *given):
    line = f"{{what}} {{task}} {{worth(*given)}} {{os.getpid()}} {{time.time()}}\\n".encode()
    file = os.open({marks!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


def work():
    time.sleep(random.uniform(0.002, 0.03))


def slowly(file, text):
    for line in text.splitlines(keepends=True):
        file.write(line)
        file.flush()
        time.sleep(0.004)
"""

PIPELINE = """
import json, os, pickle, random
from dagger.abstract import DatumList
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask, WorkflowManager
from helpers import note, slowly, work, worth

def part(source, number):
    with open(source) as file:
        text = file.read()
    note("begin", f"part{number}", text)
    work()
    if random.random() < 0.1:
        raise OSError("bad luck")
    values = [worth(text, number, step) for step in range(9000 if number % 2 else 3)]
    note("end", f"part{number}", text)
    return {"values": values}

def total(values, number):
    note("begin", f"total{number}", values)
    work()
    note("end", f"total{number}", values)
    return {"total": {"sum": sum(values), "number": number}}

def report(values, number, page):
    note("begin", f"report{number}", values)
    work()
    with open(page, "w") as file:
        slowly(file, "".join(f"{worth(values, line)}\\n" for line in range(LINES)))
    note("end", f"report{number}", values)

def folder(totals, folder):
    note("begin", "folder", totals)
    os.makedirs(folder, exist_ok=True)
    for each in totals:
        with open(os.path.join(folder, f"{each['number']}.txt"), "w") as file:
            slowly(file, f"{each['sum']}\\nsum\\n")
    note("end", "folder", totals)

def lookup(totals):
    note("begin", "lookup", totals)
    work()
    with open("lookup.txt") as file:
        text = file.read()
    note("end", "lookup", totals)
    return {"found": worth(text, totals)}

parts = [
    FunctionTask(f"part{n}", part,
                 {"source": FileDatum(pointer=f"source{n % 2}.txt"), "number": MemoryDatum(pointer=n)},
                 {"values": None}, retries=9)
    for n in range(WIDTH)
]
totals = [
    PklTask(f"total{n}", total, {"values": parts[n]["values"], "number": MemoryDatum(pointer=n)},
            {"total": f"out/total{n}.pkl"})
    for n in range(WIDTH)
]
reports = [
    FunctionTask(f"report{n}", report, {"values": parts[n]["values"], "number": MemoryDatum(pointer=n)},
                 {"page": f"out/report{n}.txt"})
    for n in range(WIDTH)
]
copies = [
    ScriptTask(f"copy{n}", {"page": reports[n]["page"]}, {"copy": f"out/copy{n}.txt"},
               script="echo begin > {copy}; (setsid sleep 600 & sleep 601 &); sleep 0.02; cat {page} >> {copy}; "
                      "sleep 0.0$RANDOM; echo end >> {copy}")
    for n in range(2)
]
every = DatumList(FileDatum, [task["total"] for task in totals])
folder_task = FunctionTask("folder", folder, {"totals": every}, {"folder": "out/folder/"})
lookup_task = FunctionTask("lookup", lookup, {"totals": every}, {"found": None})
joined = ScriptTask(
    "joined",
    {"pages": DatumList(FileDatum, [task["page"] for task in reports]),
     "copies": DatumList(FileDatum, [task["copy"] for task in copies]), "folder": folder_task["folder"]},
    {"joined": "out/joined.txt"},
    script="for file in {pages} {copies} {folder}/*; do cat $file >> {joined}; sleep 0.01; done",
)
WorkflowManager([joined, lookup_task], jobs=2).run(keep_going=True)
with open(os.environ["ANSWER"], "w") as file:
    pickles = [open(task["total"].pointer, "rb") for task in totals]
    json.dump([[pickle.load(each) for each in pickles], lookup_task["found"].pointer], file)
"""


@dataclass(frozen=True)
class Mark:
    """What a task noted of itself."""

    what: str
    task: str
    given: str
    process: int
    time: float


class Site:
    """The project under fire.

    Args:
        project: The scratch project.
        chance: What all that is random is drawn from.
    """

    def __init__(self, project, chance: random.Random) -> None:
        self.project = project
        self.chance = chance
        self.marks = project.path.parent / "marks.txt"
        self.answer = project.path.parent / "answer.json"
        self.scale = 1
        text = PIPELINE.replace("range(LINES)", f"range({LINES})").replace("range(WIDTH)", f"range({WIDTH})")
        project.write("pipeline.py", text)
        for name in ("source0.txt", "source1.txt", "lookup.txt"):
            project.write(name, f"{name} 0\n")
        self._write_helpers()

    def edit(self) -> None:
        """Change some of the sources, or put them back to what they once were."""
        for name in ("source0.txt", "source1.txt", "lookup.txt"):
            if self.chance.random() < 0.4:
                self.project.write(name, f"{name} {self.chance.randrange(4)}\n")
        if self.chance.random() < 0.2:
            self.scale = self.chance.randrange(3)
            self._write_helpers()

    def _write_helpers(self) -> None:
        self.project.write("helpers.py", HELPERS.format(scale=self.scale, marks=str(self.marks)))

    def start(self) -> subprocess.Popen[str]:
        """Start the command."""
        return _start(self.project, ANSWER=str(self.answer))

    def noted(self) -> list[Mark]:
        """What the tasks noted so far; the last line may be half a one."""
        lines = self.marks.read_text().splitlines(keepends=True) if self.marks.exists() else []
        rows = [line.split() for line in lines if line.endswith("\n")]
        return [Mark(what, task, given, int(pid), float(when)) for what, task, given, pid, when in rows]

    def outputs(self) -> tuple[dict[str, str], object]:
        """All that the workflow made: texts of files by name, and the values that its script asked for."""
        folder = self.project.path / "out"
        files = {
            str(path.relative_to(folder)): path.read_text()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix != ".pkl"
        }
        return files, json.loads(self.answer.read_text())

    def expected(self) -> tuple[dict[str, str], object]:
        """What a clean build would make, by a program of its own."""
        space: dict[str, object] = {}
        exec(HELPERS.format(scale=self.scale, marks=""), space)
        worth = space["worth"]
        texts = [self.project.read(f"source{number % 2}.txt") for number in range(WIDTH)]
        values = [
            [worth(text, number, step) for step in range(9000 if number % 2 else 3)]
            for number, text in enumerate(texts)
        ]
        totals = [{"sum": sum(each), "number": number} for number, each in enumerate(values)]
        files = {
            f"report{number}.txt": "".join(f"{worth(each, line)}\n" for line in range(LINES))
            for number, each in enumerate(values)
        }
        pages = [files[f"report{number}.txt"] for number in range(WIDTH)]
        files.update({f"copy{number}.txt": f"begin\n{pages[number]}end\n" for number in range(2)})
        files.update({f"folder/{it['number']}.txt": f"{it['sum']}\nsum\n" for it in totals})
        names = [
            *(f"report{number}.txt" for number in range(WIDTH)),
            "copy0.txt",
            "copy1.txt",
            *(f"folder/{number}.txt" for number in range(WIDTH)),
        ]
        files["joined.txt"] = "".join(files[name] for name in names)
        return files, [totals, worth(self.project.read("lookup.txt"), totals)]


def _start(project, **env: str) -> subprocess.Popen[str]:
    """Start the command, so that all its processes can be found by their environment."""
    return project.start("-m", "dagger", "run", "pipeline.py", env={**env, "CRASHING": str(project.path)})


def _records(project) -> dict[Any, Record]:
    """The committed records by what makes each the only one of its kind."""
    cache = Cache.open(project.path / ".dagger", root=project.path)
    found = {(record.key, tuple(record.reads)): record for record in cache.all_records()}
    cache.close()
    return found


def _all_gone(project) -> bool:
    """Wait until no process of a run is left, nor any that its scripts started."""
    sign = f"CRASHING={project.path}".encode()

    def left() -> list[int]:
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
        return [pid for pid in pids if sign in _read(f"/proc/{pid}/environ").split(b"\0")]

    return _wait_until(lambda: not left(), SECONDS_TO_END)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _wait_until(condition, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def site(project) -> Site:
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # shown when a test fails
    return Site(project, random.Random(seed))


def _wait_for_the_instant(site: Site, process: subprocess.Popen[str]) -> None:
    """Wait until so many notes were made, or for some time from the start; then a little more."""
    before = len(site.noted())
    if site.chance.random() < 0.7:
        wanted = before + site.chance.randrange(2 * (3 * WIDTH + 2))
        _wait_until(lambda: len(site.noted()) >= wanted or process.poll() is not None, 20)
        time.sleep(site.chance.uniform(0, 0.03))
    else:
        time.sleep(site.chance.uniform(0.05, 1.5))


def _finish(site: Site) -> str:
    """Run to the end, and check that all is as a clean build would leave it."""
    site.answer.unlink(missing_ok=True)
    done = site.start()
    _, said = done.communicate(timeout=120)
    assert done.returncode == 0, said
    assert site.outputs() == site.expected()
    return said


def _check_kept(site: Site, before: dict[Any, Record]) -> None:
    """Nothing whose record was there has run again."""
    for known, record in _records(site.project).items():
        if known in before:
            assert record.started == before[known].started, f"{record.task} ran again though its record was there"


def test_a_killed_manager_leaves_nothing_wrong_and_loses_nothing(site, rounds):
    """Some managers are killed in a row, the sources change, and then one may run to its end."""
    for _ in range(rounds):
        site.edit()
        for _ in range(site.chance.choice((1, 1, 2))):
            process = site.start()
            _wait_for_the_instant(site, process)
            process.kill()
            process.communicate()
            assert _all_gone(site.project), "something is left running"
        before = _records(site.project)
        said = _finish(site)
        assert "moved it to" not in said, said
        _check_kept(site, before)


def test_a_manager_that_is_asked_to_end_leaves_nothing_wrong_and_loses_nothing(site, rounds):
    """By Ctrl-C or SIGTERM, at whatever it is: it ends soon, says so, and half of nothing is left."""
    for _ in range(rounds):
        site.edit()
        process = site.start()
        _wait_for_the_instant(site, process)
        number = site.chance.choice((signal.SIGINT, signal.SIGTERM))
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        # As Python itself ends where the signal comes before there is anything to end in order.
        ends = {signal.SIGINT: (130, -signal.SIGINT, 1), signal.SIGTERM: (143, -signal.SIGTERM)}[number]
        assert process.returncode in (0, *ends), said
        if process.returncode in (130, 143):
            assert "Traceback" not in said
        assert _all_gone(site.project), "something is left running"
        before = _records(site.project)
        said = _finish(site)
        assert "moved it to" not in said, said
        _check_kept(site, before)


LONG = """
import time
from dagger.core import FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

def quick(n):
    return {"x": n}

def long(x):
    import os
    while not os.path.exists("../go"):
        time.sleep(0.01)
    return {"y": x}

script = ScriptTask("script", outputs={"o": "o.txt"}, script="echo done > {o}")
first = FunctionTask("quick", quick, {"n": MemoryDatum(pointer=1)}, {"x": None})
last = FunctionTask("long", long, {"x": first["x"]}, {"y": None}, [script])
WorkflowManager(last, undeclared="ignore").run()
"""


def test_what_has_finished_is_committed_while_others_run(project):
    """So that it outlives a kill however long these take."""
    project.write("pipeline.py", LONG)
    process = _start(project)
    assert _wait_until(lambda: {it.task for it in _records(project).values()} == {"quick", "script"}, 20)
    process.kill()
    process.communicate()
    (project.path.parent / "go").touch()
    project.dagger("run", "pipeline.py")
    assert project.ran() == {"long"}


def _workers(manager: int) -> list[int]:
    found = _read(f"/proc/{manager}/task/{manager}/children").split()
    return [int(pid) for pid in found if b"dagger.core.worker" in _read(f"/proc/{int(pid)}/cmdline")]


def test_a_killed_worker_costs_at_most_the_task_that_it_ran(site, rounds):
    """The run ends well, or names that task and nothing else; the next run makes it good."""
    for _ in range(rounds):
        site.edit()
        before = len(site.noted())
        process = site.start()
        _wait_for_the_instant(site, process)
        workers = _workers(process.pid)
        victim = site.chance.choice(workers) if workers else 0
        if victim and process.poll() is None:
            os.kill(victim, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        failed = site.project.came_out("failed")
        assert process.returncode == (1 if failed else 0), said
        # Of its last execution; one that the worker had just taken up may have noted nothing yet.
        ran_in = [mark.process for mark in site.noted()[before:] if mark.task in failed]
        assert len(failed) <= 1, said
        assert set(ran_in[-1:]) <= {victim}, said
        assert "moved it to" not in said, said
        assert _all_gone(site.project), "something is left running"
        _finish(site)


STUBBORN = """
import os, subprocess, time
from dagger.core import FunctionTask, ScriptTask, WorkflowManager

def stubborn(page):
    with open(page, "w") as file:
        for tick in range(2000):
            with open("MARKS", "a") as marks:
                marks.write(f"function {os.getpid()}\\n")
            file.write(f"half of {os.getpid()}\\n")
            file.flush()
            if os.path.exists("QUICK"):
                break
            if not tick:  # what ignores being asked takes the worker two seconds to end
                subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 61; sleep 61"])
            time.sleep(0.01)

script = '''
trap '' TERM
for tick in $(seq 2000); do
    echo script $$ >> MARKS; echo "half of $$" >> {page}
    test -e QUICK && break
    sleep 0.01
done
'''
WorkflowManager(
    [
        FunctionTask("function", stubborn, outputs={"page": "function.txt"}),
        ScriptTask("script", outputs={"page": "script.txt"}, script=script),
    ],
    jobs=2, undeclared="ignore",
).run()
"""


def _crash(project, marks: Path) -> None:
    """Start the stubborn tasks, and kill their manager while both are at work."""
    process = _start(project)
    at_work = lambda: marks.exists() and {line.split()[0] for line in marks.open()} == {"function", "script"}  # noqa: E731
    assert _wait_until(at_work, 20)
    process.kill()
    process.stdout.close()
    process.stderr.close()


@pytest.fixture
def stubborn(project) -> Path:
    """The notes of tasks that take two seconds to end, until the file ``quick`` is there."""
    marks, quick = project.path.parent / "marks.txt", project.path.parent / "quick"
    project.write("pipeline.py", STUBBORN.replace("MARKS", str(marks)).replace("QUICK", str(quick)))
    return marks


def test_a_second_manager_waits_for_the_orphans_of_a_killed_one(project, stubborn):
    """Two executions of one task never overlap, and what the first had half written is not taken for anybody's."""
    _crash(project, stubborn)
    (project.path.parent / "quick.later").touch()
    second = project.start("-m", "dagger", "run", "pipeline.py")
    time.sleep(0.3)
    (project.path.parent / "quick.later").rename(project.path.parent / "quick")
    _, said = second.communicate(timeout=60)
    assert second.returncode == 0, said
    for name in ("function", "script"):
        at_work = [line.split()[1] for line in stubborn.read_text().splitlines() if line.startswith(name)]
        assert len(dict.fromkeys(at_work)) == 2
        assert sorted(at_work, key=at_work.index) == at_work, "both were at work at once"
        assert project.read(f"{name}.txt") == f"half of {at_work[-1]}\n"
    assert "moved it to" not in said
    assert not (project.path / ".dagger" / "saved").exists()


def test_what_a_person_puts_there_after_a_crash_is_saved(project, stubborn):
    """Also in the place of what was half written."""
    _crash(project, stubborn)
    assert _all_gone(project)
    time.sleep(0.02)
    (project.path.parent / "quick").touch()
    project.write("mine.txt", "mine")
    (project.path / "mine.txt").rename(project.path / "script.txt")
    said = project.dagger("run", "pipeline.py").stderr
    assert said.count("moved it to") == 1
    assert [path.read_text() for path in (project.path / ".dagger" / "saved").rglob("*.txt")] == ["mine"]


ENDING = """
import os, signal, sys, time
from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

def kill(event, arguments):
    if len(events) == 1:
        events.append("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    elif not events and event == "os.kill" and arguments[1] == signal.SIGSTOP:
        events.append("stopped")

def work(number):
    time.sleep(0.5)  # until both workers are up
    return {"number": number}

events = []
if os.path.exists("WHEN"):
    sys.addaudithook(kill)
tasks = [
    FunctionTask(f"task{n}", work, {"number": MemoryDatum(pointer=n)}, {"number": None}, version=str(time.time_ns()))
    for n in range(2)
]
WorkflowManager(tasks, jobs=2, undeclared="ignore").run()
"""


def test_a_manager_that_is_killed_while_it_ends_its_workers_leaves_none_stopped(project, rounds):
    """They are stopped before they are ended; a stopped one would hold the run, and the next would wait for it."""
    when = project.path.parent / "when"
    project.write("pipeline.py", ENDING.replace("WHEN", str(when)))
    for _ in range(rounds):
        when.touch()
        process = _start(project)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert _all_gone(project), "something is left running"
        when.unlink()
        project.run("pipeline.py", timeout=30)


PICKLING = """
import os, signal, time
from dagger.core import FileDatum, PklTask, WorkflowManager

class Deadly:
    def __reduce__(self):
        if os.path.exists("WHOM"):
            with open("WHOM") as file:
                os.kill({"worker": os.getpid(), "manager": os.getppid()}[file.read()], signal.SIGKILL)
            time.sleep(60)
        return int, ()

def model(source):
    return {"model": Deadly()}

task = PklTask("model", model, {"source": FileDatum(pointer="source.txt")}, {"model": "out/model.pkl"})
WorkflowManager(task, undeclared="ignore").run()
"""


@pytest.mark.parametrize("victim", ["worker", "manager"])
def test_a_pickle_that_was_half_written_does_not_stay_beside_its_place(project, victim):
    """A folder that is another task's input would have it among its files."""
    whom = project.path.parent / "whom"
    project.write("pipeline.py", PICKLING.replace("WHOM", str(whom)))
    project.write("source.txt", "1")
    whom.write_text(victim)
    _start(project).communicate(timeout=60)
    assert _all_gone(project)
    if victim == "worker":
        assert os.listdir(project.path / "out") == []
    whom.unlink()
    project.dagger("run", "pipeline.py")
    assert os.listdir(project.path / "out") == ["model.pkl"]


RESTORING = """
import os, signal, sys
from dagger.core import FileDatum, ScriptTask, WorkflowManager

def kill(event, arguments):
    if event == "os.rename" and os.path.exists("WHEN") and "/out/." in arguments[0]:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
source = {"source": FileDatum(pointer="source.txt")}
task = ScriptTask("make", source, {"made": "OUTPUT"}, script="SCRIPT")
WorkflowManager(task).run()
"""
KINDS = {
    "file": ("out/made.txt", "cp {source} {made}"),
    "pattern": ("out/*.txt", "cp {source} out/made.txt"),
    "directory": ("out/made/", "mkdir -p {made}; cp {source} {made}/a"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_half_restored_does_not_stay_beside_its_place(project, kind):
    """Also where the next run has to make something else."""
    when = project.path.parent / "when"
    output, script = KINDS[kind]
    text = RESTORING.replace("WHEN", str(when)).replace("OUTPUT", output).replace("SCRIPT", script)
    project.write("pipeline.py", text)
    project.write("source.txt", "1")
    project.dagger("run", "pipeline.py")
    made = os.listdir(project.path / "out")
    subprocess.run(["rm", "-r", project.path / "out"], check=True)
    when.touch()
    _start(project).communicate(timeout=60)
    (left,) = os.listdir(project.path / "out")
    assert left.endswith(".dagger")
    when.unlink()
    project.write("source.txt", "22")
    project.dagger("run", "pipeline.py")
    assert os.listdir(project.path / "out") == made
