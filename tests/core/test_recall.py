"""What a run came to spares the next one its look-ups, and never hides a change."""

from __future__ import annotations

import os
import time

import pytest

DICE = """
    import random
    from dagger.core import FunctionTask, WorkflowManager

    def throw():
        return {"eyes": random.getrandbits(64)}

    def show(eyes, shown):
        with open(shown, "w") as file:
            file.write(str(eyes))

    dice = FunctionTask("dice", throw, outputs={"eyes": None})
    told = FunctionTask("told", show, inputs={"eyes": dice["eyes"]}, outputs={"shown": "shown.txt"})
    WorkflowManager(told).run()
    print(dice["eyes"].pointer)
"""

FILES = """
    import sys
    from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def apply(self, number):
            return number * self.factor

    def scale():
        return {"scale": Scale(3)}

    def read(path, scale):
        with open("table.txt") as table:
            return {"number": scale.apply(int(open(path).read()) + int(table.read()))}

    text = ScriptTask(
        "text", {"source": FileDatum(pointer="source.txt")}, {"made": "made.txt"}, script="tr -d x < {source} > {made}"
    )
    scaled = FunctionTask("scale", scale, outputs={"scale": None})
    number = FunctionTask("number", read, {"path": text["made"], "scale": scaled["scale"]}, {"number": None})
    after = ScriptTask("after", outputs={"done": "done.txt"}, script="date +%N > {done}", dependencies=[number])
    WorkflowManager([number, after]).run()
    print(number["number"].pointer)
"""

ALL = {"text", "scale", "number", "after"}


@pytest.fixture
def files(project):
    """A project that has run, whose next run has nothing to do."""
    project.write("source.txt", "x4\n")
    project.write("table.txt", "1\n")
    project.write("pipeline.py", FILES)
    project.run("pipeline.py")
    assert project.came_out("ran") == ALL
    return project


@pytest.fixture(params=["young", "old"])
def aged(files, request):
    """The same where the files are young, and digested again, and where they are known by their stat alone."""
    if request.param == "old":
        time.sleep(2.1)
        files.run("pipeline.py")
        files.run("pipeline.py")
        assert files.came_out("up to date") == ALL
    return files


def test_a_run_with_nothing_to_do_loads_no_engine_and_no_database(files):
    """Nor anything else that it does not use; the value of a task is there all the same."""
    files.write("look.py", "import sys; exec(open('pipeline.py').read()); print(*sorted(sys.modules))")
    files.run("look.py")
    assert files.came_out("ran") == set()
    number, modules = files.run("look.py").stdout.splitlines()
    assert number == "15"
    unused = {"dagger.core.engine", "sqlite3", "diskcache", "loky", "click", "rich", "concurrent.futures", "inspect"}
    assert not unused & set(modules.split())


EDITS = {
    "a source": (lambda it: it.write("source.txt", "x5\n"), {"text", "number", "after"}, "18"),
    "a source, with an output that comes out the same": (lambda it: it.write("source.txt", "4x\n"), {"text"}, "15"),
    "a source that can be executed": (lambda it: (it.path / "source.txt").chmod(0o755), {"text"}, "15"),
    "a source of the same size and time": (lambda it: _swapped(it, "x5\n"), {"text", "number", "after"}, "18"),
    "a source that was touched": (lambda it: os.utime(it.path / "source.txt", (1, 1)), set(), "15"),
    "an output that can be executed": (lambda it: (it.path / "made.txt").chmod(0o755), set(), "15"),
    "a file that was read": (lambda it: it.write("table.txt", "2\n"), {"number", "after"}, "18"),
    "a file that was read is gone, and comes back": (lambda it: _gone_and_back(it), set(), "15"),
    "a script": (lambda it: _edit(it, "tr -d x", "tr -d xy"), {"text"}, "15"),
    "a function": (lambda it: _edit(it, "+ int(", "- int("), {"number", "after"}, "9"),
    "a method of a value's class": (lambda it: _edit(it, "* self", "+ self"), {"scale", "number", "after"}, "8"),
    "an output": (lambda it: it.write("made.txt", "7\n"), set(), "15"),
    "an output that is gone": (lambda it: os.remove(it.path / "made.txt"), set(), "15"),
    "a task's name": (lambda it: _edit(it, '"number", read', '"figure", read'), {"figure", "after"}, "15"),
    "nothing but a comment": (lambda it: _edit(it, "    with open", "    # it reads\n    with open"), set(), "15"),
}


