"""A workflow runs, runs again in no time, and reruns exactly what depends on a change."""

from __future__ import annotations

import pytest

DIAMOND = """
    from dagger.core import FunctionTask, MemoryDatum, WorkflowManager

    START = 3

    def add_one(x):
        return {"output": x + 1}

    def double(x):
        return {"output": x * 2}

    def multiply(a, b):
        return {"output": a * b}

    t0 = FunctionTask("t0", add_one, inputs={"x": MemoryDatum(pointer=START)}, outputs={"output": None})
    t1 = FunctionTask("t1", add_one, inputs={"x": t0["output"]}, outputs={"output": None})
    t2 = FunctionTask("t2", double, inputs={"x": t0["output"]}, outputs={"output": None})
    t3 = FunctionTask("t3", multiply, inputs={"a": t1["output"], "b": t2["output"]}, outputs={"output": None})
    WorkflowManager(t3).run()
    print(t3["output"].pointer)
"""

FILES = """
    from dagger.core import FileDatum, FunctionTask, PklTask, ScriptTask, WorkflowManager

    def count(text, report):
        with open(text) as lines:
            words = sum(len(line.split()) for line in lines)
        with open(report, "w") as file:
            file.write(f"{words} words\\n")
        return {"words": words}

    def square(words):
        return {"result": words ** 2}

    concat = ScriptTask(
        "concat",
        inputs={"file1": FileDatum(pointer="input1.txt"), "file2": FileDatum(pointer="input2.txt")},
        outputs={"result": "out/all.txt"},
        script="cat {file1} {file2} > {result}",
    )
    counted = FunctionTask(
        "count",
        count,
        inputs={"text": concat["result"]},
        outputs={"words": None, "report": "out/report.txt"},
    )
    squared = PklTask("square", square, inputs={"words": counted["words"]}, outputs={"result": "square.pkl"})
    WorkflowManager(squared).run()
    print(counted["words"].pointer)
"""


@pytest.fixture
def files(project):
    project.write("input1.txt", "a b c\n")
    project.write("input2.txt", "d e\n")
    project.write("pipeline.py", FILES)
    return project


def test_diamond_runs_and_a_second_process_runs_nothing(project):
    """A value computed by one process is there for the next, without running anything."""
    project.write("pipeline.py", DIAMOND)
    assert project.run("pipeline.py").stdout.strip() == "40"
    assert project.ran() == {"t0", "t1", "t2", "t3"}
    again = project.run("pipeline.py")
    assert again.stdout.strip() == "40"
    assert project.ran() == set()
    assert "nothing to do: 4 tasks up to date" in again.stderr


def test_python_and_dagger_run_share_one_cache(project):
    """How a script was started makes no difference to what is known."""
    project.write("pipeline.py", DIAMOND)
    project.run("pipeline.py")
    assert project.dagger("run", "pipeline.py").stdout.strip() == "40"
    assert project.ran() == set()


def test_a_changed_function_reruns_what_uses_it_and_early_cutoff_holds(project):
    """A change that comes out the same stops there."""
    project.write("pipeline.py", DIAMOND)
    project.run("pipeline.py")
    project.write("pipeline.py", DIAMOND.replace("x * 2", "x + x"))
    assert project.run("pipeline.py").stdout.strip() == "40"
    assert project.ran() == {"t2"}
    project.write("pipeline.py", DIAMOND.replace("x * 2", "x * 3"))
    assert project.run("pipeline.py").stdout.strip() == "60"
    assert project.ran() == {"t2", "t3"}


def test_a_changed_value_reruns_what_depends_on_it_and_a_change_back_nothing(project):
    """A, B, A runs nothing the third time."""
    project.write("pipeline.py", DIAMOND)
    project.run("pipeline.py")
    project.write("pipeline.py", DIAMOND.replace("START = 3", "START = 4"))
    assert project.run("pipeline.py").stdout.strip() == "60"
    assert project.ran() == {"t0", "t1", "t2", "t3"}
    project.write("pipeline.py", DIAMOND)
    assert project.run("pipeline.py").stdout.strip() == "40"
    assert project.ran() == set()


def test_a_comment_reruns_nothing(project):
    """What does not change the meaning does not count."""
    project.write("pipeline.py", DIAMOND)
    project.run("pipeline.py")
    project.write("pipeline.py", DIAMOND.replace("START = 3", "\n    # a comment\n    START = 3  # another"))
    project.run("pipeline.py")
    assert project.ran() == set()


