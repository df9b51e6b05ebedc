"""Start: what comes before the first line of work.

Targets: ``import dagger.core``, and its manager with it, costs no more than ``import click``, ``dagger --help`` at most
twice ``python -c 'import click'``; a no-op run loads none of the modules that it does not use.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import peers, tools
from tests.benchmarks.harness import Contender, Result, Sample, Target, call, race

MANAGER = "from dagger.core import WorkflowManager"
UNUSED = ("click", "cloudpickle", "diskcache", "django", "loky", "multiprocessing", "numpy", "pandas", "rich")


def start(n: int, rounds: int) -> Iterator[Result]:  # noqa: ARG001
    """Import in fresh processes, and show the help."""
    python = peers.dagger_python()
    folder = peers.home()  # where nothing is found that is not installed
    yield Result(
        "start-import",
        "`import dagger.core` against `import click`",
        1,
        race(
            [
                Contender("python", (python, "-c", "pass"), folder),
                Contender("import click", (python, "-c", "import click"), folder),
                Contender("import dagger.core", (python, "-c", "import dagger.core"), folder),
                Contender(MANAGER, (python, "-c", MANAGER), folder),
            ],
            rounds,
            settle=2,
        ),
        [Target(name, "import click", 1.0) for name in ("import dagger.core", MANAGER)],
    )
    dagger = Path(python).with_name("dagger")
    yield Result(
        "start-help",
        "`dagger --help` against `python -c 'import click'`",
        1,
        race(
            [
                Contender("import click", (python, "-c", "import click"), folder),
                Contender("dagger --help", (str(dagger), "--help"), folder),
            ],
            rounds,
            settle=2,
        ),
        [Target("dagger --help", "import click", 2.0)],
    )


def modules(n: int, rounds: int) -> Iterator[Result]:  # noqa: ARG001
    """Look at what a no-op loads."""
    folder = tools.built(tools.DAGGER[1], "fan", 100).folder
    probe = (
        "import runpy, sys, json; runpy.run_path('pipeline.py', run_name='__main__'); print(json.dumps([*sys.modules]))"
    )
    loaded = json.loads(call([peers.dagger_python(), "-c", probe], folder).splitlines()[-1])
    tops = {name.partition(".")[0] for name in loaded}
    wrong = [name for name in UNUSED if name in tops]
    foreign = sorted(tops - set(sys.stdlib_module_names) - {"dagger", "__main__"})
    samples = {"modules in all": [Sample(len(loaded))], "modules that are not needed": [Sample(len(wrong))]}
    notes = [
        f"not needed: {', '.join(UNUSED)}; loaded of these: {', '.join(wrong) or 'none'}",
        f"from installed packages: {', '.join(name for name in foreign if not name.startswith('_'))}",
    ]
    targets = [Target("modules that are not needed", "", 0)]
    title = "modules that a no-op `python pipeline.py` loads"
    yield Result("start-modules", title, 1, samples, targets, "count", notes)
