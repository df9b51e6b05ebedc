"""The pickler that takes a task's code apart: own functions and modules by value, what is installed by reference.

All functions of one own module share one namespace in the worker, and it is the ``__dict__`` of that job's module.

This much is enough for most tasks, and spares the manager and each worker the import of cloudpickle, which takes a
fifth of the time that a worker needs to come up. Classes and the odd rest are left to who knows more (`by_value`).
"""

from __future__ import annotations

import _pickle as pickle
import copyreg
import io
import marshal
import sys
import threading
import weakref
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

from dagger.cache.bytecode import decode, nested
from dagger.cache.ownership import is_extension, is_own
from dagger.core import landing
from dagger.core.landing import ModuleFrame
from dagger.lean_typing import Any, NoReturn

CachedFunction = type(lru_cache(lambda: None))

_GLOBAL = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})
# Pickle alone would write these in another way than cloudpickle.
_NOT_SIMPLE = frozenset({CachedFunction, CodeType, MethodType, weakref.WeakSet})
_CONSTANTS = frozenset(map(type, (None, True, 0, 0.0, 0j, "", b"", ...)))


class NotSimpleError(TypeError):
    """The code holds what this alone does not take apart."""


class CodePickler(pickle.Pickler):
    """Pickles simple code for a `Landing`.

    Attributes:
        modules: Own modules that were met as values, by name, in the order in which they were met.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=5)
        self.modules: dict[str, ModuleType] = {}
        self._frames: dict[str, _Frame] = {}
        self._loose: dict[int, dict[str, Any]] = {}

    def reducer_override(self, obj: Any) -> Any:
        """Reduce functions, their code and modules."""
        kind = type(obj)
        if kind is FunctionType:
            return self._function(obj)
        if kind is CodeType and _is_compiled(obj):
            return marshal.loads, (marshal.dumps(obj),)
        if kind is CellType:
            # It is there before its content, which may lead back to it; so functions that share one still do.
            return landing.make_cell, (), _content_of(obj) or None, None, None, landing.set_cell
        if issubclass(kind, ModuleType):
            return self._module(obj)
        return self.reduce_other(obj)

    def reduce_other(self, obj: Any) -> Any:
        """Reduce anything else.

        Raises:
            NotSimpleError: It is more than this alone takes apart.
        """
        kind = type(obj)
        is_own_class = issubclass(kind, type) and is_own(obj.__module__)
        is_variable = kind.__name__ == "TypeVar"  # of types: it goes by a name that the worker may lack
        if is_own_class or is_variable or kind in _NOT_SIMPLE or isinstance(obj, ModuleType):
            raise NotSimpleError(obj)
        return NotImplemented

    def frame(self, module: ModuleType) -> _Frame:
        """Return what stands for a module in the pickle; the same object for the same module."""
        name = module.__name__
        if name not in self._frames:
            self._frames[name] = _Frame(frame_of(module))
        return self._frames[name]

    def named_in(self, obj: Any) -> Any:
        """Return what will be the own module in which an object is found by its name: values may refer to it so."""
        module = sys.modules.get(obj.__module__)
        return self.frame(module) if module is not None and is_shipped(module) and _is_named(obj) else None

    def _function(self, function: FunctionType) -> Any:
        module = sys.modules.get(function.__module__)
        if module is not None and not is_shipped(module) and module.__name__ != "__main__" and _is_named(function):
            return NotImplemented  # installed, and found by its name
        home = _home(function.__globals__)
        own = home is None or is_shipped(home)
        namespace: object
        if home is None:  # as exec has them
            namespace = self._loose.setdefault(id(function.__globals__), _told_of(function.__globals__))
        else:
            namespace = _Namespace(self.frame(home)) if own else _InstalledNamespace(home.__name__)
        codes = list(nested(function.__code__))
        globals_ = _globals(function, codes)
        contents = [content for cell in function.__closure__ or () for content in _content_of(cell)]
        state = (
            function.__dict__,
            globals_ if own else {},
            {name: getattr(function, name) for name in landing.PARTS_OF_FUNCTIONS},
            self.named_in(function) if own else None,
            list(_submodules((*globals_.values(), *contents), codes)),
        )
        arguments = function.__code__, namespace, function.__closure__
        return landing.make_function, arguments, state, None, None, landing.set_function

    def _module(self, module: ModuleType) -> Any:
        if is_shipped(module):
            self.modules.setdefault(module.__name__, module)
            return self.frame(module).__reduce__()
        # One of a type of its own, as those that six makes, too.
        if sys.modules.get(module.__name__) is module:
            return import_module, (module.__name__,)
        return self.reduce_other(module)


class _Frame:
    """Stands for an own module."""

    def __init__(self, frame: ModuleFrame) -> None:
        self.frame = frame

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return landing.job_module, tuple(self.frame)


class _Namespace:
    """Stands for an own module's globals."""

    def __init__(self, frame: _Frame) -> None:
        self.frame = frame.frame

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return landing.namespace, tuple(self.frame)


