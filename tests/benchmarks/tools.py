"""Each tool as a contender on one graph: its file, its command, how its project is made ready."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks import graphs, peers
from tests.benchmarks.harness import Aside, Contender, call, progress

# Younger files are digested again by dagger, as by git: see dagger.cache.files.
RACY_SECONDS = 2.5


@dataclass(frozen=True)
class Tool:
    """A way to build a graph.

    Attributes:
        name: How the table calls it.
        write: Writes its file.
        command: Builds what is not up to date.
    """

    name: str
    write: Callable[[Path, str, int], None]
    command: Callable[[], Sequence[str]]


SCRIPTS = "dagger, scripts"
FUNCTIONS = "dagger, functions"
VALUES = "dagger, values"
DAGGER = (
    Tool(
        SCRIPTS,
        graphs.python_script(graphs.DAGGER_SCRIPTS, "pipeline.py"),
        lambda: [peers.dagger_python(), "pipeline.py"],
    ),
    Tool(
        FUNCTIONS,
        graphs.python_script(graphs.DAGGER_FUNCTIONS, "pipeline.py"),
        lambda: [peers.dagger_python(), "pipeline.py"],
    ),
)
NINJA = Tool("ninja", graphs.write_ninja, lambda: [peers.program("ninja")])
FLOOR = Tool("bare Python", graphs.python_script(graphs.FLOOR, "floor.py"), lambda: [peers.dagger_python(), "floor.py"])
MAKE = Tool("make -rR", graphs.write_make, lambda: [peers.program("make"), "-rR", "-j2"])
DOIT = Tool("doit", graphs.python_script(graphs.DOIT, "dodo.py"), lambda: [peers.program("doit")])
JOBLIB = Tool(
    "joblib.Memory", graphs.python_script(graphs.JOBLIB, "pipeline.py"), lambda: [peers.python(), "pipeline.py"]
)
NINJA_BASH = Tool("ninja, bash", partial(graphs.write_ninja, bash=True), lambda: [peers.program("ninja"), "-j2"])
DAGGER_VALUES = Tool(
    VALUES, graphs.python_script(graphs.DAGGER_VALUES, "pipeline.py"), lambda: [peers.dagger_python(), "pipeline.py"]
)
DOIT_VALUES = Tool(
    "doit -n 2", graphs.python_script(graphs.DOIT_VALUES, "dodo.py"), lambda: [peers.program("doit"), "-n", "2"]
)
JOBLIB_VALUES = Tool(
    "joblib.Memory, Parallel",
    graphs.python_script(graphs.JOBLIB_VALUES, "pipeline.py"),
    lambda: [peers.python(), "pipeline.py"],
)
REDUN_VALUES = Tool(
    "redun",
    graphs.python_script(graphs.REDUN_VALUES, "workflow.py"),
    lambda: [peers.program("redun"), "run", "workflow.py", "main"],
)
REDUN = Tool(
    "redun",
    graphs.python_script(graphs.REDUN, "workflow.py"),
    lambda: [peers.program("redun"), "run", "workflow.py", "main"],
)
SNAKEMAKE = Tool(
    "snakemake",
    graphs.python_script(graphs.SNAKEMAKE, "Snakefile"),
    lambda: [peers.program("snakemake"), "--cores", "2", "--quiet"],
)
PYTASK = Tool("pytask", graphs.python_script(graphs.PYTASK, "task_all.py"), lambda: [peers.program("pytask")])


def built(tool: Tool, shape: str, n: int, purpose: str = "projects") -> Contender:
    """Return a tool on a project of its own in which everything is built.

    The project is kept in the benchmarks' own folder for the next time: whether it is up to date is what the tool is
    there to say.
    """
    folder = project(tool, shape, n, purpose)
    mark = folder / ".built"
    if not mark.exists():
        progress(f"    building {shape} of {n:,} with {tool.name}")
        shutil.rmtree(folder, ignore_errors=True)
        graphs.write_sources(folder, shape, n)
    tool.write(folder, shape, n)
    call(tool.command(), folder)
    mark.touch()
    if time.time() - newest_output(folder) / 1e9 < RACY_SECONDS:
        time.sleep(RACY_SECONDS)
        call(tool.command(), folder)  # now each file's stat can be relied on, and is learnt
    return Contender(tool.name, tuple(tool.command()), folder)


KEPT = ("src", "pipeline.py", "dodo.py", "workflow.py", "build.ninja", "Makefile")


def unbuilt(tool: Tool, shape: str, n: int) -> Contender:
    """Return a tool on a project in which, before each round, everything that was built is taken away."""
    folder = project(tool, shape, n, "cold")
    graphs.write_sources(folder, shape, n)
    tool.write(folder, shape, n)
    aside = Aside(folder.with_name(f"{folder.name}.former"))

    def clear() -> None:
        aside.take(entry for entry in folder.iterdir() if entry.name not in KEPT)
        (folder / "out").mkdir()

    return Contender(tool.name, tuple(tool.command()), folder, before=clear)


def project(tool: Tool, shape: str, n: int, purpose: str = "projects") -> Path:
    """Return where a tool's project is."""
    return peers.home() / purpose / f"{shape}-{n}" / tool.name.replace(", ", "-").replace(" ", "")


def newest_output(folder: Path) -> int:
    """Return when a file in ``out`` was last written: a run that should do nothing leaves it as it is."""
    return max((entry.stat().st_mtime_ns for entry in (folder / "out").iterdir()), default=0)
