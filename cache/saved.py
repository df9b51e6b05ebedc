"""Moving files of the user's own out of a run's way: never lost, overwritten or thrown away."""

from __future__ import annotations

import os
import time

from dagger.cache.blob_files import remove_whatever
from dagger.cache.layout import make_private
from dagger.errors import CacheError


def move_to_saved(saved: str, path: str, root: str) -> str:
    """Move ``path`` to ``<saved>/<time>/<its path from the root>``; return where it is now.

    A symbolic link is moved itself.

    Raises:
        OSError: It cannot be moved; it is where it was.
    """
    path = os.path.abspath(path)
    inside = os.path.relpath(path, root)
    if inside.split(os.sep)[0] == os.pardir:
        inside = os.path.join("outside", path.lstrip(os.sep))
    target = os.path.join(_fresh(saved), inside)
    make_private(os.path.dirname(target))
    try:
        os.rename(path, target)
    except OSError:
        _move_over(path, target)
    return target


def _move_over(path: str, target: str) -> None:
    """Move to another file system: copied whole before the original goes."""
    import shutil

    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.copytree(path, target, symlinks=True)
        else:
            shutil.copy2(path, target, follow_symlinks=False)
    except OSError:
        remove_whatever(target)
        raise
    remove_whatever(path)


def move_beside(path: str) -> str:
    """Rename ``path`` within its directory, where the cache has no place; return where it is.

    Raises:
        CacheError: It cannot be renamed; it is where it was.
    """
    target = f"{os.path.abspath(path)}.saved-{_now()}-{os.getpid()}"
    try:
        if os.path.lexists(target):
            target += "-" + os.urandom(4).hex()
        os.rename(path, target)
    except OSError as error:
        raise CacheError(f"{path} is in the way and cannot be saved: {error}; move it yourself") from error
    return target


def _fresh(saved: str) -> str:
    make_private(saved)
    name = stem = os.path.join(saved, _now())
    for number in range(1, 10_000):
        try:
            os.mkdir(name, 0o700)
        except FileExistsError:
            name = f"{stem}-{number}"
        else:
            return name
    raise FileExistsError(f"{saved} is full of directories of this second")


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