def _edit(project, before, after):
    text = (project.path / "pipeline.py").read_text()
    assert before in text
    project.write("pipeline.py", text.replace(before, after))


def _swapped(project, text):
    former = (project.path / "source.txt").stat()
    project.write("source.txt", text)
    os.utime(project.path / "source.txt", ns=(former.st_atime_ns, former.st_mtime_ns))


def _gone_and_back(project):
    table = project.path / "table.txt"
    text = table.read_text()
    table.unlink()
    project.run("pipeline.py", check=False)
    table.write_text(text)


@pytest.mark.parametrize("edit", EDITS)
def test_a_change_is_seen(aged, edit):
    """Just what depends on it runs, and the run after that has nothing to do again."""
    change, ran, value = EDITS[edit]
    change(aged)
    assert aged.run("pipeline.py").stdout == value + "\n"
    assert aged.came_out("ran") == ran
    assert aged.run("pipeline.py").stdout == value + "\n"
    assert aged.came_out("ran") == set()
    assert (aged.path / "made.txt").read_text() in ("4\n", "5\n")
    assert not os.access(aged.path / "made.txt", os.X_OK)


@pytest.mark.parametrize("aged", ["old"], indirect=True)
@pytest.mark.parametrize("edit", ["a source", "a file that was read", "an output", "a function"])
def test_a_change_is_seen_where_nothing_could_be_compiled(nothing_compiled, aged, edit):
    """What dagger does in C where there is a compiler, it does in Python as well."""
    aged.write("python.py", f"{nothing_compiled}exec(open('pipeline.py').read())")
    aged.run("python.py")
    assert aged.came_out("ran") == set()
    change, ran, value = EDITS[edit]
    change(aged)
    assert aged.run("python.py").stdout == value + "\n"
    assert aged.came_out("ran") == ran


def test_two_tasks_of_one_name_are_refused(aged):
    """Also where one of them is as it was."""
    twin = 'twin = ScriptTask("{}", {{}}, {{"a": "a.txt"}}, script="echo > {{a}}")\nWorkflowManager([twin, '
    _edit(aged, "WorkflowManager([", twin.format("none"))
    for before, name in (("none", "text"), ("text", "number"), ("number", "after")):
        _edit(aged, f'ScriptTask("{before}", {{}}', f'ScriptTask("{name}", {{}}')
        assert f"two tasks are named '{name}'" in aged.run("pipeline.py", check=False).stderr


def test_another_run_of_a_part_counts(project):
    """A value that was made anew by a run of its task alone reaches those who use it."""
    project.write("pipeline.py", DICE)
    first = project.run("pipeline.py").stdout
    assert project.run("pipeline.py").stdout == first
    project.dagger("run", "--force", "dice", "pipeline.py", "dice")
    assert project.came_out("ran") == {"dice"}
    second = project.run("pipeline.py").stdout
    assert second != first
    assert project.came_out("ran") == {"told"}
    assert (project.path / "shown.txt").read_text() == second.strip()


@pytest.mark.parametrize(("words", "ran"), [(["clean"], ALL), (["clean", "scale"], {"scale"})])
def test_what_is_forgotten_runs_again(files, words, ran):
    """A memo does not outlive the records that it stands for."""
    files.dagger(*words)
    files.run("pipeline.py")
    assert files.came_out("ran") == ran


