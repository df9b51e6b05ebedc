"""Where paths lead: relative ones count from the project's root, and paths inside it are keyed and shown relative."""

from __future__ import annotations

import os
import sys

import_path = list(sys.path)
"""By which dagger was found: a program may put folders of its own before it later, with modules of any name."""


class Places:
    """Paths as seen from one project.

    Args:
        root: The project's folder, absolute.
    """

    __slots__ = ("_inside", "root")

    def __init__(self, root: str) -> None:
        self.root = root
        self._inside = root.rstrip("/") + "/"

    def absolute(self, path: str) -> str:
        """Return where a path leads, without a trailing slash."""
        full = path if path.startswith("/") else self._inside + path
        return full.rstrip("/") if full.endswith("/") and len(full) > 1 else full

    def shown(self, path: str) -> str:
        """Return a path as keys and user code get it: relative where it is inside the root."""
        return path[len(self._inside) :] if path.startswith(self._inside) else path

    def real(self, path: str, folders: dict[str, str] | None = None) -> str:
        """Return the one name of a file, ``./`` and symlinks resolved: two paths with one are one file.

        Args:
            path: The file.
            folders: Where folders led a moment ago, when others beside it were asked for; it is added to.
        """
        full = self.absolute(path)
        folder, _, name = full.rpartition("/")
        if folders is None or not folder or name in (".", ".."):
            return os.path.realpath(full)
        real = folders.get(folder)
        if real is None:
            real = folders[folder] = os.path.realpath(folder).rstrip("/")
        place = f"{real}/{name}"
        return os.path.realpath(place) if os.path.islink(place) else place
