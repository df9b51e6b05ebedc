"""Which paths of a project can be discovered reads, and what they are called."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from functools import lru_cache

from dagger.core.places import Places
from dagger.lean_typing import Any

_NEVER = frozenset({".git", ".hg", ".svn", "__pycache__", "site-packages", "dist-packages"})


class ProjectPaths:
    """The paths of one project, as one task reads them.

    Args:
        root: The project's folder.
        ignore: Absolute paths that are declared; what is below them is declared as well.
        cache_dir: The cache directory.
    """

    def __init__(self, root: str, ignore: Collection[str], cache_dir: str) -> None:
        self._places, self._real, self._installed, self._declared, folders = surroundings(root, cache_dir)
        self._real_folders: dict[str, str] = {}
        if ignore:
            declared = [os.path.normpath(path) for path in ignore]
            self._declared = self._declared.union(declared, [self._places.real(path, folders) for path in declared])

    def absolute(self, path: Any, folder: int | None = None) -> str | None:
        """Return the absolute path inside the project that something opens, or None where it leads outside.

        Args:
            path: What was given to open: text, bytes, path-like, or the descriptor of a directory.
            folder: The descriptor of the directory that a relative path counts from; -1 or None for the
                working directory.
        """
        if isinstance(path, int):
            full = _path_of(path)
        else:
            full = os.fsdecode(path)
            if not full.startswith("/"):
                above = os.getcwd() if folder is None or folder < 0 else _path_of(folder)
                full = os.path.join(above, full)
        full = os.path.normpath(full)
        for places in (self._places, self._real):  # the working directory is told by its real name
            if full == places.root:
                return self._places.root
            shown = places.shown(full)
            if shown != full:
                return self._places.absolute(shown)
        return None

    def is_inside(self, full: str) -> bool:
        """Tell whether an absolute path is the project's folder or below it."""
        return full == self._places.root or self._places.shown(full) != full

    def name(self, full: str) -> str:
        """Return what a path inside the project is called: relative to its root."""
        return "." if full == self._places.root else self._places.shown(full)

    def counts(self, full: str) -> bool:
        """Tell whether reading a path inside the project is worth noting."""
        return (
            _NEVER.isdisjoint(self.name(full).split("/"))
            and not self._is_below(full, self._installed)
            and not self._is_below(full, self._declared)
            # A task may open thousands of files of one folder.
            and not self._is_below(self._places.real(full, self._real_folders), self._declared)
        )

    def _is_below(self, full: str, folders: Collection[str]) -> bool:
        while full not in folders:
            above = os.path.dirname(full)
            if above == full:
                return False
            full = above
        return True

    def imported_module(self, full: str) -> str | None:
        """Return the source of the module that is being imported from a file, or None where it is another read.

        All own code that the fingerprint knows of is in the worker before the task begins. What is imported from the
        disk all the same was not in it, so it counts as the file that it is; its compiled form stands for it.
        """
        if not full.endswith((".py", ".pyc")) or not self.is_importing():
            return None
        if full.endswith(".pyc"):
            from importlib.util import source_from_cache

            try:
                return source_from_cache(full)
            except ValueError:
                return full
        return full

    def is_importing(self) -> bool:
        """Tell whether the event at hand comes from the import system itself."""
        frame: Any = sys._getframe(2)
        while frame is not None and str(frame.f_globals.get("__name__")).startswith("dagger.core."):
            frame = frame.f_back
        if frame is None:
            return False
        # What is installed is looked for in each folder of the path, and the project is one of them.
        metadata = str(frame.f_globals.get("__name__")).startswith("importlib.metadata")
        return metadata or frame.f_code.co_filename.startswith("<frozen importlib")


@lru_cache(maxsize=1)
def surroundings(root: str, cache_dir: str) -> tuple[Places, Places, frozenset[str], frozenset[str], dict[str, str]]:
    """Return what all tasks of a project have in common.

    That is its root, its real root, what is installed, what is the cache, and where folders led when they were first
    asked for. Links are followed once; who runs several jobs clears this now and then.
    """
    places = Places(os.path.abspath(root))
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, *_own_folders()}
    inside = frozenset(it for it in prefixes if it == places.root or places.shown(it) != it)
    cache = frozenset((os.path.abspath(cache_dir), os.path.realpath(cache_dir)))
    return places, Places(os.path.realpath(root)), inside, cache, {}


def _path_of(descriptor: int) -> str:
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _own_folders() -> list[str]:
    """Where dagger itself lies: in a checkout that is inside the project, its modules are no reads of a task."""
    found = []
    for name in ("dagger", "dagger.cache", "dagger.cli"):
        module = sys.modules.get(name)
        found += [os.path.abspath(folder) for folder in getattr(module, "__path__", ())]
    return found