def test_a_lost_value_is_made_again(project):
    """A memo says nothing of a value that the store no longer has."""
    project.write("pipeline.py", DICE.replace("random.getrandbits(64)", "random.randbytes(100_000)"))
    first = project.run("pipeline.py").stdout
    for blob in (project.path / ".dagger/v2/blobs").glob("??/*"):
        blob.unlink()
    assert project.run("pipeline.py").stdout != first
    assert project.came_out("ran") == {"dice", "told"}


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_memo_that_cannot_be_read_costs_the_look_ups(files, content):
    """Whatever stands in its place."""
    for memo in (files.path / ".dagger/v2/memos").iterdir():
        memo.write_bytes(content) if content is not None else memo.unlink()
    assert files.run("pipeline.py").stdout == "15\n"
    assert files.came_out("up to date") == ALL


FORMS = {
    "longer entries": lambda head, parts: [head, *_with_entries(parts, _longer)],
    "entries in a list": lambda head, parts: [head, *_with_entries(parts, lambda entries: [*entries.items()])],
    "longer summaries": lambda head, parts: [head, *_with_summaries(parts, lambda it: (*it, 1))],
    "other types": lambda head, parts: [head, *_with_summaries(parts, lambda it: it[::-1])],
    "no stamps": lambda head, parts: [head, *_with_summaries(parts, lambda it: (*it[:5], b"", *it[6:]))],
    "no names": lambda head, parts: [head, *_with_summaries(parts, lambda it: (*it[:1], [], *it[2:]))],
    "no worths": lambda head, parts: [head, *_with_summaries(parts, lambda it: (*it[:8], []))],
    "nothing in summaries": lambda head, parts: [head, *_with_summaries(parts, lambda _: None)],
    "lists": lambda head, parts: [list(head), *parts],
    "a text": lambda head, parts: [head, repr(parts)],
    "no summaries": lambda head, parts: [head, *parts[1::2]],
    "no head": lambda _, parts: parts,
    "another version's": lambda head, parts: [("0", head[1]), *parts],
    "of next year": lambda head, parts: [(head[0], head[1] + 365 * 86_400), *parts],
    "of last year": lambda head, parts: [(head[0], head[1] - 365 * 86_400), *parts],
}


def _with_summaries(parts, change):
    return [change(part) if index % 2 == 0 else part for index, part in enumerate(parts)]


def _with_entries(parts, change):
    return [change(part) if index % 2 == 1 else part for index, part in enumerate(parts)]


def _longer(entries):
    return {name: (1, *entry) for name, entry in entries.items()}


@pytest.mark.parametrize("aged", ["old"], indirect=True)
@pytest.mark.parametrize("form", FORMS)
def test_a_memo_of_another_form_is_passed_over(aged, form):
    """As an older or a newer dagger may have written it."""
    from dagger.cache.memos import read_parts, write_parts

    for memo in (aged.path / ".dagger/v2/memos").glob("run-*"):
        head, *parts = read_parts(str(memo))
        assert set().union(*parts[1::2]) == ALL
        write_parts(str(memo), FORMS[form](head, parts))
    assert aged.run("pipeline.py").stdout == "15\n"
    assert aged.came_out("up to date") == ALL


def test_a_failed_run_is_remembered_as_far_as_it_came(files):
    """What ended well is known to the next run, what failed is tried again."""
    _edit(files, "tr -d x", "false; tr -d x")
    assert files.run("pipeline.py", check=False).returncode == 1
    _edit(files, "false; tr", "tr")
    files.run("pipeline.py")
    assert files.came_out("ran") == set()


def test_a_touched_file_is_read_once(files):
    """What had to be read in a run with nothing to do is known by its stat to the next."""
    time.sleep(2.1)
    files.write("count.py", COUNT)
    seen = [files.run("count.py").stdout.splitlines()[-1] for _ in range(3)]
    assert seen == ["4", "0", "0"]
    os.utime(files.path / "source.txt", (1, 1))
    time.sleep(2.1)
    seen = [files.run("count.py").stdout.splitlines()[-1] for _ in range(3)]
    assert seen == ["1", "0", "0"]


COUNT = """
    from dagger.cache import files

    digest, count = files.hash_descriptor, 0

    def counting(descriptor):
        global count
        count += 1
        return digest(descriptor)

    files.hash_descriptor = counting
    exec(open("pipeline.py").read())
    print(count)
"""


