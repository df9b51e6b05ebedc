"""Bytes: digesting, restoring and handing on what is large, or many.

Targets: a 1 GiB file is digested in at most 1.1 times what xxh3 over the mapped file takes, several at once on all
cores; 1 GiB is restored in at most 1.1 times `cp --reflink=auto`, 10,000 small files in at most twice `cp -r`; a 1 GB
array goes from task to task past the manager and is mapped by who takes it; its digest runs at 80 % of bare xxh3.

Files are in the page cache throughout, so that this is about memory and processors, not about a disk.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.harness import Aside, Contender, Result, Sample, Target, call, race

GIB = 2**30
FILES = 4
SMALL_FILES = 10_000
LEAST_ROUNDS = 9
"""A gibibyte of new pages now and then takes twice as long to write, whoever does it: of two rounds one may be such."""
COPY = ("cp", "-c") if sys.platform == "darwin" else ("cp", "--reflink=auto")

DIGEST = f'''
"""Print how long one way to digest files takes, at best of so many times: digest.py WAY TIMES FILE..."""

import mmap
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import xxhash

from dagger.cache import StatIndex


def mapped(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return xxhash.xxh3_128_hexdigest(data)


def read(path):
    state = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray({2**20})
        while count := file.readinto(buffer):
            state.update(memoryview(buffer)[:count])
    return state.hexdigest()


way, times, *paths = sys.argv[1:]
for path in paths:
    read(path)  # into the page cache


def once():
    clock = time.perf_counter()
    if way == "threads":
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(mapped, paths))
    else:
        index = StatIndex()
        index.ahead = lambda: map(os.path.abspath, paths)  # as a run says which sources it will ask for
        digest = index.digest_file if way == "dagger" else {{"mapped": mapped, "read": read}}[way]
        for path in paths:
            digest(path)
    return time.perf_counter() - clock


print(min(once() for _ in range(int(times))))
'''

SOURCES = f"""
import sys

from dagger.core import FileDatum, ScriptTask, WorkflowManager

name = sys.argv[1]
for number in range({FILES}):
    with open(f"{{name}}-{{number}}", "rb", buffering=0) as file:
        while file.readinto(bytearray({2**24})):
            pass
sources = {{f"source{{number}}": FileDatum(pointer=f"{{name}}-{{number}}") for number in range({FILES})}}
manager = WorkflowManager(ScriptTask("use", sources, {{"out": "out.txt"}}, script="echo > {{out}}"))
print(manager.run().seconds)
"""

RESTORE = f"""
import os

from dagger.core import FunctionTask, WorkflowManager


