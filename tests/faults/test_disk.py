"""A full disk, no permission, something else than a file in a path: told with path and task, and right afterwards."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PIPELINE = """
    import os
    import sys

    from dagger.core import FileDatum, FunctionTask, PklTask, ScriptTask, WorkflowManager

    SIZE = 600_000


    def make():
        return {"data": os.urandom(8).hex() + "0" * SIZE}


    def keep(data):
        return {"kept": {"data": data[16:], "more": "1" * SIZE}}


    def write(data, page):
        with open(page, "w") as file:
            file.write(data[16:])


    def measure(kept, page, lines):
        return {"sizes": [len(kept["more"]), os.path.getsize(page), os.path.getsize(lines)]}


    made = FunctionTask("make", make, {}, {"data": None})
    kept = PklTask("keep", keep, {"data": made["data"]}, {"kept": "kept.pkl"})
    page = FunctionTask("write", write, {"data": made["data"]}, {"page": "out/page.txt"})
    lines = ScriptTask("lines", {}, {"lines": "lines.txt"}, script="seq 1 60000 > {lines}")
    inputs = {"kept": kept["kept"], "page": page["page"], "lines": lines["lines"]}
    sizes = FunctionTask("measure", measure, inputs, {"sizes": None})
    WorkflowManager(sizes, jobs=2).run()
    print("sizes", sizes["sizes"].pointer)
"""

RIGHT = "sizes [600000, 600000, 348894]\n"


class Disk:
    """A small disk of its own, which can grow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def set_size(self, kilobytes: int, *, read_only: bool = False) -> None:
        options = f"size={kilobytes}k,{'ro' if read_only else 'rw'}"
        if os.path.ismount(self.path):
            options += ",remount"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    try:
        made.set_size(1000)
        yield made
    finally:
        subprocess.run(["umount", "-l", str(made.path)], capture_output=True, check=False)


OURS = re.compile(r'File "[^"]*/(dagger|cache|cli)/(abstract/|core/)?\w+\.py"')


