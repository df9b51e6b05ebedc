"""`dagger run`: a script as Python runs it, with options that apply to every manager in it."""

from __future__ import annotations

import json

import pytest

SHOW = """
    import sys, __main__
    print(__name__, __file__, sys.argv, sys.path[0], vars(__main__) is globals(), __spec__)
"""


def test_script_sees_what_python_shows_it(project):
    """The script's module, sys.argv and sys.path[0] are those of `python SCRIPT ARG...`."""
    project.write("sub/show.py", SHOW)
    ours = project.dagger("run", "-q", "sub/show.py", "--", "-n", "x y", "--", "z")
    assert ours.stdout == project.run("sub/show.py", "-n", "x y", "--", "z").stdout


def test_script_stays_main_to_the_end(project):
    """What a script leaves for Python's exit still finds the script in ``sys.modules["__main__"]``."""
    project.write("late.py", "import atexit, sys\natexit.register(lambda: print(sys.modules['__main__'].X))\nX = 7\n")
    assert project.dagger("run", "late.py").stdout == "7\n"


def test_script_imports_its_neighbours(project):
    """Modules beside the script are found, wherever the command is given."""
    project.write("sub/helper.py", "WORD = 'found'\n")
    project.write("sub/main.py", "import helper\nprint(helper.WORD)\n")
    assert project.dagger("run", "sub/main.py").stdout == "found\n"


def test_end_tasks_run_without_a_run_call(pages):
    """A script that only makes tasks gets one manager for those that no other task needs."""
    pages.dagger("run", "pipeline.py")
    assert pages.ran() == {"fold", "count", "double", "page"}
    assert pages.read("out/page.txt") == "6\n"


def test_end_tasks_run_after_a_good_exit(pages, edit):
    """A script that ends with sys.exit(0) has still made its tasks."""
    edit(pages, "source =", "import atexit\nsource =")
    pages.write("pipeline.py", pages.read("pipeline.py") + "sys.exit()\n")
    pages.dagger("run", "pipeline.py")
    assert len(pages.ran()) == 4


def test_each_manager_that_was_made_and_not_run_is_run(pages):
    """A script that makes managers and runs none means them all, and not its other tasks."""
    pages.write(
        "pipeline.py",
        pages.read("pipeline.py") + "WorkflowManager(counts)\nlast = ScriptTask('x', {}, {}, script='true')\n",
    )
    pages.dagger("run", "pipeline.py")
    assert pages.ran() == {"fold", "count"}


def test_run_call_leaves_the_rest_alone(made):
    """A script that calls run() itself decides what runs."""
    made.write(
        "pipeline.py", made.read("pipeline.py") + "ScriptTask('more', {}, {'o': 'more.txt'}, script='date > {o}')\n"
    )
    made.dagger("run", "pipeline.py")
    assert not made.exists("more.txt")


def test_tasks_that_a_script_ran_by_hand_are_not_run_again(project):
    """A script that calls a task's own run() has run what it wants run."""
    project.write(
        "hand.py",
        "from dagger.core import FunctionTask, MemoryDatum\n"
        "def same(x):\n    print('once')\n    return {'y': x}\n"
        "task = FunctionTask('same', same, {'x': MemoryDatum(pointer=1)}, {'y': None})\n"
        "task.run()\n",
    )
    assert project.dagger("run", "hand.py").stdout == "once\n"
    assert project.ran() == set()


def test_second_run_says_nothing_to_do(made):
    """A run without work says so in one line, and the script gets its values."""
    again = made.dagger("run", "pipeline.py")
    assert again.stdout == "twice 6\n"
    (line,) = again.stderr.splitlines()
    assert "nothing to do: 4 tasks up to date" in line


def test_dry_run_tells_and_runs_nothing(made, edit):
    """`-n` says what will run, what may, and what would be restored, with reasons; it changes nothing."""
    edit(made, "return 2", "return 3")
    (made.path / "lower.txt").unlink()
    plan = made.dagger("run", "-n", "pipeline.py")
    assert made.came_out("will be restored") == {"fold"}
    assert made.came_out("will run") == {"double"}
    assert made.came_out("may run") == {"page"}
    assert "code changed: pipeline.factor" in plan.stdout
    assert "twice" not in plan.stdout
    assert not made.exists("lower.txt")
    assert "line 32" in plan.stderr


