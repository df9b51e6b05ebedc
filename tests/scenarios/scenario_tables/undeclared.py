"""What a task reads without declaring it: files, listings, variables, and another task's outputs."""

from __future__ import annotations

import os
from pathlib import Path

from scenario_tables.scenario import Edit, Scenario, both, nothing, remove, write

FIT = {"fit"}
READ_NOTE = "task 'HERE.fit' read HERE/lookup.csv, which is not among its inputs"
CHANGED = "undeclared input changed: HERE/lookup.csv"
LOOKUP = {"lookup.csv": "one\n"}
EDIT_LOOKUP = write("lookup.csv", "two\n")

ONE_TASK = """
    import json, os
    from pathlib import Path
    from dagger.core import FunctionTask, MemoryDatum
    {imports}

    def fit(x):
        {body}

    tasks = [FunctionTask("HERE.fit", fit, {{"x": MemoryDatum(pointer=1)}}, {{"y": None}})]
"""

SHARED = """
    from functools import lru_cache
    from dagger.core import FunctionTask, MemoryDatum

    @lru_cache
    def lookup():
        with open("HERE/lookup.csv") as file:
            return file.read()

    def fit(x):
        return {"y": (x, lookup())}

    def task(number):
        return FunctionTask(f"HERE.fit{number}", fit, {"x": MemoryDatum(pointer=number)}, {"y": None})

    tasks = [task(number) for number in range(6)]
"""

GLOBAL_STATE = """
    from dagger.core import FunctionTask, MemoryDatum

    KNOWN = {}

    def lookup():
        if not KNOWN:
            with open("HERE/lookup.csv") as file:
                KNOWN["text"] = file.read()
        return KNOWN["text"]

    def fit(x):
        return {"y": (x, lookup())}

    def task(number):
        return FunctionTask(f"HERE.fit{number}", fit, {"x": MemoryDatum(pointer=number)}, {"y": None})

    tasks = [task(number) for number in range(6)]
"""

MODULE_STATE = """
    from dagger.core import FunctionTask, MemoryDatum
    from HERE import helpers

    def fit(x):
        return {"y": (x, helpers.lookup())}

    def task(number):
        return FunctionTask(f"HERE.fit{number}", fit, {"x": MemoryDatum(pointer=number)}, {"y": None})

    tasks = [task(number) for number in range(6)]
"""

MODULE_STATE_HELPERS = """
    from functools import lru_cache

    @lru_cache(maxsize=None)
    def lookup():
        with open("HERE/lookup.csv") as file:
            return file.read()
"""

ALL_SIX = {f"fit{number}" for number in range(6)}

OF_ANOTHER_TASK = """
    import os
    from dagger.core import FunctionTask, MemoryDatum

    def make(out):
        with open(out, "w") as file:
            file.write("made\\n")

    def fit(x):
        try:
            with open("HERE/made.txt") as file:
                return {"y": file.read()}
        except FileNotFoundError:
            return {"y": "not there yet"}

    tasks = [
        FunctionTask("HERE.make", make, {}, {"out": "HERE/made.txt"}),
        FunctionTask("HERE.fit", fit, {"x": MemoryDatum(pointer=1)}, {"y": None}),
    ]
"""


def _reads(
    name: str,
    body: str,
    edit: Edit = EDIT_LOOKUP,
    ran: set[str] | frozenset[str] = frozenset(FIT),
    *,
    imports: str = "",
    note: str = READ_NOTE,
    **options: object,
) -> Scenario:
    lines = body.strip().replace("\n", "\n        ")
    given: dict[str, object] = {"files": LOOKUP, **options}
    source = ONE_TASK.replace("{imports}", imports).replace("{body}", lines).replace("{{", "{").replace("}}", "}")
    return Scenario(name, source, edit, ran=ran, note=note, **given)  # type: ignore[arg-type]


def _variable(name: str, expression: str, before: str | None, after: str | None, *, reruns: bool = True) -> Scenario:
    variable = f"TRY_{name.upper()}"
    return _reads(
        name,
        f'return {{"y": {expression.replace("NAME", repr(variable))}}}',
        nothing,
        FIT if reruns else frozenset(),
        env={variable: (before, after)},
        note=f"task 'HERE.fit' read {variable}, which is not among its inputs",
    )


OPEN = 'with open("HERE/lookup.csv") as file:\n    return {"y": file.read()}'
TRY_OPEN = 'try:\n    with open("HERE/lookup.csv") as file:\n        return {"y": file.read()}\nexcept OSError:\n    return {"y": 0}'
LIST = 'return {"y": sorted(os.listdir("HERE/data"))}'
TWO = {"data/a.txt": "a\n", "data/b.txt": "b\n"}


def _touch(folder: Path) -> None:
    os.utime(folder / "lookup.csv", (1, 1))


