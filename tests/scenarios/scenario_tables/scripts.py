"""Scripts: their text, paths, variables and programs."""

from __future__ import annotations

from pathlib import Path

from scenario_tables.scenario import Edit, Scenario, nothing, write

RERUNS = {"s"}

COPIES = """
    from dagger.core import FileDatum, ScriptTask

    tasks = [ScriptTask("HERE.s", {"source": FileDatum(pointer="HERE/data.txt")}, {"out": "HERE/out.txt"},
                        script="cat {source} > {out}")]
"""

LONG = '''
    from dagger.core import FileDatum, ScriptTask

    task = ScriptTask(
        "HERE.s",
        {"source": FileDatum(pointer="HERE/data.txt")},
        {"out": "HERE/out.txt"},
        script="""
            # Sorts.
            sort {source} > {out}
        """,
    )
    tasks = [task]
'''

VARIABLE = """
    from dagger.core import ScriptTask

    tasks = [ScriptTask("HERE.s", {}, {"out": "HERE/out.txt"}, script='echo "${{TRY_NAME:-none}}" > {out}',
                        env=["TRY_NAME"])]
"""

TOOL = """
    from dagger.core import ScriptTask

    tasks = [ScriptTask("HERE.s", {}, {"out": "HERE/out.txt"}, script="HERE/tool.sh > {out}", tools=["HERE/tool.sh"])]
"""

DATA = {"data.txt": "b\na\n"}
TOOLS = {"tool.sh": "#!/bin/sh\necho one\n"}


def _executable(folder: Path) -> None:
    (folder / "tool.sh").chmod(0o755)


def _edited(
    name: str, old: str, new: str, ran: set[str] | frozenset[str] = frozenset(RERUNS), source: str = COPIES
) -> Scenario:
    return Scenario(name, source, ((old, new),), ran=ran, files=DATA, kept=("out.txt",))


def _variable(name: str, before: str | None, after: str | None, ran: set[str] | frozenset[str]) -> Scenario:
    variable = f"TRY_SCRIPT_{name.upper()}"
    return Scenario(name, VARIABLE.replace("TRY_NAME", variable), nothing, ran=ran, env={variable: (before, after)})


def _tool(name: str, edit: Edit, ran: set[str] | frozenset[str]) -> Scenario:
    return Scenario(name, TOOL, edit, ran=ran, files=TOOLS, setup=_executable)


def _touch(folder: Path) -> None:
    (folder / "tool.sh").touch()


SCENARIOS = [
    _edited("text", "cat {source}", "cat {source} {source}"),
    _edited("quoting", "cat {source}", "cat '{source}'"),
    _edited("spaces", "cat {source}", "cat  {source}"),
    _edited("comment_in_the_script", "# Sorts.", "# Sorts lines.", source=LONG),
    _edited(
        "comment_beside_the_script",
        "task = ScriptTask(",
        "# The task.\n\n    task = ScriptTask(".replace("    ", ""),
        frozenset(),
        LONG,
    ),
    _edited(
        "indentation",
        "            # Sorts.\n        sort".replace("            ", "        "),
        "      # Sorts.\n      sort",
        frozenset(),
        LONG,
    ),
    _edited("path_of_the_output", "HERE/out.txt", "HERE/./out.txt"),
    Scenario(
        "another_path_of_the_output",
        COPIES,
        (("HERE/out.txt", "HERE/new.txt"),),
        ran=RERUNS,
        files=DATA,
        kept=("new.txt",),
        reason="path changed",
    ),
    Scenario("input", COPIES, write("data.txt", "c\n"), ran=RERUNS, files=DATA, reason="input changed: source"),
    Scenario("same_input", COPIES, write("data.txt", "b\na\n"), files=DATA),
    Scenario(
        "script_reason",
        COPIES,
        (("cat {source}", "sort {source}"),),
        ran=RERUNS,
        files=DATA,
        reason="code changed: script",
    ),
    _variable("variable", "a", "b", RERUNS),
    _variable("variable_set", None, "b", RERUNS),
    _variable("variable_unset", "a", None, RERUNS),
    _variable("variable_same", "a", "a", frozenset()),
    Scenario(
        "variable_reason",
        VARIABLE.replace("TRY_NAME", "TRY_REASON"),
        nothing,
        ran=RERUNS,
        env={"TRY_REASON": ("a", "b")},
        reason="environment variable changed: TRY_REASON",
    ),
    Scenario(
        "variable_that_is_not_declared",
        """
        from dagger.core import ScriptTask

        tasks = [ScriptTask("HERE.s", {}, {"out": "HERE/out.txt"}, script="echo 1 > {out}")]
        """,
        nothing,
        env={"TRY_NOT_DECLARED": ("a", "b")},
    ),
    _tool("tool_edited", write("tool.sh", "#!/bin/sh\necho two\n"), RERUNS),
    _tool("tool_touched", _touch, frozenset()),
    _tool("tool_rewritten", write("tool.sh", "#!/bin/sh\necho one\n"), frozenset()),
    Scenario(
        "tool_that_is_not_declared",
        """
        from dagger.core import ScriptTask

        tasks = [ScriptTask("HERE.s", {}, {"out": "HERE/out.txt"}, script="HERE/tool.sh > {out}")]
        """,
        write("tool.sh", "#!/bin/sh\necho two\n"),
        files=TOOLS,
        setup=_executable,
        stale=True,
    ),
    Scenario(
        "tool_as_an_input",
        """
        from dagger.core import FileDatum, ScriptTask

        tasks = [ScriptTask("HERE.s", {"tool": FileDatum(pointer="HERE/tool.sh")}, {"out": "HERE/out.txt"},
                            script="sh {tool} > {out}")]
        """,
        write("tool.sh", "#!/bin/sh\necho two\n"),
        ran=RERUNS,
        files=TOOLS,
    ),
    Scenario(
        "early_cutoff_of_a_script",
        """
        from dagger.core import FileDatum, ScriptTask

        first = ScriptTask("HERE.s", {"source": FileDatum(pointer="HERE/data.txt")}, {"out": "HERE/sorted.txt"},
                           script="sort {source} > {out}")
        tasks = [ScriptTask("HERE.t", {"source": first["out"]}, {"out": "HERE/out.txt"}, script="cat {source} > {out}")]
        """,
        write("data.txt", "a\nb\n"),
        ran=RERUNS,
        files=DATA,
        kept=("sorted.txt", "out.txt"),
    ),
    Scenario(
        "script_that_fails",
        """
        from dagger.core import ScriptTask

        tasks = [ScriptTask("HERE.s", {}, {"out": "HERE/out.txt"}, script="echo 1 > {out}; false | cat")]
        """,
        (("false | cat", "true | cat"),),
        ran=RERUNS,
        always=RERUNS,
        failing=RERUNS,
        mended=True,
        kept=("out.txt",),
    ),
    Scenario(
        "path_with_spaces",
        """
        from dagger.core import FileDatum, ScriptTask

        tasks = [ScriptTask("HERE.s", {"source": FileDatum(pointer="HERE/my data.txt")}, {"out": "HERE/my out.txt"},
                            script="cat {source} > {out}")]
        """,
        write("my data.txt", "two\n"),
        ran=RERUNS,
        files={"my data.txt": "one\n"},
        kept=("my out.txt",),
    ),
]
