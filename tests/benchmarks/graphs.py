"""The graphs that are built, and how each tool's user would write them down.

``fan``: N tasks that each copy a source of their own, and a join of all.
``layers``: ten layers of N/10 tasks, each the sorted union of three files of the layer above.
``rest``: what must run of a fan one of whose sources has changed: the task of that source, and the join, of the same N
files, of which the others are sources here. Only dagger has it.

A tool with a language of its own has its file written beforehand, as a generator would; a tool in Python builds its
graph in a loop, and that is part of what is measured.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

SHAPES = ("fan", "layers")
LAYERS = 10
STEPS = (0, 1, 7)
CHANGED = 5
"""Which source of a fan is edited."""


def write_sources(folder: Path, shape: str, n: int) -> None:
    """Write the files that the graph starts from, and the folder that it writes to."""
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    for number in range(n // LAYERS if shape == "layers" else n):
        (folder / "src" / f"{number}.txt").write_text(f"{number:07d}\n")


def steps(shape: str, n: int) -> list[tuple[list[str], str]]:
    """Return the inputs and the output of each task but the join of a fan, in an order in which they can run."""
    if shape == "fan":
        return [([f"src/{number}.txt"], f"out/{number}.txt") for number in range(n)]
    width = n // LAYERS
    above = [f"src/{number}.txt" for number in range(width)]
    found = []
    for layer in range(LAYERS):
        made = [f"out/{layer}-{number}.txt" for number in range(width)]
        found += [([above[(number + step) % width] for step in STEPS], made[number]) for number in range(width)]
        above = made
    return found


def ends(shape: str, n: int) -> list[str]:
    """Return what is wanted in the end."""
    if shape == "fan":
        return ["out/all.txt"]
    return [f"out/{LAYERS - 1}-{number}.txt" for number in range(n // LAYERS)]


DAGGER_SCRIPTS = {
    "fan": """
        from dagger.abstract import DatumList
        from dagger.core import FileDatum, ScriptTask, WorkflowManager

        N = {n}
        parts = [
            ScriptTask(
                f"copy-{{number}}",
                {{"source": FileDatum(pointer=f"src/{{number}}.txt")}},
                {{"part": f"out/{{number}}.txt"}},
                script="cat {{source}} > {{part}}",
            )
            for number in range(N)
        ]
        join = ScriptTask(
            "join",
            {{"parts": DatumList(FileDatum, [task["part"] for task in parts])}},
            {{"all": "out/all.txt"}},
            script="echo joined > {{all}}",
        )
        WorkflowManager(join).run()
    """,
    "rest": """
        from dagger.abstract import DatumList
        from dagger.core import FileDatum, ScriptTask, WorkflowManager

        part = ScriptTask(
            "copy-{changed}",
            {{"source": FileDatum(pointer="src/{changed}.txt")}},
            {{"part": "out/{changed}.txt"}},
            script="cat {{source}} > {{part}}",
        )
        others = [FileDatum(pointer=f"src/{{number}}.txt") for number in range({n}) if number != {changed}]
        join = ScriptTask(
            "join",
            {{"parts": DatumList(FileDatum, [part["part"], *others])}},
            {{"all": "out/all.txt"}},
            script="echo joined > {{all}}",
        )
        WorkflowManager(join).run()
    """,
    "layers": """
        from dagger.core import FileDatum, ScriptTask, WorkflowManager

        WIDTH = {n} // 10
        above = [FileDatum(pointer=f"src/{{number}}.txt") for number in range(WIDTH)]
        for layer in range(10):
            tasks = [
                ScriptTask(
                    f"merge-{{layer}}-{{number}}",
                    {{"a": above[number], "b": above[(number + 1) % WIDTH], "c": above[(number + 7) % WIDTH]}},
                    {{"made": f"out/{{layer}}-{{number}}.txt"}},
                    script="sort -u {{a}} {{b}} {{c}} > {{made}}",
                )
                for number in range(WIDTH)
            ]
            above = [task["made"] for task in tasks]
        WorkflowManager(tasks).run()
    """,
}

_COPY_AND_JOIN = """
        from dagger.abstract import DatumList
        from dagger.core import FileDatum, FunctionTask, WorkflowManager


        def copy(source, part):
            with open(source) as read, open(part, "w") as made:
                made.write(read.read())


        def join(parts, whole):
            with open(whole, "w") as made:
                made.write("joined")
