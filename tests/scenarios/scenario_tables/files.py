"""Files: content counts, not time stamps, and an output that is not as it was made is put back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from scenario_tables.scenario import Edit, Scenario, both, change, nothing, remove, write

READ = {"read"}

READS_FILE = """
    from dagger.core import FileDatum, FunctionTask

    def read(source):
        with open(source) as file:
            return {"y": file.read()}

    tasks = [FunctionTask("HERE.read", read, {"source": FileDatum(pointer="HERE/data.txt")}, {"y": None})]
"""

READS_FOLDER = """
    import os
    from dagger.core import FileDatum, FunctionTask

    def read(source):
        names = [os.path.join(top, name) for top, _, names in os.walk(source) for name in names]
        return {"y": sorted(names)}

    tasks = [FunctionTask("HERE.read", read, {"source": FileDatum(pointer="HERE/data")}, {"y": None})]
"""

RUNS_TOOL = """
    from dagger.core import FileDatum, ScriptTask

    tasks = [ScriptTask("HERE.read", {"tool": FileDatum(pointer="HERE/tool.sh")}, {"out": "HERE/out.txt"},
                        script="if [ -x {tool} ]; then {tool} > {out}; else echo no > {out}; fi")]
"""

MAKES_FILES = """
    import os
    from dagger.core import FunctionTask, PklTask, ScriptTask

    def text(out):
        with open(out, "w") as file:
            file.write("made\\n")

    def use(data, text):
        with open(text) as file:
            return {"y": (data, file.read())}

    first = FunctionTask("HERE.text", text, {}, {"out": "HERE/out/text.txt"})
    second = PklTask("HERE.data", lambda: {"data": [1, 2]}, {}, {"data": "HERE/out/data.pkl"})
    tasks = [FunctionTask("HERE.use", use, {"data": second["data"], "text": first["out"]}, {"y": None})]
"""

MAKES_FOLDER = """
    import os
    from dagger.core import FileDatum, FunctionTask, ScriptTask

    def use(folder):
        names = sorted(os.listdir(folder))
        return {"y": [open(os.path.join(folder, name)).read() for name in names]}

    made = ScriptTask("HERE.make", {"source": FileDatum(pointer="HERE/data.txt")}, {"out": "HERE/out/"},
                      script="cp {source} {out}/a.txt; echo b > {out}/b.txt")
    tasks = [FunctionTask("HERE.use", use, {"folder": made["out"]}, {"y": None})]
"""

MAKES_TOOL = """
    from dagger.core import FileDatum, ScriptTask

    made = ScriptTask("HERE.make", {}, {"tool": "HERE/out/tool.sh"},
                      script="echo 'echo hello' > {tool}; chmod +x {tool}")
    tasks = [ScriptTask("HERE.call", {"tool": made["tool"]}, {"out": "HERE/out/said.txt"},
                        script="./{tool} > {out}")]
