"""One pipeline that most tests of the command use: a script, a pickle, a file that a function writes, a value."""

from __future__ import annotations

import pytest

PIPELINE = """
    import sys

    from dagger.core import FileDatum, FunctionTask, PklTask, ScriptTask, WorkflowManager


    def count(text):
        with open(text) as file:
            return {"counts": len(file.read().split())}


    def factor():
        return 2


    def double(number):
        print("doubling", number)
        return {"twice": number * factor()}


    def write(number, page):
        with open(page, "w") as file:
            file.write(f"{number}\\n")


    source = {"text": FileDatum(pointer="text.txt")}
    fold = ScriptTask("fold", source, {"lower": "lower.txt"}, script="tr A-Z a-z < {text} > {lower}")
    counts = PklTask("count", count, {"text": fold["lower"]}, {"counts": "counts.pkl"})
    twice = FunctionTask("double", double, {"number": counts["counts"]}, {"twice": None})
    page = FunctionTask("page", write, {"number": twice["twice"]}, {"page": "out/page.txt"})
"""

RUN = """
    WorkflowManager(page).run()
    print("twice", twice["twice"].pointer)
"""


@pytest.fixture
def pages(project):
    """Return a project that was not run yet; its script calls no run()."""
    project.write("text.txt", "The Cat sat\n")
    project.write("pipeline.py", PIPELINE)
    return project


@pytest.fixture
def made(pages):
    """Return the same project after a run; its script runs its manager and prints a value."""
    pages.write("pipeline.py", PIPELINE + RUN)
    pages.dagger("run", "pipeline.py")
    return pages


def edit(project, old, new, name="pipeline.py"):
    """Replace the one place where a file says `old`."""
    text = project.read(name)
    assert text.count(old) == 1
    (project.path / name).write_text(text.replace(old, new))


@pytest.fixture(name="edit")
def edit_fixture():
    """Return `edit`, since tests do not import each other."""
    return edit
