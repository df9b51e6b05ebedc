"""Which installed distribution a module is from, its version, and what it requires.

Read from the metadata folders beside the module, not with `importlib.metadata`: that one reads every
RECORD there is to say whose a module is, which takes longer than all else that a small run does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from types import ModuleType

import xxhash

from dagger.lean_typing import cast

Distribution = tuple[str, str]
"""Name and version of something installed."""

SITE_FOLDERS = frozenset({"site-packages", "dist-packages"})
"""Folders that hold what is installed."""

# Compiled when first used: code that reaches no installed package comes to none of them.
_REQUIREMENT_NAME = r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)"
_EXTRA_MARKER = r";.*\bextra\s*=="


def distribution(module: str | ModuleType) -> Distribution | None:
    """Name the installed distribution that a module comes from.

    A module in site-packages that nothing claims counts by its file's content instead of a version.

    Returns:
        Name and version, or None for own code, for dagger and for the standard library.
    """
    if isinstance(module, str):
        loaded = sys.modules.get(module)
        location = location_of(loaded.__dict__) if loaded is not None else _find(module)
        name = module
    else:
        name, location = module.__name__, location_of(module.__dict__)
    if name.partition(".")[0] == "dagger":
        return None
    return _distribution_of(name, location)


def with_required(distributions: Iterable[Distribution]) -> tuple[Distribution, ...]:
    """Add all that distributions require, transitively, as far as it is installed."""
    found: dict[str, Distribution] = {}
    waiting = list(distributions)
    while waiting:
        name, version = waiting.pop()
        if _normal(name) in found:
            continue
        found[_normal(name)] = (name, version)
        waiting.extend(_requirements(_normal(name)))
    return tuple(sorted(found.values()))


def location_of(namespace: Mapping[str, object]) -> str:
    """Where a module's code lies; empty when that can't be told."""
    file = namespace.get("__file__")
    if isinstance(file, str):
        return file
    spec = namespace.get("__spec__")
    origin = getattr(spec, "origin", None)
    if isinstance(origin, str):
        return origin
    try:
        folders = [str(entry) for entry in cast("Iterable[object]", namespace.get("__path__", ()))]
    except Exception:  # a namespace package's path looks for itself again, and may fail
        return ""
    return folders[0] if folders else ""


def _find(name: str) -> str:
    """Where a module lies that is not loaded; its parent packages may be imported for that."""
    from importlib.util import find_spec

    try:
        spec = find_spec(name.partition(".")[0])
        if spec is not None and spec.origin is None and "." in name:
            spec = find_spec(name) or spec  # only a namespace package's parts tell whose they are
    except (ImportError, ValueError, AttributeError):
        return ""
    if spec is None:
        return ""
    return spec.origin or next(iter(spec.submodule_search_locations or ()), "")


@cache
def _distribution_of(name: str, location: str) -> Distribution | None:
    if not location:
        return None
    root, inside = _split_at_site(os.path.abspath(location))
    if not inside:
        return None
    first = inside.partition("/")[0]
    if first.endswith(".egg"):
        return _split_stem(first[: -len(".egg")])
    folder = _claimant(root, inside)
    if folder is not None:
        return _identity(os.path.join(root, folder))
    return name.partition(".")[0], _file_version(location)


def _claimant(root: str, inside: str) -> str | None:
    """The metadata folder in `root` of the distribution that installed the file `inside` it."""
    top = _top_level(inside)
    guesses = [folder for folder in _metadata_folders(root) if _normal(_split_stem_of(folder)[0]) == _normal(top)]
    # Reading every RECORD takes long where much is installed, and most are called what they
    # contain.
    for folder in guesses:
        if inside in _claimed_files(os.path.join(root, folder)) or top in _claimed_tops(os.path.join(root, folder)):
            return folder
    claimants = [folder for folder in _metadata_folders(root) if top in _claimed_tops(os.path.join(root, folder))]
    for folder in claimants:
        files = _claimed_files(os.path.join(root, folder))
        if inside in files or any(file.startswith(inside + "/") for file in files):
            return folder
    return claimants[0] if claimants else None


def _top_level(inside: str) -> str:
    return inside.partition("/")[0].partition(".")[0]


@cache
def _metadata_folders(root: str) -> tuple[str, ...]:
    try:
        entries = sorted(os.listdir(root))
    except OSError:
        return ()
    return tuple(entry for entry in entries if entry.endswith((".dist-info", ".egg-info")))


@cache
def _claimed_files(folder: str) -> frozenset[str]:
    record = _read(os.path.join(folder, "RECORD"))
    if record:
        return frozenset(line.rsplit(",", 2)[0].strip('"') for line in record.splitlines() if line)
    listed = _read(os.path.join(folder, "installed-files.txt")) or _read(os.path.join(folder, "SOURCES.txt"))
    return frozenset(listed.splitlines())


@cache
def _claimed_tops(folder: str) -> frozenset[str]:
    named = _read(os.path.join(folder, "top_level.txt")).split()
    if named:
        return frozenset(entry.partition("/")[0] for entry in named)
    return frozenset(_top_level(file) for file in _claimed_files(folder))


def _split_at_site(path: str) -> tuple[str, str]:
    """Return the last folder of distributions on a path and, with ``/`` between its parts, what comes after it."""
    parts = path.replace("\\", "/").split("/")
    for count in range(len(parts) - 1, 1, -1):
        if parts[count - 1] in SITE_FOLDERS:
            return path[: len("/".join(parts[:count]))], "/".join(parts[count:])
    return path, ""


@cache
def _metadata(folder: str) -> tuple[tuple[str, str], ...]:
    """The headers of a distribution's METADATA, in order."""
    name = "METADATA" if folder.endswith(".dist-info") else "PKG-INFO"
    text = _read(os.path.join(folder, name)) or (_read(folder) if os.path.isfile(folder) else "")
    headers = text.split("\n\n", 1)[0].splitlines()
    pairs = (line.split(":", 1) for line in headers if ":" in line and not line.startswith((" ", "\t")))
    return tuple((key.strip().lower(), value.strip()) for key, value in pairs)


