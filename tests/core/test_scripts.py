"""Scripts under their guardian: how they end, and that nothing of them outlives the manager."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dagger.core import process_groups, scripts
from dagger.core.scripts import ScriptEnd, ScriptRunner, shell_argv
from dagger.errors import TaskError

LINUX = sys.platform.startswith("linux")
needs_subreaper = pytest.mark.skipif(not LINUX, reason="only Linux has child subreapers")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")

# Starts what is hard to end: a deaf child, a session of its own, one that also hides its environment.
BROOD = """
    echo $$ > pid-shell
    sh -c 'trap "" TERM; echo $$ > pid-deaf; while :; do sleep 0.1; done' &
    python3 -c 'import os, time; os.setsid(); open("pid-session", "w").write(str(os.getpid())); time.sleep(600)' &
    (python3 -c 'import os, time; os.setsid(); open("pid-orphan", "w").write(str(os.getpid())); time.sleep(600)' &)
    (env -i PATH="$PATH" python3 -c 'import os, time; os.setsid(); open("pid-hidden", "w").write(str(os.getpid())); time.sleep(600)' &)
    until [ -s pid-deaf ] && [ -s pid-session ] && [ -s pid-orphan ] && [ -s pid-hidden ]; do sleep 0.02; done
    touch ready
"""  # noqa: E501


@pytest.fixture
def runner() -> Iterator[ScriptRunner]:
    runner = ScriptRunner(grace=0.5)
    yield runner
    runner.close()


@pytest.fixture
def run(runner: ScriptRunner, tmp_path: Path) -> Callable[..., ScriptEnd]:
    """Runs a script's text in the scratch folder; its log is `log` there."""

    def run(text: str, **options: object) -> ScriptEnd:
        settings: dict[str, object] = {
            "cwd": str(tmp_path),
            "env": dict(os.environ),
            "log_path": str(tmp_path / "log"),
            **options,
        }
        return runner.run(shell_argv(textwrap.dedent(text)), **settings)  # type: ignore[arg-type]

    return run


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    return process_groups.is_running(pid)


def brood(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted(folder.glob("pid-*"))]


def test_an_end_says_how_it_came(run: Callable[..., ScriptEnd]) -> None:
    """Exit code or signal, time and memory, and words for each."""
    assert run("exit 0").exit_code == 0
    failed = run("sleep 0.1; exit 7")
    assert (failed.exit_code, failed.signal, failed.timed_out, failed.interrupted) == (7, None, False, False)
    assert failed.seconds >= 0.1
    assert failed.describe() == "ended with exit code 7"
    killed = run("kill -SEGV $$")
    assert (killed.exit_code, killed.signal) == (None, signal.SIGSEGV)
    assert "SIGSEGV" in killed.describe()
    large = run(f"'{sys.executable}' -c 'x = b\"x\" * 200_000_000'")
    assert large.max_rss > 150_000_000


def test_a_time_out_of_all_sockets(run: Callable[..., ScriptEnd]) -> None:
    """What a program has set for its own sockets is none for its scripts."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.05)
    try:
        assert [run(f"sleep 0.3; exit {code}").exit_code for code in (0, 3)] == [0, 3]
    finally:
        socket.setdefaulttimeout(before)


@needs_bash
@pytest.mark.parametrize("text", ["false | true", "echo $unset_variable", "false; true"])
def test_a_failing_part_fails_the_script(run: Callable[..., ScriptEnd], text: str) -> None:
    """Also the first of a pipe, and a misspelt variable."""
    assert run(text).exit_code == 1


def test_what_a_script_finds(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """Its folder, its variables, nothing on stdin, and both outputs in one log that is made anew."""
    (tmp_path / "log").write_text("old" * 100)
    env = {"PATH": os.environ["PATH"], "A": "é\n", "EMPTY": ""}
    run('pwd; cat; printf "%s|%s|" "$A" "$EMPTY"; echo error >&2; echo out; trap', env=env)
    assert (tmp_path / "log").read_text() == f"{tmp_path}\né\n||error\nout\n"


def test_a_script_sees_the_same_each_time(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """The variable that marks a script is a function of the script, so that a dump of it is stable."""
    said = []
    for _ in range(2):
        run("env | sort")
        said.append((tmp_path / "log").read_text())
    assert said[0] == said[1]
    assert "DAGGER_SCRIPT=" in said[0]


@pytest.mark.parametrize("size", [10, 131_072, 3_000_000])
def test_a_text_beyond_one_argument(run: Callable[..., ScriptEnd], tmp_path: Path, size: int) -> None:
    """A script with a hundred thousand paths in it runs as any other."""
    text = "echo $0 $#\n: " + "x" * size + "\necho end\nfalse\necho never"
    assert run(text).exit_code == 1
    shell = shell_argv("")[0]
    assert (tmp_path / "log").read_text() == f"{shell} 0\nend\n"


def test_without_bash_sh_runs_it(
    run: Callable[..., ScriptEnd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system without bash runs scripts with what it has."""
    monkeypatch.setenv("PATH", str(tmp_path))
    scripts._shell.cache_clear()
    try:
        assert shell_argv("text") == ["/bin/sh", "-eu", "-c", "text"]
        assert run("false; true").exit_code == 1
    finally:
        scripts._shell.cache_clear()


