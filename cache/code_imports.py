"""Finding what an import statement inside a function brings, for `function_nodes`.

Own code that is not loaded is imported, as a call of the function would. Installed code is not: its
version can be told from where it lies.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping

from dagger.cache import ownership
from dagger.cache.code_nodes import file_digest
from dagger.cache.reach import Reference
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

ABSENT = object()
"""Stands for what is not there."""


def full_name(reference: Reference, namespace: Mapping[str, object]) -> str:
    """The absolute name of a module that code with these globals imports."""
    if not reference.level:
        return reference.name
    package = namespace.get("__package__")
    if not isinstance(package, str) or not package:
        name = str(namespace.get("__name__", ""))
        package = name if "__path__" in namespace else name.rpartition(".")[0]
    for _ in range(reference.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{reference.name}" if reference.name else package


def find(full: str) -> types.ModuleType | str | None:
    """A module that is loaded or own; a text that counts in place of one that cannot be; None for a leaf."""
    module = sys.modules.get(full)
    if module is not None:
        return module
    if not _is_own(full):
        return "absent" if _is_missing(full) else None
    try:
        return importlib.import_module(full)
    except ImportError:
        return "absent"
    except Exception:  # the user's module may fail in any way; the call will say so
        return f"fails {_file_of(full)}"


def find_submodule(module: types.ModuleType, name: str) -> None:
    """Import what ``from module import name`` would, where that is an own module."""
    is_package = hasattr(module, "__path__") and ownership.is_own(module)
    if not is_package or attribute(module, name) is not ABSENT:
        return
    try:
        importlib.import_module(f"{module.__name__}.{name}")
    except Exception:  # counted as absent
        return


def attribute(module: types.ModuleType, name: str) -> object:
    """What ``module.name`` gives without ``__getattr__``; a submodule also where it is unbound."""
    found = vars(module).get(name, ABSENT)
    if found is ABSENT:
        return sys.modules.get(f"{module.__name__}.{name}") or ABSENT
    return found


def _is_own(full: str) -> bool:
    top = full.partition(".")[0]
    if top in sys.modules:
        return ownership.is_own(sys.modules[top])
    try:
        spec = _find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    location = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    return ownership.is_own_location(top, location)


def _find_spec(full: str) -> ModuleSpec | None:
    from importlib.util import find_spec  # for what is imported inside functions: most code has none

    return find_spec(full)


def _is_missing(full: str) -> bool:
    top = full.partition(".")[0]
    if top in sys.modules:
        return False
    try:
        return _find_spec(top) is None
    except (ImportError, ValueError):
        return True


def _file_of(full: str) -> str:
    try:
        spec = _find_spec(full)
        return file_digest(spec.origin) if spec is not None and spec.origin else ""
    except (ImportError, ValueError, OSError):
        return ""
