"""An outline tells apart whatever a manifest tells apart: what it leaves out could hide a change."""

from __future__ import annotations

import gc
import sys
from itertools import combinations
from types import MappingProxyType

import pytest

from dagger.abstract import DatumList
from dagger.abstract.helpers import collect_dependencies
from dagger.cache import Cache
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask, outline
from dagger.core.manifest import Walker
from dagger.core.places import Places

COPY = "cat {a} > {out}"


class Mine(FileDatum):
    pass


def one(a):
    return {"out": a}


def two(a):
    return {"out": [a]}


def source(path="a.txt"):
    return FileDatum(pointer=path)


def made(name="m", output="x", path="m.txt", **more):
    return ScriptTask(name, outputs={output: path, **more}, script=f"echo > {{{output}}}")


def values(*given):
    return DatumList(MemoryDatum, [MemoryDatum(pointer=it) for it in given])


def files(*paths):
    return DatumList(FileDatum, [source(path) for path in paths])


DECLARED = {
    "plain": lambda: ScriptTask("t", {"a": source()}, {"out": "o.txt"}, script=COPY),
    "another name": lambda: ScriptTask("u", {"a": source()}, {"out": "o.txt"}, script=COPY),
    "another script": lambda: ScriptTask("t", {"a": source()}, {"out": "o.txt"}, script=COPY + "x"),
    "another source": lambda: ScriptTask("t", {"a": source("b.txt")}, {"out": "o.txt"}, script=COPY),
    "another input name": lambda: ScriptTask("t", {"b": source()}, {"out": "o.txt"}, script="cat {b} > {out}"),
    "one more source": lambda: ScriptTask("t", {"a": source(), "b": source("b.txt")}, {"out": "o.txt"}, script=COPY),
    "another output": lambda: ScriptTask("t", {"a": source()}, {"out": "p.txt"}, script=COPY),
    "another output name": lambda: ScriptTask("t", {"a": source()}, {"put": "o.txt"}, script="cat {a} > {put}"),
    "one more output": lambda: ScriptTask("t", {"a": source()}, {"out": "o.txt", "p": "p.txt"}, script=COPY),
    "a directory": lambda: ScriptTask("t", {"a": source()}, {"out": "o/"}, script=COPY),
    "a pattern": lambda: ScriptTask("t", {"a": source()}, {"out": "o*.txt"}, script=COPY),
    "a list": lambda: ScriptTask("t", {"a": files("a.txt")}, {"out": "o.txt"}, script=COPY),
    "a longer list": lambda: ScriptTask("t", {"a": files("a.txt", "b.txt")}, {"out": "o.txt"}, script=COPY),
    "a list in another order": lambda: ScriptTask("t", {"a": files("b.txt", "a.txt")}, {"out": "o.txt"}, script=COPY),
    "a type of one's own": lambda: ScriptTask("t", {"a": Mine(pointer="a.txt")}, {"out": "o.txt"}, script=COPY),
    "a made input": lambda: ScriptTask("t", {"a": made()["x"]}, {"out": "o.txt"}, script=COPY),
    "one of another task": lambda: ScriptTask("t", {"a": made("n")["x"]}, {"out": "o.txt"}, script=COPY),
    "one of another path": lambda: ScriptTask("t", {"a": made(path="n.txt")["x"]}, {"out": "o.txt"}, script=COPY),
    "one of two": lambda: ScriptTask("t", {"a": made(y="y.txt")["x"]}, {"out": "o.txt"}, script=COPY),
    "the other of two": lambda: ScriptTask("t", {"a": made(y="y.txt")["y"]}, {"out": "o.txt"}, script=COPY),
    "a version": lambda: ScriptTask("t", {"a": source()}, {"out": "o.txt"}, script=COPY, version=1),
    "ignoring": lambda: ScriptTask("t", {"a": source()}, {"out": "o.txt"}, script=COPY, ignore=["a"]),
    "a variable": lambda: ScriptTask("t", {"a": source()}, {"out": "o.txt"}, script=COPY, env=["HOME"]),
    "a tool": lambda: ScriptTask("t", {"a": source()}, {"out": "o.txt"}, script=COPY, tools=["cat"]),
    "a dependency": lambda: ScriptTask("t", {"a": source()}, {"out": "o.txt"}, [made()], script=COPY),
    "a function": lambda: FunctionTask("t", one, {"a": source()}, {"out": None}),
    "another function": lambda: FunctionTask("t", two, {"a": source()}, {"out": None}),
    "one with a pickle": lambda: FunctionTask("t", one, {"a": source()}, {"out": "o.pkl"}),
    "of another class": lambda: PklTask("t", one, {"a": source()}, {"out": "o.pkl"}),
    "one with a file": lambda: FunctionTask("t", one, {"a": source()}, {"out": "o.txt"}),
    "a value": lambda: FunctionTask("t", one, {"a": MemoryDatum(pointer=1)}, {"out": None}),
    "another value": lambda: FunctionTask("t", one, {"a": MemoryDatum(pointer=2)}, {"out": None}),
    "another type of value": lambda: FunctionTask("t", one, {"a": MemoryDatum(pointer=True)}, {"out": None}),
    "a text": lambda: FunctionTask("t", one, {"a": MemoryDatum(pointer="a.txt")}, {"out": None}),
    "two values": lambda: FunctionTask("t", one, {"a": values(1, 2)}, {"out": None}),
    "two others": lambda: FunctionTask("t", one, {"a": values(2, 1)}, {"out": None}),
    "a value of one's own": lambda: FunctionTask("t", one, {"a": MemoryDatum(pointer=Places("/"))}, {"out": None}),
}