def test_all_three_kinds_of_task(files):
    """Scripts, functions and pickles hand data on to each other."""
    assert files.run("pipeline.py").stdout.strip() == "5"
    assert files.read("out/all.txt") == "a b c\nd e\n"
    assert files.read("out/report.txt") == "5 words\n"
    assert files.exists("square.pkl")
    assert files.ran() == {"concat", "count", "square"}
    files.run("pipeline.py")
    assert files.ran() == set()


def test_a_deleted_output_is_restored_without_running(files):
    """An output file is put back from the cache."""
    files.run("pipeline.py")
    (files.path / "out/report.txt").unlink()
    (files.path / "square.pkl").unlink()
    files.run("pipeline.py")
    assert files.ran() == set()
    assert files.came_out("restored") == {"count", "square"}
    assert files.read("out/report.txt") == "5 words\n"


def test_an_edited_output_is_put_back_and_the_edit_kept_aside(files):
    """A person's edit is not lost, and not taken for the task's result."""
    files.run("pipeline.py")
    files.write("out/report.txt", "my own words\n")
    run = files.run("pipeline.py")
    assert files.read("out/report.txt") == "5 words\n"
    assert ".dagger/saved/" in run.stderr
    saved = list((files.path / ".dagger/saved").rglob("report.txt"))
    assert [it.read_text() for it in saved] == ["my own words\n"]


def test_a_changed_input_file_reruns_what_depends_on_it(files):
    """Files count by their content."""
    files.run("pipeline.py")
    files.write("input1.txt", "a b c x\n")
    assert files.run("pipeline.py").stdout.strip() == "6"
    assert files.ran() == {"concat", "count", "square"}
    files.write("input1.txt", "x y z w\n")
    files.run("pipeline.py")
    assert files.ran() == {"concat", "count"}


def test_a_changed_script_reruns(files):
    """A script counts by its text."""
    files.run("pipeline.py")
    files.write("pipeline.py", FILES.replace("cat {file1} {file2}", "cat {file2} {file1}"))
    files.run("pipeline.py")
    assert files.ran() == {"concat", "count"}


def test_touching_reruns_nothing(files):
    """A time stamp is not a change."""
    files.run("pipeline.py")
    (files.path / "input1.txt").touch()
    files.run("pipeline.py")
    assert files.ran() == set()


def test_a_failure_is_told_with_the_task_and_the_users_frames_alone(project):
    """One report at the end; nothing of dagger's inside in it."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, WorkflowManager

        def inner():
            raise ValueError("no such thing")

        def broken():
            inner()

        WorkflowManager(FunctionTask("broken", broken, outputs={"x": None})).run()
        """,
    )
    run = project.dagger("run", "pipeline.py", check=False)
    assert run.returncode == 1
    assert "task 'broken'" in run.stderr
    assert "no such thing" in run.stderr
    assert "in inner" in run.stderr
    assert "core/jobs.py" not in run.stderr
    assert "loky" not in run.stderr


def test_a_failing_script_shows_its_last_lines(project):
    """What a script said before it failed is what a person needs."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import ScriptTask, WorkflowManager
        WorkflowManager(ScriptTask("s", outputs={"x": "x.txt"}, script="echo oh dear; false | cat")).run()
        """,
    )
    run = project.dagger("run", "pipeline.py", check=False)
    assert run.returncode == 1
    assert "oh dear" in run.stderr
    assert "exit code 1" in run.stderr


def test_keep_going_runs_what_does_not_depend_on_a_failure(project):
    """With -k all that can run runs; without, nothing is launched after a failure."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, WorkflowManager

        def bad():
            raise RuntimeError("bad")

        def good():
            return {"x": 1}

        def use(x):
            return {"y": x}

        b = FunctionTask("b", bad, outputs={"x": None})
        c = FunctionTask("c", use, inputs={"x": b["x"]}, outputs={"y": None})
        others = [FunctionTask(f"g{i}", good, outputs={"x": None}) for i in range(4)]
        WorkflowManager([c, *others], jobs=1).run()
        """,
    )
    run = project.dagger("run", "-k", "pipeline.py", check=False)
    assert run.returncode == 1
    assert project.came_out("ran") == {"g0", "g1", "g2", "g3"}
    assert project.came_out("skipped") == {"c"}
    assert "needs b" in run.stderr
    project.dagger("run", "pipeline.py", check=False)
    assert project.ran() == {"b"}


