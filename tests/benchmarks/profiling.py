"""Where one case's time goes: `python -m tests.benchmarks --profile CASE`.

Two views, since each lies in its own way: cProfile counts calls, but makes a call dearer than it is; a sample every
millisecond of CPU time leaves the speed alone, but only sees what is frequent.

As a script (`profiling.py FILE OUT`) it runs FILE as ``__main__`` under the sampler.
"""

from __future__ import annotations

import collections
import json
import os
import pstats
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.harness import Contender

INTERVAL = 0.001


def profile(contender: Contender, top: int = 30) -> str:
    """Run a contender that is a Python script under both, and return what they say.

    Args:
        contender: Whom.
        top: How many lines of each table.
    """
    from tests.benchmarks.harness import call

    _, script, *_ = contender.command
    folder = contender.folder
    prepare = contender.before or (lambda: None)

    with tempfile.TemporaryDirectory() as scratch:
        counted, sampled = Path(scratch, "counted"), Path(scratch, "sampled")
        prepare()
        call([sys.executable, "-m", "cProfile", "-o", str(counted), script], folder)
        prepare()
        call([sys.executable, __file__, script, str(sampled)], folder)
        with open(Path(scratch, "text"), "w+") as text:
            stats = pstats.Stats(str(counted), stream=text)
            stats.sort_stats("tottime").print_stats(top)
            stats.sort_stats("cumulative").print_stats(top)
            text.seek(0)
            return _samples(json.loads(sampled.read_text()), top) + text.read()


def _samples(found: dict[str, dict[str, int]], top: int) -> str:
    lines = []
    for title, counts in found.items():
        total = sum(counts.values()) if title == "self" else max(counts.values(), default=1)
        lines += [f"samples, {title} (of {total}):"]
        ranked = sorted(counts.items(), key=lambda it: -it[1])[:top]
        lines += [f"  {count / total:6.1%}  {name}" for name, count in ranked] + [""]
    return "\n".join(lines)


def _run_sampled(script: str, out: str) -> None:
    own: collections.Counter[str] = collections.Counter()
    within: collections.Counter[str] = collections.Counter()
    process = os.getpid()

    def look(_number: int, frame: FrameType | None) -> None:
        if frame is not None:
            own[_name(frame)] += 1
        seen = set()
        while frame is not None:
            seen.add(_name(frame))
            frame = frame.f_back
        within.update(seen)

    sys.argv = [script]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if os.getpid() == process:
            Path(out).write_text(json.dumps({"self": own, "with what it calls": within}))


def _name(frame: FrameType) -> str:
    code = frame.f_code
    place = "/".join(code.co_filename.split("/")[-3:])
    return f"{place}:{code.co_firstlineno} {getattr(code, 'co_qualname', code.co_name)}"


if __name__ == "__main__":
    _run_sampled(*sys.argv[1:])