def test_dry_run_with_nothing_to_do(made):
    """`-n` on a project that is up to date says so, and the script gets its values."""
    plan = made.dagger("run", "-n", "pipeline.py")
    assert "nothing to do" in plan.stdout
    assert "twice 6" in plan.stdout


def test_dry_run_of_a_fresh_project_makes_nothing(pages):
    """`-n` before the first run leaves the folder as it is."""
    before = sorted(pages.path.rglob("*"))
    pages.dagger("run", "-n", "pipeline.py")
    assert [it for it in sorted(pages.path.rglob("*")) if "__pycache__" not in it.parts] == before


@pytest.mark.parametrize("target", ["count", "counts.pkl", "./counts.pkl"])
def test_target_runs_only_what_it_needs(pages, target):
    """A TARGET is a task or an output's path, however it is written."""
    pages.dagger("run", "pipeline.py", target)
    assert pages.ran() == {"fold", "count"}


def test_script_ends_at_a_value_that_a_target_left_out(pages):
    """With a TARGET, the first use of a value that was not computed ends the script without an error."""
    pages.write(
        "pipeline.py", pages.read("pipeline.py") + "WorkflowManager(page).run()\nprint(twice['twice'].pointer)\n1 / 0\n"
    )
    done = pages.dagger("run", "pipeline.py", "fold")
    assert pages.ran() == {"fold"}
    assert done.stdout == ""
    assert "not computed" in done.stderr


def test_script_ends_at_a_file_that_a_dry_run_left_out(pages):
    """An output file that is missing because nothing was run is no error of the script's."""
    pages.write("pipeline.py", pages.read("pipeline.py") + "WorkflowManager(page).run()\nopen('out/page.txt')\n")
    assert "out/page.txt: not computed" in pages.dagger("run", "-n", "pipeline.py").stderr


def test_missing_file_of_the_script_is_an_error_in_a_dry_run_too(pages):
    """A file that no task makes is missing by a fault of the script."""
    pages.write("pipeline.py", pages.read("pipeline.py") + "open('nowhere.txt')\n")
    done = pages.dagger("run", "-n", "pipeline.py", check=False)
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr


def test_unknown_target_is_wrong_usage(made):
    """A TARGET that no manager has names what was meant and what there is; nothing runs for it."""
    done = made.dagger("run", "pipeline.py", "cuont", check=False)
    assert done.returncode == 2
    assert "'cuont'" in done.stderr
    assert "did you mean 'count'?" in done.stderr
    assert "out/page.txt" in done.stderr
    assert made.ran() == set()


def test_unknown_target_without_run_call(pages):
    """It is wrong usage as well where the command would run the end tasks, and comes before anything runs."""
    done = pages.dagger("run", "pipeline.py", "nothing-like-it", check=False)
    assert done.returncode == 2
    assert pages.ran() == set()


def test_unknown_forced_task_is_wrong_usage(pages):
    """A task that is to be forced must exist."""
    done = pages.dagger("run", "-f", "duoble", "pipeline.py", check=False)
    assert done.returncode == 2
    assert "did you mean 'double'?" in done.stderr


def test_force_runs_a_task_again(made):
    """`-f` runs the task though its result is known; what comes out the same stops there."""
    made.dagger("run", "pipeline.py", "-f", "double", "-f", "fold")
    assert made.ran() == {"double", "fold"}


def test_quiet_prints_only_what_the_script_prints(made, edit):
    """`-q` leaves standard error empty."""
    edit(made, "return 2", "return 4")
    done = made.dagger("run", "-q", "pipeline.py")
    assert (done.stdout, done.stderr) == ("twice 12\n", "")


def test_verbose_shows_what_tasks_print(made, edit):
    """`-v` shows the output of tasks under their lines, and the tasks that are up to date."""
    edit(made, "return 2", "return 5")
    lines = made.dagger("run", "-v", "pipeline.py").stderr.splitlines()
    assert "  | doubling 3" in lines
    assert any(line.startswith("up to date") and line.endswith("fold") for line in lines)


