"""Scenarios that happen within one process: a notebook's cells, edits within a clock tick, code that changes under way."""

from __future__ import annotations

from typing import Any

NOTEBOOK = """
    import linecache
    from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

    def cell(text, number):
        name = f"<ipython-input-{number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), globals())

    def run():
        task = FunctionTask("f", f, {"x": MemoryDatum(pointer=1)}, {"y": None})
        report = WorkflowManager(task, jobs=1).run()
        return report.ran, task["y"].pointer

    cell("TABLE = [1]\\ndef helper(x):\\n    return x + TABLE[0]\\ndef f(x):\\n    return {'y': helper(x)}\\n", 1)
    assert run() == (["f"], 2)
    assert run() == ([], 2)
    cell("def helper(x):\\n    return x + TABLE[0] + 10\\n", 2)
    assert run() == (["f"], 12)
    cell("TABLE.append(5)\\nTABLE[0] = 2\\n", 3)
    assert run() == (["f"], 13)
    cell("def f(x):\\n    'Now with words.'\\n    return {'y': helper(x)}  # and a comment\\n", 4)
    assert run() == ([], 13)
    cell("TABLE = [1, 5]\\ndef helper(x):\\n    return x + TABLE[0]\\n", 5)
    assert run() == (["f"], 2)
    cell("TABLE = [2, 5]\\ndef helper(x):\\n    return x + TABLE[0] + 10\\n", 6)
    assert run() == ([], 13)
    print("done")
"""


def test_cells_of_a_notebook_run_again_as_they_change(project: Any) -> None:
    """A helper redefined or a table changed in a later cell counts, and what was once known stays known."""
    project.write("notebook.py", NOTEBOOK)
    assert project.run("notebook.py").stdout == "done\n"


def test_an_edit_within_a_clock_tick_of_a_run_is_seen(project: Any) -> None:
    """Edits of the same size right after each other and after a run are never missed, and back is known."""
    project.write(
        "pipeline.py",
        """
        import os
        from dagger.core import FileDatum, FunctionTask, ScriptTask, WorkflowManager

        def read(source):
            with open(source) as file:
                return {"y": file.read()}

        def lookup():
            with open("lookup.txt") as file:
                return {"y": file.read()}

        def put(text):
            for name in ("data.txt", "lookup.txt"):
                with open(name, "w") as file:
                    file.write(text)
                os.utime(name, (1000, 1000))

        put("00")
        copied = ScriptTask("copy", {"source": FileDatum(pointer="data.txt")}, {"out": "out.txt"}, script="cp {source} {out}")
        task = FunctionTask("read", read, {"source": copied["out"]}, {"y": None})
        other = FunctionTask("lookup", lookup, {}, {"y": None})
        manager = WorkflowManager([task, other], jobs=2)
        for turn in range(12):
            text = f"{turn % 8:02}"
            put(text)
            report = manager.run()
            assert (task["y"].pointer, other["y"].pointer) == (text, text), (turn, text)
            assert set(report.ran) == (set() if turn >= 8 else {"copy", "read", "lookup"}), (turn, report.ran)
        print("done")
        """,
    )
    assert project.run("pipeline.py").stdout == "done\n"


def test_what_runs_is_what_was_loaded(project: Any) -> None:
    """A module that is edited after it was imported runs as imported, and the next process runs the edit."""
    project.write("helpers.py", "def clean(x):\n    return x + 1\n")
    project.write(
        "pipeline.py",
        """
        import sys
        import helpers
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        def f(x):
            return {"y": helpers.clean(x)}

        if "edit" in sys.argv:
            with open("helpers.py", "w") as file:
                file.write("def clean(x):\\n    return x + 1000\\n")
        task = FunctionTask("f", f, {"x": MemoryDatum(pointer=1)}, {"y": None})
        WorkflowManager(task).run()
        print(task["y"].pointer)
        """,
    )
    assert project.run("pipeline.py", "edit").stdout == "2\n"
    assert project.ran() == {"f"}
    assert project.run("pipeline.py").stdout == "1001\n"
    assert project.ran() == {"f"}
    project.write("helpers.py", "def clean(x):\n    return x + 1\n")
    assert project.run("pipeline.py").stdout == "2\n"
    assert project.ran() == set()


