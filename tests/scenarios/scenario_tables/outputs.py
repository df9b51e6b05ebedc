"""Outputs: lists and patterns of them, values that somebody changes in place, results that cannot be kept."""

from __future__ import annotations

from scenario_tables.scenario import Edit, Scenario, both, change, remove, write

SPLITS = """
    from dagger.core import FileDatum, FunctionTask, ScriptTask

    def read(parts):
        return {"y": [open(part).read() for part in parts]}

    split = ScriptTask("HERE.split", {"source": FileDatum(pointer="HERE/data.txt")}, {"parts": "HERE/out/part-*.txt"},
                       script="n=0; while read -r word; do echo $word > HERE/out/part-$word.txt; done < {source}")
    tasks = [
        FunctionTask("HERE.read", read, {"parts": split["parts"]}, {"y": None}),
        ScriptTask("HERE.join", {"parts": split["parts"]}, {"out": "HERE/all.txt"}, script="cat {parts} > {out}"),
    ]
"""
WORDS = {"data.txt": "b\na\nc\n"}
PARTS = ("out/part-a.txt", "out/part-b.txt", "out/part-c.txt")

LISTS = """
    from dagger.abstract import DatumList
    from dagger.core import FileDatum, FunctionTask, PklTask, ScriptTask

    def size(parts):
        return {"y": [len(open(part).read()) for part in parts]}

    files = DatumList(FileDatum, pointer=["HERE/a.txt", "HERE/b.txt"])
    tasks = [
        FunctionTask("HERE.function", size, {"parts": files}, {"y": None}),
        PklTask("HERE.pickle", size, {"parts": files}, {"y": "HERE/y.pkl"}),
        ScriptTask("HERE.script", {"parts": files}, {"out": "HERE/all.txt"}, script="cat {parts} > {out}"),
    ]
"""
ALL_TYPES = {"function", "pickle", "script"}
TWO = {"a.txt": "a\n", "b.txt": "b\n"}

FAN_IN = """
    from dagger.abstract import DatumList
    from dagger.core import FunctionTask, MemoryDatum

    def one(x):
        return {"y": x * 2}

    def total(parts):
        return {"y": sum(parts)}

    GIVEN = [1, 2, 3]
    ones = [FunctionTask(f"HERE.one{n}", one, {"x": MemoryDatum(pointer=n)}, {"y": None}) for n in GIVEN]
    tasks = [FunctionTask("HERE.total", total, {"parts": DatumList(MemoryDatum, [it["y"] for it in ones])}, {"y": None})]
"""

MUTATES = """
    from dagger.core import FunctionTask, MemoryDatum, PklTask

    GIVEN = [1, 2]

    def make():
        return {"x": [1, 2]}

    def spoil(x, given, kept):
        assert x == kept == [1, 2] and given == [1, 2], (x, given, kept)
        x.append(3)
        given.clear()
        kept.pop()
        return {"y": (x, given, kept)}

    made = FunctionTask("HERE.make", make, {}, {"x": None})
    kept = PklTask("HERE.keep", make, {}, {"x": "HERE/x.pkl"})
    source = MemoryDatum(pointer=GIVEN)
    tasks = [
        FunctionTask(f"HERE.spoil{n}", spoil, {"x": made["x"], "given": source, "kept": kept["x"]}, {"y": None})
        for n in range(3)
    ]
"""

MUTATES_GLOBAL = """
    from dagger.core import FunctionTask, MemoryDatum

    TABLE = {"n": 0}

    def spoil(x):
        TABLE["n"] += x
        return {"y": dict(TABLE)}

    tasks = [FunctionTask(f"HERE.spoil{n}", spoil, {"x": MemoryDatum(pointer=n)}, {"y": None}) for n in range(1, 5)]
"""

FAILS = """
    from dagger.core import FunctionTask

    def f():
        return {result}

    def after(y):
        return {{"z": 1}}

    made = FunctionTask("HERE.f", f, {{}}, {{"y": None}})
    tasks = [FunctionTask("HERE.after", after, {{"y": made["y"]}}, {{"z": None}})]
"""


def _fails(name: str, result: str, message: str) -> Scenario:
    return Scenario(
        name,
        FAILS.format(result=result),
        write("unrelated.txt", ""),
        ran={"f"},
        always={"f"},
        failing={"f"},
        reason=message,
    )


def _in_place(path: str, edit: Edit) -> Edit:
    return lambda folder: edit(folder) if (folder / path).exists() else None