def assert_told(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """The run failed, and said why without showing its inside."""
    assert run.returncode == 1, run.stdout + run.stderr
    assert not OURS.search(run.stderr), run.stderr
    for word in words:
        assert word in run.stderr, run.stderr


def assert_right(project: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    run: subprocess.CompletedProcess[str] = project.dagger("run", "pipeline.py", **options)
    assert run.stdout == RIGHT
    return run


@pytest.mark.parametrize("size", [100, 900, 2700])
def test_the_disk_of_the_project_is_full(project: Any, disk: Disk, size: int) -> None:
    """Wherever in the run it is: one task or more fail with what is full; with room again, the results are right."""
    disk.set_size(size)
    project.path = disk.path / "project"
    project.path.mkdir()
    project.write("pipeline.py", PIPELINE)
    # One after the other: at the same time, one that fails makes room for the next, or for the question what is full.
    run = project.dagger("run", "-k", "--jobs", "1", "pipeline.py", check=False)
    for task in project.came_out("failed"):
        assert_told(run, f"task {task!r}")
        told = run.stderr.split(f"task {task!r}:")[1].split("task '")[0]
        named = ("kept.pkl", "No space left") if task == "keep" else (f"no room is left on the disk of {project.path}",)
        assert all(word in told for word in named), run.stderr
    disk.set_size(20000)
    assert_right(project)
    assert_right(project)
    assert not project.ran()


@pytest.mark.parametrize("size", [4, 700, 1068])
def test_the_disk_of_the_cache_is_full(project: Any, disk: Disk, size: int) -> None:
    """The work is done, with one warning; with room again, it is remembered."""
    disk.set_size(size)
    project.write("pipeline.py", PIPELINE)
    there = {"DAGGER_CACHE_DIR": str(disk.path / "cache")}
    assert_right(project, env=there)
    assert [note for note in project.notes() if "not remembered" in note] == project.notes()
    assert len(project.notes()) == 1
    disk.set_size(20000)
    assert project.dagger("cache", "verify", env=there).stdout == "no damage\n"
    assert_right(project, env=there)
    assert_right(project, env=there)
    assert not project.ran()


def test_the_disk_of_the_logs_is_full(project: Any, disk: Disk) -> None:
    """What a function prints is lost, its work is not; a script that cannot print fails, and says why."""
    disk.set_size(500)
    project.write(
        "pipeline.py",
        """
        import sys
        from dagger.core import FunctionTask, ScriptTask, WorkflowManager

        def talk():
            for number in range(200):
                print("x" * 10_000)
            print("y" * 10_000, file=sys.stderr, flush=True)
            return {"said": number}

        talks = FunctionTask("talk", talk, {}, {"said": None})
        script = ScriptTask("script", {}, {"o": "o.txt"}, [talks], script="echo o > {o}; seq 200000")
        WorkflowManager([talks, script], jobs=1).run(keep_going=True)
        """,
    )
    there = {"DAGGER_CACHE_DIR": str(disk.path / "cache")}
    run = project.dagger("run", "pipeline.py", env=there, check=False)
    assert "talk" in project.came_out("ran")
    if project.came_out("failed"):  # else its log has gone to another place from the start
        assert_told(run, "task 'script'", f"no room is left on the disk of {disk.path}")
    disk.set_size(20000)
    project.dagger("run", "pipeline.py", env=there)
    assert project.read("o.txt") == "o\n"


def as_person(project: Any, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command without root's right to pass over modes."""
    command = [sys.executable, "-m", "dagger", *words]
    if os.geteuid() == 0:
        rights = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command]
        if shutil.which("setpriv") is None:
            pytest.skip("root cannot be kept from files here: there is no setpriv")
    run: subprocess.CompletedProcess[str] = project._call(command, check=False, **options)
    return run


SMALL = """
    from dagger.core import FileDatum, FunctionTask, PklTask, ScriptTask, WorkflowManager

    def read(text):
        with open(text) as file:
            return {"read": file.read()}

    def write(read, page):
        with open(page, "w") as file:
            file.write(read)

    source = {"text": FileDatum(pointer="in/text.txt")}
    read = PklTask("read", read, source, {"read": "kept/read.pkl"})
    page = FunctionTask("write", write, {"read": read["read"]}, {"page": "out/page.txt"})
    copy = ScriptTask("copy", source, {"copy": "copied/text.txt"}, script="cp {text} {copy}")
    WorkflowManager([page, copy], jobs=1).run(keep_going=True)
"""


@pytest.fixture
def small(project: Any) -> Any:
    project.write("pipeline.py", SMALL)
    project.write("in/text.txt", "one\n")
    return project


def assert_made(small: Any, text: str) -> None:
    run = as_person(small, "run", "pipeline.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert small.read("out/page.txt") == small.read("copied/text.txt") == text
    assert pickle.loads((small.path / "kept/read.pkl").read_bytes()) == text


@pytest.mark.parametrize(
    ("places", "mode", "tasks"),
    [
        (["in/text.txt"], 0o000, ["read", "copy"]),
        (["in"], 0o000, ["read"]),
        (["kept", "copied"], 0o500, ["read", "copy"]),
        (["out", "copied"], 0o500, ["write", "copy"]),
    ],
)
def test_no_permission(small: Any, places: list[str], mode: int, tasks: list[str]) -> None:
    """A source that cannot be read, a folder that cannot be written or entered: task and path are named."""
    assert_made(small, "one\n")
    small.write("in/text.txt", "two\n")
    for place in places:
        (small.path / place).chmod(mode)
    try:
        run = as_person(small, "run", "pipeline.py")
    finally:
        for place in places:
            (small.path / place).chmod(0o700)
    assert run.returncode in (1, 2)
    assert not OURS.search(run.stderr), run.stderr
    for word in (*places, *(f"task {task!r}" for task in tasks), "Permission denied"):
        assert word in run.stderr, run.stderr
    assert_made(small, "two\n")


def _make_readable_only(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o500 if path.is_dir() else 0o400)


def _make_writable(folder: Path) -> None:
    folder.chmod(0o700)
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("known", [True, False])
def test_a_cache_that_cannot_be_written(small: Any, known: bool) -> None:
    """It is read; the work is done, with one warning."""
    cache = small.path / ".dagger"
    if known:
        assert_made(small, "one\n")
    else:
        cache.mkdir(0o700)
    _make_readable_only(cache)
    try:
        assert_made(small, "one\n")
        assert bool(small.ran()) != known
        small.write("in/text.txt", "two\n")
        assert_made(small, "two\n")
        assert len([note for note in small.notes() if "not remembered" in note]) == 1
    finally:
        _make_writable(cache)
    assert_made(small, "two\n")
    assert_made(small, "two\n")
    assert not small.ran()


def test_a_read_only_project(small: Any, disk: Disk) -> None:
    """What cannot be written is named; what is up to date is; and values alone can be computed."""
    there = disk.path / "project"
    shutil.copytree(small.path, there)
    small.path = there
    disk.set_size(1000, read_only=True)
    run = small.dagger("run", "pipeline.py", check=False)
    assert_told(run, "task 'read'", "kept", "Read-only file system", "task 'copy'", "copied")
    disk.set_size(1000)
    assert_made(small, "one\n")
    disk.set_size(1000, read_only=True)
    small.dagger("run", "pipeline.py")
    assert not small.ran()
    disk.set_size(1000)
    small.write("in/text.txt", "two\n")
    disk.set_size(1000, read_only=True)
    run = small.dagger("run", "pipeline.py", check=False)
    assert_told(run, "task 'read'", "Read-only file system")
    disk.set_size(1000)
    assert_made(small, "two\n")


def test_values_are_computed_in_a_read_only_project(project: Any, disk: Disk) -> None:
    """Nothing needs to be written for them, so nothing stops them; one warning."""
    text = """
        from dagger.core import FunctionTask, WorkflowManager

        def big():
            return {"x": list(range(50_000))}

        def add_up(x):
            return {"y": sum(x)}

        made = FunctionTask("big", big, {}, {"x": None})
        total = FunctionTask("add", add_up, {"x": made["x"]}, {"y": None})
        WorkflowManager(total).run()
        print(total["y"].pointer)
    """
    project.path = disk.path / "project"
    project.write("pipeline.py", text)
    disk.set_size(1000, read_only=True)
    assert project.dagger("run", "pipeline.py").stdout == f"{sum(range(50_000))}\n"
    assert len(project.notes()) == 1


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("mine\n")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere/at/all")


def _looping(path: Path) -> None:
    path.symlink_to(path.name)


OUTPUTS = ["kept/read.pkl", "out/page.txt", "copied/text.txt"]


@pytest.mark.parametrize("make", [_directory, _dangling])
def test_something_of_the_users_own_is_where_an_output_goes(small: Any, make: Callable[[Path], None]) -> None:
    """It is kept, and the output is made."""
    for name in OUTPUTS:
        (small.path / name).parent.mkdir()
        make(small.path / name)
    assert_made(small, "one\n")
    saved = {path.name: path for path in (small.path / ".dagger/saved").rglob("*")}
    for name in OUTPUTS:
        path = saved[os.path.basename(name)]
        assert path.is_symlink() or (path / "mine.txt").read_text() == "mine\n"


def test_a_pipe_is_where_an_output_goes(small: Any) -> None:
    """It is left alone, and told."""
    pipes = [small.path / name for name in OUTPUTS]
    for pipe in pipes:
        pipe.parent.mkdir()
        os.mkfifo(pipe)
    run = small.dagger("run", "pipeline.py", check=False, timeout=30)
    assert_told(run, "task 'read'", OUTPUTS[0], "task 'copy'", OUTPUTS[2], "neither a file nor a directory")
    assert all(pipe.is_fifo() for pipe in pipes)
    pipes[0].unlink()
    pipes[2].unlink()
    run = small.dagger("run", "pipeline.py", check=False, timeout=30)
    assert_told(run, "task 'write'", OUTPUTS[1], "neither a file nor a directory")
    pipes[1].unlink()
    assert_made(small, "one\n")


def test_a_device_is_where_an_output_goes(project: Any) -> None:
    """It is left alone, and told: nobody's /dev/null is moved away."""
    device = project.path / "device"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("a device cannot be made here")
    project.write(
        "pipeline.py",
        """
        from dagger.core import ScriptTask

        ScriptTask("script", {}, {"o": "device"}, script="echo o > {o}")
        """,
    )
    assert_told(project.dagger("run", "pipeline.py", check=False), "task 'script'", "device", "neither a file")
    assert device.is_char_device()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_is_where_a_folder_of_outputs_goes(small: Any, kind: str) -> None:
    """Task and path are named; nothing is taken away."""
    for name in OUTPUTS:
        folder = (small.path / name).parent
        if kind == "file":
            folder.write_text("mine\n")
        else:
            folder.symlink_to("nowhere")
    run = small.dagger("run", "pipeline.py", check=False)
    if kind == "file":
        assert_told(run, "task 'read'", str(small.path / "kept"), "task 'copy'", str(small.path / "copied"))
        assert small.read("kept") == "mine\n"
    else:
        assert not OURS.search(run.stderr), run.stderr
    for name in OUTPUTS:
        (small.path / name).parent.unlink()
    assert_made(small, "one\n")


def test_a_source_is_no_file(small: Any) -> None:
    """Task and path are named, nobody waits for a pipe, and all is right once it is a file again."""
    assert_made(small, "one\n")
    source = small.path / "in/text.txt"
    for make in (os.mkfifo, _dangling, _looping, _directory):
        source.unlink()
        make(source)
        run = small.dagger("run", "pipeline.py", check=False, timeout=30)
        assert run.returncode in (1, 2)
        assert not OURS.search(run.stderr), run.stderr
        assert "task 'read'" in run.stderr
        assert "in/text.txt" in run.stderr
    shutil.rmtree(source)
    small.write("in/text.txt", "three\n")
    assert_made(small, "three\n")


def test_a_pickle_that_is_none(project: Any) -> None:
    """A source of that name that holds something else, or is a directory, is told with its task."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FileDatum, FunctionTask

        def use(x):
            return {"y": x}

        FunctionTask("use", use, {"x": FileDatum(pointer="x.pkl")}, {"y": None})
        """,
    )
    for make in (lambda path: path.write_text("no pickle"), lambda path: path.write_text(""), Path.mkdir):
        make(project.path / "x.pkl")
        run = project.dagger("run", "pipeline.py", check=False)
        assert_told(run, "task 'use'", "x.pkl")
        if (project.path / "x.pkl").is_file():
            (project.path / "x.pkl").unlink()


DEEP = f"{'d' * 250}/{'d' * 250}/x"
SNAKES = "\N{SNAKE}" * 62


def test_the_longest_names(project: Any) -> None:
    """What a file system takes, dagger takes: made, up to date, restored."""
    names = [stem + ending for stem in ("n" * 251, SNAKES, DEEP) for ending in (".txt", ".pkl")]
    project.write(
        "pipeline.py",
        f"""
        from dagger.core import FunctionTask

        def make(o=None):
            if o is None:
                return {{"o": 1}}
            with open(o, "w") as file:
                file.write("1")

        for number, name in enumerate({names!r}):
            FunctionTask(str(number), make, {{}}, {{"o": name}})
        """,
    )
    for outcome in ("ran", "up to date", "restored"):
        if outcome == "restored":
            for name in names:
                (project.path / name).unlink()
        project.dagger("run", "pipeline.py")
        assert len(project.came_out(outcome)) == len(names)


@pytest.mark.parametrize("name", ["n" * 300 + ".pkl", "d/" * 2100 + "x.txt"], ids=["name", "path"])
def test_a_name_that_is_too_long(project: Any, name: str) -> None:
    """Said in one message."""
    for given, made in (({}, {"o": name}), ({"i": name}, {"o": "o.txt"})):
        project.write(
            "pipeline.py",
            f"""
            from dagger.core import FileDatum, ScriptTask

            given = {{name: FileDatum(pointer=path) for name, path in {given!r}.items()}}
            ScriptTask("script", given, {made!r}, script="echo o > {{o}}")
            """,
        )
        run = project.dagger("run", "pipeline.py", check=False)
        assert run.returncode in (1, 2)
        assert not OURS.search(run.stderr), run.stderr
        assert name[:40] in run.stderr
