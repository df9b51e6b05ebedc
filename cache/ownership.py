"""Whose code is it: the user's own, an installed distribution's, or the standard library's.

Fingerprints follow own code to its end and stop at everything else. Own is every module outside the
standard library and site-packages, so an editable install is own; dagger itself never is. An
installed module counts by the version of its distribution and of all that this one requires.

Where a module lies decides, not what it is called: a user's ``types.py`` is own, and a function
that was rebuilt in a worker from its value has no module at all, only globals that still say
``__name__`` and ``__file__``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from types import MethodDescriptorType, ModuleType, WrapperDescriptorType

from dagger.cache.distributions import SITE_FOLDERS, distribution, location_of, with_required

__all__ = [
    "canonical_name",
    "distribution",
    "is_extension",
    "is_made_up",
    "is_own",
    "is_own_class",
    "is_own_location",
    "is_own_namespace",
    "with_required",
]


def is_own(module: str | ModuleType | None) -> bool:
    """Tell whether a module is the user's own code.

    Args:
        module: A module, or the name of a loaded one. None and a name that is not loaded and not
            the standard
            library's stand for code without a module, as from `exec`: that is own.
    """
    if module is None or module == "__main__":
        return True  # a class of the script's stays own in a worker, whose __main__ is another one
    if isinstance(module, str):
        loaded = sys.modules.get(module)
        if loaded is None:
            return is_own_namespace({"__name__": module})
        module = loaded
    name = module.__dict__.get("__name__")
    if isinstance(name, str) and sys.modules.get(name) is module and is_made_up(name, module.__dict__):
        return False
    return is_own_namespace(module.__dict__)


def is_made_up(name: str, namespace: Mapping[str, object]) -> bool:
    """Tell whether an installed package has made a module that has no file, as six makes ``six.moves``.

    Args:
        name: Its name among the loaded modules.
        namespace: Its globals.
    """
    top, _, rest = name.partition(".")
    package = sys.modules.get(top) if rest else None
    return package is not None and not location_of(namespace) and not is_own(package)


def is_own_class(cls: type) -> bool:
    """Tell whether a class is the user's own code.

    Its module's name does not always tell: what exec defines in bare globals says it is a builtin,
    what `make_dataclass` makes says it is from `types`, and types of compiled libraries name modules
    that do not exist.
    """
    name: object = cls.__module__
    if not isinstance(name, str):
        return name is None
    if name in ("builtins", "types"):
        return vars(sys.modules[name]).get(cls.__name__) is not cls and _is_written_in_python(cls)
    if not is_own(name):
        return False
    module = sys.modules.get(name)
    is_placed = module is not None and bool(location_of(module.__dict__))
    return is_placed or _is_written_in_python(cls)


def _is_written_in_python(cls: type) -> bool:
    compiled = (MethodDescriptorType, WrapperDescriptorType)
    return not any(isinstance(value, compiled) for value in vars(cls).values())


def is_own_namespace(namespace: Mapping[str, object]) -> bool:
    """Tell whether globals (a module's or a function's) belong to own code."""
    name = namespace.get("__name__")
    location = location_of(namespace)
    return _is_own(name if isinstance(name, str) else "", location)


def is_own_location(name: str, location: str | None) -> bool:
    """Tell whether a module that is not loaded yet, of this name and file, would be own."""
    return _is_own(name, location or "")


def is_extension(namespace: Mapping[str, object]) -> bool:
    """Tell whether globals belong to a compiled extension module."""
    return location_of(namespace).endswith((".so", ".pyd", ".dylib"))


def canonical_name(name: str, namespace: Mapping[str, object] | None = None) -> str:
    """Name a module the same whether it runs as a script or is imported.

    Args:
        name: The module's name, maybe ``__main__``.
        namespace: Its globals; by default those of the loaded module.
    """
    if name != "__main__":
        return name
    if namespace is None:
        main = sys.modules.get("__main__")
        namespace = main.__dict__ if main is not None else {}
    location = namespace.get("__file__")
    if not isinstance(location, str):
        return name
    return os.path.splitext(os.path.basename(location))[0]


@cache
def _is_own(name: str, location: str) -> bool:
    top = name.partition(".")[0]
    if top == "dagger" or top.startswith("_cython_"):  # where Cython keeps its own types
        return False
    if location in ("built-in", "frozen"):
        return False
    if not os.path.isabs(location) and not location.endswith((".py", ".pyc")):
        return top not in sys.stdlib_module_names
    path = os.path.abspath(location)
    return not _is_installed(path) and not _is_standard(path)


def _is_installed(path: str) -> bool:
    return not SITE_FOLDERS.isdisjoint(path.replace("\\", "/").split("/"))


def _is_standard(path: str) -> bool:
    folders = _standard_folders()
    return path.startswith(folders) or os.path.realpath(path).startswith(folders)


@cache
def _standard_folders() -> tuple[str, ...]:
    # Not from sysconfig, which takes longer to import than a fingerprint to make.
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    compiled = os.path.join(sys.base_exec_prefix, sys.platlibdir, version)
    folders = {os.path.dirname(os.__file__), compiled}
    folders |= {os.path.realpath(folder) for folder in folders}
    return tuple(os.path.join(folder, "") for folder in sorted(folders))