def test_resources_are_never_exceeded_and_used_as_far_as_they_fit(project):
    """Never more at once than there is, and as much at once as fits."""
    project.write(
        "pipeline.py",
        """
        import os, time
        from dagger.core import FunctionTask, WorkflowManager

        def work(n):
            with open("log.txt", "a") as log:
                log.write("start\\n")
            time.sleep(0.3)
            with open("log.txt", "a") as log:
                log.write("end\\n")
            return {"x": n}

        from dagger.core import MemoryDatum
        tasks = [
            FunctionTask(f"t{i}", work, inputs={"n": MemoryDatum(pointer=i)}, outputs={"x": None},
                         resources={"gpu": 1, "memory_gb": 16})
            for i in range(6)
        ]
        WorkflowManager(tasks, resources={"gpu": 4, "memory_gb": 32}, jobs=6, undeclared="ignore").run()
        """,
    )
    project.run("pipeline.py")
    running = most = 0
    for line in project.read("log.txt").splitlines():
        running += 1 if line == "start" else -1
        most = max(most, running)
    assert most == 2


def test_a_persons_own_datum_and_task_run_in_workers_with_caching(project):
    """Four methods make a datum, six a task; both are cached like dagger's own."""
    project.write(
        "pipeline.py",
        """
        import os
        from dagger.abstract import AbstractDatum, AbstractTask, InputForm, converter_registry
        from dagger.core import MemoryDatum, WorkflowManager

        class Note(AbstractDatum):
            "A text under a name in a folder of notes."

            def _validate_format_logic(self):
                return isinstance(self.pointer, str)

            def _verify_available_logic(self):
                return os.path.exists(f"notes/{self.pointer}")

            def _clear_logic(self):
                if self._verify_available_logic():
                    os.remove(f"notes/{self.pointer}")

            def _quickhash(self):
                with open(f"notes/{self.pointer}") as file:
                    return hash_of(file.read())

        def hash_of(text):
            return sum((i + 1) * ord(c) for i, c in enumerate(text))

        def read_note(note):
            with open(f"notes/{note.pointer}") as file:
                return file.read()

        converter_registry.register(Note, InputForm.OBJECT, read_note)

        class WriteNote(AbstractTask):
            input_form = InputForm.OBJECT
            suffix = "!"

            def _initialize_outputs(self, output_dict):
                return {name: Note() for name in output_dict}

            def _run_logic(self, collected_inputs):
                os.makedirs("notes", exist_ok=True)
                with open(f"notes/{self.identifier}", "w") as file:
                    file.write(collected_inputs["text"] + self.suffix)
                with open("pids.txt", "a") as file:
                    file.write(f"{os.getpid()}\\n")
                return {"note": self.identifier}

            def _quickhash(self):
                return ("WriteNote", self.identifier)

            def _interrupt_cleanup(self):
                pass

            def _fail_cleanup(self):
                pass

        first = WriteNote("first", inputs={"text": MemoryDatum(pointer="hello")}, outputs={"note": None})
        second = WriteNote("second", inputs={"text": first["note"]}, outputs={"note": None})
        WorkflowManager(second, undeclared="ignore").run()
        print(second["note"].pointer, open("notes/second").read(), os.getpid())
        """,
    )
    pointer, text, pid = project.run("pipeline.py").stdout.split()
    assert (pointer, text) == ("second", "hello!!")
    assert pid not in project.read("pids.txt").split()
    assert project.ran() == {"first", "second"}
    project.run("pipeline.py")
    assert project.ran() == set()
    project.write("pipeline.py", project.read("pipeline.py").replace('suffix = "!"', 'suffix = "?"'))
    assert project.run("pipeline.py").stdout.split()[1] == "hello??"
    assert project.ran() == {"first", "second"}
    (project.path / "notes/first").unlink()
    project.run("pipeline.py")
    assert project.ran() == {"first"}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("5", "returned a int"),
        ("{}", "lacks 'x'"),
        ("{'x': 1, 'y': 2}", "has 'y'"),
        ("{'x': (i for i in [1])}", "cannot be pickled"),
    ],
)
def test_a_result_of_the_wrong_form_is_a_clear_error(project, returned, message):
    """What a function returned is told by name."""
    project.write(
        "pipeline.py",
        f"""
        from dagger.core import FunctionTask, WorkflowManager
        def f():
            return {returned}
        WorkflowManager(FunctionTask("f", f, outputs={{"x": None}})).run()
        """,
    )
    run = project.dagger("run", "pipeline.py", check=False)
    assert run.returncode == 1
    assert message in run.stderr