"""

ONE_FILE = {"data.txt": "one\n"}
TREE = {"data/a.txt": "a\n", "data/deep/b.txt": "b\n"}
OUT = "out/text.txt"


def _in_place(path: str, edit: Edit) -> Edit:
    """Damage an output, where there is one: a clean build has none yet."""
    return lambda folder: edit(folder) if os.path.lexists(folder / path) else None


def _damaged(name: str, edit: Edit, path: str = OUT) -> Scenario:
    return Scenario(name, MAKES_FILES, _in_place(path, edit), kept=(path,))


def _touch(folder: Path) -> None:
    os.utime(folder / "data.txt", (1, 1))


def _copied_over(folder: Path) -> None:
    shutil.copyfile(folder / "data.txt", folder / "copy.txt")
    os.replace(folder / "copy.txt", folder / "data.txt")


def _secret_edit(folder: Path) -> None:
    """Change a file and give it back its size and time."""
    file = folder / "data.txt"
    before = os.stat(file)
    file.write_text("two\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _secret_exchange(folder: Path) -> None:
    """Put another file of the same size and time in a file's place."""
    file, other = folder / "data.txt", folder / "other.txt"
    before = os.stat(file)
    other.write_text("two\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, file)


def _link(to: str, path: str = "data.txt") -> Edit:
    def edit(folder: Path) -> None:
        (folder / path).unlink(missing_ok=True)
        (folder / path).symlink_to(to)

    return edit


def _mode(path: str, mode: int) -> Edit:
    return lambda folder: os.chmod(folder / path, mode)


def _there_and_back(folder: Path) -> None:
    write("data.txt", "two\n")(folder)
    write("data.txt", "one\n")(folder)


SOURCES = [
    Scenario(
        "content", READS_FILE, write("data.txt", "two\n"), ran=READ, files=ONE_FILE, reason="input changed: source"
    ),
    Scenario("longer", READS_FILE, write("data.txt", "one\nmore\n"), ran=READ, files=ONE_FILE),
    Scenario("emptied", READS_FILE, write("data.txt", ""), ran=READ, files=ONE_FILE),
    Scenario("touched", READS_FILE, _touch, files=ONE_FILE),
    Scenario("copied_over_with_the_same_bytes", READS_FILE, _copied_over, files=ONE_FILE),
    Scenario("rewritten_with_the_same_bytes", READS_FILE, _there_and_back, files=ONE_FILE),
    Scenario("same_size_and_restored_time", READS_FILE, _secret_edit, ran=READ, files=ONE_FILE),
    Scenario("exchanged_with_size_and_time", READS_FILE, _secret_exchange, ran=READ, files=ONE_FILE),
    Scenario(
        "made_executable",
        RUNS_TOOL,
        _mode("tool.sh", 0o755),
        ran=READ,
        files={"tool.sh": "#!/bin/sh\necho hi\n"},
        setup=_mode("tool.sh", 0o644),
    ),
    Scenario("made_read_only", READS_FILE, _mode("data.txt", 0o444), files=ONE_FILE, setup=_mode("data.txt", 0o644)),
    Scenario("file_beside", READS_FILE, write("more.txt", "more\n"), files=ONE_FILE),
    Scenario(
        "link_led_elsewhere",
        READS_FILE,
        _link("b.txt"),
        ran=READ,
        files={"a.txt": "a\n", "b.txt": "b\n"},
        setup=_link("a.txt"),
    ),
    Scenario(
        "link_led_to_the_same_content",
        READS_FILE,
        _link("b.txt"),
        files={"a.txt": "a\n", "b.txt": "a\n"},
        setup=_link("a.txt"),
    ),
    Scenario(
        "target_of_a_link",
        READS_FILE,
        write("a.txt", "b\n"),
        ran=READ,
        files={"a.txt": "a\n"},
        setup=_link("a.txt"),
    ),
    Scenario(
        "link_became_a_file",
        READS_FILE,
        both(remove("data.txt"), write("data.txt", "a\n")),
        files={"a.txt": "a\n"},
        setup=_link("a.txt"),
    ),
    Scenario(
        "path_that_a_function_sees",
        READS_FILE,
        both(write("other.txt", "one\n"), change("steps.py", "data.txt", "other.txt")),
        ran=READ,
        files=ONE_FILE,
        reason="input's path changed",
    ),
    Scenario("folder_file_edited", READS_FOLDER, write("data/deep/b.txt", "c\n"), ran=READ, files=TREE),
    Scenario("folder_file_added", READS_FOLDER, write("data/c.txt", "c\n"), ran=READ, files=TREE),
    Scenario("folder_file_gone", READS_FOLDER, remove("data/a.txt"), ran=READ, files=TREE),
    Scenario(
        "folder_file_renamed",
        READS_FOLDER,
        lambda it: os.rename(it / "data/a.txt", it / "data/z.txt"),
        ran=READ,
        files=TREE,
    ),
    Scenario(
        "folder_file_executable",
        READS_FOLDER,
        _mode("data/a.txt", 0o755),
        ran=READ,
        files=TREE,
        setup=_mode("data/a.txt", 0o644),
    ),
    Scenario("folder_touched", READS_FOLDER, lambda it: os.utime(it / "data/a.txt", (1, 1)), files=TREE),
    Scenario("folder_file_rewritten", READS_FOLDER, both(remove("data/a.txt"), write("data/a.txt", "a\n")), files=TREE),
    Scenario(
        "pickle_as_source",
        """
        import os, pickle
        from dagger.core import FileDatum, FunctionTask

        GIVEN = [1, 2]

        with open("HERE/given.pkl", "wb") as file:
            pickle.dump(GIVEN, file)

        def read(given):
            return {"y": given}

        tasks = [FunctionTask("HERE.read", read, {"given": FileDatum(pointer="HERE/given.pkl")}, {"y": None})]
        """,
        (("[1, 2]", "[1, 3]"),),
        ran=READ,
    ),
    Scenario(
        "only_what_uses_the_file",
        """
        from dagger.core import FileDatum, ScriptTask

        def copy(name):
            given = {"source": FileDatum(pointer=f"HERE/{name}.txt")}
            return ScriptTask(f"HERE.{name}", given, {"out": f"HERE/{name}.out"}, script="cp {source} {out}")

        one, two = copy("one"), copy("two")
        tasks = [ScriptTask("HERE.join", {"a": one["out"], "b": two["out"]}, {"out": "HERE/all.out"},
                            script="cat {a} {b} > {out}")]
        """,
        write("two.txt", "three\n"),
        ran={"two", "join"},
        files={"one.txt": "one\n", "two.txt": "two\n"},
    ),
]

MADE = [
    _damaged("output_deleted", remove(OUT)),
    _damaged("output_truncated", write(OUT, "")),
    _damaged("output_edited", write(OUT, "mine\n")),
    _damaged("output_edited_to_the_same_size", write(OUT, "mada\n")),
    _damaged("output_touched", lambda it: os.utime(it / OUT, (1, 1))),
    _damaged("output_made_executable", _mode(OUT, 0o755)),
    _damaged("output_became_a_link", both(write("elsewhere.txt", "made\n"), _link("../elsewhere.txt", OUT))),
    _damaged("pickle_deleted", remove("out/data.pkl"), "out/data.pkl"),
    _damaged("pickle_truncated", write("out/data.pkl", ""), "out/data.pkl"),
    _damaged("all_outputs_deleted", lambda it: shutil.rmtree(it / "out")),
    Scenario("nothing_edited", MAKES_FILES, nothing, kept=(OUT,)),
    Scenario(
        "path_of_an_output",
        MAKES_FILES,
        change("steps.py", OUT, "out/new.txt"),
        ran={"text", "use"},
        kept=("out/new.txt",),
        reason="path changed",
    ),
    Scenario(
        "folder_output_file_deleted",
        MAKES_FOLDER,
        _in_place("out", remove("out/b.txt")),
        files=ONE_FILE,
        kept=("out/a.txt", "out/b.txt"),
    ),
    Scenario(
        "folder_output_file_added",
        MAKES_FOLDER,
        _in_place("out/b.txt", write("out/stray.txt", "stray\n")),
        files=ONE_FILE,
        kept=("out/a.txt", "out/b.txt"),
        gone=("out/stray.txt",),
    ),
    Scenario(
        "folder_output_deleted",
        MAKES_FOLDER,
        _in_place("out", lambda it: shutil.rmtree(it / "out")),
        files=ONE_FILE,
        kept=("out/a.txt", "out/b.txt"),
    ),
    Scenario(
        "folder_output_made_anew",
        MAKES_FOLDER,
        write("data.txt", "two\n"),
        ran={"make", "use"},
        files=ONE_FILE,
        kept=("out/a.txt", "out/b.txt"),
    ),
    Scenario(
        "executable_output_deleted", MAKES_TOOL, _in_place("out/tool.sh", remove("out/tool.sh")), kept=("out/tool.sh",)
    ),
    Scenario(
        "executable_output_no_more",
        MAKES_TOOL,
        _in_place("out/tool.sh", _mode("out/tool.sh", 0o644)),
        kept=("out/tool.sh",),
    ),
    Scenario(
        "old_output_is_not_taken_for_new",
        """
        import os
        from dagger.core import FunctionTask

        def text(out):
            with open(out, "a") as file:
                file.write("one\\n")

        tasks = [FunctionTask("HERE.text", text, {}, {"out": "HERE/log.txt"})]
        """,
        change("steps.py", '"one\\n"', '"two\\n"'),
        ran={"text"},
        kept=("log.txt",),
    ),
]

SCENARIOS = SOURCES + MADE
