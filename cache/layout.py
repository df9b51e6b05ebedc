"""Where things are in a cache directory, and what makes it private to its owner.

``.gitignore``, ``saved/`` (files moved out of a run's way, never thrown away), and one directory
per version of the format, so that an older dagger leaves a newer one's alone: ``v2/`` with
``index/``, ``blobs/``, ``locks/``, ``logs/``, ``memos/``, ``uses/`` and ``secret``.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable

import xxhash

from dagger.cache.filesystems import is_network, temporary_place
from dagger.cache.locks import wait_for_lock
from dagger.errors import RefusedCacheError

VERSION = "v2"
_SECRET_LENGTH = 32


class Layout:
    """The paths of one cache directory.

    Args:
        directory: The outer one, as in ``.dagger``.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.versioned = os.path.join(directory, VERSION)
        self.blobs = os.path.join(self.versioned, "blobs")
        self.index = os.path.join(self.versioned, "index")
        self.locks = os.path.join(self.versioned, "locks")
        self.uses = os.path.join(self.versioned, "uses")
        self.logs = os.path.join(self.versioned, "logs")
        self.memos = os.path.join(self.versioned, "memos")
        self.saved = os.path.join(directory, "saved")
        self.secret = os.path.join(self.versioned, "secret")

    def create(self) -> None:
        """Make what is missing; a directory that is there keeps its mode. A file where a folder of ours goes is damage.

        Raises:
            OSError: It cannot be made.
        """
        make_private(self.versioned)
        for folder in (self.blobs, os.path.join(self.blobs, "tmp"), self.index, self.locks, self.logs, self.uses):
            if os.path.lexists(folder) and not os.path.isdir(folder):
                os.unlink(folder)
        ignore = os.path.join(self.directory, ".gitignore")
        if not os.path.exists(ignore):
            with open(ignore, "w", encoding="utf-8") as file:
                file.write("*\n")

    def check_owner(self) -> None:
        """Refuse a cache where others could plant values, since loading one can run code.

        Raises:
            RefusedCacheError: It, or its versioned part, is open to others; the message names the command
                that mends it.
        """
        for place in (self.directory, self.versioned):
            with contextlib.suppress(FileNotFoundError):
                _check_owner(place)

    def index_directory(self, tell: Callable[[str], None]) -> str:
        """Say where the index goes: beside the blobs, but not on a network, where SQLite's locks fail.

        Args:
            tell: Called with a sentence where there is only a network.
        """
        if not is_network(self.directory):
            return self.index
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        for place in (os.path.join(home, "dagger"), f"/var/tmp/dagger-{os.getuid()}"):
            if not is_network(place):
                named = xxhash.xxh3_128_hexdigest(os.fsencode(os.path.realpath(self.directory)))
                return os.path.join(place, named)
        tell(
            f"the cache {self.directory} is on a network file system, and so is {home}: two runs at "
            "once can damage its index; name a local directory with DAGGER_CACHE_DIR"
        )
        return self.index

    def read_or_make_secret(self) -> bytes:
        """Return the key of digests of environment variables, the same for every process.

        Raises:
            OSError: There is none and it cannot be written.
        """
        if secret := self._read_secret():
            return secret
        self.create()
        with wait_for_lock(os.path.join(self.locks, "secret")):
            if secret := self._read_secret():
                return secret
            secret = os.urandom(_SECRET_LENGTH)
            beside = f"{self.secret}.{os.getpid()}"
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(secret)
            if os.path.isdir(self.secret):  # damage: nothing but the secret has this name
                from dagger.cache.blob_files import remove_whatever

                remove_whatever(self.secret)
            os.replace(beside, self.secret)
            return secret

    def _read_secret(self) -> bytes | None:
        try:
            with open(self.secret, "rb") as file:
                secret = file.read(_SECRET_LENGTH + 1)
        except OSError:
            return None
        return secret if len(secret) == _SECRET_LENGTH else None


def make_private(directory: str) -> None:
    """Make a directory and its missing parents, each for its owner only."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        parent = os.path.dirname(directory)
        if parent == directory:
            break
        directory = parent
    for path in reversed(missing):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            # Another process was faster; anything but a directory in the way is an error of its
            # own.
            if not os.path.isdir(path):
                raise


def make_temporary(prefix: str) -> str:
    """Make a folder for its owner only among temporary files, and return its path.

    Raises:
        OSError: It cannot be made.
    """
    folder = os.path.join(temporary_place(), prefix + os.urandom(8).hex())
    os.mkdir(folder, 0o700)
    return folder


def remove_tree(folder: str) -> None:
    """Remove a folder with all that is in it, as far as that can be done. A link goes, what it leads to stays."""
    with contextlib.suppress(OSError):
        if os.path.islink(folder):
            os.unlink(folder)
            return
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
        os.rmdir(folder)


def _check_owner(place: str) -> None:
    status = os.stat(place)
    allow = "or set DAGGER_ALLOW_SHARED_CACHE=1 if all who can are trusted"
    if not stat.S_ISDIR(status.st_mode):
        raise RefusedCacheError(f"{place} is not a directory; remove it, or name another with DAGGER_CACHE_DIR")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RefusedCacheError(f"others can write {place}, so they could run code as you: chmod go-w {place}, {allow}")
    if os.geteuid() not in (0, status.st_uid) and status.st_uid != 0:
        raise RefusedCacheError(
            f"{place} belongs to another user, who could run code as you: "
            f"chown it, name another with DAGGER_CACHE_DIR, {allow}"
        )
