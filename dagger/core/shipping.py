"""What travels between the manager and its workers: code to run, values that were made.

`ship` turns a task's code into bytes that a `Landing` builds anew for one job. Values go the other way and into the
store by name (`value_pickler`), so that what a worker made is an instance of the manager's own classes, and of those
of every later process.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import ModuleType

from dagger.core.by_name import find_class
from dagger.core.code_pickler import CodePickler, is_shipped
from dagger.errors import TaskError
from dagger.lean_typing import Any

Reached = Mapping[str, "frozenset[str] | None"]

_MADE_BY_IMPORT = frozenset(
    {
        "__builtins__",
        "__cached__",
        "__file__",
        "__loader__",
        "__name__",
        "__package__",
        "__path__",
        "__spec__",
    }
)


def ship(obj: object, reached: Reached, classes: Iterable[str] = ()) -> bytes:
    """Turn a task's code into bytes for `Landing.load`.

    Args:
        obj: What the worker gets back; usually a callable.
        reached: Own modules and the names in them that the code uses, None for all that can be sent. Each of them
            is in the worker's ``sys.modules`` while the job is there.
        classes: ``"module:qualname"`` of further own classes, as the inputs' values need them.

    Raises:
        TaskError: Something that the code uses cannot be sent; the message names it.
    """
    wanted = _with_classes(reached, classes)
    with suppress(Exception):
        return _Shipment(CodePickler, wanted, {}).pack(obj)
    from dagger.core.by_value import ShippingPickler, by_value

    left_out: dict[tuple[str, str], str] = {}
    with by_value():
        while True:
            shipment = _Shipment(ShippingPickler, wanted, left_out)
            try:
                return shipment.pack(obj)
            except _CannotSend as fault:
                # Rare enough that starting over is cheaper than trying every name before sending it.
                left_out[fault.place] = fault.kind
            except _Fault as fault:
                raise fault.told() from fault.__cause__


class _CannotSend(Exception):  # noqa: N818  (never leaves this module)
    """A name of a module of which all that can be sent was asked for cannot be."""

    def __init__(self, place: tuple[str, str], kind: str) -> None:
        super().__init__(place, kind)
        self.place = place
        self.kind = kind


class _Shipment:
    """One attempt at packing.

    The stream holds the import path, the reached modules' names, the object itself, and what else was met on the
    way: several pickles with one memo, so that what is shared stays shared.
    """

    def __init__(
        self,
        pickler: type[CodePickler],
        reached: Mapping[str, frozenset[str] | None],
        left_out: Mapping[tuple[str, str], str],
    ) -> None:
        self._file = io.BytesIO()
        self._pickler = pickler(self._file)
        self._reached = reached
        self._left_out = left_out
        self._filled: set[str] = set()

    def pack(self, obj: object) -> bytes:
        self._pickler.dump(list(sys.path))
        for name in sorted(self._reached):  # a package comes before what is in it
            module = sys.modules.get(name)
            if module is not None and is_shipped(module):
                self._fill(module)
        self._pickler.dump(None)
        self._dump(obj, "")
        while waiting := [it for it in self._pickler.modules.values() if it.__name__ not in self._filled]:
            self._fill(waiting[0])
        self._pickler.dump(None)
        return self._file.getvalue()

    def _fill(self, module: ModuleType) -> None:
        name = module.__name__
        self._filled.add(name)
        self._send_parent(name)
        frame = self._pickler.frame(module)
        names = self._reached.get(name)
        if names is None:
            self._fill_whole(module, frame)
            return
        self._pickler.dump((frame, "__name__", name, None))
        for attribute in sorted(names):
            value = getattr(module, attribute, self)  # a module may make some only when they are asked for
            if value is self:
                continue
            self._dump((frame, attribute, value, None), f"{name}.{attribute}", value)

    def _send_parent(self, name: str) -> None:
        parent = sys.modules.get(name.rpartition(".")[0])
        if parent is None or parent.__name__ in self._filled or not is_shipped(parent):
            return
        if parent.__name__ in self._reached:
            self._fill(parent)
            return
        self._filled.add(parent.__name__)
        self._send_parent(parent.__name__)
        self._pickler.dump((self._pickler.frame(parent), "__name__", parent.__name__, None))

    def _fill_whole(self, module: ModuleType, frame: object) -> None:
        name = module.__name__
        for attribute, value in sorted(vars(module).items()):
            if attribute in _MADE_BY_IMPORT:
                continue
            kind = self._left_out.get((name, attribute))
            if kind is None and _is_graph(value):
                kind = f"a {type(value).__name__}"
            if kind is not None:
                self._pickler.dump((frame, attribute, None, kind))
                continue
            try:
                self._pickler.dump((frame, attribute, value, None))
            except Exception as error:
                raise _CannotSend((name, attribute), f"a {type(value).__name__}") from error

    def _dump(self, obj: object, place: str, value: object | None = None) -> None:
        try:
            self._pickler.dump(obj)
        except Exception as error:
            raise _Fault(place, obj if value is None else value, error) from error


class _Fault(Exception):  # noqa: N818  (never leaves this module)
    """Something that a task's code uses cannot be sent."""

    def __init__(self, place: str, value: object, error: Exception) -> None:
        super().__init__(place)
        self._place = place
        self._value = value
        self._error = error

    def told(self) -> TaskError:
        """Name it."""
        from dagger.core.by_value import ShippingPickler
        from dagger.core.unpicklable import find_culprit

        culprit = find_culprit(self._value, self._place, lambda: ShippingPickler(io.BytesIO()))
        if culprit is None:
            return TaskError(f"{self._place or 'the task'} cannot be sent to a worker: {self._error}")
        where, kind = culprit
        return TaskError(
            f"{where or 'the task'}: {kind} cannot be sent to a worker; make it inside the function, "
            "or give the function what it is made from"
        )


def _is_graph(value: object) -> bool:
    """Tell whether a global is part of a workflow: a task ships its code, never its ancestors."""
    kind = type(value)
    return kind.__module__.partition(".")[0] == "dagger" or any(
        base.__module__.startswith("dagger.") for base in kind.__mro__
    )


def _with_classes(reached: Reached, classes: Iterable[str]) -> dict[str, frozenset[str] | None]:
    wanted = dict(reached)
    for each in classes:
        module, _, qualname = each.partition(":")
        try:
            find_class(each)
        except (ImportError, AttributeError):
            continue  # who loads the value says what is missing
        names = wanted.get(module, frozenset())
        wanted[module] = None if names is None else names | {qualname.partition(".")[0]}
    return wanted


PicklerFactory = Callable[..., Any]