CHAIN = """
    import sys
    from dagger.core import FunctionTask, MemoryDatum, WorkflowManager
    from dagger.core import recall

    recall._PART = 1  # each task is a part of its own

    def add(**given):
        return {"sum": sum(given.values())}

    names = dict(pair.split("=") for pair in sys.argv[1:])
    tasks = {}
    for name, needs in names.items():
        inputs = {it: tasks[it]["sum"] if it in tasks else MemoryDatum(pointer=int(it[1:])) for it in needs.split("+")}
        tasks[name] = FunctionTask(name, add, inputs, {"sum": None})
    WorkflowManager(list(tasks.values())[-1]).run()
    print(tasks[name]["sum"].pointer)
"""


def test_a_task_that_was_left_out_meanwhile_is_not_taken_for_what_it_was(project):
    """What a memo has of it is of a time when what it takes was worth something else."""
    project.write("chain.py", CHAIN)
    assert project.run("chain.py", "a=n1", "b=a+n1", "c=n5", "end=a+b+c").stdout == "8\n"
    assert project.run("chain.py", "a=n2", "c=n5", "end=a+c").stdout == "7\n"
    assert project.came_out("ran") == {"a", "end"}
    assert project.run("chain.py", "a=n2", "b=a+n1", "c=n5", "end=a+b+c").stdout == "10\n"
    assert project.came_out("ran") == {"b", "end"}
    assert project.run("chain.py", "a=n2", "b=a+n1", "c=n5", "end=a+b+c").stdout == "10\n"
    assert project.came_out("up to date") == {"a", "b", "c", "end"}


def test_what_has_not_changed_is_kept_beside_what_has(project):
    """Of a run with one change, the next one recalls all; and so on, as the changes go round."""
    project.write("chain.py", CHAIN)
    for last in (1, 2, 1, 3, 3):
        more = [f"more{number}" for number in range(last)]
        words = [*(f"t{number}=n{number}" for number in range(9)), f"u=n{last}", *(f"{name}=t2+u" for name in more)]
        words.append("+".join(["end=t1", "t5", *more]))
        project.run("chain.py", *words)
        project.run("chain.py", *words)
        assert project.came_out("ran") == set()
        assert len(list((project.path / ".dagger/v2/memos").glob("run-*"))) == 1


def test_a_dry_run_leaves_the_memo_alone(files):
    """It changes nothing, so that there is nothing to forget."""
    before = {it.name: it.read_bytes() for it in (files.path / ".dagger/v2/memos").iterdir()}
    files.write("source.txt", "x6\n")
    files.dagger("run", "-n", "pipeline.py")
    assert {name: before[name] for name in before if name.startswith("run-")} == {
        it.name: it.read_bytes() for it in (files.path / ".dagger/v2/memos").glob("run-*")
    }


def test_files_that_a_pattern_found(project):
    """They count by their content for whoever takes them, also where the task that made them is just recalled."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import FileDatum, ScriptTask, WorkflowManager

        split = ScriptTask(
            "split", {"all": FileDatum(pointer="all.txt")}, {"parts": "parts/*.txt"},
            script="for word in $(cat {all}); do echo $word > parts/$word.txt; done",
        )
        joined = ScriptTask("join", {"parts": split["parts"]}, {"all": "joined.txt"}, script="cat {parts} > {all}")
        WorkflowManager(joined).run()
        """,
    )
    project.write("all.txt", "b a\n")
    project.run("pipeline.py")
    project.run("pipeline.py")
    assert project.came_out("up to date") == {"split", "join"}
    project.write("parts/a.txt", "c\n")
    (project.path / "joined.txt").unlink()
    project.run("pipeline.py")
    assert project.came_out("restored") == {"split", "join"}
    project.write("all.txt", "a b c\n")
    project.run("pipeline.py")
    assert project.came_out("ran") == {"split", "join"}
    assert project.read("joined.txt") == "a\nb\nc\n"
