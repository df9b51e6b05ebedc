"""The hot path in single steps, in one process: `pytest tests/benchmarks/micro.py`, with the extras `bench` and `test`.

Not collected by the ordinary test run, since no file of tests is called so. To guard a change, keep what was before it
and compare:

    pytest tests/benchmarks/micro.py --benchmark-save=before
    pytest tests/benchmarks/micro.py --benchmark-compare --benchmark-compare-fail=min:20%
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy
import pytest

from dagger.abstract import DatumList
from dagger.cache import Cache, Entry, Output, Record, StatIndex, digest_value, fingerprint
from dagger.cache.digests import digest_text
from dagger.cache.records import decode, encode
from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager
from dagger.core.manifest import Walker
from dagger.core.places import Places
from dagger.core.scripts import ScriptRunner, shell_argv

TASKS = 100
DAY = 86_400


def half(number):
    return {"value": number / 2}


def copy(source, part):
    Path(part).write_bytes(Path(source).read_bytes())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file for each task."""
    monkeypatch.chdir(tmp_path)
    for number in range(TASKS):
        path = tmp_path / f"{number}.txt"
        path.write_text(f"{number}\n")
    return tmp_path


@pytest.fixture
def cache(folder: Path):
    opened = Cache.open(folder / ".dagger")
    opened._stats = StatIndex(clock=_Later())
    yield opened
    opened.close()


class _Later:
    """A clock by which every file here is old enough to be known by its stat."""

    def racy_since(self, _path: str, _device: int) -> int:
        return 2**63 - 1


def record_of(number: int) -> Record:
    made = digest_text(f"made {number}")
    return Record(
        key=digest_text(f"key {number}"),
        root="/project",
        task=f"task-{number}",
        kind="FunctionTask",
        rows=(("type", "FunctionTask", ""), ("input", "source", made), ("output", "part", "file")),
        fingerprint=made,
        reads=(),
        outputs=(Output("part", "file", made, made, 100),),
        started=1.7e9,
        seconds=0.01,
    )


def function_tasks() -> list[FunctionTask]:
    return [
        FunctionTask(f"copy-{number}", copy, {"source": FileDatum(pointer=f"{number}.txt")}, {"part": f"out/{number}"})
        for number in range(TASKS)
    ]


def test_stat_index(benchmark, folder):
    """A hundred unchanged files are known by one stat each."""
    index = StatIndex(clock=_Later())
    paths = [str(folder / f"{number}.txt") for number in range(TASKS)]
    known = [index.digest_file(path) for path in paths]
    assert benchmark(lambda: [index.digest_file(path) for path in paths]) == known


def test_bare_stat(benchmark, folder):
    """The floor of the above."""
    paths = [str(folder / f"{number}.txt") for number in range(TASKS)]
    benchmark(lambda: [os.stat(path) for path in paths])


def test_key_of_a_task(benchmark, cache, folder):
    """A hundred tasks over known files get their keys."""
    walker = Walker(cache, Places(str(folder)), {})
    tasks = function_tasks()
    benchmark(lambda: [walker.walk(task, []) for task in tasks])


def test_records_at_once(benchmark, cache):
    """The records of a hundred keys are read in one go."""
    keys = [record_of(number).key for number in range(TASKS)]
    for number in range(TASKS):
        cache.add(record_of(number))
    cache.commit()
    assert all(benchmark(cache.records_many, keys).values())


def test_records_one_by_one(benchmark, cache):
    """The records of a hundred keys are read key by key."""
    keys = [record_of(number).key for number in range(TASKS)]
    for number in range(TASKS):
        cache.add(record_of(number))
    cache.commit()
    assert all(benchmark(lambda: [cache.records(key) for key in keys]))


def test_filing_records(benchmark, cache):
    """A hundred records and entries are filed and committed."""
    numbers = itertools.count()
    entry = Entry("key", (), "", "ran")

    def file() -> None:
        for _ in range(TASKS):
            number = next(numbers)
            cache.add(record_of(number))
            cache.set_entry("/project", f"task-{number}", entry)
        cache.commit()

    benchmark(file)


def test_encoding_a_record(benchmark):
    benchmark(encode, record_of(1))


def test_decoding_a_record(benchmark):
    data = encode(record_of(1))
    assert benchmark(decode, data, Record) == record_of(1)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1, id="int"),
        pytest.param("text", id="str"),
        pytest.param({f"name{number}": [number, number / 2, str(number)] for number in range(100)}, id="dict"),
        pytest.param(numpy.arange(1000.0), id="array"),
    ],
)
def test_digest_of_a_value(benchmark, value):
    benchmark(digest_value, value)


def test_fingerprint(benchmark):
    """A function's fingerprint, as it costs once in a run."""
    benchmark(fingerprint, half)


def test_launching_a_script(benchmark, folder):
    """An empty script is started and awaited."""
    runner = ScriptRunner()
    argv = shell_argv(":")
    try:
        end = benchmark(lambda: runner.run(argv, cwd=str(folder), env=os.environ, log_path=str(folder / "log")))
    finally:
        runner.close()
    assert end.exit_code == 0


@pytest.mark.usefixtures("folder")
def test_making_function_tasks(benchmark):
    benchmark(function_tasks)


@pytest.mark.usefixtures("folder")
def test_making_script_tasks(benchmark):
    def make() -> None:
        for number in range(TASKS):
            source = {"source": FileDatum(pointer=f"{number}.txt")}
            ScriptTask(f"copy-{number}", source, {"part": f"out/{number}"}, script="cat {source} > {part}")

    benchmark(make)


@pytest.mark.usefixtures("folder")
def test_run_with_nothing_to_do(benchmark):
    """A whole run of a hundred known tasks and what adds them up, in a process that is warm."""

    def make() -> WorkflowManager:
        tasks = [
            FunctionTask(f"half-{number}", half, {"number": MemoryDatum(pointer=number)}, {"value": None})
            for number in range(TASKS)
        ]
        values = DatumList(MemoryDatum, [task["value"] for task in tasks])
        whole = FunctionTask("whole", total, {"values": values}, {"sum": None})
        return WorkflowManager(whole, listeners=[])

    make().run()
    report = benchmark(lambda: make().run())
    assert not report.ran


def total(values):
    return {"sum": sum(values)}
