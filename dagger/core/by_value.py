"""The pickler that ships a task's code: own modules by value, what is installed by reference.

On top of cloudpickle, which knows how functions and classes are taken apart, it says what belongs together: all
functions of one own module share one namespace in the worker, and it is the ``__dict__`` of that job's module.

Imported by `shipping.ship` alone, since cloudpickle takes its time to load.
"""

from __future__ import annotations

import io
import sys
import threading
import weakref
from collections import ChainMap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import lru_cache, partial
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import Any, NoReturn, TypeVar

import cloudpickle

from dagger.cache.ownership import is_extension, is_own, is_own_namespace
from dagger.core import landing
from dagger.core.code_objects import reduce_code
from dagger.core.landing import ModuleFrame

_CachedFunction = type(lru_cache(lambda: None))
_MADE_BY_CACHE = frozenset({"__wrapped__", "cache_parameters"})
_MADE_BY_ENUM = frozenset({"_value_", "_name_", "_sort_order_", "__objclass__"})
_WITH_SETTER = 6  # the length of what cloudpickle reduces a class to that it takes apart
_one_at_a_time = threading.RLock()


class ShippingPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles for a `Landing`.

    Attributes:
        modules: Own modules that were met as values, by name, in the order in which they were met.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=5)
        self.modules: dict[str, ModuleType] = {}
        self._frames: dict[str, _Frame] = {}

    def reducer_override(self, obj: Any) -> Any:
        """Reduce functions, classes and modules our way, all else cloudpickle's."""
        kind = type(obj)
        if kind is FunctionType:
            return self._function(obj)
        if issubclass(kind, ModuleType):
            return self._module(obj)
        if issubclass(kind, type):
            return self._class(obj)
        if kind is CodeType:
            return reduce_code(obj)
        if kind is TypeVar:
            _by_value(obj.__module__)
        elif kind is _CachedFunction and _is_own_function(obj):
            return self._cached_function(obj)
        return super().reducer_override(obj)

    def frame(self, module: ModuleType) -> _Frame:
        """Return what stands for a module in the pickle; the same object for the same module."""
        name = module.__name__
        if name not in self._frames:
            self._frames[name] = _Frame(frame_of(module))
        return self._frames[name]

    def _function(self, function: FunctionType) -> Any:
        _by_value(function.__module__)
        home = _home(function.__globals__)
        if home is None:
            return super().reducer_override(function)
        own = is_shipped(home)
        # cloudpickle asks here which object stands for the globals that a function shares with others.
        self.globals_ref[id(function.__globals__)] = (
            _Namespace(self.frame(home)) if own else _InstalledNamespace(home.__name__)
        )
        reduced = super().reducer_override(function)
        if reduced is NotImplemented:
            return reduced
        make, arguments, state, _, _, setter = reduced
        if own:
            return make, arguments, state, None, None, partial(landing.set_function, setter, self._named_in(function))
        attributes, slots = state
        return make, arguments, (attributes, {**slots, "__globals__": {}}), None, None, setter

    def _class(self, cls: type) -> Any:
        _by_value(cls.__module__)
        reduced = super().reducer_override(cls)
        if not isinstance(reduced, tuple) or len(reduced) != _WITH_SETTER:
            return reduced
        make, arguments, state, _, _, setter = reduced
        if any("__init_subclass__" in vars(base) and is_own(base.__module__) for base in cls.__mro__[1:]):
            make = partial(landing.make_class, make)
        if issubclass(cls, Enum):
            setter = partial(landing.set_members, setter, _member_attributes(cls))
        finish = partial(landing.set_class, setter, cls.__qualname__, self._named_in(cls))
        return make, arguments, state, None, None, finish

    def _named_in(self, obj: Any) -> Any:
        """Return what will be the own module in which an object is found by its name: values may refer to it so."""
        module = sys.modules.get(obj.__module__)
        if module is None or not is_shipped(module):
            return None
        try:
            return self.frame(module) if landing.resolve(obj.__module__, obj.__qualname__) is obj else None
        except AttributeError:
            return None

    def _module(self, module: ModuleType) -> Any:
        if not is_shipped(module):
            is_odd = type(module) is not ModuleType and sys.modules.get(module.__name__) is module
            # cloudpickle knows no modules of types of their own, as those that six makes.
            return (import_module, (module.__name__,)) if is_odd else super().reducer_override(module)
        self.modules.setdefault(module.__name__, module)
        return self.frame(module).__reduce__()

    def _cached_function(self, cached: Any) -> Any:
        parameters = cached.cache_parameters()
        state = {name: value for name, value in vars(cached).items() if name not in _MADE_BY_CACHE}
        arguments = (cached.__wrapped__, parameters["maxsize"], parameters["typed"])
        return landing.empty_cache, arguments, state


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


def _member_attributes(cls: type[Enum]) -> dict[str, dict[str, Any]]:
    """What an enum's members were given when they were made, which cloudpickle forgets."""
    return {
        name: {key: value for key, value in vars(member).items() if key not in _MADE_BY_ENUM}
        for name, member in cls.__members__.items()
    }


def _is_own_function(cached: Any) -> bool:
    wrapped = cached.__wrapped__
    return isinstance(wrapped, FunctionType) and is_own_namespace(wrapped.__globals__)


_registered: set[str] = set()


def _by_value(name: str | None) -> None:
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or name in _registered or not is_shipped(module):
        return
    if name not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(module)
        _registered.add(module.__name__)


@contextmanager
def by_value() -> Iterator[None]:
    """Let cloudpickle take own modules by value in here, and leave its registry as it was."""
    with _one_at_a_time:
        try:
            yield
        finally:
            for name in _registered:
                if name in sys.modules:
                    cloudpickle.unregister_pickle_by_value(sys.modules[name])
            _registered.clear()


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
ShippingPickler.dispatch_table = ChainMap(
    {
        type(threading.Lock()): _fresh(threading.Lock),
        type(threading.RLock()): _fresh(threading.RLock),
        threading.local: _fresh(threading.local),
        weakref.WeakKeyDictionary: lambda it: (weakref.WeakKeyDictionary, (dict(it),)),
        weakref.WeakValueDictionary: lambda it: (weakref.WeakValueDictionary, (dict(it),)),
        io.TextIOWrapper: _refuse_file,
    },
    cloudpickle.Pickler.dispatch_table,
)