"""

DAGGER_FUNCTIONS = {
    "fan": _COPY_AND_JOIN
    + """
        N = {n}
        parts = [
            FunctionTask(
                f"copy-{{number}}",
                copy,
                {{"source": FileDatum(pointer=f"src/{{number}}.txt")}},
                {{"part": f"out/{{number}}.txt"}},
            )
            for number in range(N)
        ]
        whole = FunctionTask(
            "join",
            join,
            {{"parts": DatumList(FileDatum, [task["part"] for task in parts])}},
            {{"whole": "out/all.txt"}},
        )
        WorkflowManager(whole).run()
    """,
    "rest": _COPY_AND_JOIN
    + """
        part = FunctionTask(
            "copy-{changed}",
            copy,
            {{"source": FileDatum(pointer="src/{changed}.txt")}},
            {{"part": "out/{changed}.txt"}},
        )
        others = [FileDatum(pointer=f"src/{{number}}.txt") for number in range({n}) if number != {changed}]
        whole = FunctionTask(
            "join", join, {{"parts": DatumList(FileDatum, [part["part"], *others])}}, {{"whole": "out/all.txt"}}
        )
        WorkflowManager(whole).run()
    """,
    "layers": """
        from dagger.core import FileDatum, FunctionTask, WorkflowManager

        WIDTH = {n} // 10


        def merge(a, b, c, made):
            lines = set()
            for name in (a, b, c):
                with open(name) as file:
                    lines.update(file)
            with open(made, "w") as file:
                file.writelines(sorted(lines))


        above = [FileDatum(pointer=f"src/{{number}}.txt") for number in range(WIDTH)]
        for layer in range(10):
            tasks = [
                FunctionTask(
                    f"merge-{{layer}}-{{number}}",
                    merge,
                    {{"a": above[number], "b": above[(number + 1) % WIDTH], "c": above[(number + 7) % WIDTH]}},
                    {{"made": f"out/{{layer}}-{{number}}.txt"}},
                )
                for number in range(WIDTH)
            ]
            above = [task["made"] for task in tasks]
        WorkflowManager(tasks).run()
    """,
}

DAGGER_VALUES = {
    "fan": """
        from dagger.abstract import DatumList
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        N = {n}


        def half(number):
            return {{"value": number / 2}}


        def total(values):
            return {{"sum": sum(values)}}


        parts = [
            FunctionTask(f"half-{{number}}", half, {{"number": MemoryDatum(pointer=number)}}, {{"value": None}})
            for number in range(N)
        ]
        whole = FunctionTask(
            "total", total, {{"values": DatumList(MemoryDatum, [task["value"] for task in parts])}}, {{"sum": None}}
        )
        WorkflowManager(whole).run()
    """,
}

DOIT = {
    "fan": """
        N = {n}
        DOIT_CONFIG = {{"verbosity": 0}}


        def copy(source, part):
            with open(source) as read, open(part, "w") as made:
                made.write(read.read())


        def join(whole):
            with open(whole, "w") as made:
                made.write("joined")


        def task_copy():
            for number in range(N):
                source, part = f"src/{{number}}.txt", f"out/{{number}}.txt"
                yield {{
                    "name": str(number),
                    "actions": [(copy, [source, part])],
                    "file_dep": [source],
                    "targets": [part],
                }}


        def task_join():
            return {{
                "actions": [(join, ["out/all.txt"])],
                "file_dep": [f"out/{{number}}.txt" for number in range(N)],
                "targets": ["out/all.txt"],
            }}
    """,
    "layers": """
        WIDTH = {n} // 10
        DOIT_CONFIG = {{"verbosity": 0}}


        def merge(names, made):
            lines = set()
            for name in names:
                with open(name) as file:
                    lines.update(file)
            with open(made, "w") as file:
                file.writelines(sorted(lines))


        def task_merge():
            above = [f"src/{{number}}.txt" for number in range(WIDTH)]
            for layer in range(10):
                made = [f"out/{{layer}}-{{number}}.txt" for number in range(WIDTH)]
                for number in range(WIDTH):
                    names = [above[number], above[(number + 1) % WIDTH], above[(number + 7) % WIDTH]]
                    yield {{
                        "name": f"{{layer}}-{{number}}",
                        "actions": [(merge, [names, made[number]])],
                        "file_dep": names,
                        "targets": [made[number]],
                    }}
                above = made
    """,
}

# Values instead of files: what the cold cases build.
DOIT_VALUES = {
    "fan": """
        from doit.tools import run_once

        N = {n}
        DOIT_CONFIG = {{"verbosity": 0}}


        def half(number):
            return {{"value": number / 2}}


        def total(values):
            return {{"sum": sum(values.values())}}


        def task_half():
            for number in range(N):
                yield {{"name": str(number), "actions": [(half, [number])], "uptodate": [run_once]}}


        def task_total():
            return {{"actions": [total], "getargs": {{"values": ("half", "value")}}, "uptodate": [run_once]}}
    """,
}

JOBLIB_VALUES = {
    "fan": """
        from joblib import Memory, Parallel, delayed

        memory = Memory("cache", verbose=0)


        @memory.cache
        def half(number):
            return number / 2


        @memory.cache
        def total(values):
            return sum(values)


        total(Parallel(n_jobs=2)(delayed(half)(number) for number in range({n})))
    """,
}

REDUN_VALUES = {
    "fan": """
        from redun import task

        redun_namespace = "benchmark"


        @task()
        def half(number: int) -> float:
            return number / 2


        @task()
        def total(values: list) -> float:
            return sum(values)


        @task()
        def main() -> float:
            return total([half(number) for number in range({n})])
    """,
}

# joblib.Memory knows no files: a file counts by its name and mtime, results stay in the cache.
JOBLIB = {
    "fan": """
        import os

        from joblib import Memory

        N = {n}
        memory = Memory("cache", verbose=0)


        @memory.cache
        def copy(source, stamp):
            with open(source) as read:
                return read.read()


        @memory.cache
        def join(parts):
            return "joined"


        names = [f"src/{{number}}.txt" for number in range(N)]
        join([copy(name, os.stat(name).st_mtime_ns) for name in names])
    """,
    "layers": """
        import os

        from joblib import Memory

        WIDTH = {n} // 10
        memory = Memory("cache", verbose=0)


        @memory.cache
        def read(source, stamp):
            with open(source) as file:
                return file.readlines()


        @memory.cache
        def merge(a, b, c):
            return sorted({{*a, *b, *c}})


        names = [f"src/{{number}}.txt" for number in range(WIDTH)]
        above = [read(name, os.stat(name).st_mtime_ns) for name in names]
        for layer in range(10):
            above = [
                merge(above[number], above[(number + 1) % WIDTH], above[(number + 7) % WIDTH])
                for number in range(WIDTH)
            ]
    """,
}

_FLOOR = """
        import marshal
        import os

        import xxhash


        class Task:
            __slots__ = ("inputs", "made", "name")

            def __init__(self, name, inputs, made):
                self.name = name
                self.inputs = inputs
                self.made = made


        def known(path):
            status = stamps.get(path) or os.stat(path)
            stamps[path] = status
            return f"{{status.st_size}} {{status.st_mtime_ns}}"


        {tasks}
        stamps = {{}}
        try:
            with open("snapshot", "rb") as file:
                former = marshal.load(file)
        except FileNotFoundError:
            former = {{}}
        now = {{}}
        for task in tasks:
            if not former:
                open(task.made, "w").close()
            text = "\\n".join([task.name, *map(known, task.inputs), *task.inputs, task.made])
            now[task.name] = xxhash.xxh3_128_hexdigest(text.encode()) + known(task.made)
        if now != former:
            with open("snapshot", "wb") as file:
                marshal.dump(now, file)
