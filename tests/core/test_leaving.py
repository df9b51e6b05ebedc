"""At the end of a program nothing is lost that Python would have seen to, and the graph goes all the same."""

from __future__ import annotations

import gc

import pytest

from dagger.abstract import AbstractTask, DatumList
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask, leaving

compiled = pytest.mark.skipif(leaving.untie_plain is None, reason="it is not compiled here")


class Mine(FileDatum):
    pass


def double(a, by=2):
    return {"out": a * by}


def plain():
    """A task of each core type, over data of each."""
    first = ScriptTask("first", {"a": FileDatum(pointer="a.txt")}, {"out": "1/"}, script="cat {a} > {out}/x", env=["A"])
    parts = ScriptTask("parts", {"a": first["out"]}, {"out": "part-*.txt"}, script="cp {a}/x part-1.txt")
    several = DatumList(FileDatum, [FileDatum(pointer="b.txt"), FileDatum(pointer="c.txt")])
    listed = ScriptTask("listed", {"a": several}, {"out": "2.txt"}, [parts], {"gpu": 1}, script="cat {a} > {out}")
    value = FunctionTask("value", double, {"a": MemoryDatum(pointer=[{"b": (1.5, b"", None)}])}, {"out": None})
    return [listed, PklTask("kept", double, {"a": value["out"]}, {"out": "3.pkl"}, retries=2, version="1")]


def with_attribute():
    ends = plain()
    ends[0].mine = object()
    return ends


ODD = {
    "attribute": with_attribute,
    "value": lambda: [FunctionTask("odd", double, {"a": MemoryDatum(pointer=object())}, {"out": None}), *plain()],
    "datum": lambda: [*plain(), ScriptTask("odd", {"a": Mine(pointer="a.txt")}, {"out": "4.txt"}, script="> {out}")],
    "list of": lambda: [FunctionTask("odd", double, {"a": DatumList(Mine, [])}, {"out": None})],
    "callable": lambda: [FunctionTask("odd", Mine, {}, {"out": None})],
    "function": lambda: [FunctionTask("odd", double, {"a": MemoryDatum(pointer=double)}, {"out": None})],
    "function in it": lambda: [FunctionTask("odd", double, {"a": MemoryDatum(pointer=[(double,)])}, {"out": None})],
    "untracked": lambda: [FunctionTask("odd", double, {"a": MemoryDatum(pointer=((range(3),),))}, {"out": None})],
}


def reached(ends):
    """All containers, data and tasks that a graph leads to."""
    found = {id(task): task for task in ends}
    for it in (left := list(ends)):
        for other in gc.get_referents(it):
            if id(other) not in found and isinstance(other, (dict, tuple, list, AbstractTask, *leaving._DATA)):
                found[id(other)] = other
                left.append(other)
    return list(found.values())


def untie(ends):
    return leaving.untie_plain(ends, *leaving._KINDS)


@compiled
def test_a_plain_graph_is_untied():
    ends = plain()
    there = reached(ends)
    assert untie(ends)
    assert not any(map(gc.is_tracked, there))
    assert not any(it.parents for it in there if isinstance(it, leaving._DATA))
    assert not any(it.function for it in there if isinstance(it, FunctionTask))
    assert untie(ends)  # once more changes nothing


@compiled
@pytest.mark.parametrize("name", ODD)
def test_a_graph_with_anything_else_is_left_as_it_is(name):
    ends = ODD[name]()
    gc.collect()  # which lets go of containers that hold nothing to look at
    there = reached(ends)
    before = [gc.is_tracked(it) for it in there]
    assert not untie(ends)
    assert [gc.is_tracked(it) for it in there] == before
    assert ends[-1].outputs["out"].parents == [ends[-1]]


@pytest.mark.parametrize("kept", ["nothing", "closure", "attribute", "value"])
@pytest.mark.parametrize("time", ["first", "no-op"])
def test_what_python_sees_to_at_the_end_it_still_does(project, kept, time):
    """What is open is written, what has a way to go goes it, and the program's own exit sees the graph as it was."""
    project.write("in.txt", "x")
    project.write(
        "pipeline.py",
        """
        import atexit, sys
        from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

        log = open("log.txt", "w")
        kept = sys.argv[1]

        class Told:
            def __init__(self, name):
                self.name = name
                self.me = self

            def __del__(self):
                print("gone:", self.name)

        def plain(source, out):
            open(out, "w").close()

        def make(told):
            def closure(source, out):
                open(out, "w" if told is None else "x").close()
            return closure

        told = Told("global")
        source = FileDatum(pointer="in.txt")
        tasks = [
            FunctionTask("plain", plain, {"source": source}, {"out": "1.txt"}),
            ScriptTask("script", {"source": source}, {"out": "2.txt"}, script="cp {source} {out}"),
        ]
        if kept == "closure":
            tasks.append(FunctionTask("closure", make(None), {"source": source}, {"out": "3.txt"}))
        if kept == "value":
            told.name = kept
            more = {"source": source, "more": MemoryDatum(pointer={"hooks": [lambda: told]})}
            tasks.append(FunctionTask("value", lambda source, more, out: plain(source, out), more, {"out": "3.txt"}))

        @atexit.register
        def last():
            print("tied:", all(task["out"].parents == [task] for task in tasks))

        WorkflowManager(tasks).run()
        log.write("all of it")
        if kept == "closure":
            tasks[-1].function.__closure__[0].cell_contents = Told(kept)
        elif kept == "attribute":
            tasks[0].told = Told(kept)
        """,
    )
    run = project.run("pipeline.py", kept)
    if time == "no-op":
        run = project.run("pipeline.py", kept)
        assert not project.ran()
    assert project.read("log.txt") == "all of it"
    gone = {f"gone: {'value' if kept == 'value' else 'global'}", f"gone: {'global' if kept == 'nothing' else kept}"}
    assert set(run.stdout.splitlines()) == {"tied: True", *gone}


def test_who_comes_last_sees_the_graph_as_it_was(project):
    """A handler that is older than dagger may even run it once more."""
    project.write(
        "pipeline.py",
        """
        import atexit

        @atexit.register
        def last():
            print(task["out"].parents == [task])
            WorkflowManager(task).run()

        from dagger.core import FunctionTask, WorkflowManager

        def make(out):
            open(out, "w").close()

        task = FunctionTask("one", make, outputs={"out": "1.txt"})
        WorkflowManager(task).run()
        """,
    )
    for _ in range(2):
        run = project.run("pipeline.py")
        assert run.stdout == "True\n"
        assert "nothing to do: 1 task up to date" in run.stderr
        assert project.exists("1.txt")


@compiled
def test_the_graph_of_a_program_is_untied(project):
    """As what goes when the search has begun can see."""
    project.write(
        "pipeline.py",
        """
        import gc
        from dagger.core import ScriptTask, WorkflowManager

        class Last:
            def __init__(self):
                self.me, self.task, self.is_tracked = self, task, gc.is_tracked

            def __del__(self):
                print(self.is_tracked(self.task), self.task["out"].parents)

        task = ScriptTask("one", outputs={"out": "1.txt"}, script="echo > {out}")
        last = Last()
        WorkflowManager(task).run()
        """,
    )
    assert project.run("pipeline.py").stdout == "False []\n"
