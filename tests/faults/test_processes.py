"""Workers die, tasks hang, people interrupt: the task at fault is named, nothing else is lost or left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")


def _mark(number: int) -> str:
    """Seconds to sleep that no other session of these tests on this machine asks for."""
    return f"{100 + number}{os.getpid()}"


def _running(mark: str) -> list[int]:
    """The processes, zombies aside, that have a mark in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if mark.encode() in file.read():
                        found.append(int(name))
            except OSError:
                continue
    return found


def _gone(mark: str, seconds: float = 8.0) -> bool:
    until = time.monotonic() + seconds
    while _running(mark):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _appears(path, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("death", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os._exit(7)", "status 7"),
        ("sys.exit(0)", "sys.exit(0)"),
    ],
)
def test_a_task_that_ends_its_worker_fails_alone(project, death, told):
    """Its neighbours are neither blamed nor lost."""
    project.write(
        "pipeline.py",
        f"""
        import os, signal, sys, time
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        def die():
            {death}

        def work(i):
            time.sleep(0.3)
            return {{"x": i}}

        others = [FunctionTask(f"w{{i}}", work, {{"i": MemoryDatum(pointer=i)}}, {{"x": None}}) for i in range(4)]
        WorkflowManager([FunctionTask("die", die, outputs={{"x": None}}), *others], jobs=3).run(keep_going=True)
        """,
    )
    run = project.dagger("run", "pipeline.py", check=False)
    assert run.returncode == 1
    assert project.came_out("failed") == {"die"}
    assert project.came_out("ran") == {"w0", "w1", "w2", "w3"}
    assert told in run.stderr


def test_a_time_limit_ends_functions_that_hang_or_will_not_hear(project):
    """What swallows the exception is ended by force; a script with all that it started."""
    mark = _mark(0)
    project.write(
        "pipeline.py",
        """
        import time
        from dagger.core import FunctionTask, ScriptTask, WorkflowManager

        def slow():
            time.sleep(60)

        def deaf():
            try:
                time.sleep(60)
            except BaseException:
                time.sleep(60)

        def fine():
            return {"x": 1}

        WorkflowManager(
            [
                FunctionTask("slow", slow, outputs={"x": None}, timeout=0.5),
                FunctionTask("deaf", deaf, outputs={"x": None}, timeout=0.5),
                ScriptTask("script", outputs={"o": "o.txt"}, script="sleep MARK & sleep MARK > {o}", timeout=0.5),
                FunctionTask("fine", fine, outputs={"x": None}, timeout=30),
            ]
        ).run(keep_going=True)
        """.replace("MARK", mark),
    )
    run = project.dagger("run", "pipeline.py", check=False, timeout=60)
    assert project.came_out("failed") == {"slow", "deaf", "script"}
    assert project.came_out("ran") == {"fine"}
    assert run.stderr.count("time limit of 0.5 s") >= 2
    assert _gone(f"sleep\x00{mark}")


def test_retries_try_again_and_a_failed_tasks_output_is_taken_away(project):
    """A task that fails and then ends well has run."""
    project.write(
        "pipeline.py",
        """
        import os
        from dagger.core import FunctionTask, ScriptTask, WorkflowManager

        flaky = ScriptTask("flaky", outputs={"o": "o.txt"}, retries=2,
                           script="echo x >> tries.log; echo half > {o}; test $(wc -l < tries.log) -ge 3")
        broken = ScriptTask("broken", outputs={"o": "broken.txt"}, retries=1, script="echo half > {o}; exit 3")
        WorkflowManager([flaky, broken]).run(keep_going=True)
        """,
    )
    run = project.dagger("run", "pipeline.py", check=False)
    assert project.came_out("ran") == {"flaky"}
    assert project.came_out("failed") == {"broken"}
    assert "exit code 3" in run.stderr
    assert project.read("tries.log").count("x") == 3
    assert not project.exists("broken.txt")


