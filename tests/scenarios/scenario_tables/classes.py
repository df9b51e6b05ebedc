"""Classes that a function uses, in a module, in the script, in a notebook's cell and in `exec`."""

from __future__ import annotations

from scenario_tables.scenario import Scenario, change, everywhere

RERUNS = {"f"}

CLASS = """
    class Base:
        scale = 2

        def times(self, n):
            return n * self.scale

    class Model(Base):
        "A model."
        offset = 1

        def __init__(self, n):
            self.n = n

        @property
        def size(self):
            return self.n + 10

        @staticmethod
        def fixed(n):
            return n + 100

        @classmethod
        def make(cls, n):
            return cls(n + 1000)

        def predict(self):
            return self.times(self.n) + self.offset

    class Unused:
        value = 1

    def f(x):
        model = Model(x)
        return {"y": [model.predict(), model.size, Model.fixed(x), Model.make(x).n]}
"""

DATACLASS = """
    from dataclasses import dataclass, field

    @dataclass
    class Point:
        x: int = 1
        tags: list = field(default_factory=list)

    def f(x):
        return {"y": repr(Point())}
"""

ENUM = """
    from enum import Enum

    class Colour(Enum):
        RED = 1
        GREEN = 2

    def f(x):
        return {"y": Colour.RED.value}
"""


def _edited(name: str, old: str, new: str, **options: set[str]) -> Scenario:
    return everywhere(name, CLASS, (old, new), **options)


