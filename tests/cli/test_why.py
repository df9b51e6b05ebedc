"""`dagger why`: the reasons of the last run or the next, with what changed shown beside them."""

from __future__ import annotations

import json


def test_last_run_shows_the_code_that_changed(made, edit):
    """A changed helper is named, and its source shown as a diff of just that part."""
    edit(made, "return 2", "return 3")
    made.dagger("run", "pipeline.py")
    told = made.dagger("why", "double").stdout
    assert "code changed: pipeline.factor" in told
    assert "-    return 2" in told
    assert "+    return 3" in told
    assert "doubling" not in told


def test_last_run_shows_small_values(made, edit):
    """An input's value is shown as it was and as it is."""
    edit(made, "return 2", "return 3")
    made.dagger("run", "pipeline.py")
    told = made.dagger("why", "page").stdout
    assert "input changed: number" in told
    assert "6 → 9" in told


def test_last_run_shows_files_by_path_and_digest(made):
    """An input file is named by its path; of its content the digests are shown."""
    made.write("text.txt", "The Cat sat down\n")
    made.dagger("run", "pipeline.py")
    (detail,) = json.loads(made.dagger("why", "fold", "--json").stdout)["details"]
    assert detail["path"] == "text.txt"
    assert len(detail["before"]) == len(detail["after"]) == 32
    told = made.dagger("why", "lower.txt").stdout
    assert "input changed: text (text.txt)" in told
    assert f"{detail['before'][:12]} → {detail['after'][:12]}" in told
    assert "3 → 4" in made.dagger("why", "double").stdout


def test_output_stands_for_its_task(made):
    """A task is named by the path of an output as well, also where the path is in no key."""
    for path, task in (("counts.pkl", "count"), ("out/page.txt", "page")):
        assert made.dagger("why", path).stdout.startswith(f"{task}: ran")


def test_last_run_the_first_time(made):
    """A task that ran once ran because it was the first time."""
    told = made.dagger("why", "double").stdout
    assert told.startswith("double: ran")
    assert "first time" in told


def test_next_run_is_explained_without_running(made, edit):
    """With a SCRIPT the next run is explained, the change not being in the cache yet; nothing runs."""
    edit(made, "return 2", "return 7")
    done = made.dagger("why", "double", "pipeline.py")
    assert done.stdout.startswith("double: will run")
    assert "-    return 2" in done.stdout
    assert "+    return 7" in done.stdout
    assert made.ran() == set()
    assert "6" in made.read("out/page.txt")


def test_next_run_of_what_follows(made, edit):
    """A task that may run is explained by the ones before it that will."""
    edit(made, "return 2", "return 7")
    answer = json.loads(made.dagger("why", "page", "pipeline.py", "--json").stdout)
    assert answer["outcome"] == "may run"
    (above,) = answer["because"]
    assert (above["task"], above["outcome"]) == ("double", "will run")
    assert above["details"][0]["subject"] == "pipeline.factor"


def test_next_run_up_to_date(made):
    """A task for which nothing is to be done says so."""
    assert made.dagger("why", "page", "pipeline.py").stdout == "page: up to date\n"


def test_next_run_of_a_new_value(project):
    """A value that the script gives is shown as it is now."""
    text = (
        "import sys\nfrom dagger.core import FunctionTask, MemoryDatum\n"
        "def same(x):\n    return {'y': x}\n"
        "print('chatter')\n"
        "FunctionTask('same', same, {'x': MemoryDatum(pointer=int(sys.argv[1]))}, {'y': None})\n"
    )
    project.write("pipeline.py", text)
    project.dagger("run", "pipeline.py", "--", "41")
    done = project.dagger("why", "same", "pipeline.py", "--", "43")
    assert "input changed: x" in done.stdout
    assert "→ 43" in done.stdout
    assert "chatter" not in done.stdout
    assert "chatter" in done.stderr


def test_failed_run_is_told(made, edit):
    """A task that failed tells its error."""
    edit(made, "return 2", "return 1 / 0")
    made.dagger("run", "pipeline.py", check=False)
    assert "double: failed" in made.dagger("why", "double").stdout
    assert "division by zero" in made.dagger("why", "double").stdout


def test_unknown_task_is_wrong_usage(made):
    """A wrong name gets the right one, with a SCRIPT and without."""
    for words in (["duoble"], ["duoble", "pipeline.py"]):
        done = made.dagger("why", *words, check=False)
        assert done.returncode == 2
        assert "did you mean 'double'?" in done.stderr
        assert done.stdout == ""


def test_failing_script_is_its_own_error(made):
    """A SCRIPT that fails while it is asked shows its own traceback."""
    made.write("pipeline.py", made.read("pipeline.py").replace("source =", "1 / 0\nsource ="))
    done = made.dagger("why", "double", "pipeline.py", check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_arguments_need_a_script(made):
    """Words behind -- without a SCRIPT are for nobody."""
    assert made.dagger("why", "double", "--", "x", check=False).returncode == 2
