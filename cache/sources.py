"""The source text of a part, if it is what was loaded. Only explanations use it, no digest."""

from __future__ import annotations

import ast
import linecache
import textwrap
from functools import lru_cache
from types import CodeType, FunctionType

from dagger.cache.bytecode import nested
from dagger.cache.code_digests import code_form

CHANGED = "(the file was changed after this was loaded)"
_REPR_LENGTH = 1000

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


def function_source(function: FunctionType) -> str:
    """The dedented source of a function; `CHANGED` if the file is not what was loaded; or empty."""
    code = function.__code__
    lines = _lines(code.co_filename)
    index = _index(code.co_filename, lines)
    place = index.places.get((code.co_name, code.co_firstlineno))
    loaded = index.codes.get((code.co_name, code.co_firstlineno))
    if place is None or loaded is None:
        return CHANGED if lines else ""
    if code_form(loaded).digest != code_form(code).digest:
        return CHANGED
    return _cut(lines, place)


def class_source(cls: type) -> str:
    """The dedented source of a class, found by one of its methods or, failing that, by its name."""
    methods = [value for value in vars(cls).values() if isinstance(value, FunctionType)]
    filename = next(
        (method.__code__.co_filename for method in methods if method.__module__ == cls.__module__),
        "",
    )
    if not _lines(filename):
        import sys

        filename = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    lines = _lines(filename)
    place = _index(filename, lines).classes.get(cls.__qualname__.replace(".<locals>", ""))
    if place is None:
        return CHANGED if lines else ""
    inside = (method for method in methods if method.__code__.co_filename == filename)
    if any(function_source(method) == CHANGED for method in inside):
        return CHANGED
    return _cut(lines, place)


def value_source(value: object) -> str:
    """A value's repr, cut short."""
    try:
        text = repr(value)
    except Exception as error:  # a repr of the user's may do anything
        text = f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"
    return text if len(text) <= _REPR_LENGTH else text[:_REPR_LENGTH] + "..."


def _cut(lines: tuple[str, ...], place: tuple[int, int]) -> str:
    first, last = place
    return textwrap.dedent("".join(lines[first - 1 : last]))


def _lines(filename: str) -> tuple[str, ...]:
    # No linecache.checkcache: lines that were read earlier are closer to what was loaded.
    return tuple(linecache.getlines(filename)) if filename else ()


class _Index:
    """Where the definitions of one file stand, and what they compile to."""

    def __init__(self, filename: str, lines: tuple[str, ...]) -> None:
        self.places: dict[tuple[str, int], tuple[int, int]] = {}
        self.classes: dict[str, tuple[int, int]] = {}
        self.codes: dict[tuple[str, int], CodeType] = {}
        try:
            tree = ast.parse("".join(lines))
            self._index_codes(compile(tree, filename or "<unknown>", "exec", dont_inherit=True))
        except (SyntaxError, ValueError, RecursionError, SystemError):
            # SystemError: Python 3.11 miscounts its own recursion now and then; the source only explains.
            return
        self._index_tree(tree)

    def _index_codes(self, code: CodeType) -> None:
        for current in nested(code):
            self.codes.setdefault((current.co_name, current.co_firstlineno), current)

    def _index_tree(self, tree: ast.AST) -> None:
        waiting: list[tuple[ast.AST, str]] = [(tree, "")]
        while waiting:
            node, prefix = waiting.pop()
            if isinstance(node, _Definition):
                prefix = self._place(node, prefix)
            waiting.extend((child, prefix) for child in ast.iter_child_nodes(node))

    def _place(self, node: _Definition, prefix: str) -> str:
        first, last = node.lineno, node.end_lineno or node.lineno
        if isinstance(node, ast.Lambda):
            self.places.setdefault(("<lambda>", first), (first, last))
            return prefix
        first = min([first, *(decorator.lineno for decorator in node.decorator_list)])
        name = f"{prefix}.{node.name}" if prefix else node.name
        if isinstance(node, ast.ClassDef):
            self.classes.setdefault(name, (first, last))
        else:
            self.places.setdefault((node.name, first), (first, last))
        return name


@lru_cache(maxsize=64)
def _index(filename: str, lines: tuple[str, ...]) -> _Index:
    return _Index(filename, lines)