HANGING = """
    import os
    from dagger.core import FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

    def first():
        return {"x": 1}

    def hang(x, mark):
        os.system(f"sleep {mark} &")
        open("started", "w").close()
        os.system(f"sleep {mark}")

    one = FunctionTask("one", first, outputs={"x": None})
    two = FunctionTask("two", hang, {"x": one["x"], "mark": MemoryDatum(pointer=MARK)}, {"y": None})
    script = ScriptTask("script", {}, {"o": "o.txt"}, [one],
                        script="setsid sleep MARK & sleep MARK & echo half > {o}; sleep MARK")
    WorkflowManager([two, script], jobs=2, undeclared="ignore").run()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_everything_and_keeps_what_was_finished(project, number, code):
    """Grandchildren too; the next run goes on from there."""
    mark = _mark(number)
    project.write("pipeline.py", HANGING.replace("MARK", mark))
    process = project.start("-m", "dagger", "run", "pipeline.py")
    _appears(project.path / "started")
    begun = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert time.monotonic() - begun < 8
    assert _gone(f"sleep\x00{mark}")
    assert "Traceback" not in said
    assert not project.exists("o.txt")
    project.dagger("run", "-n", "pipeline.py")
    assert project.came_out("up to date") == {"one"}


def test_when_the_manager_is_killed_its_workers_and_scripts_end(project):
    """Nothing is left running a few seconds after kill -9, and finished work is kept."""
    mark = _mark(9)
    project.write("pipeline.py", HANGING.replace("MARK", mark))
    process = project.start("pipeline.py")
    _appears(project.path / "started")
    time.sleep(0.7)  # a record may be half a second late
    process.kill()
    process.communicate(timeout=20)
    assert _gone(f"sleep\x00{mark}")
    project.dagger("run", "-n", "pipeline.py")
    assert project.came_out("up to date") == {"one"}


def test_four_managers_at_once_do_nothing_twice(project):
    """They wait for each other and find each other's records."""
    project.write(
        "pipeline.py",
        """
        import time
        from dagger.core import FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

        def work(i):
            with open("log.txt", "a") as log:
                log.write(f"{i}\\n")
            time.sleep(0.1)
            return {"x": i}

        tasks = [FunctionTask(f"t{i}", work, {"i": MemoryDatum(pointer=i)}, {"x": None}) for i in range(8)]
        script = ScriptTask("s", {}, {"o": "o.txt"}, tasks, script="echo once >> log.txt; echo o > {o}")
        WorkflowManager(script, jobs=2, undeclared="ignore").run()
        """,
    )
    processes = [project.start("pipeline.py") for _ in range(4)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert sorted(project.read("log.txt").split()) == sorted(["once", *map(str, range(8))])


def test_a_damaged_value_sends_its_producer_back_to_run(project):
    """Found in a worker or when a value is asked for; a bad blob is never loaded."""
    project.write(
        "pipeline.py",
        """
        import sys
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        def make():
            return {"x": list(range(5000))}

        def use(x, how):
            return {"y": sum(x) * how}

        made = FunctionTask("make", make, outputs={"x": None})
        used = FunctionTask("use", use, {"x": made["x"], "how": MemoryDatum(pointer=int(sys.argv[1]))}, {"y": None})
        WorkflowManager(used).run()
        print(len(made["x"].pointer), used["y"].pointer)
        """,
    )
    total = sum(range(5000))
    assert project.run("pipeline.py", "1").stdout.split() == ["5000", str(total)]

    def flip() -> None:
        for blob in (project.path / ".dagger/v2/blobs").glob("??/*"):
            data = bytearray(blob.read_bytes())
            data[len(data) // 2] ^= 1
            blob.chmod(0o600)
            blob.write_bytes(data)

    flip()
    assert project.run("pipeline.py", "2").stdout.split() == ["5000", str(2 * total)]
    assert project.ran() == {"make", "use"}
    flip()
    assert project.run("pipeline.py", "2").stdout.split() == ["5000", str(2 * total)]
    assert project.ran() == {"make"}


DEAF = """
    import os, sys
    from dagger.core import FunctionTask, WorkflowManager

    def closes_all():
        os.closerange(3, 4000)
        return {"x": 1}

    def good():
        return {"x": 1}

    tasks = [FunctionTask(f"bad{i}", closes_all, outputs={"x": None}) for i in range(6)]
    tasks += [FunctionTask(f"good{i}", good, outputs={"x": None}) for i in range(6)]
    WorkflowManager(tasks, jobs=3).run(keep_going=True)
"""


def test_a_worker_that_loses_its_manager_takes_nothing_from_it(project, rounds):
    """Who closes every descriptor hears no more of the manager, and must not tidy up behind it: it is still there."""
    project.write("pipeline.py", DEAF)
    for _ in range(max(2, rounds // 3)):
        assert project.run("pipeline.py", check=False, timeout=60).returncode == 1
        assert project.came_out("failed") == {f"bad{i}" for i in range(6)}
        project.dagger("clean")


def test_who_reads_the_output_is_not_kept_by_the_load_of_the_machine(project):
    """A process that holds the pipe and comes to its end only when nobody else wants a core would keep the reader."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, WorkflowManager

        def work():
            return {"done": True}

        WorkflowManager(FunctionTask("work", work, outputs={"done": None})).run()
        """,
    )
    burn = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    load = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        project.run("pipeline.py")
        assert [it.poll() for it in load] == [None] * len(load)
    finally:
        for it in load:
            it.kill()
            it.wait()
    assert project.came_out("ran") == {"work"}
