"""An outline tells apart whatever a manifest tells apart: what it leaves out could hide a change."""

from __future__ import annotations

from itertools import combinations

import pytest

from dagger.abstract import DatumList
from dagger.cache import Cache
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask
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
