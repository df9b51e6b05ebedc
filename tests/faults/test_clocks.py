"""Whatever a clock says, contents decide: edits that keep size and time, odd times, clocks that go wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DAY = 86_400


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _write_and_set_back(path: Path, text: str) -> None:
    """As a program does that keeps the time of what it changes."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path, text: str) -> None:
    """Another file of the same size and time takes its place, as ``cp -p`` and ``mv`` do."""
    beside = path.with_name(path.name + ".beside")
    beside.write_text(text)
    shutil.copystat(path, beside)
    beside.rename(path)


def _copy_over(path: Path, text: str) -> None:
    other = path.with_name(path.name + ".other")
    other.write_text(text)
    subprocess.run(["touch", "-r", str(path), str(other)], check=True)
    subprocess.run(["cp", "-p", str(other), str(path)], check=True)
    other.unlink()


def _unpack(path: Path, text: str) -> None:
    """Out of an archive, which knows whole seconds and puts them back."""
    archive = path.with_name(path.name + ".tar")
    when = path.stat().st_mtime
    path.write_text(text)
    os.utime(path, (when, when))
    with tarfile.open(archive, "w") as packed:
        packed.add(path, path.name)
    path.unlink()
    subprocess.run(["tar", "-xf", archive.name], cwd=path.parent, check=True)
    archive.unlink()


def _at(when: float) -> Callable[[Path, str], None]:
    def edit(path: Path, text: str) -> None:
        path.write_text(text)
        os.utime(path, (when, when))

    return edit


EDITS: dict[str, Callable[[Path, str], None]] = {
    "written": _write,
    "set-back": _write_and_set_back,
    "replaced": _replace,
    "copied": _copy_over,
    "unpacked": _unpack,
    "future": _at(time.time() + 365 * DAY),
    "zero": _at(0),
    "negative": _at(-DAY),
}

PIPELINE = """
    import os
    from dagger.core import FileDatum, FunctionTask, ScriptTask, WorkflowManager

    def join(declared, name, out):
        with open(declared) as file, open(f"seen/{name}.txt") as seen, open(out, "w") as joined:
            joined.write(file.read() + seen.read())

    tasks = []
    for name in sorted(os.listdir("names")):
        source = {"declared": FileDatum(pointer=f"declared/{name}.txt")}
        task = FunctionTask(name, lambda declared, out, name=name: join(declared, name, out), source,
                            {"out": f"out/{name}.txt"})
        tasks.append(task)
    WorkflowManager(tasks, jobs=2).run()
"""


class Edited:
    """A project with a task for each way of editing a file, which all are edited at once."""

    def __init__(self, project: Any) -> None:
        self.project = project
        self.text = {"declared": "one\n", "seen": "two\n"}
        project.write("pipeline.py", PIPELINE)
        for name in EDITS:
            project.write(f"names/{name}", "")
            for folder, text in self.text.items():
                project.write(f"{folder}/{name}.txt", text)

    def edit(self, folder: str, text: str) -> None:
        """Change each file in its own way; the size stays, mostly the time too."""
        for name, change in EDITS.items():
            path = self.project.path / folder / f"{name}.txt"
            assert path.stat().st_size == len(text)
            change(path, text)
        if folder != "out":
            self.text[folder] = text

    def run(self, *outcomes: str, **options: Any) -> None:
        """Run; each task came out in one of these ways, and each output is right."""
        self.project.dagger("run", "pipeline.py", **options)
        assert self.project.came_out(*outcomes) == set(EDITS), self.project.tasks()
        for name in EDITS:
            assert self.project.read(f"out/{name}.txt") == self.text["declared"] + self.text["seen"]


@pytest.fixture
def seconds(tmp_path: Path) -> Iterator[Path]:
    """A file system whose clock knows whole seconds only."""
    image, place = tmp_path / "image", tmp_path / "seconds"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    for command in (["mkfs.ext2", "-q", "-I", "128", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system of whole seconds can be mounted here: {error}")
    try:
        (place / "probe").touch()
        assert (place / "probe").stat().st_ctime_ns % 1_000_000_000 == 0
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def _let_stamps_grow_old() -> None:
    """Wait until the stamps of all files are old enough to be relied on."""
    time.sleep(2.1)


def test_edits_that_hide(project: Any) -> None:
    """Same size, same time, an older time, one in the future: sources, discovered reads and outputs go by content."""
    edited = Edited(project)
    edited.run("ran")
    edited.edit("declared", "ONE\n")
    edited.run("ran")
    _let_stamps_grow_old()
    edited.run("up to date")
    edited.edit("declared", "one\n")
    edited.edit("seen", "TWO\n")
    _let_stamps_grow_old()
    edited.run("ran")
    edited.edit("seen", "two\n")
    edited.run("restored")
    _let_stamps_grow_old()
    edited.run("up to date")
    edited.edit("out", "tampered")
    _let_stamps_grow_old()
    edited.run("restored")
    for path in project.path.glob("*/*.txt"):
        os.utime(path)
    edited.run("up to date")


WITHIN_A_SECOND = """
    import os
    import time
    from concurrent.futures import ThreadPoolExecutor
    from dagger.core import FileDatum, FunctionTask, WorkflowManager

    def read(text):
        with open(text) as file:
            return {"read": file.read()}

    def run(text):
        with open("text.txt", "w") as file:
            file.write(text)
        task = FunctionTask("read", read, {"text": FileDatum(pointer="text.txt")}, {"read": None})
        with ThreadPoolExecutor(1) as threads:
            WorkflowManager(task, executor=threads, listeners=[]).run()
        assert task["read"].pointer == text, (task["read"].pointer, text)
        return os.stat("text.txt")

    def stamps(status):
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

    run("first")  # whatever the first run has to load is loaded
    tries = 0
    for tries in range(20):
        time.sleep(1.05 - time.time() % 1)  # the clock of files is a tick behind
        before = stamps(run(f"one {tries:2}"))
        if stamps(run(f"two {tries:2}")) == before:
            print("within a second")
            break
"""


def test_edits_within_a_tick_of_the_file_systems_clock(project: Any, seconds: Path) -> None:
    """Where it knows whole seconds, a stat after an edit can be the very same as before."""
    project.path = seconds / "project"
    project.path.mkdir()
    project.write("pipeline.py", WITHIN_A_SECOND)
    assert project.run("pipeline.py").stdout == "within a second\n"


def _faked(offset: str) -> dict[str, str]:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("a clock cannot be set back here: there is no libfaketime")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


@pytest.mark.parametrize("offset", ["-10y", "+10y", "-3s"])
def test_a_clock_that_was_set(project: Any, offset: str) -> None:
    """Between two runs it goes back or ahead, and back again: nothing runs for it, nothing is missed for it."""
    edited = Edited(project)
    wrong = _faked(offset)
    edited.run("ran")
    edited.run("up to date", env=wrong)
    edited.edit("declared", "ONE\n")
    edited.run("ran", env=wrong)
    edited.edit("seen", "TWO\n")
    edited.run("ran")
    edited.edit("declared", "one\n")
    edited.edit("seen", "two\n")
    edited.run("restored", env=wrong)
    project.dagger("cache", "gc", env=wrong)
    project.dagger("cache", "gc", "--max-age", "1")
    edited.run("up to date")
