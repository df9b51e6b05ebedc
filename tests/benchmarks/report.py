"""Writes docs/benchmarks.md: what stands between its marks is made of the results, the rest is written by hand.

`python -m tests.benchmarks.report DIR` does so for the results in ``DIR/benchmarks.json``. It is a process of its own,
since what matplotlib takes would count as the least peak memory of whatever the measuring process starts after it.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.harness import Result, load
from tests.benchmarks.plot import draw
from tests.benchmarks.table import tables, verdicts

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
PLOT = "benchmarks.svg"


def write(results: Sequence[Result], folder: Path) -> None:
    """Put the results between the marks of ``benchmarks.md``, which is made where there is none, and draw the plot."""
    path = folder / "benchmarks.md"
    text = path.read_text() if path.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    is_drawn = draw(results, folder / PLOT) or (folder / PLOT).exists()
    plot = f"![Seconds of a run with nothing to do, over the number of tasks]({PLOT})\n" if is_drawn else ""
    parts = [plot, machine(), "## Targets\n", verdicts(results), "## Cases\n", tables(results).rstrip() + "\n"]
    body = "\n".join(part for part in parts if part)
    path.write_text(f"{head}{BEGIN}\n{body}{END}{tail}")


def machine() -> str:
    """Return a table of what was measured on, and with which versions."""
    cores = f"{os.cpu_count()} cores" + (f", {_processor()}" if _processor() else "")
    lines = [
        "| | |",
        "| --- | --- |",
        f"| machine | {cores}, {platform.system()} {platform.machine()} |",
        *(f"| {name} | {version} |" for name, version in peers.versions().items()),
    ]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "")


if __name__ == "__main__":
    write(load(Path(sys.argv[1], "benchmarks.json")), Path(sys.argv[1]))
