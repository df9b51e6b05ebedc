"""The pickler for code that holds classes of its own, or what else takes more than `code_pickler` knows.

On top of cloudpickle, which knows how classes are taken apart. Imported by `shipping.ship` alone, since cloudpickle
takes its time to load.
"""

from __future__ import annotations

import sys
import threading
from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from types import CodeType, FunctionType
from typing import Any, TypeVar

import cloudpickle

from dagger.cache.ownership import is_own, is_own_namespace
from dagger.core import landing
from dagger.core.code_objects import reduce_code
from dagger.core.code_pickler import REDUCERS, CachedFunction, CodePickler, is_shipped

_MADE_BY_CACHE = frozenset({"__wrapped__", "cache_parameters"})
_MADE_BY_ENUM = frozenset({"_value_", "_name_", "_sort_order_", "__objclass__"})
_WITH_SETTER = 6  # the length of what cloudpickle reduces a class to that it takes apart
_one_at_a_time = threading.RLock()


class ShippingPickler(CodePickler, cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles any code for a `Landing`."""

    def reduce_other(self, obj: Any) -> Any:
        """Reduce classes our way, all else cloudpickle's."""
        kind = type(obj)
        if issubclass(kind, type):
            return self._class(obj)
        if kind is CodeType:
            return reduce_code(obj)
        if kind is TypeVar:
            _by_value(obj.__module__)
        elif kind is CachedFunction and _is_own_function(obj):
            return self._cached_function(obj)
        return cloudpickle.Pickler.reducer_override(self, obj)

    def _class(self, cls: type) -> Any:
        _by_value(cls.__module__)
        reduced = cloudpickle.Pickler.reducer_override(self, cls)
        if not isinstance(reduced, tuple) or len(reduced) != _WITH_SETTER:
            return reduced
        make, arguments, state, _, _, setter = reduced
        if any("__init_subclass__" in vars(base) and is_own(base.__module__) for base in cls.__mro__[1:]):
            make = partial(landing.make_class, make)
        if issubclass(cls, Enum):
            setter = partial(landing.set_members, setter, _member_attributes(cls))
        finish = partial(landing.set_class, setter, cls.__qualname__, self.named_in(cls))
        return make, arguments, state, None, None, finish

    def _cached_function(self, cached: Any) -> Any:
        parameters = cached.cache_parameters()
        state = {name: value for name, value in vars(cached).items() if name not in _MADE_BY_CACHE}
        arguments = (cached.__wrapped__, parameters["maxsize"], parameters["typed"])
        return landing.empty_cache, arguments, state


ShippingPickler.dispatch_table = ChainMap(REDUCERS, cloudpickle.Pickler.dispatch_table)


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
