"""A directory as a list of members: how one is walked, what its digest is, how it is built again.

A symbolic link that leads to a place inside its directory is a member by what it says; one that
leads out counts by what it leads to, so that a tree stands on its own; one that leads nowhere
counts by what it says.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence

import xxhash

from dagger.cache.records import Member
from dagger.errors import CacheError, DamagedError

Digester = Callable[[str], tuple[str, int]]
"""Takes a file's path; returns its digest and size."""


def collect_members(directory: str, digester: Digester) -> tuple[Member, ...]:
    """List everything below ``directory``, sorted by path.

    Raises:
        CacheError: Links lead in a circle, or something is neither a file, a directory nor a link.
        OSError: Something cannot be read.
    """
    home = os.path.realpath(directory)
    found: list[Member] = []
    pending: list[tuple[str, str, tuple[str, ...]]] = [(directory, "", (home,))]
    while pending:
        full, prefix, above = pending.pop()
        empty = True
        for item in os.scandir(full):
            empty = False
            path = prefix + item.name
            if item.is_symlink() and _stays_inside(item.path, home):
                found.append(Member(path, "", 0, link=os.readlink(item.path)))
                continue
            status = item.stat()
            if stat.S_ISDIR(status.st_mode):
                real = os.path.realpath(item.path)
                if real in above:
                    raise CacheError(f"{item.path}: this link leads back to a directory above it; remove it")
                pending.append((item.path, path + "/", (*above, real)))
            elif stat.S_ISREG(status.st_mode):
                digest, size = digester(item.path)
                found.append(Member(path, digest, size, bool(status.st_mode & stat.S_IXUSR)))
            else:
                raise CacheError(f"{item.path}: neither a file nor a directory, so it cannot be digested")
        if empty and prefix:
            found.append(Member(prefix, "", 0))
    return tuple(sorted(found, key=lambda member: member.path))


def _stays_inside(link: str, home: str) -> bool:
    """Whether a link stays one: it leads nowhere, or by a relative way to below ``home``."""
    real = os.path.realpath(link)
    if not os.path.exists(real):
        return True
    return not os.path.isabs(os.readlink(link)) and (real == home or real.startswith(home + os.sep))


def digest_members(members: Sequence[Member]) -> str:
    """Digest names, contents, executable bits and links, in the order given."""
    state = xxhash.xxh3_128(b"tree:1;")
    for member in members:
        for text in (member.path, member.digest, "x" if member.executable else "-"):
            _feed(state, text)
        _feed(state, "-" if member.link is None else "l" + member.link)
    return str(state.hexdigest())


def _feed(state: xxhash.xxh3_128, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    state.update(b"%d:" % len(data))
    state.update(data)


def build_tree(members: Sequence[Member], destination: str, restore_file: Callable[[Member, str], None]) -> None:
    """Build a directory from its members; ``destination`` must not exist yet.

    Links come last, so that no file is ever written through one.

    Raises:
        DamagedError: A member's path leads out of the directory, or two members exclude each other.
    """
    os.mkdir(destination)
    made = ""
    try:
        for member in members:
            check_member_path(member.path)
            full = os.path.join(destination, member.path)
            if member.path.endswith("/"):
                os.makedirs(full, exist_ok=True)
            elif member.link is None:
                folder = os.path.dirname(full)
                if folder != made:
                    os.makedirs(folder, exist_ok=True)
                    made = folder
                restore_file(member, full)
        for member, link in _links(members):
            full = os.path.join(destination, member.path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            os.symlink(link, full)
    except (FileExistsError, NotADirectoryError) as error:
        raise DamagedError(f"the members of {destination} exclude each other: {error}") from error


def _links(members: Sequence[Member]) -> Iterator[tuple[Member, str]]:
    # A link whose path lies below another's is refused by its order: the outer one is made first by
    # sorting, so the deepest are made first here, and an outer one then finds its name taken.
    for member in sorted(members, key=lambda it: -it.path.count("/")):
        if member.link is not None:
            yield member, member.link


def exchange(built: str, destination: str, old: str) -> None:
    """Rename ``built`` to ``destination``, and what was there to ``old``; both or neither.

    Raises:
        OSError: One of them cannot be renamed.
    """
    if not os.path.lexists(destination):
        os.rename(built, destination)
        return
    os.rename(destination, old)
    try:
        os.rename(built, destination)
    except OSError:
        os.rename(old, destination)
        raise


def check_member_path(path: str) -> None:
    """Refuse a path that leads out of the directory that it belongs to.

    Raises:
        DamagedError: It is absolute, or has ``..`` or an empty part.
    """
    parts = path.removesuffix("/").split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise DamagedError(f"a record names the member {path!r}, which leads out of its directory")