def test_an_input_without_a_digest_is_told_once(project: Any) -> None:
    """A task over a value that has no digest runs every time; one line says so, with the path to the culprit."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        class Model:
            def __init__(self):
                self.optimizer = iter([1])

        def f(model):
            return {"y": list(model.optimizer)}

        WorkflowManager(FunctionTask("f", f, {"model": MemoryDatum(pointer=Model())}, {"y": None})).run()
        """,
    )
    for _ in range(2):
        said = project.run("pipeline.py").stderr
        assert project.ran() == {"f"}
        assert said.count("note") == 1
        assert "inputs['model'].optimizer: list_iterator" in said


def test_an_undeclared_read_is_told_once_a_run(project: Any) -> None:
    """The run in which a task reads what it did not declare says so, once; a run that runs nothing says nothing."""
    project.write("data/lookup.csv", "1\n")
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, WorkflowManager

        def fit():
            for _ in range(3):
                with open("data/lookup.csv") as file:
                    found = file.read()
            return {"y": found}

        WorkflowManager(FunctionTask("fit", fit, {}, {"y": None})).run()
        """,
    )
    said = project.run("pipeline.py").stderr
    assert said.count("task 'fit' read data/lookup.csv, which is not among its inputs") == 1
    assert "lookup" not in project.run("pipeline.py").stderr


def test_a_secret_variable_is_nowhere_in_the_cache(project: Any) -> None:
    """A variable that a task reads is kept as a keyed digest only."""
    project.write(
        "pipeline.py",
        """
        import os
        from dagger.core import FunctionTask, ScriptTask, WorkflowManager

        def fit():
            return {"y": len(os.environ["TOKEN"])}

        script = ScriptTask("s", {}, {"out": "out.txt"}, script="echo 1 > {out}", env=["TOKEN"])
        WorkflowManager([FunctionTask("fit", fit, {}, {"y": None}), script]).run()
        """,
    )
    project.run("pipeline.py", env={"TOKEN": "correct-horse-battery"})
    assert project.ran() == {"fit", "s"}
    kept = [path.read_bytes() for path in (project.path / ".dagger").rglob("*") if path.is_file()]
    assert not any(b"correct-horse" in content for content in kept)


def test_a_changed_source_while_a_task_runs_gets_no_record(project: Any) -> None:
    """Nobody knows what such a task saw, so that its result is kept, told of, and not believed the next time."""
    project.write("data.txt", "1\n")
    project.write(
        "pipeline.py",
        """
        from dagger.core import FileDatum, FunctionTask, WorkflowManager

        def fit(source):
            with open(source) as file:
                text = file.read()
            if text == "1\\n":
                with open(source, "w") as file:
                    file.write("2\\n")
            return {"y": text}

        task = FunctionTask("fit", fit, {"source": FileDatum(pointer="data.txt")}, {"y": None})
        WorkflowManager(task).run()
        print(task["y"].pointer.strip())
        """,
    )
    first = project.run("pipeline.py")
    assert first.stdout == "1\n"
    assert "ran while input 'source' changed" in first.stderr
    assert project.run("pipeline.py").stdout == "2\n"
    assert project.ran() == {"fit"}
    project.run("pipeline.py")
    assert project.ran() == set()


def test_two_managers_of_one_script_share_what_is_known(project: Any) -> None:
    """A task of the same name, code and inputs in a second manager of a process does not run again."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

        def f(x):
            return {"y": x}

        def task():
            return FunctionTask("f", f, {"x": MemoryDatum(pointer=1)}, {"y": None})

        assert WorkflowManager(task()).run().ran == ["f"]
        assert WorkflowManager(task()).run().ran == []
        """,
    )
    project.run("pipeline.py")
