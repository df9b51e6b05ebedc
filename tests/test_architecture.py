"""How the rooms hang together: imports point one way, start-up is light, public names are told."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
FOLDERS = {
    "dagger.abstract": TOP / "dagger" / "abstract",
    "dagger.core": TOP / "dagger" / "core",
    "dagger.cache": TOP / "cache",
    "dagger.cli": TOP / "cli",
}
EVERYBODYS = ("dagger.errors", "dagger.lean_typing", "dagger.printable")
# What each room may import of dagger. `dagger` itself, the lazy front, is for who uses it.
MAY_IMPORT = {
    "dagger.abstract": {"dagger.abstract", *EVERYBODYS},
    "dagger.cache": {"dagger.cache", *EVERYBODYS},
    "dagger.core": {"dagger.core", "dagger.abstract", "dagger.cache", *EVERYBODYS},
    "dagger.cli": {
        "dagger",
        "dagger.cli",
        "dagger.core",
        "dagger.abstract",
        "dagger.cache",
        *EVERYBODYS,
    },
}
HEAVY = {
    "asyncio",
    "click",
    "cloudpickle",
    "concurrent.futures",
    "diskcache",
    "importlib.metadata",
    "inspect",
    "logging",
    "loky",
    "multiprocessing",
    "numpy",
    "pandas",
    "pathvalidate",
    "pickle",
    "rich",
    "sqlite3",
    "subprocess",
    "tempfile",
    "xxhash",
}
SKIPPED = {".git", ".venv", "build", "dist", "node_modules", "__pycache__"}


def room_files() -> list[tuple[str, Path]]:
    return [(room, path) for room, folder in FOLDERS.items() for path in sorted(folder.rglob("*.py"))]


def imports(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and absolute module name of each import, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            module = f"{base}{node.module or ''}".rstrip(".")
            if module == "dagger":  # `from dagger import cache` imports a room
                yield from (
                    (node.lineno, f"dagger.{alias.name}" if is_module(alias.name) else "dagger") for alias in node.names
                )
            else:
                yield node.lineno, module


def is_module(name: str) -> bool:
    return name in {"abstract", "core", "cache", "cli", "errors", "lean_typing", "printable"}


@pytest.mark.parametrize("room", FOLDERS)
def test_imports_point_one_way(room: str) -> None:
    """cli -> core -> {abstract, cache}, the last two apart; errors are for everyone."""
    wrong = [
        f"{path.relative_to(TOP)}:{line} imports {module}"
        for its_room, path in room_files()
        if its_room == room
        for line, module in imports(path, room)
        if module.partition(".")[0] == "dagger" and ".".join(module.split(".")[:2]) not in MAY_IMPORT[room]
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["errors", "lean_typing", "printable"])
def test_what_every_room_may_import_imports_none(name: str) -> None:
    """The tree of errors, what is taken of typing, and what makes texts fit for a terminal."""
    modules = {module for _, module in imports(TOP / "dagger" / f"{name}.py", "dagger")}
    assert modules <= {"__future__", "_collections", "collections.abc", "re", "typing"}


def test_no_import_by_folder() -> None:
    """Nobody imports `cache` or `cli`: it works from a checkout's root and nowhere else."""
    wrong = [
        f"{path.relative_to(TOP)}:{line} imports {module}"
        for path in sorted(TOP.rglob("*.py"))
        if not SKIPPED & set(path.relative_to(TOP).parts)
        for line, module in imports(path, "dagger")
        if module.partition(".")[0] in ("cache", "cli")
    ]
    assert not wrong


def test_the_check_sees_what_it_is_for(tmp_path: Path) -> None:
    """Each way to write an import is seen."""
    file = tmp_path / "module.py"
    file.write_text(
        "import dagger.core.task as t\nfrom dagger import cli, run\nfrom . import x\n"
        "from .digests import y\nfrom ..errors import z\ndef f():\n    from cache import a\n"
    )
    assert [module for _, module in imports(file, "dagger.cache")] == [
        "dagger.core.task",
        "dagger.cli",
        "dagger",
        "dagger.cache",
        "dagger.cache.digests",
        "dagger.errors",
        "cache",
    ]