SCENARIOS = [
    _edited("method", "self.times(self.n) +", "self.times(self.n) -", ran=RERUNS),
    _edited("constructor", "self.n = n", "self.n = n + 1", ran=RERUNS),
    _edited("property", "self.n + 10", "self.n + 11", ran=RERUNS),
    _edited("static_method", "n + 100", "n + 101", ran=RERUNS),
    _edited("class_method", "n + 1000", "n + 1001", ran=RERUNS),
    _edited("class_attribute", "offset = 1", "offset = 2", ran=RERUNS),
    _edited("attribute_of_the_base", "scale = 2", "scale = 3", ran=RERUNS),
    _edited("method_of_the_base", "n * self.scale", "n * self.scale * 2", ran=RERUNS),
    _edited("another_base", "class Model(Base)", "class Model(Base, dict)", ran=RERUNS),
    _edited("added_method", "    @property", "    def __len__(self):\n        return 1\n\n    @property", ran=RERUNS),
    _edited("class_docstring", "A model.", "Another model."),
    _edited("method_docstring", "        return self.times", '        "Predict."\n        return self.times'),
    _edited("method_annotation", "def predict(self)", "def predict(self) -> int"),
    _edited("method_comment", "self.n = n\n", "self.n = n  # the size\n"),
    _edited("unused_class", "value = 1", "value = 2"),
    everywhere("dataclass_default", DATACLASS, ("x: int = 1", "x: int = 2"), ran=RERUNS),
    everywhere("dataclass_field_added", DATACLASS, ("x: int = 1", "x: int = 1\n    z: int = 0"), ran=RERUNS),
    everywhere("dataclass_factory", DATACLASS, ("default_factory=list", "default_factory=set"), ran=RERUNS),
    everywhere("dataclass_option", DATACLASS, ("@dataclass\n", "@dataclass(frozen=True)\n"), ran=RERUNS),
    everywhere("dataclass_comment", DATACLASS, ("x: int = 1", "x: int = 1  # where")),
    everywhere("enum_value", ENUM, ("RED = 1", "RED = 3"), ran=RERUNS),
    everywhere("enum_comment", ENUM, ("RED = 1", "RED = 1  # warm")),
    everywhere(
        "named_tuple_default",
        "from typing import NamedTuple\n\nclass P(NamedTuple):\n    a: int = 1\n\ndef f(x):\n    return {'y': tuple(P())}\n",
        ("a: int = 1", "a: int = 2"),
        ran=RERUNS,
    ),
    everywhere(
        "slots",
        "class P:\n    __slots__ = ('a',)\n\ndef f(x):\n    return {'y': P.__slots__}\n",
        ("('a',)", "('a', 'b')"),
        ran=RERUNS,
    ),
    everywhere(
        "meta_class",
        """
        class Meta(type):
            def __call__(cls, *args):
                return 1

        class P(metaclass=Meta):
            pass

        def f(x):
            return {"y": P()}
        """,
        ("return 1", "return 2"),
        ran=RERUNS,
    ),
    everywhere(
        "descriptor",
        """
        class Ten:
            def __get__(self, instance, owner):
                return 10

        class P:
            ten = Ten()

        def f(x):
            return {"y": P().ten}
        """,
        ("return 10", "return 11"),
        ran=RERUNS,
    ),
    everywhere(
        "helper_of_a_method",
        """
        def helper():
            return 1

        class P:
            def go(self):
                return helper()

        def f(x):
            return {"y": P().go()}
        """,
        ("return 1", "return 2"),
        ran=RERUNS,
    ),
    everywhere(
        "instance_as_global",
        """
        class P:
            def __init__(self, n):
                self.n = n

        GIVEN = P(1)

        def f(x):
            return {"y": GIVEN.n}
        """,
        ("P(1)", "P(2)"),
        ran=RERUNS,
    ),
    everywhere(
        "method_of_an_instance_as_global",
        """
        class P:
            def go(self):
                return 1

        GIVEN = P()

        def f(x):
            return {"y": GIVEN.go()}
        """,
        ("return 1", "return 2"),
        ran=RERUNS,
    ),
    everywhere(
        "inner_class",
        "class P:\n    class Q:\n        n = 1\n\ndef f(x):\n    return {'y': P.Q.n}\n",
        ("n = 1", "n = 2"),
        ran=RERUNS,
    ),
    everywhere(
        "class_docstring_that_is_used",
        "class P:\n    'One.'\n\ndef f(x):\n    return {'y': P.__doc__}\n",
        ("One.", "Two."),
        ran=RERUNS,
    ),
    Scenario(
        "base_in_another_module",
        """
        from HERE.bases import Base

        class Model(Base):
            pass

        def f(x):
            return {"y": Model().go()}
        """,
        change("bases.py", "return 1", "return 2"),
        ran=RERUNS,
        files={"bases.py": "class Base:\n    def go(self):\n        return 1\n"},
    ),
    Scenario(
        "class_of_an_input",
        """
        from dagger.core import FunctionTask, MemoryDatum
        from HERE.shapes import Square

        def f(shape):
            return {"y": shape.area()}

        tasks = [FunctionTask("HERE.f", f, {"shape": MemoryDatum(pointer=Square(3))}, {"y": None})]
        """,
        change("shapes.py", "self.a ** 2", "self.a ** 3"),
        ran=RERUNS,
        files={
            "shapes.py": """
            class Square:
                def __init__(self, a):
                    self.a = a

                def area(self):
                    return self.a ** 2
            """
        },
        reason="input's class changed: HERE.shapes:Square",
    ),
    Scenario(
        "class_of_a_made_value",
        """
        from dagger.core import FunctionTask, MemoryDatum
        from HERE import shapes

        def make(x):
            return {"shape": shapes.make(x)}

        def use(shape):
            return {"y": shape.area()}

        made = FunctionTask("HERE.make", make, {"x": MemoryDatum(pointer=3)}, {"shape": None})
        tasks = [FunctionTask("HERE.use", use, {"shape": made["shape"]}, {"y": None})]
        """,
        change("shapes.py", "self.a ** 2", "self.a ** 3"),
        ran={"make", "use"},
        files={
            "shapes.py": """
            class Square:
                def __init__(self, a):
                    self.a = a

                def area(self):
                    return self.a ** 2

                def __repr__(self):
                    return f"Square({self.a})"

            def make(a):
                return Square(a)
            """
        },
    ),
    Scenario(
        "comment_in_the_class_of_an_input",
        """
        from dagger.core import FunctionTask, MemoryDatum
        from HERE.shapes import Square

        def f(shape):
            return {"y": shape.a}

        tasks = [FunctionTask("HERE.f", f, {"shape": MemoryDatum(pointer=Square(3))}, {"y": None})]
        """,
        change("shapes.py", "self.a = a", "self.a = a  # the side"),
        files={"shapes.py": "class Square:\n    def __init__(self, a):\n        self.a = a\n"},
    ),
]