SCENARIOS = [
    Scenario("pattern_same_content", SPLITS, write("data.txt", "a\nb\nc\n"), ran={"split"}, files=WORDS, kept=PARTS),
    Scenario(
        "pattern_gained_a_file",
        SPLITS,
        write("data.txt", "b\na\nc\nd\n"),
        ran={"split", "read", "join"},
        files=WORDS,
        kept=(*PARTS, "out/part-d.txt", "all.txt"),
    ),
    Scenario(
        "pattern_lost_a_file",
        SPLITS,
        write("data.txt", "b\na\n"),
        ran={"split", "read", "join"},
        files=WORDS,
        kept=(*PARTS[:2], "all.txt"),
        gone=PARTS[2:],
    ),
    Scenario("pattern_file_deleted", SPLITS, _in_place(PARTS[1], remove(PARTS[1])), files=WORDS, kept=PARTS),
    Scenario("pattern_file_edited", SPLITS, _in_place(PARTS[1], write(PARTS[1], "mine\n")), files=WORDS, kept=PARTS),
    Scenario(
        "pattern_stale_match",
        SPLITS,
        _in_place(PARTS[1], write("out/part-z.txt", "stray\n")),
        files=WORDS,
        kept=PARTS,
        gone=("out/part-z.txt",),
    ),
    Scenario(
        "pattern_without_a_match",
        """
        from dagger.core import ScriptTask

        tasks = [ScriptTask("HERE.f", {}, {"parts": "HERE/none-*.txt"}, script="true")]
        """,
        write("unrelated.txt", ""),
        ran={"f"},
        always={"f"},
        failing={"f"},
        reason="no file matches HERE/none-*.txt",
    ),
    Scenario("list_member_edited", LISTS, write("b.txt", "other\n"), ran=ALL_TYPES, files=TWO),
    Scenario("list_member_touched", LISTS, both(remove("b.txt"), write("b.txt", "b\n")), files=TWO),
    Scenario(
        "list_gained_a_member",
        LISTS,
        both(write("c.txt", "c\n"), change("steps.py", '"HERE/b.txt"]', '"HERE/b.txt", "HERE/c.txt"]')),
        ran=ALL_TYPES,
        files=TWO,
    ),
    Scenario(
        "list_order",
        LISTS,
        change("steps.py", '"HERE/a.txt", "HERE/b.txt"', '"HERE/b.txt", "HERE/a.txt"'),
        ran=ALL_TYPES,
        files=TWO,
    ),
    Scenario("list_of_results_gained_one", FAN_IN, (("[1, 2, 3]", "[1, 2, 3, 4]"),), ran={"one4", "total"}),
    Scenario("list_of_results_lost_one", FAN_IN, (("[1, 2, 3]", "[1, 3]"),), ran={"total"}),
    Scenario(
        "list_of_results_code", FAN_IN, (("x * 2", "x * 2 if x < 3 else 0"),), ran={"one1", "one2", "one3", "total"}
    ),
    Scenario("inputs_changed_in_place", MUTATES, (("x.append(3)", "x.append(4)"),), ran={"spoil0", "spoil1", "spoil2"}),
    Scenario("inputs_changed_in_place_comment", MUTATES, (("x.append(3)", "x.append(3)  # spoilt"),)),
    Scenario(
        "global_changed_in_place",
        MUTATES_GLOBAL,
        (('"n": 0', '"n": 10'),),
        ran={"spoil1", "spoil2", "spoil3", "spoil4"},
    ),
    Scenario(
        "output_changed_after_the_run",
        """
        from dagger.core import FunctionTask, WorkflowManager

        def make():
            return {"x": [1]}

        def use(x):
            return {"y": x}

        made = FunctionTask("HERE.make", make, {}, {"x": None})
        WorkflowManager(made, jobs=1).run()
        made["x"].pointer.append(2)
        tasks = [FunctionTask("HERE.use", use, {"x": made["x"]}, {"y": None})]
        """,
        (('"y": x', '"y": x * 1'),),
        ran={"use"},
    ),
    _fails("result_cannot_be_pickled", '{"y": (i for i in [1])}', "output 'y'"),
    _fails("result_deep_inside_cannot_be_pickled", '{"y": {"a": [lambda: 0, (i for i in [1])]}}', "cannot be pickled"),
    _fails("result_is_missing", "{}", "lacks 'y'"),
    _fails("result_is_too_much", '{"y": 1, "z": 2}', "has 'z'"),
    _fails("result_is_no_dict", "5", "returned a int"),
    _fails("exits", '__import__("sys").exit(0)', "sys.exit(0)"),
    Scenario(
        "failed_task_is_mended",
        FAILS.format(result='{"y": 1 / 0}'),
        (("1 / 0", "1 / 1"),),
        ran={"f", "after"},
        always={"f"},
        failing={"f"},
        mended=True,
    ),
    Scenario(
        "several_outputs_of_one_task",
        """
        from dagger.core import FunctionTask

        def f(c):
            with open(c, "w") as file:
                file.write("c\\n")
            return {"a": 1, "b": 2}

        def use_a(a):
            return {"y": a}

        def use_b(b):
            return {"y": b}

        made = FunctionTask("HERE.f", f, {}, {"a": None, "b": "HERE/b.pkl", "c": "HERE/c.txt"})
        tasks = [
            FunctionTask("HERE.use_a", use_a, {"a": made["a"]}, {"y": None}),
            FunctionTask("HERE.use_b", use_b, {"b": made["b"]}, {"y": None}),
        ]
        """,
        (('"b": 2', '"b": 3'),),
        ran={"f", "use_b"},
        kept=("c.txt",),
    ),
]