def test_an_instance_of_a_class_of_the_script_is_one_also_from_the_cache(project):
    """isinstance holds for a value that an earlier process cached, however either was started."""
    project.write(
        "pipeline.py",
        """
        from dataclasses import dataclass
        from dagger.core import FunctionTask, WorkflowManager

        @dataclass
        class Point:
            x: int

        def make():
            return {"p": Point(3)}

        def use(p):
            return {"ok": type(p).__name__, "p2": Point(p.x + 1)}

        made = FunctionTask("make", make, outputs={"p": None})
        used = FunctionTask("use", use, inputs={"p": made["p"]}, outputs={"ok": None, "p2": None})
        WorkflowManager(used).run()
        assert isinstance(made["p"].pointer, Point) and isinstance(used["p2"].pointer, Point)
        print(used["p2"].pointer)
        """,
    )
    assert project.run("pipeline.py").stdout.strip() == "Point(x=4)"
    assert project.dagger("run", "pipeline.py").stdout.strip() == "Point(x=4)"
    assert project.ran() == set()


def test_refused_before_anything_runs(project):
    """Each fault names its culprits; nothing is launched."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FileDatum, FunctionTask, ScriptTask, WorkflowManager
        def f(a):
            return {"x": a}
        one = ScriptTask("one", outputs={"x": "same.txt"}, script="echo {y} > {x}")
        two = ScriptTask("one", outputs={"x": "./same.txt"}, script="echo > {x}")
        three = FunctionTask("three", f, inputs={"b": FileDatum(pointer="missing.txt")}, outputs={"x": None},
                             resources={"gpu": 9})
        WorkflowManager([one, two, three], resources={"gpu": 4}).run()
        """,
    )
    run = project.dagger("run", "pipeline.py", check=False)
    assert run.returncode == 2
    for culprit in (
        "two tasks are named 'one'",
        "both write",
        "{y}",
        "missing.txt",
        "9 gpu",
        "'three'",
    ):
        assert culprit in run.stderr
    assert "Traceback" not in run.stderr
    assert project.ran() == set()


def test_a_forced_task_runs_and_what_follows_is_cut_off(project):
    """-f runs a task whatever is known of it."""
    project.write("pipeline.py", DIAMOND)
    project.run("pipeline.py")
    project.dagger("run", "-f", "t0", "pipeline.py")
    assert project.ran() == {"t0"}
    assert "forced" in project.tasks()[0]["reasons"]


def test_sync_false_takes_complete_tasks_as_they_are(project):
    """A second run in one process looks at nothing again when told so."""
    project.write("in.txt", "one\n")
    project.write(
        "pipeline.py",
        """
        from dagger.core import FileDatum, ScriptTask, WorkflowManager
        task = ScriptTask("copy", {"a": FileDatum(pointer="in.txt")}, {"b": "out.txt"}, script="cp {a} {b}")
        manager = WorkflowManager(task)
        manager.run()
        open("in.txt", "w").write("two\\n")
        assert manager.run(sync=False).up_to_date == ["copy"]
        assert open("out.txt").read() == "one\\n"
        assert manager.run().ran == ["copy"]
        assert open("out.txt").read() == "two\\n"
        """,
    )
    project.run("pipeline.py")


LARGE_SOURCES = """
    import threading

    from dagger.cache import files
    from dagger.cache.filesystems import FileClock
    from dagger.abstract import DatumList
    from dagger.core import FileDatum, ScriptTask, WorkflowManager

    digest, now, readers = files.hash_descriptor, FileClock.racy_since, set()

    def seen(descriptor):
        readers.add(threading.current_thread() is threading.main_thread())
        return digest(descriptor)

    files.hash_descriptor = seen
    FileClock.racy_since = lambda *given: now(*given) + 10**10  # as if the files were old

    some = DatumList(FileDatum, pointer=["large-0", "large-1"])
    used = ScriptTask("use", {"some": some, "last": FileDatum(pointer="large-2")}, {}, script="true")
    WorkflowManager(used).run()
    print(readers)
"""


def test_large_sources_are_digested_side_by_side(project):
    """All large sources are read by threads, before the first task that takes them is looked up."""
    for number in range(3):
        (project.path / f"large-{number}").write_bytes(bytes([number]) * (5 << 20))
    project.write("pipeline.py", LARGE_SOURCES)
    assert project.run("pipeline.py").stdout.strip() == "{False}"


