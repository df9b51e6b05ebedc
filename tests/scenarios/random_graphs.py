"""Random graphs for the property test: what they are, the code that they become, and what a clean build would make.

Every node comes to a number below `RANGE`, so that different codes often come out the same and cut off what follows. The
model says what each node is worth and which key it has, in plain Python and without dagger.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

RANGE = 4
SOURCES = 3
LOOKUP = "lookup.txt"

VALUES = ("value", "big", "pickle")
WRITTEN = ("file", "tree", "script", "glob")
SCRIPTS = ("script", "glob")
KINDS = (*VALUES, *WRITTEN)
TRACKED = "lookup"
"""A function that also reads a file which it does not declare; only a worker process is watched for that."""

HEAD = """\
import os
from dagger.core import FileDatum, FunctionTask, PklTask, ScriptTask, WorkflowError, WorkflowManager
import {helpers} as helpers

"""

HELPERS = """\
import os

CONSTANT = {constant}


def worth(given):
    # {note}
    if isinstance(given, dict):
        return given["worth"]
    if isinstance(given, list):
        return worth(given[0])
    if not isinstance(given, str):
        return given
    with open(os.path.join(given, "v.txt") if os.path.isdir(given) else given) as file:
        return int(file.read())


def total(given):
    return CONSTANT + sum(worth(each) for each in given.values())


def beside():
    return {beside}
"""


@dataclass(frozen=True)
class Node:
    """A task.

    Attributes:
        name: ``n3``.
        kind: One of `KINDS`, or `TRACKED`.
        salt: A constant in its code.
        parents: Sources and earlier nodes.
        note: What its code says that means nothing.
        fails: Whether its code fails.
    """

    name: str
    kind: str
    salt: int
    parents: tuple[str, ...]
    note: int = 0
    fails: bool = False

    @property
    def path(self) -> str:
        """Where its output goes; empty for a value."""
        ends = {"pickle": ".pkl", "file": ".txt", "script": ".out", "tree": ".tree/", "glob": ".parts/part-*.txt"}
        return f"{self.name}{ends[self.kind]}" if self.kind in ends else ""


@dataclass
class Graph:
    """What the project's files say.

    Attributes:
        nodes: In an order in which each comes after its parents.
        sources: What each source file holds; `LOOKUP` too.
        constant: What all functions use by way of a helper.
        beside: What no function uses.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=lambda: {**{f"s{n}": n for n in range(SOURCES)}, LOOKUP: 0})
    constant: int = 0
    beside: int = 0

    # What it comes to

    def worth(self) -> dict[str, int]:
        """Return what each source and each node that can be made comes to."""
        found = dict(self.sources)
        for node in self.nodes.values():
            if node.fails or not all(parent in found for parent in node.parents):
                continue
            own = node.salt + (0 if node.kind in SCRIPTS else self.constant)
            own += found[LOOKUP] if node.kind == TRACKED else 0
            found[node.name] = (own + sum(found[parent] for parent in node.parents)) % RANGE
        return found

    def keys(self) -> dict[str, tuple[Any, ...]]:
        """Return what each node that can run depends on: two runs with one key need only one execution."""
        worth = self.worth()
        return {
            node.name: self._key(node, worth)
            for node in self.nodes.values()
            if all(parent in worth for parent in node.parents)
        }

    def _key(self, node: Node, worth: dict[str, int]) -> tuple[Any, ...]:
        inputs = tuple(self._input(parent, worth[parent]) for parent in node.parents)
        code = None if node.kind in SCRIPTS else self.constant
        looked_up = worth[LOOKUP] if node.kind == TRACKED else None
        return node.name, node.kind, node.salt, node.fails, code, looked_up, inputs

    def _input(self, parent: str, worth: int) -> tuple[Any, ...]:
        kind = self.nodes[parent].kind if parent in self.nodes else "source"
        if kind in ("value", "pickle", TRACKED):
            return "value", worth
        return ("big", worth) if kind == "big" else (parent, kind, worth)

    # What it is written as

    def write(self, folder: Path, *, helpers: str = "graph_helpers") -> None:
        """Write all of the project but its sources."""
        text = HELPERS.format(constant=self.constant, note=self.beside, beside=self.beside)
        (folder / f"{helpers}.py").write_text(text)
        bodies = "\n\n".join(_function(node) for node in self.nodes.values() if node.kind not in SCRIPTS)
        tasks = "\n".join(f"    {line}" for node in self.nodes.values() for line in self._task(node))
        (folder / "graph_pipeline.py").write_text(
            f"{HEAD.format(helpers=helpers)}{bodies}\n\n\ndef build():\n    made = {{}}\n{tasks}\n    return made\n{_FOOT}"
        )

    def write_source(self, folder: Path, name: str) -> None:
        """Write one source file."""
        (folder / (name if name == LOOKUP else f"{name}.txt")).write_text(f"{self.sources[name]}\n")

    def _task(self, node: Node) -> list[str]:
        inputs = ", ".join(f'"{name}": {_datum(parent)}' for name, parent in zip("abc", node.parents, strict=False))
        output = f'"{node.path}"' if node.path else "None"
        if node.kind in SCRIPTS:
            made = f'ScriptTask("{node.name}", {{{inputs}}}, {{"out": {output}}}, script={self._script(node)!r})'
        else:
            cls = "PklTask" if node.kind == "pickle" else "FunctionTask"
            made = f'{cls}("{node.name}", {node.name}, {{{inputs}}}, {{"out": {output}}})'
        return [f'made["{node.name}"] = {made}  # note {node.note}']

    def _script(self, node: Node) -> str:
        if node.fails:
            return f"echo {node.salt} >&2; exit 3"
        terms = [str(node.salt)]
        for name, parent in zip("abc", node.parents, strict=False):
            kind = self.nodes[parent].kind if parent in self.nodes else "source"
            terms.append(
                {"glob": f"$(cat {{{name}}} | sed -n 1p)", "tree": f"$(cat {{{name}}}/v.txt)"}.get(
                    kind, f"$(cat {{{name}}})"
                )
            )
        result = f"v=$(( ({' + '.join(terms)}) % {RANGE} ))\n"
        if node.kind == "script":
            return result + "echo $v > {out}"
        return result + f"for n in $(seq 0 $v); do echo $v > {node.path.replace('*', '$n')}; done"


