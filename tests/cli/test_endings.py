"""How commands end: exit codes, and messages that show a person's own frames and none of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

SLOW = """
    from dagger.core import FunctionTask, MemoryDatum

    def quick(x):
        return {"y": x}

    def slow(y):
        import os, time
        open("started", "w").write(str(os.getpid()))
        time.sleep(60)
        return {"z": y}

    first = FunctionTask("first", quick, {"x": MemoryDatum(pointer=1)}, {"y": None})
    second = FunctionTask("second", slow, {"y": first["y"]}, {"z": None})
"""


def test_missing_script_is_wrong_usage(pages):
    """A script that is not there is named, with the one that was meant."""
    done = pages.dagger("run", "pipelin.py", check=False)
    assert done.returncode == 2
    assert "'pipelin.py'" in done.stderr
    assert "did you mean 'pipeline.py'?" in done.stderr


def test_directory_is_no_script(pages):
    """A directory is wrong usage, not a traceback."""
    done = pages.dagger("run", ".", check=False)
    assert done.returncode == 2
    assert "is a directory" in done.stderr


@pytest.mark.parametrize("words", [["-C", "nowhere", "run", "x.py"], ["rnu"], ["run"], ["run", "x.py", "--nix"]])
def test_wrong_usage_exits_with_two(project, words):
    """What click refuses, and a folder that is not there, exit with 2."""
    project.write("x.py", "")
    assert project.dagger(*words, check=False).returncode == 2


def test_exception_of_the_script_shows_its_frames_only(project):
    """A failing script's traceback is the one that Python would print."""
    project.write("bad.py", "def inner():\n    raise ValueError('mine')\n\ninner()\n")
    ours = project.dagger("run", "bad.py", check=False)
    assert ours.returncode == 1
    assert ours.stderr == project.run("bad.py", check=False).stderr


def test_syntax_error_shows_its_place(project):
    """Code that does not compile is shown as Python shows it."""
    project.write("bad.py", "x = (\n")
    ours = project.dagger("run", "bad.py", check=False)
    assert ours.returncode == 1
    assert ours.stderr == project.run("bad.py", check=False).stderr


@pytest.mark.parametrize(("code", "expected"), [("3", 3), ("'bye'", 1), ("None", 0), ("0", 0), ("", 0)])
def test_exit_of_the_script_is_honoured(project, code, expected):
    """sys.exit(CODE) in a script means what it means in Python."""
    project.write("end.py", f"import sys\nsys.exit({code})\n")
    done = project.dagger("run", "-q", "end.py", check=False)
    assert done.returncode == expected
    assert done.stderr == project.run("end.py", check=False).stderr


def test_refused_workflow_exits_with_two(project):
    """What is refused before anything runs is one message without a traceback."""
    project.write(
        "dup.py",
        "from dagger.core import ScriptTask\n"
        "tasks = [ScriptTask('a', {}, {'o': f'{n}.txt'}, script='touch {o}') for n in range(2)]\n",
    )
    done = project.dagger("run", "dup.py", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("dagger: two tasks are named 'a'")
    assert "Traceback" not in done.stderr


def test_failed_task_shows_its_own_traceback(pages, edit):
    """A task's failure shows the frames of its code, and what could not run for it; none of dagger's frames."""
    edit(pages, "return 2", "return 1 / 0")
    done = pages.dagger("run", "pipeline.py", check=False)
    assert done.returncode == 1
    assert "dagger: 1 task failed" in done.stderr
    assert "pipeline.py" in done.stderr
    assert "in factor" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "page (needs double)" in done.stderr
    assert "cli" not in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_handled_failure_is_the_scripts_affair(pages, edit):
    """A script that catches the error and goes on ends well, as under Python."""
    edit(pages, "return 2", "return 1 / 0")
    pages.write(
        "pipeline.py",
        pages.read("pipeline.py")
        + "from dagger.core import WorkflowError\n"
        + "try:\n    WorkflowManager(page).run()\nexcept WorkflowError as error:\n    print(*error.failures)\n",
    )
    assert pages.dagger("run", "pipeline.py").stdout == "double\n"


def _started(project, *command):
    process = project.start("-m", "dagger", "run", *command, start_new_session=True)
    started = project.path / "started"
    deadline = time.monotonic() + 60
    while not (started.exists() and started.read_text()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process, int(started.read_text())


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("to_group", [False, True])
def test_signal_ends_the_run_and_says_what_is_kept(project, number, code, word, to_group):
    """An interruption ends all processes within seconds, in one line; what was finished is kept."""
    project.write("slow.py", SLOW)
    process, worker = _started(project, "slow.py")
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == code
    last = errors.splitlines()[-1]
    assert last == f"dagger: {word}; 1 finished task kept, 1 ended (second)"
    assert "Traceback" not in errors
    deadline = time.monotonic() + 10
    while _is_alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    project.write("slow.py", SLOW.replace("time.sleep(60)", ""))
    project.dagger("run", "slow.py")
    assert project.ran() == {"second"}


def test_double_interrupt_ends_the_run_once(project):
    """A terminal and a parent may both pass the key on; the second signal does not break the ending."""
    project.write("slow.py", SLOW)
    process, _ = _started(project, "slow.py")
    os.kill(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "dagger: interrupted; 1 finished task kept, 1 ended (second)"


def test_interrupt_of_the_script_itself(project):
    """Between runs the key ends the script, in one line too."""
    project.write("wait.py", "import time\nopen('started', 'w').write('1')\ntime.sleep(60)\n")
    process, _ = _started(project, "wait.py")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == "dagger: interrupted; no task had finished, none was running\n"


@pytest.mark.parametrize(
    "words", [["run", "-q", "many.py"], ["run", "-n", "-v", "pipeline.py"], ["cache", "ls"], ["--help"]]
)
def test_closed_pipe_is_no_traceback(made, words):
    """When the reader of the output goes away, the command ends quietly."""
    made.write("many.py", "for n in range(100_000):\n    print(n)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "dagger", *words],
        cwd=made.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(60) in (0, 1)
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


def test_an_interrupt_that_struck_while_a_class_was_made_ends_with_the_same_code(project):
    """Python ends itself by the signal when it passed through `exec`, though it was caught; the command does not."""
    project.write("pipeline.py", 'exec("raise KeyboardInterrupt")\n')
    assert project.dagger("run", "pipeline.py", check=False).returncode == 130