def test_what_cannot_be_started_is_named(runner: ScriptRunner, tmp_path: Path) -> None:
    """A missing program, folder or log's folder is an error that names it, and the guardian goes on."""
    settings = {"cwd": str(tmp_path), "env": {"PATH": os.environ["PATH"]}, "log_path": str(tmp_path / "log")}
    for argv, wrong, name in [
        (["no-such-program"], {}, "no-such-program"),
        (["true"], {"cwd": str(tmp_path / "none")}, str(tmp_path / "none")),
        (["true"], {"log_path": str(tmp_path / "none" / "log")}, str(tmp_path / "none" / "log")),
    ]:
        with pytest.raises(TaskError, match="cannot be started") as caught:
            runner.run(argv, **{**settings, **wrong})  # type: ignore[arg-type]
        assert name in str(caught.value)
    assert runner.run(["true"], **settings).exit_code == 0  # type: ignore[arg-type]


def test_many_at_once_get_their_own_answers(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """Calls from several threads do not mix."""
    with ThreadPoolExecutor(8) as threads:
        ends = list(
            threads.map(lambda n: run(f"echo {n}; exit {n % 100}", log_path=str(tmp_path / f"log{n}")), range(200))
        )
    assert [end.exit_code for end in ends] == [n % 100 for n in range(200)]
    assert [(tmp_path / f"log{n}").read_text() for n in range(200)] == [f"{n}\n" for n in range(200)]


def test_one_too_many_waits_for_its_turn(run: Callable[..., ScriptEnd], runner: ScriptRunner, tmp_path: Path) -> None:
    """No more run at once than there is room for; one that is interrupted while it waits never starts."""
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(run, "touch ready; until [ -e stop ]; do sleep 0.02; done", at_once=1)
        wait_for((tmp_path / "ready").exists)
        second = threads.submit(run, "touch second", log_path=str(tmp_path / "2"), at_once=1, token=2, timeout=0.01)
        third = threads.submit(run, "touch third; exit 3", log_path=str(tmp_path / "3"), at_once=1, token=3)
        wait_for(lambda: len(runner._calls) == 3)
        runner.interrupt(2)
        assert second.result(10).interrupted
        assert not third.done()
        (tmp_path / "stop").touch()
        assert first.result(10).exit_code == 0
        assert third.result(10).exit_code == 3
    assert not (tmp_path / "second").exists()


def test_surroundings_do_not_stay_from_one_call_to_the_next(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """Calls share lines to the guardian, but not what it was told of their environment."""
    plain = {"PATH": os.environ["PATH"]}
    for env, seen in (({**plain, "A": "1"}, "1-"), (plain, "-"), (plain, "-"), ({**plain, "B": "2"}, "-2")):
        run('echo "${A:-}-${B:-}"', env=env)
        assert (tmp_path / "log").read_text() == f"{seen}\n"


def test_a_time_out_ends_the_whole_tree(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """What is deaf to SIGTERM gets SIGKILL."""
    started = time.monotonic()
    end = run("trap '' TERM\n" + textwrap.dedent(BROOD) + "\nsleep 600", timeout=3)
    assert end.timed_out
    assert not end.interrupted
    assert time.monotonic() - started < 8
    assert "time was up" in end.describe()
    if LINUX:
        assert len(brood(tmp_path)) == 5
        assert not any(map(alive, brood(tmp_path)))


def test_interrupt_ends_only_what_it_names(run: Callable[..., ScriptEnd], runner: ScriptRunner) -> None:
    """Each call is known by its token; a stopped script hears it too."""
    pids: list[int] = []
    with ThreadPoolExecutor(3) as threads:
        one = threads.submit(run, "kill -STOP $$; sleep 600", token="one", on_start=pids.append)
        other = threads.submit(run, "sleep 1.5", token="other", on_start=pids.append)
        wait_for(lambda: len(pids) == 2)
        time.sleep(0.1)
        runner.interrupt("one")
        runner.interrupt("none")
        assert one.result(5).interrupted
        assert one.result().describe() == "was interrupted"
        assert other.result(10) == ScriptEnd(0, None, False, False, other.result().seconds, other.result().max_rss)


def test_end_all_ends_everything_and_lets_nothing_start(
    run: Callable[..., ScriptEnd], runner: ScriptRunner, tmp_path: Path
) -> None:
    """When it returns, no process of any script is left, and a late call does not start one."""
    with ThreadPoolExecutor(4) as threads:
        folders = [tmp_path / str(n) for n in range(3)]
        for folder in folders:
            folder.mkdir()
        calls = [threads.submit(run, BROOD + "\n    sleep 600", cwd=str(folder)) for folder in folders]
        wait_for(lambda: all((folder / "ready").exists() for folder in folders))
        started = time.monotonic()
        runner.end_all()
        assert time.monotonic() - started < 8
        assert all(call.result(1).interrupted for call in calls)
        late = run("touch late")
    assert late.interrupted
    assert not (tmp_path / "late").exists()
    runner.close()
    if LINUX:
        assert [len(brood(folder)) for folder in folders] == [5, 5, 5]
        assert not any(alive(pid) for folder in folders for pid in brood(folder))


@needs_subreaper
def test_what_a_script_leaves_is_ended_with_it(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """`run` returns when nothing can write the outputs any more, and the script's own end stands."""
    assert run(BROOD + "\n    exit 3").exit_code == 3
    assert len(brood(tmp_path)) == 5
    assert not any(map(alive, brood(tmp_path)))


@needs_subreaper
def test_what_others_left_is_not_touched(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """The end of one script spares the sessions that another, which still runs, has started."""
    (tmp_path / "one").mkdir()
    with ThreadPoolExecutor(2) as threads:
        text = "(setsid sleep 600 & echo $! > pid-kept); touch ready; until [ -e stop ]; do sleep 0.02; done"
        other = threads.submit(run, text, cwd=str(tmp_path / "one"))
        wait_for((tmp_path / "one" / "ready").exists)
        for _ in range(3):
            assert run("setsid sleep 500 & true").exit_code == 0
        (kept,) = brood(tmp_path / "one")
        assert alive(kept)
        (tmp_path / "one" / "stop").touch()
        assert other.result(10).exit_code == 0
        assert not alive(kept)


@needs_bash
def test_a_log_writer_may_finish(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """The shell does not wait for a process substitution; its last lines are not cut off."""
    for _ in range(5):
        assert run("echo all of it > >(sleep 0.05; cat > copy)").exit_code == 0
        assert (tmp_path / "copy").read_text() == "all of it\n"


def test_a_descriptor_reaches_the_scripts(tmp_path: Path) -> None:
    """A lock stays held while the guardian or anything of a script lives, though the manager let go of it."""
    with open(tmp_path / "lock", "w") as lock, open(tmp_path / "lock", "w") as again:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runner = ScriptRunner(held=lock.fileno())
        text = "readlink /proc/$$/fd/99; touch ready; until [ -e stop ]; do sleep 0.02; done"
        options = {"cwd": str(tmp_path), "env": dict(os.environ), "log_path": str(tmp_path / "log")}
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(runner.run, shell_argv(text), **options)
            wait_for((tmp_path / "ready").exists)
            lock.close()
            assert not _locks(again)
            (tmp_path / "stop").touch()
            assert call.result(10).exit_code == 0
        if os.path.isdir("/proc/self/fd"):
            assert (tmp_path / "log").read_text() == f"{tmp_path / 'lock'}\n"
        runner.close()
        wait_for(lambda: _locks(again))


def _locks(file: object) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
    except BlockingIOError:
        return False
    return True


def test_a_script_inherits_nothing_else(run: Callable[..., ScriptEnd], tmp_path: Path) -> None:
    """No script holds another's log, nor the manager's sockets."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(
            run, "touch ready; until [ -e stop ]; do sleep 0.02; done", log_path=str(tmp_path / "first"), token=1
        )
        wait_for((tmp_path / "ready").exists)
        run("readlink /proc/$$/fd/* | sort -u", log_path=str(tmp_path / "other"))
        (tmp_path / "stop").touch()
        call.result(10)
    held = (tmp_path / "other").read_text().split("\n")
    assert not [each for each in held if "socket" in each or each.endswith("first")]


def test_a_killed_guardian_is_an_error_and_the_next_run_has_a_new_one(
    run: Callable[..., ScriptEnd], runner: ScriptRunner
) -> None:
    """The script that ran is ended with it; nothing hangs."""
    pids: list[int] = []
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(run, "sleep 600", on_start=pids.append)
        wait_for(lambda: pids)
        assert runner._guardian is not None
        os.kill(runner._guardian.pid, signal.SIGKILL)
        with pytest.raises(TaskError, match="guardian"):
            call.result(10)
    wait_for(lambda: not alive(pids[0]))
    assert run("true").exit_code == 0


def test_a_terminated_guardian_ends_its_scripts(run: Callable[..., ScriptEnd], runner: ScriptRunner) -> None:
    """SIGTERM to the guardian, as a system's shutdown sends it, leaves no script behind."""
    pids: list[int] = []
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(run, "sleep 600", on_start=pids.append)
        wait_for(lambda: pids)
        assert runner._guardian is not None
        os.kill(runner._guardian.pid, signal.SIGTERM)
        assert call.result(10).interrupted
    assert not alive(pids[0])
    wait_for(lambda: run("true").exit_code == 0)


def test_close_twice_and_without_a_script() -> None:
    """A runner that ran nothing started no guardian."""
    runner = ScriptRunner()
    assert runner._guardian is None
    runner.close()
    runner.close()


MANAGER = """
import os, sys, threading, time
from dagger.core.scripts import ScriptRunner, shell_argv
runner = ScriptRunner()
def run(text):
    return runner.run(shell_argv(text), cwd=os.getcwd(), env=dict(os.environ), log_path="log")
"""


def manager(folder: Path, text: str) -> subprocess.Popen[bytes]:
    """Starts a fresh Python that runs scripts in a scratch folder, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", MANAGER + textwrap.dedent(text)],
        cwd=folder,
        start_new_session=True,
    )


@needs_subreaper
@pytest.mark.parametrize(
    "before",
    ["", "if os.fork() == 0: time.sleep(20); os._exit(0)\n"],
    ids=["alone", "with a forked child"],
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_manager(tmp_path: Path, before: str, number: int) -> None:
    """However the manager goes, what its scripts started is gone in seconds, also what left its group."""
    (tmp_path / "brood.sh").write_text(textwrap.dedent(BROOD) + "sleep 600\n")
    text = f"""
    threading.Thread(target=run, args=(open("brood.sh").read(),)).start()
    while not os.path.exists("ready"): time.sleep(0.01)
    {before or "pass"}
    time.sleep(600)
    """
    process = manager(tmp_path, text)
    try:
        wait_for((tmp_path / "ready").exists, 20)
        time.sleep(0.2)
        assert runner_children(process.pid)
        pids = brood(tmp_path)
        assert len(pids) == 5
        assert all(map(alive, pids))
        process.send_signal(number)
        process.wait(10)
        wait_for(lambda: not any(map(alive, pids)), 6)
    finally:
        process.kill()
        process.wait()
        process_groups.send_group(process.pid, signal.SIGKILL)


def runner_children(pid: int) -> list[int]:
    return process_groups.children(pid)


def test_the_terminal_reaches_the_manager_only(tmp_path: Path) -> None:
    """Ctrl-C goes to the manager's group; it is the manager that decides about its scripts."""
    text = """
    import signal
    signal.signal(signal.SIGINT, lambda *_: None)
    thread = threading.Thread(target=lambda: print(run("touch ready; sleep 1; touch done")))
    thread.start()
    thread.join()
    """
    process = manager(tmp_path, text)
    wait_for((tmp_path / "ready").exists, 20)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 0
    assert (tmp_path / "done").exists()


def test_an_interrupted_call_leaves_no_script(tmp_path: Path) -> None:
    """KeyboardInterrupt within `run` ends the script before it goes on."""
    text = """
    try:
        run("echo $$ > pid; mv pid pid-shell; sleep 600")
    except KeyboardInterrupt:
        pid = int(open("pid-shell").read())
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            sys.exit(5)
    """
    process = manager(tmp_path, text)
    wait_for((tmp_path / "pid-shell").exists, 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 5


def test_a_forked_child_has_a_guardian_of_its_own(run: Callable[..., ScriptEnd], runner: ScriptRunner) -> None:
    """A fork uses the runner without touching its parent's scripts."""
    assert run("true").exit_code == 0
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run("exit 9").exit_code or 1
            runner.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert run("exit 4").exit_code == 4


def test_tiny_scripts_cost_little(run: Callable[..., ScriptEnd]) -> None:
    """The guardian adds less to a script than starting it three times over."""
    run("true")
    started = time.perf_counter()
    for _ in range(100):
        run(":")
    ours = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(100):
        os.waitpid(os.posix_spawn(shell_argv("")[0], shell_argv(":"), dict(os.environ)), 0)
    assert ours < 4 * (time.perf_counter() - started) + 0.2


WORKER = """
import os, subprocess, sys, time
from dagger.core.process_groups import become_subreaper, children, descendants, end_descendants
assert become_subreaper()
kept = subprocess.Popen(["sleep", "600"])
subprocess.run(["sh", "-c", sys.argv[1]])
while not os.path.exists("ready"): time.sleep(0.01)
found = descendants(os.getpid())
assert kept.pid in found and len(found) >= 5, found
ended = end_descendants(os.getpid(), 0.3, keep=[kept.pid])
assert kept.pid not in ended
assert descendants(os.getpid()) == [kept.pid]
assert kept.poll() is None
kept.kill()
kept.wait()
assert end_descendants(os.getpid(), 0.3) == []
"""


@needs_subreaper
def test_a_worker_ends_what_its_task_left(tmp_path: Path) -> None:
    """Also sessions of their own and the deaf; what it wants to keep stays."""
    subprocess.run([sys.executable, "-c", WORKER, BROOD], cwd=tmp_path, check=True, timeout=60)
    assert len(brood(tmp_path)) == 5
    assert not any(map(alive, brood(tmp_path)))


def test_end_group_ends_a_group_and_never_our_own() -> None:
    """A deaf member gets SIGKILL after the grace; one's own group is refused."""
    process = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; sleep 600 & echo; sleep 600"], start_new_session=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    reaper = threading.Thread(target=process.wait)
    reaper.start()
    started = time.monotonic()
    process_groups.end_group(process.pid, 0.3)
    reaper.join(5)
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - started < 3
    assert not process_groups.send_group(process.pid, 0)
    with pytest.raises(ValueError, match="own group"):
        process_groups.end_group(os.getpgrp())


@needs_subreaper
def test_children_are_found_without_the_kernels_list() -> None:
    """A kernel that lists no children per thread is asked for every process's parent instead."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        assert process.pid in process_groups.children(os.getpid())
        assert process.pid in process_groups._parents()[os.getpid()]
    finally:
        process.kill()
        process.wait()


MANY_OPEN = """
    import os
    from dagger.core import ScriptTask, WorkflowManager

    for most in range(85, 101):
        opened = []
        while not opened or opened[-1] < most:
            opened.append(os.dup(0))
        task = ScriptTask(f"task-{most}", outputs={"made": "made.txt"}, script="echo $$ > {made}")
        WorkflowManager(task, cache=f"cache-{most}", listeners=[]).run()
        for descriptor in opened:
            os.close(descriptor)
    print("done")
"""


def test_scripts_run_however_many_files_the_manager_has_open(project) -> None:
    """What the guardian gets can have any number, also the one that it gives to what it holds."""
    project.write("pipeline.py", MANY_OPEN)
    assert project.run("pipeline.py").stdout == "done\n"
