"""`dagger clean` forgets results, and removes only files that tasks made and that are as they made them."""

from __future__ import annotations

import json
import shutil

import pytest

OUTPUTS = {"lower.txt", "counts.pkl", "out/page.txt"}


def there(project):
    return {name for name in OUTPUTS if project.exists(name)}


def test_clean_forgets_everything_and_leaves_files(made):
    """Without options all results are forgotten, the files stay, and the next run makes the same again."""
    done = made.dagger("clean")
    assert "forgotten: 4 results of 4 tasks" in done.stdout
    assert there(made) == OUTPUTS
    made.dagger("run", "pipeline.py")
    assert len(made.ran()) == 4


@pytest.mark.parametrize("target", ["count", "counts.pkl", "./counts.pkl"])
def test_clean_forgets_what_is_named(made, target):
    """A task is named by itself or by the path of an output, also where the path is in no key."""
    made.dagger("clean", target)
    made.dagger("run", "pipeline.py")
    assert made.ran() == {"count"}


def test_unknown_target_is_wrong_usage(made):
    """A name that is not known forgets nothing and names what was meant."""
    done = made.dagger("clean", "cuont", check=False)
    assert done.returncode == 2
    assert "did you mean 'count'?" in done.stderr
    made.dagger("run", "pipeline.py")
    assert made.ran() == set()


def test_outputs_are_removed(made):
    """`--outputs` removes what tasks made, and nothing else."""
    before = {it.name for it in made.path.iterdir()}
    made.dagger("clean", "--outputs")
    assert there(made) == set()
    assert before - {it.name for it in made.path.iterdir()} == {"lower.txt", "counts.pkl"}
    made.dagger("run", "pipeline.py")
    assert there(made) == OUTPUTS


def test_outputs_of_one_task(made):
    """With a TARGET only its files go."""
    made.dagger("clean", "--outputs", "count", "out/page.txt")
    assert there(made) == {"lower.txt"}


def test_changed_file_is_listed_and_left(made):
    """A file that is not as its task made it is the user's."""
    made.write("out/page.txt", "precious\n")
    done = made.dagger("clean", "--outputs")
    assert there(made) == {"out/page.txt"}
    assert "left  out/page.txt (it is not as its task made it)" in done.stdout
    assert made.read("out/page.txt") == "precious\n"


def test_file_behind_a_symlink_is_left(made):
    """Nothing is removed through a symbolic link, in the name or on the way to it."""
    elsewhere = made.path.parent / "elsewhere"
    shutil.move(made.path / "out", elsewhere)
    (made.path / "out").symlink_to(elsewhere)
    (made.path / "lower.txt").rename(elsewhere / "lower.txt")
    (made.path / "lower.txt").symlink_to(elsewhere / "lower.txt")
    report = json.loads(made.dagger("clean", "--outputs", "--json").stdout)
    assert report["removed"] == ["counts.pkl"]
    assert set(report["left"]) == {"out/page.txt", "lower.txt"}
    assert (elsewhere / "page.txt").exists()
    assert (elsewhere / "lower.txt").exists()


def test_dry_run_takes_nothing_away(made):
    """`-n` shows what would go; everything stays and stays known."""
    done = made.dagger("clean", "--outputs", "-n")
    assert "would be removed  counts.pkl" in done.stdout
    assert "would be forgotten: 4 results of 4 tasks" in done.stdout
    assert there(made) == OUTPUTS
    made.dagger("run", "pipeline.py")
    assert made.ran() == set()


def test_journal_outlives_clean(made):
    """What was made before a `clean` can be removed after it."""
    made.dagger("clean")
    made.dagger("clean", "--outputs")
    assert there(made) == set()


def test_other_projects_are_left_alone(made):
    """Projects that share a cache stay apart: cleaning one leaves the other's results and files."""
    other = made.path.parent / "other"
    shutil.copytree(made.path, other, ignore=shutil.ignore_patterns(".dagger", "*.pkl", "lower.txt", "out"))
    shared = {"DAGGER_CACHE_DIR": str(made.path / ".dagger")}
    made.dagger("run", "pipeline.py", env=shared, cwd=other)
    made.dagger("clean", "--outputs", env=shared, cwd=other)
    assert there(made) == OUTPUTS
    made.dagger("run", "pipeline.py")
    assert made.ran() == set()


def test_nothing_to_clean_is_no_error(project):
    """A project that was never run is clean, and stays without a cache."""
    assert project.dagger("clean").stdout == "nothing to clean\n"
    assert not project.exists(".dagger")


def test_tree_is_removed_whole_or_not_at_all(project):
    """A directory that a task made goes with what is in it, unless a file in it was changed or added."""
    project.write(
        "trees.py",
        "from dagger.core import ScriptTask\n"
        "ScriptTask('t', {}, {'d': 'd/'}, script='mkdir -p {d}/e && echo 1 > {d}/e/f && echo 2 > {d}/g')\n",
    )
    project.dagger("run", "trees.py")
    project.write("d/e/mine", "x")
    assert "left  d" in project.dagger("clean", "--outputs").stdout
    assert project.exists("d/g")
    (project.path / "d/e/mine").unlink()
    assert "removed  d" in project.dagger("clean", "--outputs").stdout
    assert not project.exists("d")


def test_pattern_is_cleaned_by_its_task(project):
    """Files under a pattern are known to be their task's."""
    project.write(
        "parts.py",
        "from dagger.core import ScriptTask\n"
        "ScriptTask('g', {}, {'parts': 'part-*.txt'}, script='for n in 1 2; do echo $n > part-$n.txt; done')\n"
        "ScriptTask('h', {}, {'o': 'h.txt'}, script='echo 1 > {o}')\n",
    )
    project.dagger("run", "parts.py")
    project.write("part-mine.txt", "x")
    project.dagger("clean", "--outputs", "g")
    assert sorted(it.name for it in project.path.glob("*.txt")) == ["h.txt", "part-mine.txt"]