"""

# No tool: the least that a Python program can do to find out that nothing is to be done.
FLOOR = {
    "fan": _FLOOR.replace(
        "{tasks}",
        """tasks = [
            Task(f"copy-{{number}}", (f"src/{{number}}.txt",), f"out/{{number}}.txt") for number in range({n})
        ]
        tasks.append(Task("join", [task.made for task in tasks], "out/all.txt"))""",
    ),
    "layers": _FLOOR.replace(
        "{tasks}",
        """tasks = []
        width = {n} // 10
        above = [f"src/{{number}}.txt" for number in range(width)]
        for layer in range(10):
            made = [f"out/{{layer}}-{{number}}.txt" for number in range(width)]
            for number in range(width):
                names = (above[number], above[(number + 1) % width], above[(number + 7) % width])
                tasks.append(Task(f"merge-{{layer}}-{{number}}", names, made[number]))
            above = made""",
    ),
}

REDUN = {
    "fan": """
        from redun import File, task

        redun_namespace = "benchmark"


        @task()
        def copy(source: File, part: str) -> File:
            made = File(part)
            made.write(source.read())
            return made


        @task()
        def join(parts: list, whole: str) -> File:
            made = File(whole)
            made.write("joined")
            return made


        @task()
        def main() -> File:
            parts = [copy(File(f"src/{{number}}.txt"), f"out/{{number}}.txt") for number in range({n})]
            return join(parts, "out/all.txt")
    """,
}

SNAKEMAKE = {
    "fan": """
        rule join:
            input: expand("out/{{number}}.txt", number=range({n}))
            output: "out/all.txt"
            shell: "echo joined > {{output}}"

        rule copy:
            input: "src/{{number}}.txt"
            output: "out/{{number}}.txt"
            shell: "cat {{input}} > {{output}}"
    """,
}

PYTASK = {
    "fan": """
        from pathlib import Path
        from typing import Annotated

        from pytask import Product, task

        PARTS = [Path(f"out/{{number}}.txt") for number in range({n})]

        for number in range({n}):

            @task(id=str(number))
            def task_copy(source: Path = Path(f"src/{{number}}.txt"), part: Annotated[Path, Product] = PARTS[number]):
                part.write_text(source.read_text())


        def task_join(parts: list[Path] = PARTS, whole: Annotated[Path, Product] = Path("out/all.txt")):
            whole.write_text("joined")
    """,
}


def python_script(texts: dict[str, str], name: str) -> Callable[[Path, str, int], None]:
    """Return what writes a tool's script for a shape and a size."""

    def write(folder: Path, shape: str, n: int) -> None:
        text = texts[shape].format(n=n, changed=CHANGED)
        (folder / name).write_text(textwrap.dedent(text).lstrip("\n"))

    return write


