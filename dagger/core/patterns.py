"""Patterns for several files, such as ``out/part-*.csv``: which of them take in a path that somebody else uses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.abstract import AbstractTask

_MAGIC = re.compile(r"[*?\[]")
_PART = re.compile(r"\[(!?)(\]?[^\]]*)\]|\*|\?|.", re.DOTALL)

Claim = tuple["AbstractTask", str]
"""A task, and a pattern of its as it was written."""


class Patterns:
    """Patterns by the folder that they are for, so that a path is held against few of them.

    Args:
        claims: Tasks, their patterns, and where these lead: absolute and resolved.
    """

    def __init__(self, claims: Iterable[tuple[AbstractTask, str, str]]) -> None:
        self._by_folder: dict[str, list[tuple[Claim, re.Pattern[str]]]] = {}
        self._others: list[tuple[Claim, re.Pattern[str]]] = []
        for task, pattern, place in claims:
            magic_folders = _MAGIC.search(os.path.dirname(pattern)) or "**" in pattern
            known = self._others if magic_folders else self._by_folder.setdefault(os.path.dirname(place), [])
            known.append(((task, pattern), _matcher(place, pattern)))

    def that_take_in(self, place: str) -> Iterator[Claim]:
        """Return the patterns that a path matches."""
        for claim, matcher in (*self._by_folder.get(os.path.dirname(place), ()), *self._others):
            if matcher.match(place):
                yield claim


def takes_in(pattern: str, path: str) -> bool:
    """Tell whether `glob` could have found a path by a pattern."""
    strange = {"", ".", ".."}
    same = [part for part in path.lstrip("/").split("/") if part in strange] == [
        part for part in pattern.lstrip("/").split("/") if part in strange
    ]
    return same and "\0" not in path and _matcher(pattern, pattern).match(path) is not None


def _matcher(place: str, pattern: str) -> re.Pattern[str]:
    """Return what `glob` would find, as an expression. What stands before the pattern is taken as it is."""
    parts = pattern.count("/") + 1 if not pattern.startswith("/") else place.count("/")
    head, tail = place.split("/")[:-parts], place.split("/")[-parts:]
    text = "".join(re.escape(part) + "/" for part in head)
    for part in tail[:-1]:
        text += "(?:[^/]+/)*" if part == "**" else _component(part) + "/"
    return re.compile(text + ("(?:.+)" if tail[-1] == "**" else _component(tail[-1])) + r"\Z", re.DOTALL)


def _component(pattern: str) -> str:
    text = "" if pattern.startswith(".") or not _MAGIC.match(pattern) else r"(?!\.)"
    for found in _PART.finditer(pattern):
        if found[0] == "*":
            text += "[^/]*"
        elif found[0] == "?":
            text += "[^/]"
        elif found[2]:
            inside = found[2].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]").replace("^", r"\^")
            text += f"[{'^' if found[1] else ''}{inside}]"
        else:
            text += re.escape(found[0])
    return text
