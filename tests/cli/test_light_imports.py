"""The command starts fast: it imports what it uses, when it uses it."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import sys, json
before = set(sys.modules)
sys.argv = ["dagger", *{words!r}]
from dagger.cli import main
try:
    main()
except SystemExit:
    pass
sys.stdout.flush()
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def imported(words, cwd):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(words=words)], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_click_and_ours_only(tmp_path):
    """`dagger --help` imports nothing of the other rooms, and of other people click alone."""
    modules = imported(["--help"], tmp_path)
    ours = {it for it in modules if it.split(".")[0] == "dagger"}
    assert {it for it in ours if not it.startswith("dagger.cli")} <= {"dagger", "dagger.errors", "dagger.printable"}
    others = {it.split(".")[0] for it in modules - ours} - {"click"}
    assert {it for it in others if it not in sys.stdlib_module_names} == set()


def test_importing_the_entry_point_imports_nothing(tmp_path):
    """`dagger.cli` alone brings in not even click."""
    code = "import sys, dagger.cli; print('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_run_without_work_needs_no_rich(made):
    """A run with nothing to do brings in nothing that draws on terminals."""
    modules = imported(["run", "-q", "pipeline.py"], made.path)
    assert not {it for it in modules if it.split(".")[0] in ("rich", "asyncio")}


def test_one_command_imports_one_command(tmp_path):
    """`dagger cache stats` does not bring in the modules of the other commands."""
    modules = imported(["cache", "stats"], tmp_path)
    assert not modules & {"dagger.cli.run", "dagger.cli.why", "dagger.cli.clean", "dagger.cli.script"}
