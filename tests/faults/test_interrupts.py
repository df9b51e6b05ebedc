"""Ctrl-C and SIGTERM, under the command and under plain Python: all of a run ends, and what was finished is kept."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")

# Deaf to what asks for an end, in sessions of their own: what takes the most to end.
PIPELINE = """
import os, signal, subprocess, sys, time
from dagger.core import FunctionTask, ScriptTask, WorkflowManager

DEAF = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; open('{}', 'w'); time.sleep(600)"

class Noted(FunctionTask):
    def _interrupt_cleanup(self):
        super()._interrupt_cleanup()
        print("cleaned up", self.identifier, file=sys.stderr)

def quick():
    return {"x": 1}

def hang(x, page):
    with open(page, "w") as file:
        file.write("half")
    subprocess.Popen([sys.executable, "-c", DEAF.format("one")], start_new_session=True)
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

first = FunctionTask("first", quick, outputs={"x": None})
second = Noted("second", hang, {"x": first["x"]}, {"page": "page.txt"})
third = ScriptTask("third", {}, {"o": "o.txt"}, [first], script='''
trap '' TERM INT
echo half > {o}
(setsid PYTHON -c "$(cat deaf.py)" &)
sleep 600
'''.replace("PYTHON", sys.executable))
with open("deaf.py", "w") as file:
    file.write(DEAF.format("two"))
former = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
try:
    WorkflowManager([second, third], jobs=2, undeclared="ignore").run()
finally:
    print(*(task.state.name for task in (first, second, third)))
    if [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] != former:
        print("other handlers")
"""


def _wait_until(condition, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _left(folder: Path) -> list[str]:
    """The command lines of what still carries the run's mark in its environment."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"INTERRUPTED={folder}".encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(Path(f"/proc/{name}/cmdline").read_text())
        except OSError:
            continue
    return found


