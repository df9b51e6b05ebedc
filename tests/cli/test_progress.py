"""How a run looks: plain lines in a pipe, a moving line on a terminal, and listeners that never steer."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from dagger.cli.progress import Lines, Terminal, lines_of, listener
from dagger.core import report as out
from dagger.core.events import Noted, RunEnded, RunStarted, TaskEnded
from dagger.core.report import RunReport, TaskReport

SLOW = """
    from dagger.core import ScriptTask
    ScriptTask("left", {}, {"o": "left.txt"}, script="sleep 1.2; touch {o}")
    ScriptTask("right", {}, {"o": "right.txt"}, script="sleep 1.2; touch {o}")
"""


class ClosedStream(io.StringIO):
    def write(self, _text):
        raise BrokenPipeError

    def isatty(self):
        return False


def in_terminal(command, cwd, **variables):
    """Run a command with a terminal for its standard error; return what it wrote there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **variables}
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                text += os.read(ours, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    assert process.wait(10) == 0
    os.close(ours)
    return text.decode()


def test_terminal_has_a_moving_line(project):
    """On a terminal a line says how many are done, which run, for how long; it is gone at the end."""
    project.write("pipeline.py", SLOW)
    text = in_terminal([sys.executable, "-m", "dagger", "run", "-j2", "pipeline.py"], project.path)
    assert "[0/2] 2 tasks running: left, right" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert re.search(r"ran +left \(first time\) in 1\.\d\d s", plain)
    assert "2 ran" in plain.splitlines()[-1]
    assert re.search(r"\x1b\[[0-9;]*32m", text)


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_terminal_that_cannot_or_must_not(project, variables):
    """A dumb terminal gets plain lines; NO_COLOR is respected."""
    project.write("pipeline.py", SLOW.replace("1.2", "0"))
    text = in_terminal([sys.executable, "-m", "dagger", "run", "pipeline.py"], project.path, **variables)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", text)
    assert "2 ran" in text


def test_pipe_gets_lines_without_escapes(made, edit):
    """Without a terminal there is a plain line for each task that did something, and one for the whole."""
    edit(made, "return 2", "return 8")
    errors = made.dagger("run", "pipeline.py").stderr
    assert "\x1b" not in errors
    assert [line.split()[0] for line in errors.splitlines()] == ["ran", "ran", "dagger:"]


def test_empty_run_is_not_told():
    """A manager none of whose tasks is a target has nothing to say."""
    assert list(lines_of(RunEnded(RunReport()), verbose=True)) == []


def test_interrupted_tasks_have_no_line():
    """One line at the end says what was ended."""
    assert list(lines_of(TaskEnded(TaskReport("a", out.INTERRUPTED)), verbose=True)) == []


@pytest.mark.parametrize("kind", [Lines, Terminal])
def test_what_cannot_be_written_is_let_go(kind):
    """A closed stream does not stop a run."""
    listen = kind(ClosedStream(), verbose=True)
    for event in (RunStarted(1), Noted("a", "b"), TaskEnded(TaskReport("a", out.RAN)), RunEnded(RunReport())):
        listen(event)
    listen.close()


def test_file_gets_plain_lines():
    """What is no terminal is no place for a moving line."""
    assert type(listener(io.StringIO(), verbose=False)) is Lines