def write_ninja(folder: Path, shape: str, n: int, *, bash: bool = False) -> None:
    """Write ``build.ninja``; its commands run under ``sh -c``, as ninja does, or under the shell that dagger uses."""
    step = f"{'cat' if shape == 'fan' else 'sort -u'} $in > $out"
    join = "echo joined > $out"
    if bash:  # the `sh` that ninja starts becomes this bash, it does not stay beside it
        step, join = (f"exec bash -euo pipefail -c '{text}'" for text in (step, join))
    lines = ["rule step", f"  command = {step}", "rule join", f"  command = {join}"]
    lines += [f"build {made}: step {' '.join(names)}" for names, made in steps(shape, n)]
    if shape == "fan":
        lines.append(f"build out/all.txt: join {' '.join(made for _, made in steps(shape, n))}")
    lines.append(f"default {' '.join(ends(shape, n))}")
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def write_make(folder: Path, shape: str, n: int) -> None:
    """Write ``Makefile``: one explicit rule a task, all with one recipe."""
    verb = "cat" if shape == "fan" else "sort -u"
    lines = [f"all: {' '.join(ends(shape, n))}", ".PHONY: all"]
    for names, made in steps(shape, n):
        lines += [f"{made}: {' '.join(names)}", f"\t@{verb} $^ > $@"]
    if shape == "fan":
        lines += [f"out/all.txt: {' '.join(made for _, made in steps(shape, n))}", "\t@echo joined > $@"]
    (folder / "Makefile").write_text("\n".join(lines) + "\n")