def _datum(parent: str) -> str:
    return f'made["{parent}"]["out"]' if parent.startswith("n") else f'FileDatum(pointer="{parent}.txt")'


def _function(node: Node) -> str:
    local = f"found_{node.note}"
    written = node.kind in ("file", "tree")
    lines = [f"def {node.name}({'out, ' if written else ''}**given):", f'    "Note {node.note}."']
    if node.fails:
        return "\n".join([*lines, f'    raise ValueError("fails by {node.salt}")'])
    if node.kind == TRACKED:
        lines += [f'    with open("{LOOKUP}") as file:', "        more = int(file.read())"]
    extra = " + more" if node.kind == TRACKED else ""
    lines.append(f"    {local} = ({node.salt} + helpers.total(given){extra}) % {RANGE}  # note {node.note}")
    result = {
        "big": f'return {{"out": {{"worth": {local}, "bulk": str({local}) * 9000}}}}',
        "file": f'with open(out, "w") as file:\n        file.write(f"{{{local}}}\\n")',
        "tree": f'for name in ["v", *map(str, range({local}))]:\n'
        f'        with open(os.path.join(out, name + ".txt"), "w") as file:\n            file.write(f"{{{local}}}\\n")',
    }
    return "\n".join([*lines, "    " + result.get(node.kind, f'return {{"out": {local}}}')])


_FOOT = """

if __name__ == "__main__":
    import json
    made = build()
    try:
        WorkflowManager(list(made.values()), jobs=2).run(keep_going=True)
    except WorkflowError:
        pass
    found = {name: task["out"].pointer for name, task in made.items() if task.state.name == "COMPLETE"}
    with open("values.json", "w") as file:
        json.dump(found, file)
"""


def content(node: Node, worth: int) -> object:
    """Return what a node's output must hold: a value, or path to text of each file."""
    text = f"{worth}\n"
    if node.kind == "big":
        return {"worth": worth, "bulk": str(worth) * 9000}
    if node.kind not in WRITTEN:
        return worth
    if node.kind == "tree":
        return {f"{node.path}{name}.txt": text for name in ["v", *map(str, range(worth))]}
    if node.kind == "glob":
        return {node.path.replace("*", str(n)): text for n in range(worth + 1)}
    return {node.path: text}


def present(node: Node, folder: Path) -> object:
    """Return what a node's output files hold; the value of a pickle; None where there is no file."""
    top = folder / (node.path if node.kind in ("tree", "pickle") else os.path.dirname(node.path) or node.path)
    if not top.exists():
        return None
    if node.kind == "pickle":
        return pickle.loads(top.read_bytes())
    files = [it for it in top.rglob("*") if it.is_file()] if top.is_dir() else [top]
    return {it.relative_to(folder).as_posix(): it.read_text() for it in files}


def changed(node: Node, **fields: Any) -> Node:
    """Return a node with some of its fields exchanged."""
    return replace(node, **fields)