def test_quiet_and_verbose_exclude_each_other(pages):
    """Two options that contradict each other are wrong usage."""
    assert pages.dagger("run", "-q", "-v", "pipeline.py", check=False).returncode == 2


def test_json_is_all_there_is_on_standard_output(made, edit):
    """With `--json` a script's output, that of its children and that at its exit go to standard error."""
    edit(made, "return 2", "return 6")
    made.write(
        "pipeline.py",
        made.read("pipeline.py")
        + "import atexit, os\nos.system('echo child')\natexit.register(print, 'late')\nprint('\\N{SNOWMAN}')\n",
    )
    done = made.dagger("run", "--json", "pipeline.py")
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == 0
    (run,) = answer["runs"]
    outcomes = {task["task"]: task["outcome"] for task in run["tasks"]}
    assert outcomes == {"fold": "up to date", "count": "up to date", "double": "ran", "page": "ran"}
    assert next(task for task in run["tasks"] if task["task"] == "double")["reasons"] == [
        "code changed: pipeline.factor"
    ]
    for text in ("twice 18", "child", "late", "\N{SNOWMAN}"):
        assert text in done.stderr


def test_json_tells_of_a_failure(pages, edit):
    """A failed run prints its report as JSON, too, with the failure and the exit code."""
    edit(pages, "return 2", "return 1 / 0")
    done = pages.dagger("run", "--json", "pipeline.py", check=False)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == 1
    (failed,) = (task for task in answer["runs"][0]["tasks"] if task["outcome"] == "failed")
    assert failed["failure"]["kind"] == "ZeroDivisionError"
    assert "pipeline.py" in failed["failure"]["traceback"]


def test_keep_going_runs_what_does_not_need_the_failed(pages):
    """`-k` runs on after a failure; without it nothing new starts."""
    pages.write(
        "pipeline.py",
        """
        from dagger.core import ScriptTask
        bad = ScriptTask("bad", {}, {"o": "bad.txt"}, script="exit 3")
        one = ScriptTask("one", {}, {"o": "one.txt"}, script="echo 1 > {o}")
        two = ScriptTask("two", {"i": one["o"]}, {"o": "two.txt"}, script="cp {i} {o}")
        """,
    )
    assert pages.dagger("run", "-j1", "-k", "pipeline.py", check=False).returncode == 1
    assert pages.read("two.txt") == "1\n"


def test_jobs_bound_what_runs_at_once(pages):
    """`-j 1` runs one task at a time, scripts included, whatever the manager says."""
    pages.write(
        "pipeline.py",
        """
        from dagger.core import ScriptTask, WorkflowManager
        alone = "mkdir lock; sleep 0.2; rmdir lock; touch {o}"
        tasks = [ScriptTask(f"t{n}", {}, {"o": f"t{n}.txt"}, script=alone) for n in range(3)]
        WorkflowManager(tasks, jobs=3).run()
        """,
    )
    pages.dagger("run", "-j", "1", "pipeline.py")
    assert len(pages.ran()) == 3


def test_jobs_must_be_at_least_one(pages):
    """`-j 0` could run nothing."""
    assert pages.dagger("run", "-j", "0", "pipeline.py", check=False).returncode == 2


def test_directory_option_comes_first(made):
    """`-C DIR` changes the folder before anything else; several count from each other, as in make and git."""
    above = made.path.parent
    done = made.dagger("-C", str(above), "-C", made.path.name, "run", "pipeline.py", cwd=above.parent)
    assert "nothing to do" in done.stderr


def test_python_and_dagger_share_a_cache(made):
    """What `dagger run` made is known to `python SCRIPT`."""
    made.run("pipeline.py")
    assert made.ran() == set()


def test_script_without_tasks_is_told(project):
    """A script that makes no task is no error, but it is said."""
    project.write("empty.py", "print('here')\n")
    done = project.dagger("run", "empty.py")
    assert done.stdout == "here\n"
    assert "made no tasks" in done.stderr
