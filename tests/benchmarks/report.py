"""Writes docs/benchmarks.md: what stands between its marks is made of the results, the rest is written by hand."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.harness import Result
from tests.benchmarks.table import tables, verdicts

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"


def write(results: Sequence[Result], folder: Path) -> None:
    """Put the results' tables between the marks of ``benchmarks.md``, which is made where there is none."""
    path = folder / "benchmarks.md"
    text = path.read_text() if path.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    body = f"{_machine()}\n## Targets\n\n{verdicts(results)}\n## Cases\n\n{tables(results)}"
    path.write_text(f"{head}{BEGIN}\n{body}{END}{tail}")


def _machine() -> str:
    lines = [
        "| | |",
        "| --- | --- |",
        f"| machine | {os.cpu_count()} cores, {platform.system()} {platform.release()}, {platform.machine()} |",
        *(f"| {name} | {version} |" for name, version in peers.versions().items()),
    ]
    return "\n".join(lines) + "\n"