def _secret_edit(folder: Path) -> None:
    before = os.stat(folder / "lookup.csv")
    write("lookup.csv", "two\n")(folder)
    os.utime(folder / "lookup.csv", ns=(before.st_atime_ns, before.st_mtime_ns))


FILES = [
    _reads("file_read", OPEN, reason=CHANGED),
    _reads(
        "file_read_absolute", 'with open(os.path.abspath("HERE/lookup.csv")) as file:\n    return {"y": file.read()}'
    ),
    _reads("file_read_by_path", 'return {"y": Path("HERE/lookup.csv").read_text()}'),
    _reads(
        "file_read_by_numpy",
        'return {"y": np.loadtxt("HERE/lookup.csv").tolist()}',
        write("lookup.csv", "2\n"),
        imports="import numpy as np",
        files={"lookup.csv": "1\n"},
    ),
    _reads(
        "file_read_by_pandas",
        'return {"y": pd.read_csv("HERE/lookup.csv").to_dict()}',
        write("lookup.csv", "a\n2\n"),
        imports="import pandas as pd",
        files={"lookup.csv": "a\n1\n"},
    ),
    _reads(
        "file_read_by_a_helper",
        'return {"y": helpers.load()}',
        imports="from HERE import helpers",
        files={
            **LOOKUP,
            "helpers.py": 'def load():\n    with open("HERE/lookup.csv") as file:\n        return file.read()\n',
        },
    ),
    _reads(
        "file_read_in_a_thread",
        'from threading import Thread\nfound = []\nthread = Thread(target=lambda: found.append(open("HERE/lookup.csv").read()))\nthread.start()\nthread.join()\nreturn {"y": found}',
    ),
    _reads("file_touched", OPEN, _touch, frozenset()),
    _reads("file_rewritten", OPEN, both(write("lookup.csv", "two\n"), write("lookup.csv", "one\n")), frozenset()),
    _reads("file_of_the_same_size_and_time", OPEN, _secret_edit),
    _reads("file_gone", TRY_OPEN, remove("lookup.csv")),
    _reads("file_appeared", TRY_OPEN, write("lookup.csv", "two\n"), files={}),
    _reads("file_not_read", 'return {"y": x}', ran=frozenset(), note=""),
    _reads(
        "file_read_only_sometimes",
        'if x > 1:\n    open("HERE/lookup.csv").close()\nreturn {"y": x}',
        ran=frozenset(),
        note="",
    ),
    _reads(
        "scratch_file_of_its_own",
        'with open("HERE/scratch.txt", "w") as file:\n    file.write("a")\nwith open("HERE/scratch.txt") as file:\n    return {"y": file.read()}',
        ran=frozenset(),
        note="",
    ),
    _reads(
        "module_imported_in_the_body",
        'from HERE import helpers\nreturn {"y": helpers.N}',
        write("other.py", "N = 2\n"),
        frozenset(),
        note="",
        files={"helpers.py": "N = 1\n", "other.py": "N = 1\n"},
    ),
    _reads(
        "listing_gained_a_file",
        LIST,
        write("data/c.txt", "c\n"),
        files=TWO,
        note="read HERE/data",
        reason="undeclared input changed: HERE/data",
    ),
    _reads("listing_lost_a_file", LIST, remove("data/a.txt"), files=TWO, note="read HERE/data"),
    _reads(
        "listing_kept_its_names", LIST, write("data/a.txt", "other\n"), frozenset(), files=TWO, note="read HERE/data"
    ),
    _reads(
        "listing_by_glob",
        'import glob\nreturn {"y": sorted(glob.glob("HERE/data/*.txt"))}',
        write("data/c.txt", "c\n"),
        files=TWO,
        note="read HERE/data",
    ),
    _reads(
        "listing_by_walk",
        'return {"y": [sorted(names) for _, _, names in os.walk("HERE/data")]}',
        write("data/c.txt", "c\n"),
        files=TWO,
        note="read HERE/data",
    ),
    _reads(
        "folder_appeared",
        'try:\n    return {"y": os.listdir("HERE/data")}\nexcept OSError:\n    return {"y": 0}',
        write("data/c.txt", "c\n"),
        note="read HERE/data",
    ),
    Scenario(
        "folder_that_is_declared",
        """
        import os
        from dagger.core import FileDatum, FunctionTask

        def fit(folder):
            with open(os.path.join(folder, "a.txt")) as file:
                return {"y": (sorted(os.listdir(folder)), file.read())}

        tasks = [FunctionTask("HERE.fit", fit, {"folder": FileDatum(pointer="HERE/data")}, {"y": None})]
        """,
        write("data/a.txt", "other\n"),
        ran=FIT,
        files=TWO,
        reason="input changed: folder",
    ),
    Scenario(
        "helper_that_remembers",
        SHARED,
        write("lookup.csv", "two\n"),
        ran=ALL_SIX,
        files=LOOKUP,
        note="read HERE/lookup.csv",
    ),
    Scenario(
        "global_that_remembers",
        GLOBAL_STATE,
        write("lookup.csv", "two\n"),
        ran=ALL_SIX,
        files=LOOKUP,
        note="read HERE/lookup.csv",
    ),
    Scenario(
        "module_that_remembers",
        MODULE_STATE,
        write("lookup.csv", "two\n"),
        ran=ALL_SIX,
        files={**LOOKUP, "helpers.py": MODULE_STATE_HELPERS},
        note="read HERE/lookup.csv",
    ),
    Scenario(
        "early_cutoff_of_a_lookup",
        """
        from dagger.core import FunctionTask

        def fit():
            with open("HERE/lookup.csv") as file:
                return {"y": len(file.read())}

        def use(y):
            return {"z": y}

        made = FunctionTask("HERE.fit", fit, {}, {"y": None})
        tasks = [FunctionTask("HERE.use", use, {"y": made["y"]}, {"z": None})]
        """,
        write("lookup.csv", "two\n"),
        ran=FIT,
        files=LOOKUP,
        note=READ_NOTE,
    ),
]