class _InstalledNamespace:
    """Stands for an installed module's globals."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return landing.installed_namespace, (self.name,)


def frame_of(module: ModuleType) -> ModuleFrame:
    """Describe a module without what is in it."""
    name = module.__name__
    own = vars(module)
    path = own.get("__path__")
    parent, _, child = name.rpartition(".")
    return ModuleFrame(
        name,
        own.get("__file__"),
        own.get("__package__"),
        None if path is None else tuple(path),
        own.get("__doc__") if isinstance(own.get("__doc__"), str) else None,
        own.get("__spec__") is not None,
        bool(parent) and getattr(sys.modules.get(parent), child, None) is module,
    )


def is_shipped(module: ModuleType) -> bool:
    """Tell whether a loaded module travels by value: it is own, and Python code."""
    return sys.modules.get(module.__name__) is module and is_own(module) and not is_extension(vars(module))


def _home(namespace: dict[str, Any]) -> ModuleType | None:
    """The loaded module whose globals these are."""
    module = sys.modules.get(str(namespace.get("__name__")))
    return module if getattr(module, "__dict__", None) is namespace else None


def _told_of(namespace: dict[str, Any]) -> dict[str, Any]:
    """Return what a module's globals say of it: by these, relative imports are found."""
    return {name: namespace[name] for name in ("__package__", "__name__", "__path__", "__file__") if name in namespace}


def _is_named(obj: Any) -> bool:
    try:
        return landing.resolve(obj.__module__, obj.__qualname__) is obj
    except AttributeError:
        return False


def _is_compiled(constant: object) -> bool:
    """Tell whether code has no constants but what Python compiles: of others, `marshal` makes bytes or an error."""
    kind = type(constant)
    if kind is CodeType:
        return all(map(_is_compiled, constant.co_consts))  # type: ignore[attr-defined]
    if kind is tuple or kind is frozenset:
        return all(map(_is_compiled, constant))  # type: ignore[call-overload]
    return kind in _CONSTANTS


def _globals(function: FunctionType, codes: Iterable[CodeType]) -> dict[str, Any]:
    """Return the globals that a function uses."""
    names = dict.fromkeys(it.operand for code in codes for it in decode(code) if it.name in _GLOBAL)
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def _content_of(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # nothing was put into it yet
        return ()


def _submodules(values: Iterable[Any], codes: Iterable[CodeType]) -> Iterator[ModuleType]:
    """Yield the loaded modules that code reaches as attributes of packages: importing those need not load these."""
    names = {name for code in codes for name in code.co_names}
    packages = [it.__name__ + "." for it in values if isinstance(it, ModuleType) and getattr(it, "__package__", None)]
    for package in packages:
        for name, module in list(sys.modules.items()):
            if name.startswith(package) and module and names.issuperset(name[len(package) :].split(".")):
                yield module


def _refuse_file(file: Any) -> Any:
    for name in ("stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    return _cannot(file)


def _cannot(obj: object) -> NoReturn:
    raise TypeError(f"cannot pickle {type(obj).__name__!r} object")


def _fresh(make: Callable[[], object]) -> Callable[[object], tuple[Callable[[], object], tuple[()]]]:
    return lambda _: (make, ())


# A lock guards what happens in one process, so each job gets its own, open; a thread's own storage is empty in a
# thread that has not been there. A file is read at a place: its content is no value of the code.
REDUCERS: dict[type, Any] = {
    type(threading.Lock()): _fresh(threading.Lock),
    type(threading.RLock()): _fresh(threading.RLock),
    threading.local: _fresh(threading.local),
    weakref.WeakKeyDictionary: lambda it: (weakref.WeakKeyDictionary, (dict(it),)),
    weakref.WeakValueDictionary: lambda it: (weakref.WeakValueDictionary, (dict(it),)),
    io.TextIOWrapper: _refuse_file,
}
CodePickler.dispatch_table = ChainMap[type, Any](REDUCERS, copyreg.dispatch_table)
