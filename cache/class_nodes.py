"""What a class counts by: as one unit, all of its own namespace, its bases and its metaclass.

What the interpreter, `dataclasses` or `enum` put into a namespace is left out where it follows from
what is counted.
"""

from __future__ import annotations

import types
from collections.abc import Iterator

from dagger.cache import ownership
from dagger.cache.annotations import annotation_text, own_classes
from dagger.cache.code_graph import Edge, Node, digest_text
from dagger.cache.code_nodes import _extension_of
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger.cache.code_nodes import NodeMaker

_DERIVED = frozenset(
    {
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__abstractmethods__",
        "__classcell__",
        "__slotnames__",
        "__orig_bases__",
        "__parameters__",
        "__type_params__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "_abc_impl",
        "_abc_registry",
        # Of pydantic: made from the fields and the validators, with addresses and caches in it.
        "__signature__",
        "__pydantic_decorators__",
        "__pydantic_core_schema__",
        "__pydantic_validator__",
        "__pydantic_serializer__",
        "__pydantic_parent_namespace__",
        "__pydantic_complete__",
        "__pydantic_setattr_handlers__",
    }
)
_GENERATED_FILES = "<attrs generated"
_GENERATED_NAMES = "__create_fn__."
_NESTED = 0x10  # the flag of code that is compiled inside a function


def fill_class(maker: NodeMaker, node: Node, cls: type) -> None:
    """Fill a class's node."""
    extension = _extension_of(cls)
    if extension is not None:
        node.kind = "leaf"
        node.local = digest_text("extension member", cls.__qualname__)
        node.edges.append(Edge("extension", maker.node(extension, "")))
        return
    if not ownership.is_own_class(cls):
        node.kind = "leaf"
        node.local = digest_text("leaf", f"{cls.__module__}.{cls.__qualname__}")
        distribution = ownership.distribution(cls.__module__)
        if distribution is not None:
            node.modules.add(distribution)
        return
    _ClassFiller(maker, node, cls).fill()


class _ClassFiller:
    """Collects what one own class is made of."""

    def __init__(self, maker: NodeMaker, node: Node, cls: type) -> None:
        self.maker = maker
        self.node = node
        self.cls = cls
        self.words: list[object] = []
        node.name = cls.__qualname__
        if self.has_module():
            node.name = f"{ownership.canonical_name(cls.__module__)}.{cls.__qualname__}"

    def fill(self) -> None:
        cls, node = self.cls, self.node
        node.extras = lambda aspect: digest_text(cls.__doc__) if aspect == "docs" else ""
        self.note_itself()
        for index, base in enumerate(cls.__bases__):
            self.edge(f"base {index}", base)
        if type(cls) is not type:
            self.edge("metaclass", type(cls))
        self.annotations()
        if _is_enum(cls):
            self.enum_members()
        self.dataclass_fields()
        self.pydantic_validators()
        for name, value in self.members():
            self.edge(f"attribute {name}", value, inner=not isinstance(value, type))
        node.local = digest_text("class", cls.__name__, self.words)

    def note_itself(self) -> None:
        first = self.cls.__qualname__.partition(".")[0]
        if self.has_module():
            self.node.reached.add((self.cls.__module__, first))

    def has_module(self) -> bool:
        return isinstance(self.cls.__module__, str) and ownership.is_own(self.cls.__module__)

    def annotations(self) -> None:
        found = vars(self.cls).get("__annotations__") or {}
        if not isinstance(found, dict):
            found = {}
        self.words.append([(name, annotation_text(value)) for name, value in found.items()])
        generic = vars(self.cls).get("__orig_bases__", ())
        self.words.append([annotation_text(base) for base in generic])
        for value in (*found.values(), *generic):
            for cls in own_classes(value):
                if cls is not self.cls:
                    self.edge(f"annotation {cls.__qualname__}", cls)

    def enum_members(self) -> None:
        members: dict[str, Any] = dict(self.cls.__members__)  # type: ignore[attr-defined]
        self.words.append(["members", list(members)])
        self.words.append(str(vars(self.cls).get("_boundary_")))
        for name, member in members.items():
            self.edge(f"member {name}", member._value_, name, inner=True)

    def dataclass_fields(self) -> None:
        fields: dict[str, Any] = vars(self.cls).get("__dataclass_fields__", {})
        if not fields:
            return
        self.words.append(repr(vars(self.cls).get("__dataclass_params__")))
        for name, field in fields.items():
            flags = [_flag(field, flag) for flag in ("repr", "hash", "init", "compare", "kw_only")]
            self.words.append([name, annotation_text(field.type), flags, field._field_type.name])
            for label in ("default", "default_factory"):
                value = getattr(field, label)
                if type(value).__name__ != "_MISSING_TYPE":
                    self.edge(f"{label} {name}", value, name, inner=True)
            if field.metadata:
                self.edge(f"metadata {name}", dict(field.metadata), name, inner=True)

    def pydantic_validators(self) -> None:
        """Count what validators are for; they themselves are members."""
        groups = getattr(vars(self.cls).get("__pydantic_decorators__"), "__dict__", {})
        for group, validators in groups.items():
            for name, validator in validators.items() if isinstance(validators, dict) else ():
                self.edge(f"{group} {name}", getattr(validator, "info", None), name, inner=True)

    def members(self) -> Iterator[tuple[str, Any]]:
        namespace = vars(self.cls)
        is_enum = _is_enum(self.cls)
        for name in sorted(namespace):
            value = namespace[name]
            if name in _DERIVED or _is_slot(value) or _is_generated(value):
                continue
            if is_enum and not _is_written(value):
                continue
            yield name, value

    def edge(self, label: str, value: object, name: str = "", inner: bool = False) -> None:
        called = f"{self.node.name}.{name or label.rpartition(' ')[2]}"
        self.node.edges.append(Edge(label, self.maker.node(value, called), inner))


def _flag(field: object, name: str) -> bool | None:
    flag = getattr(field, name, None)
    return flag if isinstance(flag, bool) else None  # a class variable's kw_only is a sentinel, with an address


def _is_enum(cls: type) -> bool:
    import enum

    return isinstance(cls, enum.EnumMeta)


def _is_slot(value: object) -> bool:
    if isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
        return True
    return type(value).__name__ == "_tuplegetter"  # of a named tuple: follows from _fields


def _is_generated(value: object) -> bool:
    """Tell whether attrs or `dataclasses` made a method from fields, which are counted.

    Only what cannot be anything else: code from ``<string>`` may be the user's, by exec or `python -c`.
    """
    code = getattr(getattr(value, "__wrapped__", value), "__code__", None)
    if not isinstance(code, types.CodeType):
        return False
    if code.co_filename != "<string>":
        return code.co_filename.startswith(_GENERATED_FILES)
    named = getattr(code, "co_qualname", None)
    if named is not None:
        return str(named).startswith(_GENERATED_NAMES)
    # 3.10: a method of a user's class inside a function begins on the third line at the earliest.
    return code.co_firstlineno == 2 and bool(code.co_flags & _NESTED)


def _is_written(value: object) -> bool:
    """Tell whether an entry of an enumeration's namespace is a function of the user's."""
    inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    namespace = getattr(inner, "__globals__", None)
    return isinstance(namespace, dict) and ownership.is_own_namespace(namespace)