VARIABLES = [
    _variable("by_item", "os.environ[NAME]", "a", "b"),
    _variable("by_get", "os.environ.get(NAME)", "a", "b"),
    _variable("by_getenv", "os.getenv(NAME)", "a", "b"),
    _variable("by_getenv_default", "os.getenv(NAME, 'none')", None, "b"),
    _variable("by_membership", "NAME in os.environ", None, "b"),
    _variable("unset", "os.getenv(NAME)", "a", None),
    _variable("set_to_nothing", "os.getenv(NAME)", None, ""),
    _variable("unchanged", "os.getenv(NAME)", "a", "a", reruns=False),
    _reads(
        "variable_beside",
        'return {"y": os.getenv("TRY_BESIDE_ONE")}',
        nothing,
        frozenset(),
        env={"TRY_BESIDE_ONE": ("a", "a"), "TRY_BESIDE_TWO": ("a", "b")},
        note="read TRY_BESIDE_ONE",
    ),
    _reads("variable_not_read", 'return {"y": x}', nothing, frozenset(), env={"TRY_NOT_READ": ("a", "b")}, note=""),
    _reads(
        "variable_by_import",
        'return {"y": getenv("TRY_BY_IMPORT")}',
        nothing,
        imports="from os import getenv",
        env={"TRY_BY_IMPORT": ("a", "b")},
        note="read TRY_BY_IMPORT",
    ),
    _reads(
        "variable_expanded",
        'return {"y": os.path.expandvars("$TRY_EXPANDED")}',
        nothing,
        env={"TRY_EXPANDED": ("a", "b")},
        note="read TRY_EXPANDED",
    ),
    _reads(
        "variable_set_by_itself",
        'os.environ["TRY_ITSELF"] = "1"\nreturn {"y": os.environ["TRY_ITSELF"]}',
        nothing,
        frozenset(),
        env={"TRY_ITSELF": ("a", "b")},
        note="",
    ),
]

POLICIES = [
    _reads("told_to_warn", OPEN, manager={"undeclared": "warn"}, reason=CHANGED),
    _reads("told_to_ignore", OPEN, ran=frozenset(), manager={"undeclared": "ignore"}, note="", stale=True),
    _reads(
        "told_to_fail",
        OPEN,
        manager={"undeclared": "error"},
        note="",
        failing=FIT,
        always=FIT,
        reason="read HERE/lookup.csv, which is not among its inputs",
    ),
    _reads("nothing_to_fail_for", 'return {"y": x}', ran=frozenset(), manager={"undeclared": "error"}, note=""),
    Scenario(
        "output_of_a_task_that_is_not_above",
        OF_ANOTHER_TASK,
        write("unrelated.txt", ""),
        ran=FIT,
        always=FIT,
        failing=FIT,
        reason="read HERE/made.txt, which task 'HERE.make' makes, without depending on it",
    ),
    Scenario(
        "output_of_a_task_that_is_above",
        """
        from dagger.core import FunctionTask

        def make(out):
            with open(out, "w") as file:
                file.write("made\\n")

        def fit():
            with open("HERE/made.txt") as file:
                return {"y": file.read()}

        made = FunctionTask("HERE.make", make, {}, {"out": "HERE/made.txt"})
        tasks = [FunctionTask("HERE.fit", fit, {}, {"y": None}, dependencies=[made])]
        """,
        (('"made\\n"', '"other\\n"'),),
        ran={"make", "fit"},
    ),
]

SCENARIOS = FILES + VARIABLES + POLICIES