def _at_work(project) -> bool:
    return project.exists("one") and project.exists("two")


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("way", ["command", "python"])
def test_a_signal_ends_all_and_keeps_what_was_finished(project, number, word, way):
    """Within five seconds, however deaf what runs; states and handlers are as before, clean-ups are called."""
    project.write("pipeline.py", PIPELINE)
    command = ["-m", "dagger", "run", "pipeline.py"] if way == "command" else ["pipeline.py"]
    process = project.start(*command, env={"INTERRUPTED": str(project.path)})
    assert _wait_until(lambda: _at_work(project), 30), process.poll()
    begun = time.monotonic()
    process.send_signal(number)
    answers, said = process.communicate(timeout=30)
    assert time.monotonic() - begun < 8  # five, and some for a slow machine
    # Python ends itself by the signal that it did not catch, which a shell shows as 130.
    assert process.returncode == (-signal.SIGINT if (way, number) == ("python", signal.SIGINT) else 128 + number)
    assert f"dagger: {word}; 1 finished task kept, 2 ended (second, third)" in said.splitlines()
    assert said.count("cleaned up second") == 1
    # Under the command the handlers are the command's.
    assert answers.replace("other handlers\n", "" if way == "command" else "?") == "COMPLETE WAITING WAITING\n"
    assert _wait_until(lambda: not _left(project.path), 2), _left(project.path)
    assert not project.exists("page.txt")
    assert not project.exists("o.txt")
    project.dagger("run", "-n", "pipeline.py")
    assert project.came_out("up to date") == {"first"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_counts_though_its_exception_was_dropped(project, number, code):
    """As CPython's compiler drops one that comes while a module is imported."""
    project.write(
        "pipeline.py",
        f"""
        import os
        from dagger.abstract import TaskState
        from dagger.core import ScriptTask, WorkflowManager

        class Deaf:
            def report_state(self, task):
                try:
                    if task.state is TaskState.RUNNING:
                        os.kill(os.getpid(), {int(number)})
                except BaseException:
                    pass

        task = ScriptTask("long", outputs={{"o": "o.txt"}}, script="sleep 60; touch {{o}}")
        task.communicator = Deaf()
        WorkflowManager(task).run()
        """,
    )
    begun = time.monotonic()
    assert project.run("pipeline.py", check=False).returncode == code
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_does_not_break_the_ending_of_a_run_that_was_done(project, number, code):
    """It comes while the workers are being ended: those that are left would be waited for for ever."""
    project.write(
        "pipeline.py",
        f"""
        import os, sys
        from dagger.core import FunctionTask, WorkflowManager

        def quick():
            return {{"x": 1}}

        def at_the_end(frame, event, _):
            if event == "call" and frame.f_code.co_name == "kill_tree":
                sys.setprofile(None)
                print("told")
                os.kill(os.getpid(), {int(number)})

        sys.setprofile(at_the_end)
        WorkflowManager(FunctionTask("quick", quick, outputs={{"x": None}})).run()
        """,
    )
    done = project.run("pipeline.py", check=False, timeout=30)
    assert done.returncode == code
    assert done.stdout == "told\n"
    project.run("pipeline.py")
    assert project.came_out("up to date") == {"quick"}


def test_a_programs_own_handler_of_sigterm_is_left_alone(project):
    """It is called, and the run goes on as that says."""
    project.write(
        "pipeline.py",
        """
        import os, signal, time
        from dagger.core import FunctionTask, WorkflowManager

        def wait():
            open("started", "w")
            while not os.path.exists("heard"):
                time.sleep(0.01)
            return {"x": 1}

        signal.signal(signal.SIGTERM, lambda *_: open("heard", "w"))
        task = FunctionTask("wait", wait, outputs={"x": None})
        WorkflowManager(task, undeclared="ignore").run()
        print(task["x"].pointer)
        """,
    )
    process = project.start("pipeline.py")
    assert _wait_until(lambda: project.exists("started"), 30)
    process.terminate()
    assert process.communicate(timeout=30)[0] == "1\n"
    assert process.returncode == 0


def test_a_run_in_a_thread_leaves_signals_alone(project):
    """Only the main thread can have a handler; elsewhere a run goes without."""
    project.write(
        "pipeline.py",
        """
        import threading
        from dagger.core import FunctionTask, WorkflowManager

        def one():
            return {"x": 1}

        task = FunctionTask("one", one, outputs={"x": None})
        thread = threading.Thread(target=WorkflowManager(task).run)
        thread.start()
        thread.join()
        print(task["x"].pointer)
        """,
    )
    assert project.run("pipeline.py").stdout == "1\n"


def test_the_terminal_is_left_sane(project):
    """After Ctrl-C on a terminal it echoes, and its cursor is there again."""
    project.write("pipeline.py", PIPELINE)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    env = {**os.environ, "TERM": "xterm", "INTERRUPTED": str(project.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "dagger", "run", "pipeline.py"],
        cwd=project.path,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: (os.setsid(), os.close(os.open(os.ttyname(theirs), os.O_RDWR))),
    )
    assert _wait_until(lambda: _at_work(project), 30), process.poll()
    os.write(ours, b"\x03")
    assert process.wait(30) == 130
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") > 0  # hidden, and shown again
    assert shown.rindex(b"\x1b[?25h") < shown.rindex(b"dagger: interrupted; 1 finished task kept")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_keep_coming_do_not_break_the_ending(project, number):
    """As from `timeout`, which tells the command and then its group; what ends the workers is in that group too."""
    project.write("pipeline.py", PIPELINE)
    process = project.start(
        "-m", "dagger", "run", "pipeline.py", env={"INTERRUPTED": str(project.path)}, start_new_session=True
    )
    assert _wait_until(lambda: _at_work(project), 30), process.poll()
    until = time.monotonic() + 0.8  # a later Ctrl-C is a second one
    while time.monotonic() < until and process.poll() is None:
        os.killpg(process.pid, number)
        time.sleep(0.005)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        f"dagger: {'interrupted' if number == signal.SIGINT else 'terminated'}; "
        "1 finished task kept, 2 ended (second, third)"
    )
    assert _wait_until(lambda: not _left(project.path), 5), _left(project.path)