def loaded_by(statement: str) -> set[str]:
    """Return what a fresh interpreter has loaded after a statement that it had not before."""
    code = f"import sys; before = set(sys.modules)\n{statement}\nprint(*sorted(set(sys.modules) - before))"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.parametrize("statement", ["import dagger", "import dagger.abstract"])
def test_start_up_is_light(statement: str) -> None:
    """Importing dagger loads small parts of the standard library, nothing installed."""
    loaded = loaded_by(statement)
    assert not loaded & HEAVY
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"dagger"}
    assert not {name for name in foreign if not name.startswith("__editable__")}


ALL_WAIT_FOR = [
    "from dagger.core import FunctionTask, WorkflowManager; import dagger.core.recall, dagger.cache.function_nodes",
    "import dagger.core.worker, dagger.core.value_files, dagger.cache.presence, dagger.cache.values",
]


READS_ROWS = """
from dagger.cache.records import Entry, Output, Read, Record, decode, encode
from dagger.cache.rows import EntryRow, JournalRow, StoredPart, _CodeRow
from dagger.cache.uses import _Uses
entry = Entry("k", (("a", "b", "c"),), "f", "ran")
made = (Output("x", "value", "c", "v", 1, b"1"),)
record = Record("k", "r", "t", "F", (), "f", (Read("file", "x", "d"),), made, 1.0, 2.0)
rows = (record, EntryRow("t", entry), JournalRow("p", ("d",)), StoredPart("n", "k", "d", "s"), _CodeRow((), ()))
assert all(decode(encode(row), type(row)) == row for row in (*rows, _Uses("k", {1: "l"})))
"""


@pytest.mark.parametrize("statement", [*ALL_WAIT_FOR, READS_ROWS])
def test_no_annotation_is_compiled_where_all_wait(statement: str) -> None:
    """A named tuple whose annotations are texts has them compiled: the first of them costs as much as ten modules."""
    look = """
import builtins, typing
real = builtins.compile
def watched(text, file, mode, *rest, **options):
    assert mode != "eval", text
    return real(text, file, mode, *rest, **options)
builtins.compile = watched
"""
    subprocess.run([sys.executable, "-c", look + statement], check=True)


@pytest.mark.parametrize("statement", ALL_WAIT_FOR)
def test_nothing_dear_is_loaded_where_all_wait(statement: str) -> None:
    """Of these each takes as long as ten of our modules; something else may have loaded them before, as `site` does."""
    dear = ["pickle", "re", "typing"]
    forget = f"import sys; [sys.modules.pop(name, None) for name in {dear}]\n"
    look = f"\nprint(*(name for name in {dear} if name in sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", forget + statement + look], text=True).split() == []


def test_the_front_loads_no_room() -> None:
    """`import dagger` loads itself; `dagger.errors` and the rooms come with the first name."""
    assert {it for it in loaded_by("import dagger") if it.startswith("dagger")} == {"dagger"}
    loaded = loaded_by("import dagger; dagger.AbstractDatum")
    assert not {it for it in loaded if it.startswith(("dagger.core", "dagger.cache", "dagger.cli"))}


def public(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield the public classes, functions and methods of a module, with their dotted names."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        decorators = {ast.unparse(it).rpartition(".")[2] for it in child.decorator_list}
        if child.name.startswith("_") or decorators & {"overload", "setter", "deleter"}:
            continue
        yield prefix + child.name, child
        if isinstance(child, ast.ClassDef):
            yield from public(child, f"{prefix}{child.name}.")


@pytest.mark.parametrize("room", FOLDERS)
def test_every_public_name_is_told(room: str) -> None:
    """Every module, and every public class, function and method in it, has a docstring."""
    silent = []
    for its_room, path in room_files():
        if its_room == room:
            tree = ast.parse(path.read_text("utf-8"))
            named = [("the module", tree), *public(tree)]
            silent += [
                f"{path.relative_to(TOP)}: {name}"
                for name, node in named
                if not ast.get_docstring(node)  # type: ignore[arg-type]  # all three have one
            ]
    assert not silent