@pytest.fixture
def walker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("the same")
    cache = Cache.in_memory()
    yield Walker(cache, Places(str(tmp_path)), {})
    cache.close()


def test_what_differs_in_a_manifest_differs_in_an_outline(walker):
    """Whatever two tasks differ in, they have two outlines, or one of them has none and is looked at in another way."""
    outlines = {}
    for name, make in DECLARED.items():
        task = make()
        outline = walker.plain_outline(task)
        outlines[name] = None if outline is None else (task.identifier, *outline)
    assert sum(it is not None for it in outlines.values()) > len(outlines) / 2
    for (one_name, first), (other_name, second) in combinations(outlines.items(), 2):
        assert first is None or first != second, (one_name, other_name)


def test_an_outline_is_the_same_for_the_same_declaration(walker):
    for name, make in DECLARED.items():
        assert walker.plain_outline(make()) == walker.plain_outline(make()), name


@pytest.mark.parametrize("name", ["a pattern", "a directory", "a type of one's own", "a version", "ignoring"])
def test_what_is_uncommon_has_no_outline(walker, name):
    """It takes more than a glance to tell what it was declared as."""
    assert walker.plain_outline(DECLARED[name]()) is None


def wide(count, **more):
    """Return tasks of one script, so that its code is known from the second on, over files, a list and each other."""
    tasks = [ScriptTask("0", {"a": source()}, {"out": "0.txt"}, script=COPY)]
    for number in range(1, count):
        given = tasks[number // 2]["out"] if number % 3 else files("a.txt", f"{number}.csv")
        tasks.append(ScriptTask(str(number), {"a": given}, {"out": f"{number}.txt"}, script=COPY, **more))
    parts = DatumList(FileDatum, [task["out"] for task in tasks])
    return [*tasks, ScriptTask("end", {"a": parts}, {"out": "all.txt", "log": "log.txt"}, script=COPY)]


def odd():
    """Return tasks that somebody has changed after they were made, or that are of other types."""
    tasks = wide(30)
    tasks[3].inputs = MappingProxyType(tasks[3].inputs)
    tasks[4].identifier = Name("four")
    tasks[5].inputs = {Name("a"): source()}
    tasks[6].outputs = {}
    tasks[7].outputs["second"] = source("second.txt")
    tasks[8].version = 1
    tasks[9].dependencies = [tasks[10]]
    tasks[11].inputs["a"] = tasks[12]["out"]
    tasks[13].inputs["a"].parents = [tasks[14], tasks[15]]
    tasks[16].outputs["out"].parents = []
    tasks[17].inputs["a"] = MemoryDatum(pointer=3)
    tasks[19].ignore = ["a"]
    tasks[20].cache = False
    tasks[21].env = ("HOME",)
    tasks[22].script = Name(COPY)
    tasks[23].inputs["a"] = DatumList(FileDatum)
    tasks[24].inputs["a"] = DatumList(DatumList, [files("a.txt")])
    tasks[25].inputs["a"] = Mine(pointer="a.txt")
    tasks[26].outputs["out"] = Mine(pointer="out.txt")
    tasks[27].outputs["out"] = source("a/")
    return tasks


def lists():
    """Return tasks that take lists: one that is made as a whole, one whose members' makers it has been asked for."""
    makes = FunctionTask(
        "makes", one, {}, {"parts": DatumList(FileDatum, [FileDatum(pointer="1"), FileDatum(pointer="2")])}
    )
    *tasks, end = wide(6)
    assert len(end.inputs["a"]._makers()) == len(tasks)
    takes = ScriptTask("takes", {"a": makes["parts"]}, {"out": "taken.txt"}, script=COPY)
    part = ScriptTask("part", {"a": DatumList(FileDatum, makes["parts"].datums)}, {"out": "part.txt"}, script=COPY)
    assert part.inputs["a"]._makers() == (makes,)
    return [takes, part, end]


class Name(str):
    __slots__ = ()


SURVEYED = {
    "each": lambda: [make() for make in DECLARED.values()],
    "scripts": lambda: wide(40)[-1:],
    "with versions": lambda: wide(10, version=2)[-1:],
    "functions": lambda: [FunctionTask(str(it), one, {"a": source(f"{it}.txt")}, {"out": None}) for it in range(20)],
    "values": lambda: [FunctionTask(str(it), one, {"a": MemoryDatum(pointer=it)}, {"out": None}) for it in range(20)],
    "odd": odd,
    "lists": lists,
    "nothing": list,
}


@pytest.mark.parametrize("given", SURVEYED)
def test_a_survey_is_made_of_outlines(walker, given):
    """All tasks are in it once, and the words of each are those of its outline."""
    tasks = collect_dependencies(SURVEYED[given]())
    *plain, (others, none) = walker.survey(tasks, 7)
    assert none == []
    assert all(len(its) == 7 for its, _ in plain[:-1])
    assert [task for its, _ in plain for task in its] == [task for task in tasks if task not in set(others)]
    for its, words in plain:
        assert words == [word for task in its for word in walker.plain_outline(task)]
    assert all(walker.plain_outline(task) is None for task in others)


@pytest.mark.skipif(outline.add_outlines is None, reason="it is not compiled here")
@pytest.mark.parametrize("given", SURVEYED)
def test_a_survey_is_the_same_in_python(walker, monkeypatch, given):
    """What is compiled leaves to Python whatever it would not take for the same."""
    tasks = SURVEYED[given]()

    def surveyed(walker):
        return [([it.identifier for it in its], words) for its, words in walker.survey(tasks, 7)]

    compiled = [surveyed(walker), surveyed(walker)]
    monkeypatch.setattr(outline, "add_outlines", None)
    assert compiled == [surveyed(Walker(walker.cache, walker.places, {}))] * 2


@pytest.mark.skipif(outline.add_outlines is None, reason="it is not compiled here")
@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_as_many_are_outlined_as_are_wanted(walker, count):
    tasks = wide(40)
    list(walker.survey(tasks, 1))
    words = []
    done = outline.add_outlines(tasks, 2, count, set(tasks), words, walker._plain_codes, outline._TYPES)
    assert done == min(count, len(tasks) - 2)
    assert words == [word for task in tasks[2 : 2 + done] for word in walker.plain_outline(task)]


def test_a_survey_keeps_nothing(walker):
    """References are given back: what was surveyed goes when nobody else has it."""
    tasks = odd()[:3] + wide(30)
    paths = [name for task in tasks for name in (task.identifier, task["out"].pointer)]
    gc.collect()  # other tests had graphs with the same texts
    held = [sys.getrefcount(it) for it in (*tasks, *paths)]
    for _ in range(50):
        list(walker.survey(tasks, 7))
    assert held == [sys.getrefcount(it) for it in (*tasks, *paths)]
