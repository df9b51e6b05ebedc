"""What a scenario is, and the edits that tables are written with.

A scenario owns a folder of the project with `steps.py` in it. That module defines either `f`, a
function of `x` that returns ``{"y": ...}`` and becomes the task `f`, or a list `tasks`. `HERE` stands for the folder's
name wherever it occurs, so that ``import HERE.helpers`` and ``"HERE/data.csv"`` work; tasks are named ``HERE.fit``
there and ``fit`` in the table.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Edit = Callable[[Path], None]
"""Changes something in a scenario's folder."""

SOURCE = "steps.py"
ALL_PLACES = ("module", "main", "cells", "exec")
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Scenario:
    """A tiny project, one edit, and what must run for it.

    Attributes:
        name: Unique in its topic; an identifier.
        source: The text of `steps.py`.
        edit: Pairs of old and new text in `steps.py`, or a callable over the scenario's folder.
        ran: The tasks that must run for the edit, and no others may.
        files: Path to text, within the folder, or within the project where it starts with a slash.
        setup: Makes what is no plain file; called again to undo the edit, so it must not mind what is there.
        env: Variable to its value before and after the edit; None stands for unset.
        always: Tasks that run every time.
        reason: A text that must be among the reasons of each task that ran for the edit.
        note: A text that the first run must say of one of these tasks; empty where it must say nothing.
        manager: Further arguments of the manager.
        places: Where the code stands: in a module of its own, in the script, in a notebook's cell, in `exec`.
        failing: Tasks that fail in every run in which they run.
        mended: Whether the edit puts an end to `always`.
        stale: Whether what came out may be old, since the manager was told not to look.
        kept: Paths in the folder that must be after the edited run as a clean build leaves them.
        gone: Paths in the folder that must not be there after the edited run.
    """

    name: str
    source: str
    edit: tuple[tuple[str, str], ...] | Edit
    ran: set[str] | frozenset[str] = NOTHING
    files: Mapping[str, str] = field(default_factory=dict)
    setup: Edit | None = None
    env: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    always: frozenset[str] | set[str] = NOTHING
    reason: str = ""
    note: str = ""
    manager: Mapping[str, object] = field(default_factory=dict)
    places: tuple[str, ...] = ("module",)
    failing: frozenset[str] | set[str] = NOTHING
    mended: bool = False
    stale: bool = False
    kept: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def here(self) -> str:
        """The name of the scenario's folder; no library may have it."""
        return f"try_{self.name}"

    def text(self, *, edited: bool) -> str:
        """Return `steps.py` before or after the edit."""
        text = self._filled(self.source)
        if edited and not callable(self.edit):
            for old, new in self.edit:
                text = _replaced(text, self._filled(old, dedent=False), self._filled(new, dedent=False), self.name)
        return text

    def lay_out(self, project: Path) -> None:
        """Write the scenario's files into a project, as they are before the edit."""
        folder = project / self.here
        folder.mkdir(exist_ok=True)
        _put(folder / "__init__.py", "")
        _put(folder / SOURCE, self.text(edited=False))
        for path, text in self.files.items():
            shown = path.replace("HERE", self.here)
            _put(project / shown[1:] if shown.startswith("/") else folder / shown, self._filled(text))
        if self.setup is not None:
            self.setup(folder)

    def apply(self, project: Path) -> None:
        """Make the edit."""
        if callable(self.edit):
            self.edit(project / self.here)
        else:
            _put(project / self.here / SOURCE, self.text(edited=True))

    def inlined(self, *, edited: bool) -> str:
        """Return `steps.py` for a namespace that it shares with other scenarios: its own names get its name behind."""
        text = self.text(edited=edited)
        for name in _own_names(text):
            prefix = "" if name not in "frb" else "(?![\"'])"  # the f of f"..." is no name
            text = re.sub(rf"\b{name}\b{prefix}", f"{name}_{self.here}", text)
        return text

    def task(self, short: str) -> str:
        """Return a task's identifier."""
        return f"{self.here}.{short}"

    def _filled(self, text: str, *, dedent: bool = True) -> str:
        return (textwrap.dedent(text).lstrip("\n") if dedent else text).replace("HERE", self.here)


def everywhere(name: str, source: str, *edit: tuple[str, str], ran: set[str] | frozenset[str] = NOTHING) -> Scenario:
    """Return a scenario of one file, to be tried wherever code can stand."""
    return Scenario(name, source, edit, ran=ran, places=ALL_PLACES)


def change(path: str, old: str, new: str) -> Edit:
    """Replace a text in a file."""

    def edit(folder: Path) -> None:
        file = folder / path
        text = file.read_text()
        file.write_text(_replaced(text, old.replace("HERE", folder.name), new.replace("HERE", folder.name), str(file)))

    return edit


def write(path: str, text: str) -> Edit:
    """Write a whole file, its parent folders too."""

    def edit(folder: Path) -> None:
        _put(folder / path, text.replace("HERE", folder.name))

    return edit


def remove(path: str) -> Edit:
    """Delete a file."""
    return lambda folder: (folder / path).unlink()


def both(*edits: Edit) -> Edit:
    """Make several edits as one."""

    def edit(folder: Path) -> None:
        for each in edits:
            each(folder)

    return edit


def nothing(_folder: Path) -> None:
    """Edit nothing: what changes is a variable, or time."""


def _put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists() or file.read_bytes() != text.encode():
        file.write_text(text)


def _replaced(text: str, old: str, new: str, where: str) -> str:
    assert old in text, f"{where}: nothing to edit, {old!r} is not there"
    return text.replace(old, new, 1)


def _own_names(text: str) -> list[str]:
    names: dict[str, None] = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] = None
        elif isinstance(node, ast.Assign):
            names.update((it.id, None) for it in ast.walk(node) if isinstance(it, ast.Name) and _is_stored(it))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = None
    return list(names)


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)
