"""The cache grown old: a long history must not be felt.

Targets for a cache with 1,000,000 records (a thousand runs of a thousand tasks, each time another result) and 50 GB of
blobs, sparse files: a no-op of 1,000 tasks costs what it costs with an empty history; `dagger cache ls` shows its first
page at once; `gc` runs in bounded memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import peers, tools
from tests.benchmarks.harness import Contender, Result, Sample, Target, call, progress, race
from tests.benchmarks.tools import FUNCTIONS

TASKS = 1_000
BLOB = 50_000

# Records go in through the cache itself, as an engine would file them, thousands to a commit.
FILL = f"""
import os
import sys

from dagger.cache import Cache, Output, Record
from dagger.cache.digests import digest_text

count = int(sys.argv[1])
cache = Cache.open(".dagger")
for number in range(count):
    made = digest_text(f"blob {{number}}")
    path = cache.blobs.path(made)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate({BLOB})
    task = f"copy-{{number % {TASKS}}}"
    cache.add(
        Record(
            key=digest_text(f"key {{number}}"),
            root=os.getcwd(),
            task=task,
            kind="FunctionTask",
            rows=(("type", "FunctionTask", ""), ("input", "source", made), ("output", "part", "file")),
            fingerprint="",
            reads=(),
            outputs=(Output("part", "file", made, made, {BLOB}),),
            started=1.7e9 + number,
            seconds=0.01,
        )
    )
    if number % 10_000 == 0:
        cache.commit()
cache.close()
"""


def old(n: int, rounds: int) -> Iterator[Result]:
    """Compare a cache with a hundred times N records with one that only knows the present."""
    young = tools.built(tools.DAGGER[1], "fan", TASKS)
    aged = tools.built(tools.DAGGER[1], "fan", TASKS, f"old-{100 * n}")
    _fill(aged.folder, 100 * n)
    history = f"{100 * n:,} records"
    runs = [replace(young, name="empty history"), replace(aged, name=history)]
    samples = race(runs, rounds, settle=1)
    target = Target(history, "empty history", 1.1)
    yield Result("old-noop", f"no-op of {TASKS:,} tasks, {FUNCTIONS}", 100 * n, samples, [target])

    dagger = str(Path(peers.dagger_python()).with_name("dagger"))
    page = ("sh", "-c", f"'{dagger}' cache ls | head -n 20")
    newest = (dagger, "cache", "ls", "--limit", "20")
    listing = [
        *(Contender(f"first page, {it.name}", page, it.folder) for it in runs),
        *(Contender(f"ls --limit 20, {it.name}", newest, it.folder) for it in runs),
        Contender("1 s", constant=1.0),
    ]
    targets = [Target(f"{what}, {history}", "1 s", 1.0) for what in ("first page", "ls --limit 20")]
    few = max(2, rounds // 4)
    title = "`dagger cache ls | head` (first page) and `dagger cache ls --limit 20`"
    yield Result("old-ls", title, 100 * n, race(listing, few), targets)

    collecting = [Contender(f"gc, {it.name}", (dagger, "cache", "gc", "--dry-run"), it.folder) for it in runs]
    samples = race(collecting, few)
    result = Result("old-gc", "`dagger cache gc --dry-run`", 100 * n, samples)
    yield result
    peaks = {name: [Sample(it.peak / 2**20) for it in rounds] for name, rounds in samples.items()}
    peaks["limit"] = [Sample(256.0)]
    target = Target(f"gc, {history}", "limit", 1.0)
    yield Result("old-gc-memory", "the largest resident set of that", 100 * n, peaks, [target], "MiB")


def _fill(folder: Path, count: int) -> None:
    mark = folder / ".filled"
    if not mark.exists():
        progress(f"    filing {count:,} records")
        call([peers.dagger_python(), "-c", FILL, str(count)], folder)
        os.sync()
        mark.touch()
