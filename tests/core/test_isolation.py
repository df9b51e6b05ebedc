"""A worker process is set apart from the terminal, from its manager's end, and one job from the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dagger.core.capture import capture_output
from dagger.core.manager_life import ManagerLife

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and subreapers")


def run(text: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *args], capture_output=True, text=True, timeout=60, check=True
    )


def soon(condition: Callable[[], bool], seconds: float = 8.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_output_of_python_of_c_and_of_children_is_kept_in_order(tmp_path: Path) -> None:
    """The log has all that was printed in the order in which it was, and nothing of it reaches the terminal."""
    done = run(
        """
        import ctypes, os, subprocess, sys
        from dagger.core.capture import capture_output
        print("before")
        with capture_output(sys.argv[1]):
            print("out")
            print("err", file=sys.stderr)
            ctypes.CDLL(None).puts(b"from c")
            ctypes.CDLL(None).fflush(None)
            subprocess.run(["echo", "child"])
            os.write(2, b"raw\\n")
        print("after")
        """,
        str(tmp_path / "log"),
    )
    assert (tmp_path / "log").read_text() == "out\nerr\nfrom c\nchild\nraw\n"
    assert done.stdout == "before\nafter\n"
    assert done.stderr == ""


def test_what_c_code_buffered_goes_to_its_own_log(tmp_path: Path) -> None:
    """C output that was never flushed belongs to the job that printed it, not to the next."""
    run(
        """
        import ctypes, sys
        from dagger.core.capture import capture_output
        for number in "12":
            with capture_output(sys.argv[1] + number):
                ctypes.CDLL(None).puts(number.encode())
        """,
        str(tmp_path / "log"),
    )
    assert (tmp_path / "log1").read_text() == "1\n"
    assert (tmp_path / "log2").read_text() == "2\n"


def test_a_failing_job_keeps_its_log_and_gives_the_streams_back(tmp_path: Path) -> None:
    """An exception passes through, the streams are what they were, and the log is whole."""
    done = run(
        """
        import sys
        from dagger.core.capture import capture_output
        streams = sys.stdout, sys.stderr
        try:
            with capture_output(sys.argv[1]):
                sys.stdout.write("half a line")
                sys.stderr.close()
                raise ValueError
        except ValueError:
            print("passed on", (sys.stdout, sys.stderr) == streams)
        """,
        str(tmp_path / "log"),
    )
    assert done.stdout == "passed on True\n"
    assert (tmp_path / "log").read_text() == "half a line"


def test_a_log_that_cannot_be_written_does_not_stop_the_job(tmp_path: Path) -> None:
    """What is printed is lost then, the work is not."""
    done = run(
        """
        import sys
        from dagger.core.capture import capture_output
        with capture_output(sys.argv[1]):
            print("lost")
        print("done")
        """,
        str(tmp_path / "missing" / "log"),
    )
    assert done.stdout == "done\n"


def test_text_that_cannot_be_encoded_is_logged_all_the_same(tmp_path: Path) -> None:
    """Printing a name with undecodable bytes does not fail a task."""
    run(
        r"""
        import sys
        from dagger.core.capture import capture_output
        with capture_output(sys.argv[1]):
            print("\udcff \u20ac")
        """,
        str(tmp_path / "log"),
    )
    assert (tmp_path / "log").read_text() == "\\udcff €\n"


def test_a_thread_leaves_the_streams_alone(tmp_path: Path) -> None:
    """File descriptors belong to the whole process: outside the main thread nothing is captured."""
    import threading

    def job() -> None:
        with capture_output(str(tmp_path / "log")):
            pass

    before = sys.stdout
    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert sys.stdout is before
    assert not (tmp_path / "log").exists()


WORKER = """
import subprocess, sys, time
from dagger.core.isolation import prepare_worker
prepare_worker(sys.argv[1])
# One that has left the group and ignores the request to end, as a stubborn server would.
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
other = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True, stdout=subprocess.PIPE)
other.stdout.readline()
print(other.pid, flush=True)
time.sleep(60)
"""


@on_linux
def test_workers_end_with_their_manager_however_it_goes() -> None:
    """A killed manager takes its workers and all that they run with it, within seconds."""
    manager = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "from dagger.core.manager_life import ManagerLife\n"
            "life = ManagerLife()\n"
            "worker = subprocess.Popen([sys.executable, '-c', sys.argv[1], life.path], stdout=subprocess.PIPE)\n"
            "print(worker.pid, worker.stdout.readline().decode().strip(), flush=True)\n"
            "time.sleep(60)\n",
            WORKER,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert manager.stdout is not None
    worker, grandchild = map(int, manager.stdout.readline().split()[:2])
    assert is_running(worker)
    assert is_running(grandchild)
    manager.send_signal(signal.SIGKILL)
    manager.wait()
    assert soon(lambda: not is_running(worker) and not is_running(grandchild))


@on_linux
def test_closing_lets_the_workers_go() -> None:
    """Once the manager closes its end, workers end all that they run and then themselves; its folder is gone."""
    life = ManagerLife()
    worker = subprocess.Popen([sys.executable, "-c", WORKER, life.path], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    grandchild = int(worker.stdout.readline())
    life.close()
    assert worker.wait(10) != 0
    assert not os.path.exists(os.path.dirname(life.path))
    assert not is_running(grandchild)


def test_a_worker_that_comes_too_late_ends_at_once(tmp_path: Path) -> None:
    """A worker whose manager is gone before it is up does not stay."""
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path / "nobody")], stdout=subprocess.PIPE)
    assert worker.wait(20) == 1


@on_linux
def test_a_killed_workers_children_are_ended_by_the_manager() -> None:
    """What a killed worker's task had started in the worker's group does not outlive it."""
    life = ManagerLife()
    text = (
        "import subprocess, sys, time\n"
        "from dagger.core.isolation import prepare_worker\n"
        "prepare_worker(sys.argv[1])\n"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", text, life.path], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    child = int(worker.stdout.readline())
    worker.kill()
    worker.wait()
    assert soon(lambda: not is_running(child))
    life.close()


@on_linux
def test_what_a_task_left_running_is_ended() -> None:
    """After a job its processes are gone, also those in a session of their own; and it may start others later."""
    done = run(
        """
        import multiprocessing, os, subprocess, sys
        from dagger.core.isolation import end_leftovers, prepare_worker
        from dagger.core.manager_life import ManagerLife
        if __name__ == "__main__":
            life = ManagerLife()
            prepare_worker(life.path)
            one = subprocess.Popen(["sleep", "60"])
            subprocess.run(["sh", "-c", "setsid sleep 61 & echo"], stdout=subprocess.DEVNULL)
            pool = multiprocessing.get_context("forkserver").Pool(1)
            print(pool.apply(os.getppid) > 0)
            pool.terminate()
            ended = end_leftovers()
            print(one.pid in ended, len(ended) >= 2, end_leftovers())
            print(multiprocessing.get_context("forkserver").Pool(1).apply(int))
            sys.stdout.flush()
            os._exit(0)
        """
    )
    assert done.stdout == "True\nTrue True []\n0\n"


def test_children_of_a_process_that_is_not_daggers_are_left_alone() -> None:
    """In an executor that a person gave, the worker's other children may be anybody's."""
    done = run(
        """
        import subprocess
        from dagger.core.isolation import end_leftovers
        child = subprocess.Popen(["sleep", "60"])
        print(end_leftovers(), child.poll())
        child.kill()
        """
    )
    assert done.stdout == "[] None\n"


def test_a_worker_has_no_input_and_its_children_can_be_interrupted() -> None:
    """`input()` fails at once, an interrupt is the manager's, and no child inherits that it is."""
    done = run(
        """
        import os, signal, subprocess, sys, time
        from dagger.core.isolation import prepare_worker
        from dagger.core.manager_life import ManagerLife
        life = ManagerLife()
        prepare_worker(life.path)
        os.kill(os.getpid(), signal.SIGINT)
        try:
            input()
        except EOFError:
            print("no input")
        child = subprocess.Popen([sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT))"],
            stdout=subprocess.PIPE, text=True)
        print("default_int_handler" in child.communicate()[0], os.getpgrp() == os.getpid())
        sys.stdout.flush()
        os._exit(0)
        """
    )
    assert done.stdout == "no input\nTrue True\n"