def _identity(folder: str) -> Distribution:
    headers = dict(_metadata(folder))
    name, version = _split_stem_of(os.path.basename(folder))
    return headers.get("name", name), headers.get("version", version)


@cache
def _requirements(name: str) -> tuple[Distribution, ...]:
    import re

    folder = _installed().get(name)
    if folder is None:
        return ()
    found = []
    for key, value in _metadata(folder):
        match = re.match(_REQUIREMENT_NAME, value) if key == "requires-dist" else None
        if match is None or re.search(_EXTRA_MARKER, value):
            continue
        required = _installed().get(_normal(match.group(1)))
        if required is not None:
            found.append(_identity(required))
    return tuple(found)


@cache
def _installed() -> dict[str, str]:
    """Normal name -> metadata folder of all that is installed; the first on the path wins."""
    found: dict[str, str] = {}
    for root in sys.path:
        if SITE_FOLDERS.isdisjoint(root.replace("\\", "/").split("/")):
            continue
        for folder in _metadata_folders(root):
            found.setdefault(_normal(_split_stem_of(folder)[0]), os.path.join(root, folder))
    return found


def _split_stem_of(folder: str) -> Distribution:
    return _split_stem(folder.rsplit(".", 1)[0])


def _split_stem(stem: str) -> Distribution:
    name, _, version = stem.partition("-")
    return name, version.partition("-")[0]


def _normal(name: str) -> str:
    import re

    return re.sub(r"[-_.]+", "-", name).lower()


def _file_version(location: str) -> str:
    try:
        with open(location, "rb") as file:
            return "content " + xxhash.xxh3_128_hexdigest(file.read())
    except OSError:
        return "unknown"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