def test_a_value_is_worth_the_same_before_and_after_it_is_read(project):
    """Whether it stays in the store, was loaded, or was just made."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FunctionTask, WorkflowManager

        def make():
            return {"x": {"a": [1, 2]}}

        task = FunctionTask("make", make, {}, {"x": None})
        WorkflowManager(task).run()
        before = task["x"].quickhash
        assert task["x"].pointer == {"a": [1, 2]}
        assert task["x"].quickhash == before != None
        assert task["x"].parents == [task]
        print(before)
        """,
    )
    assert project.run("pipeline.py").stdout == project.run("pipeline.py").stdout


def test_a_run_goes_at_once(project):
    """Nothing of it leads back to itself, so that nobody has to look for it: what ran is as many objects as tasks."""
    project.write(
        "pipeline.py",
        """
        import gc, sys
        from dagger.abstract import DatumList
        from dagger.core import FileDatum, FunctionTask, ScriptTask, WorkflowManager

        def join(parts):
            return {"all": len(parts)}

        gc.disable()
        sources = [FileDatum(pointer=f"{n}.txt") for n in range(3)]
        parts = [
            ScriptTask(f"part{n}", {"source": source}, {"part": f"part{n}.txt"}, script="cp {source} {part}")
            for n, source in enumerate(sources)
        ]
        end = FunctionTask("join", join, {"parts": DatumList(FileDatum, [it["part"] for it in parts])}, {"all": None})
        WorkflowManager(end).run()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        ours = ("dagger.core.", "dagger.cache.records")  # what takes code apart is no larger than that
        print(sorted({type(it).__name__ for it in gc.garbage if type(it).__module__.startswith(ours)}))
        """,
    )
    for content in ("first", "changed"):
        for number in range(3):
            project.write(f"{number}.txt", content if number == 1 else "same")
        assert project.run("pipeline.py").stdout == "[]\n"
        assert {"part1", "join"} <= project.ran()


@pytest.mark.parametrize("ends", ["well", "ill"])
def test_the_collector_is_left_as_it_was(project, ends):
    """In a run it looks seldom; after it, however it ends, as ever, and at as much."""
    project.write(
        "pipeline.py",
        """
        import gc, sys
        from dagger.core import FunctionTask, WorkflowManager
        from dagger.errors import DaggerError

        def work():
            return {"one": 1} if ENDS == "well" else {}

        def show(event):
            seen.add(gc.get_threshold())

        seen = set()
        frozen = gc.get_freeze_count()  # Python 3.12 begins with some
        gc.set_threshold(500, 9, 8)
        try:
            WorkflowManager(FunctionTask("work", work, outputs={"one": None}), listeners=[show]).run()
        except DaggerError:
            pass
        print(max(seen), gc.get_threshold(), gc.get_freeze_count() - frozen)
        """.replace("ENDS", repr(ends)),
    )
    assert project.run("pipeline.py").stdout == "(10000, 9, 8) (500, 9, 8) 0\n"


@pytest.mark.parametrize("kind", ["numpy.str_", "StrEnum"])
def test_texts_of_another_kind_are_texts(project, kind):
    """A name or a path from an array, or an enum's member, is kept as the text that it is."""
    pytest.importorskip("numpy")
    project.write("in.txt", "1\n")
    project.write(
        "pipeline.py",
        """
        import enum, os, numpy
        from dagger.core import FileDatum, FileGlob, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

        def text(it):
            return numpy.str_(it) if KIND == "numpy.str_" else enum.Enum("E", {"it": it}, type=str).it

        def read(x):
            return {"home": os.environ.get(numpy.str_("HOME")), "x": x}

        copy = ScriptTask(
            text("copy"), {text("source"): FileDatum(pointer=text("in.txt"))},
            {text("made"): text("made.txt"), "some": FileGlob(text("some-*"))},
            script="cp {source} {made}; touch some-1", env=[text("LANG")], tools=[text("cp")], version=text("1"),
        )
        one = FunctionTask(text("read"), read, {text("x"): MemoryDatum(pointer=1)}, {text("home"): None, "x": None})
        WorkflowManager([copy, one]).run()
        """.replace("KIND", repr(kind)),
    )
    project.run("pipeline.py")
    assert project.ran() == {"copy", "read"}
    project.run("pipeline.py")
    assert project.came_out("up to date") == {"copy", "read"}
    project.write("in.txt", "2\n")
    project.run("pipeline.py")
    assert project.ran() == {"copy"}
    for command in (["cache", "ls"], ["cache", "verify"], ["why", "copy", "pipeline.py"]):
        done = project.dagger(*command, check=False)
        assert "Traceback" not in done.stderr