def large(made):
    with open(made, "wb") as file:
        for _ in range(64):
            file.write(os.urandom({GIB // 64}))


report = WorkflowManager(FunctionTask("large", large, outputs={{"made": "large.bin"}})).run()
print(report.seconds)
"""

RESTORE_TREE = f"""
import os

from dagger.core import FunctionTask, WorkflowManager


def many(made):
    os.makedirs(made, exist_ok=True)
    for number in range({SMALL_FILES}):
        with open(os.path.join(made, f"{{number}}.bin"), "wb") as file:
            file.write(os.urandom(6000))


report = WorkflowManager(FunctionTask("many", many, outputs={{"made": "many/"}})).run()
print(report.seconds)
"""

ARRAY = """
import resource
import sys

import numpy

from dagger.core import FunctionTask, WorkflowManager


def make():
    return {"array": numpy.random.default_rng(1).random(125_000_000)}


def use(array):
    import mmap

    base = array
    while not isinstance(base, mmap.mmap) and base is not None:
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return {"is_mapped": base is not None, "some": float(array[::1_000_000].sum())}


made = FunctionTask("make", make, outputs={"array": None})
used = FunctionTask("use", use, {"array": made["array"]}, {"is_mapped": None, "some": None})
report = WorkflowManager(used).run()
seconds = {task.task: task.seconds for task in report.tasks}
print("mapped" if used["is_mapped"].pointer else "read", "in", seconds["use"], "s")
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
"""

DIGEST_ARRAY = """
import sys
import time

import numpy
import xxhash

from dagger.cache import digest_value

array = numpy.random.default_rng(1).random(125_000_000)


def once():
    clock = time.perf_counter()
    if sys.argv[1] == "dagger":
        digest_value(array)
    else:
        xxhash.xxh3_128_hexdigest(array.data.cast("B"))
    return time.perf_counter() - clock


print(min(once() for _ in range(5)))
"""


def digest(n: int, rounds: int) -> Iterator[Result]:  # noqa: ARG001
    """Digest one large file, and several."""
    folder = _folder("digest", {"digest.py": DIGEST, "pipeline.py": SOURCES})
    names = [f"large-{number}" for number in range(FILES)]
    for name in names:
        if not (folder / name).exists():
            with open(folder / name, "wb") as file:
                for _ in range(64):
                    file.write(os.urandom(GIB // 64))
    ways = {"xxh3, mapped": "mapped", "xxh3, 1 MiB reads": "read", "dagger": "dagger"}
    one = [_reporting(name, folder, "digest.py", way, "5", names[0]) for name, way in ways.items()]
    title = "digest of a 1 GiB file in the page cache"
    yield Result("digest-file", title, 1, race(one, rounds), [Target("dagger", "xxh3, mapped", 1.1)])
    small = [f"small-{number}" for number in range(FILES)]
    for name in small:
        (folder / name).write_text(name)
    clear = _removing(folder, ".dagger", "out.txt")
    several = [
        _reporting("xxh3, mapped, all cores", folder, "digest.py", "threads", "1", *names),
        _reporting("xxh3, mapped, one core", folder, "digest.py", "mapped", "1", *names),
        _reporting("dagger", folder, "digest.py", "dagger", "1", *names),
        _reporting("dagger, a run", folder, "pipeline.py", "large", before=clear),
        _reporting("dagger, a run of small files", folder, "pipeline.py", "small", before=clear),
    ]
    samples = race(several, rounds)
    # What a first run takes besides, a shell and a database among it, is the same however much there is to digest.
    ideal = "xxh3, mapped, all cores + a run of small files"
    pairs = zip(samples["xxh3, mapped, all cores"], samples["dagger, a run of small files"], strict=True)
    samples[ideal] = [Sample(one.value + other.value, 0.0, max(one.peak, other.peak)) for one, other in pairs]
    targets = [Target("dagger", "xxh3, mapped, all cores", 1.1), Target("dagger, a run", ideal, 1.1)]
    yield Result("digest-files", f"digest of {FILES} files of 1 GiB", FILES, samples, targets)


def restore(n: int, rounds: int) -> Iterator[Result]:  # noqa: ARG001
    """Put a large file back, and a folder of many small ones."""
    folder = _folder("restore", {"pipeline.py": RESTORE})
    yield _restored("restore-file", "restoring 1 GiB", 1, folder, "large.bin", _removing, COPY, 1.1, rounds)
    folder = _folder("restore-tree", {"pipeline.py": RESTORE_TREE})
    title = f"restoring {SMALL_FILES:,} files of 6 kB"
    yield _restored("restore-tree", title, SMALL_FILES, folder, "many", _setting_aside, ("cp", "-r"), 2, rounds)


def array(n: int, rounds: int) -> Iterator[Result]:  # noqa: ARG001
    """Hand on an array of 1 GB, and digest one."""
    folder = _folder("array", {"pipeline.py": ARRAY, "digest.py": DIGEST_ARRAY})
    printed: list[str] = []
    manager = _reporting(
        "manager", folder, "pipeline.py", before=_removing(folder, ".dagger"), check=lambda text: printed.append(text)
    )
    limit = Contender("a quarter of the array", constant=250.0)
    result = Result(
        "array-memory",
        "peak memory of the manager while a 1 GB array goes from task to task",
        1,
        race([manager, limit], rounds),
        [Target("manager", limit.name, 1.0)],
        "MiB",
    )
    result.notes += [f"its consumer: {line}" for text in printed for line in text.splitlines()[-2:-1]]
    yield result
    ways = [_reporting(name, folder, "digest.py", way) for name, way in (("xxh3", "xxh3"), ("dagger", "dagger"))]
    title = "value digest of a 1 GB array"
    yield Result("array-digest", title, 1, race(ways, rounds), [Target("dagger", "xxh3", 1 / 0.8)])


def _restored(
    case: str,
    title: str,
    n: int,
    folder: Path,
    made: str,
    clearing: Callable[[Path, str], Callable[[], object]],
    copy: tuple[str, ...],
    limit: float,
    rounds: int,
) -> Result:
    call((peers.dagger_python(), "pipeline.py"), folder)
    kept = folder / "kept"
    if not kept.exists():
        call((*copy, made, "kept"), folder)
    clear = clearing(folder, made)
    contenders = [
        Contender(
            "dagger",
            (peers.dagger_python(), "pipeline.py"),
            folder,
            before=clear,
            check=lambda _: _must_be(folder / made),
        ),
        _reporting("dagger, the run alone", folder, "pipeline.py", before=clear),
        Contender(" ".join(copy), (*copy, "kept", "copied"), folder, before=clearing(folder, "copied")),
    ]
    samples = race(contenders, max(rounds, LEAST_ROUNDS), settle=1)
    return Result(case, title, n, samples, [Target("dagger, the run alone", " ".join(copy), limit)])


def _must_be(path: Path) -> None:
    if not path.exists():
        raise RuntimeError(f"{path} was not restored")


def _reporting(
    name: str,
    folder: Path,
    *words: str,
    before: Callable[[], object] | None = None,
    check: Callable[[str], object] | None = None,
) -> Contender:
    return Contender(name, (peers.dagger_python(), *words), folder, before=before, check=check, reports=True)


def _removing(folder: Path, *names: str) -> Callable[[], object]:
    def remove() -> None:
        for name in names:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
        os.sync()  # what was written for one contender is not to be paid for by the next

    return remove


def _setting_aside(folder: Path, name: str) -> Callable[[], object]:
    aside, path = Aside(folder / "former"), folder / name

    def take() -> None:
        if path.exists():
            aside.take([path])
        os.sync()

    return take


def _folder(name: str, files: dict[str, str]) -> Path:
    folder = peers.home() / "bulk" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text.lstrip("\n"))
    return folder
