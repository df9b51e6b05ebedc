"""What scripts print is told of the right task, though they share files for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagger.core.script_logs import ScriptLogs

PIPELINE = """
    from dagger.core import ScriptTask, WorkflowManager
    from dagger.core.report import WorkflowError

    tasks = [
        ScriptTask(f"task{n}", outputs={"o": f"{n}.txt"}, script=f"{f'echo said {n}' if n % 2 else ':'}; echo > {{o}}")
        for n in range(20)
    ]
    bad = [ScriptTask(f"bad{n}", outputs={"o": f"bad{n}.txt"}, script=f"echo failed {n}; exit 1") for n in range(2)]
    try:
        WorkflowManager([*tasks, *bad]).run(keep_going=True)
    except WorkflowError as error:
        report = error.report
    told = {it.task: it.log for it in report.tasks}
    assert told == {
        **{f"task{n}": f"said {n}\\n" if n % 2 else "" for n in range(20)},
        **{f"bad{n}": f"failed {n}\\n" for n in range(2)},
    }, told
    for it in report.tasks:
        if it.failure:
            print(it.failure.log_path)
"""


def test_each_task_has_what_it_printed_and_a_failed_one_keeps_it(project: Any) -> None:
    """One that printed nothing has nothing of the one before; after the run only failed tasks have a file."""
    project.write("pipeline.py", PIPELINE)
    kept = [Path(path) for path in project.run("pipeline.py").stdout.split() if path.endswith(".log")]
    assert sorted(path.read_text() for path in kept) == ["failed 0\n", "failed 1\n"]
    assert sorted((project.path / ".dagger/v2/logs").iterdir()) == sorted(kept)


def test_a_script_that_never_began_has_nothing_of_the_one_before(tmp_path: Path) -> None:
    """Nor of one in a run that was killed."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "script-0.log").write_text("of a killed run")
    logs = ScriptLogs()
    first = logs.take(str(folder / "first.log"))
    Path(first).write_text("of the first")
    logs.give_back(first, used=True)
    second = logs.take(str(folder / "second.log"))
    logs.keep(second, str(folder / "second.log"))
    logs.end()
    assert {it.name: it.read_text() for it in folder.iterdir()} in ({"second.log": ""}, {})
    assert ScriptLogs().take(str(folder / "third.log"))
