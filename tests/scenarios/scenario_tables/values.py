"""Values given to a task: the same meaning made another way runs nothing, another meaning runs."""

from __future__ import annotations

from scenario_tables.scenario import Scenario, change

RERUNS = {"f"}

IMPORTS = """
from collections import Counter, OrderedDict, deque, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from uuid import UUID
from dagger.core import FunctionTask, MemoryDatum
{imports}

def f(x):
    return {{"y": type(x).__name__}}

{prelude}

GIVEN = {value}

tasks = [FunctionTask("HERE.f", f, {{"x": MemoryDatum(pointer=GIVEN)}}, {{"y": None}})]
"""


def _case(
    name: str, before: str, after: str, ran: set[str] | frozenset[str], imports: str = "", prelude: str = ""
) -> Scenario:
    source = IMPORTS.format(imports=imports, prelude=prelude, value=before)
    edit = ((f"GIVEN = {before}", f"GIVEN = {after}"),)
    return Scenario(name, source, edit, ran=ran, reason="input changed: x" if ran else "")


def _differ(name: str, before: str, after: str, imports: str = "", prelude: str = "") -> Scenario:
    return _case(name, before, after, RERUNS, imports, prelude)


def _same(name: str, before: str, after: str, imports: str = "", prelude: str = "") -> Scenario:
    return _case(f"{name}_same", before, after, frozenset(), imports, prelude)


NUMPY = "import numpy as np"
PANDAS = "import pandas as pd"
POLARS = "import polars as pl"
ARROW = "import pyarrow as pa"
SPARSE = "import numpy as np\nfrom scipy import sparse"
POINT = "@dataclass\nclass Point:\n    a: int\n    b: int = 0\n"
PAIR = "Pair = namedtuple('Pair', 'a b')\n"
COLOUR = "class Colour(Enum):\n    RED = 1\n    BLUE = 2\n"
LOOP = "def loop(n):\n    a = [n]\n    a.append(a)\n    return a\n"

PLAIN = [
    _differ("integer", "1", "2"),
    _differ("integer_to_bool", "1", "True"),
    _differ("integer_to_float", "1", "1.0"),
    _differ("integer_to_string", "1", "'1'"),
    _differ("big_integer", "10 ** 40", "10 ** 40 + 1"),
    _same("big_integer", "10 ** 40", "10 ** 20 * 10 ** 20"),
    _differ("negative_zero", "0.0", "-0.0"),
    _same("not_a_number", "float('nan')", "float('inf') - float('inf')"),
    _differ("none_to_false", "None", "False"),
    _differ("string_space", "'a b'", "'a  b'"),
    _same("string", "'ab'", "'a' + 'b'"),
    _differ("bytes_value", "b'ab'", "b'ac'"),
    _differ("bytes_to_string", "b'ab'", "'ab'"),
    _differ("list_order", "[1, 2]", "[2, 1]"),
    _differ("list_to_tuple", "[1, 2]", "(1, 2)"),
    _same("list", "[1, 2]", "list(range(1, 3))"),
    _differ("deep", "{'a': [{'b': (1, {2})}]}", "{'a': [{'b': (1, {3})}]}"),
    _same("deep", "{'a': [{'b': (1, {2, 3})}]}", "dict(a=[dict(b=(1, {3, 2}))])"),
    _differ("dict_order", "{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"),
    _same("dict", "{'a': 1, 'b': 2}", "dict([('a', 1), ('b', 2)])"),
    _same("set_order", "{'a', 'b', 'c', 'd'}", "{'d', 'c', 'b', 'a'}"),
    _differ("set_member", "{'a', 'b'}", "{'a', 'c'}"),
    _differ("set_to_frozen", "{1}", "frozenset({1})"),
    _same("frozen_set_of_mixed", "frozenset([1, 'a', None])", "frozenset([None, 'a', 1])"),
    _differ("complex_number", "1 + 2j", "1 + 3j"),
    _differ("range_step", "range(0, 9, 2)", "range(0, 9, 3)"),
    _differ("slice_stop", "slice(1, 2)", "slice(1, 3)"),
    _differ("counter", "Counter('aab')", "Counter('abb')"),
    _differ("ordered_dict", "OrderedDict(a=1)", "OrderedDict(a=2)"),
    _differ("deque_limit", "deque([1], maxlen=2)", "deque([1], maxlen=3)"),
    _differ("decimal_places", "Decimal('1.0')", "Decimal('1.00')"),
    _same("decimal", "Decimal('1.5')", "Decimal(3) / 2"),
    _differ("fraction", "Fraction(1, 2)", "Fraction(1, 3)"),
    _same("fraction", "Fraction(1, 2)", "Fraction(2, 4)"),
    _differ("date_value", "date(2024, 1, 1)", "date(2024, 1, 2)"),
    _differ("time_zone", "datetime(2024, 1, 1)", "datetime(2024, 1, 1, tzinfo=timezone.utc)"),
    _differ("fold", "datetime(2024, 1, 1, fold=0)", "datetime(2024, 1, 1, fold=1)"),
    _same("time_span", "timedelta(hours=1)", "timedelta(minutes=60)"),
    _differ("path_value", "Path('a/b')", "Path('a/c')"),
    _same("path_value", "Path('a/b')", "Path('a') / 'b'"),
    _differ("uuid_value", "UUID(int=1)", "UUID(int=2)"),
    _differ("dataclass_field", "Point(1)", "Point(2)", prelude=POINT),
    _same("dataclass_field", "Point(1)", "Point(a=1, b=0)", prelude=POINT),
    _differ("named_tuple", "Pair(1, 2)", "Pair(1, 3)", prelude=PAIR),
    _differ("named_tuple_to_tuple", "Pair(1, 2)", "(1, 2)", prelude=PAIR),
    _differ("enum_member", "Colour.RED", "Colour.BLUE", prelude=COLOUR),
    _same("enum_member", "Colour.RED", "Colour(1)", prelude=COLOUR),
    _differ("recursive", "loop(1)", "loop(2)", prelude=LOOP),
    _same("recursive", "loop(1)", "loop(2 - 1)", prelude=LOOP),
    _same("shared_parts", "[[1], [1]]", "[[1]] * 2"),
    _differ("class_as_value", "int", "str"),
    _differ("byte_array", "bytearray(b'a')", "bytearray(b'b')"),
    _differ("exception", "ValueError('a')", "ValueError('b')"),
    _differ("pattern", "__import__('re').compile('a')", "__import__('re').compile('b')"),
    _differ("ellipsis_to_none", "...", "None"),
]

ARRAYS = [
    _differ("array_element", "np.arange(5)", "np.arange(5) + 1", NUMPY),
    _differ("array_dtype", "np.arange(3)", "np.arange(3).astype('int32')", NUMPY),
    _differ("array_shape", "np.zeros((2, 3))", "np.zeros((3, 2))", NUMPY),
    _same("array_built_otherwise", "np.arange(3)", "np.array([0, 1, 2])", NUMPY),
    _same("array_strides", "np.arange(4)", "np.arange(8)[::2] // 2", NUMPY),
    _same("array_layout", "np.arange(6).reshape(2, 3)", "np.asfortranarray(np.arange(6).reshape(2, 3))", NUMPY),
    _differ("array_scalar", "np.float64(1)", "np.float32(1)", NUMPY),
    _differ("array_to_list", "np.array([1, 2])", "[1, 2]", NUMPY),
    _differ("array_of_objects", "np.array([1, 'a'], dtype=object)", "np.array([1, 'b'], dtype=object)", NUMPY),
    _same(
        "array_of_objects",
        "np.array([1, 'a'], dtype=object)",
        "np.array(['x', 'a'], dtype=object) if 0 else np.array([1, 'a'], object)",
        NUMPY,
    ),
    _differ("structured_array", "np.zeros(2, 'i4,f8')", "np.zeros(2, 'i4,f4')", NUMPY),
    _differ("array_of_times", "np.array(['2024-01-01'], 'M8[D]')", "np.array(['2024-01-02'], 'M8[D]')", NUMPY),
    _differ("sparse_matrix", "sparse.csr_matrix(np.eye(2))", "sparse.csr_matrix(np.eye(2) * 2)", SPARSE),
    _same("sparse_matrix", "sparse.csr_matrix(np.eye(2))", "sparse.identity(2, format='csr')", SPARSE),
]

FRAMES = [
    _differ("frame_cell", "pd.DataFrame({'a': [1, 2]})", "pd.DataFrame({'a': [1, 3]})", PANDAS),
    _differ("frame_column_name", "pd.DataFrame({'a': [1]})", "pd.DataFrame({'b': [1]})", PANDAS),
    _differ("frame_column_order", "pd.DataFrame({'a': [1], 'b': [2]})", "pd.DataFrame({'b': [2], 'a': [1]})", PANDAS),
    _differ("frame_index", "pd.DataFrame({'a': [1]})", "pd.DataFrame({'a': [1]}, index=[7])", PANDAS),
    _differ("frame_dtype", "pd.DataFrame({'a': [1]})", "pd.DataFrame({'a': [1.0]})", PANDAS),
    _same("frame_built_otherwise", "pd.DataFrame({'a': [1, 2]})", "pd.DataFrame([[1], [2]], columns=['a'])", PANDAS),
    _same(
        "frame_in_blocks",
        "pd.DataFrame({'a': [1, 2], 'b': [3, 4]})",
        "pd.concat([pd.DataFrame({'a': [1, 2]}), pd.DataFrame({'b': [3, 4]})], axis=1)",
        PANDAS,
    ),
    _differ("series_name", "pd.Series([1], name='a')", "pd.Series([1], name='b')", PANDAS),
    _differ(
        "categories",
        "pd.Series(pd.Categorical(['a'], ['a', 'b']))",
        "pd.Series(pd.Categorical(['a'], ['a', 'c']))",
        PANDAS,
    ),
    _differ("polars_cell", "pl.DataFrame({'a': [1, 2]})", "pl.DataFrame({'a': [1, 3]})", POLARS),
    _differ("polars_dtype", "pl.DataFrame({'a': [1]})", "pl.DataFrame({'a': [1]}, schema={'a': pl.Int32})", POLARS),
    _same(
        "polars_in_chunks",
        "pl.DataFrame({'a': [1, 2]})",
        "pl.concat([pl.DataFrame({'a': [1]}), pl.DataFrame({'a': [2]})], rechunk=False)",
        POLARS,
    ),
    _differ("polars_series", "pl.Series('a', [1])", "pl.Series('a', [2])", POLARS),
    _differ("arrow_cell", "pa.table({'a': [1, 2]})", "pa.table({'a': [1, 3]})", ARROW),
    _same(
        "arrow_in_chunks",
        "pa.table({'a': [1, 2]})",
        "pa.concat_tables([pa.table({'a': [1]}), pa.table({'a': [2]})])",
        ARROW,
    ),
    _same("arrow_slice", "pa.table({'a': [1, 2]})", "pa.table({'a': [0, 1, 2]}).slice(1)", ARROW),
]

ADDING = "def g(n):\n    return n + 1\n\ndef h(n):\n    return n + 1\n"

FUNCTIONS = [
    Scenario(
        "function_as_value",
        IMPORTS.format(imports="", prelude=ADDING, value="g"),
        (("return n + 1", "return n + 2"),),
        ran=RERUNS,
    ),
    Scenario(
        "function_as_value_same",
        IMPORTS.format(imports="", prelude=ADDING, value="g"),
        (("return n + 1", "return n + 1  # one more"),),
    ),
    Scenario(
        "own_class_as_value",
        IMPORTS.format(imports="", prelude="class P:\n    n = 1\n", value="P"),
        (("n = 1", "n = 2"),),
        ran=RERUNS,
    ),
    Scenario(
        "registered_digest",
        """
        from dagger.cache import register_digest
        from dagger.core import FunctionTask, MemoryDatum

        class Ticket:
            def __init__(self, number):
                self.number = number
                self.walker = iter([number])

        register_digest(Ticket, lambda ticket: ticket.number)

        def f(x):
            return {"y": x.number}

        tasks = [FunctionTask("HERE.f", f, {"x": MemoryDatum(pointer=Ticket(1))}, {"y": None})]
        """,
        (("Ticket(1)", "Ticket(2)"),),
        ran=RERUNS,
    ),
    Scenario(
        "undigestible_input",
        """
        from dagger.core import FunctionTask, MemoryDatum

        class Model:
            def __init__(self):
                self.optimizer = iter([1])

        def f(x):
            return {"y": 1}

        def g(y):
            return {"z": y}

        made = FunctionTask("HERE.f", f, {"x": MemoryDatum(pointer=Model())}, {"y": None})
        tasks = [FunctionTask("HERE.g", g, {"y": made["y"]}, {"z": None})]
        """,
        (("iter([1])", "iter([1, 2])"),),
        ran=RERUNS,
        always=RERUNS,
        note="inputs['x'].optimizer: list_iterator",
    ),
    Scenario(
        "undigestible_global",
        """
        WALKER = iter([1])

        def f(x):
            return {"y": list(WALKER)}
        """,
        (("iter([1])", "iter([2])"),),
        ran=RERUNS,
        always=RERUNS,
        note="WALKER: list_iterator",
    ),
    Scenario(
        "undigestible_output",
        """
        from dagger.core import FunctionTask

        class Walk:
            def __init__(self, steps):
                self.steps = iter(steps)

            def __repr__(self):
                return "Walk"

        def f():
            return {"y": Walk([1])}

        def g(y):
            return {"z": list(y.steps)}

        made = FunctionTask("HERE.f", f, {}, {"y": None})
        tasks = [FunctionTask("HERE.g", g, {"y": made["y"]}, {"z": None})]
        """,
        change("steps.py", "Walk([1])", "Walk([2])"),
        ran={"f", "g"},
    ),
    Scenario(
        "many_inputs_of_a_list",
        """
        from dagger.core import FunctionTask, MemoryDatum
        from dagger.abstract import DatumList

        def f(x):
            return {"y": sum(x)}

        given = DatumList(MemoryDatum, [MemoryDatum(pointer=1), MemoryDatum(pointer=2)])
        tasks = [FunctionTask("HERE.f", f, {"x": given}, {"y": None})]
        """,
        (("pointer=2", "pointer=3"),),
        ran=RERUNS,
        reason="input changed: x[1]",
    ),
    Scenario(
        "early_cutoff_by_value",
        """
        from dagger.core import FunctionTask, MemoryDatum, PklTask

        def f(x):
            return {"y": sorted(x)}

        def g(y):
            return {"z": y}

        made = PklTask("HERE.f", f, {"x": MemoryDatum(pointer=[1, 2])}, {"y": "HERE/y.pkl"})
        tasks = [PklTask("HERE.g", g, {"y": made["y"]}, {"z": "HERE/z.pkl"})]
        """,
        (("[1, 2]", "[2, 1]"),),
        ran=RERUNS,
    ),
    Scenario(
        "pickle_of_another_layout",
        """
        from dagger.core import FunctionTask, PklTask

        def f():
            a = [1]
            return {"y": [a, a]}

        def g(y):
            return {"z": y}

        made = PklTask("HERE.f", f, {}, {"y": "HERE/y.pkl"})
        tasks = [PklTask("HERE.g", g, {"y": made["y"]}, {"z": "HERE/z.pkl"})]
        """,
        (("[a, a]", "[[1], [1]]"),),
        ran=RERUNS,
    ),
    Scenario(
        "path_of_a_pickle",
        """
        from dagger.core import PklTask

        def f():
            return {"y": 5}

        tasks = [PklTask("HERE.f", f, {}, {"y": "HERE/old.pkl"})]
        """,
        (("old.pkl", "new.pkl"),),
        kept=("new.pkl",),
    ),
    Scenario(
        "name_of_an_input",
        """
        from dagger.core import FunctionTask, MemoryDatum

        def f(**given):
            return {"y": given}

        tasks = [FunctionTask("HERE.f", f, {"a": MemoryDatum(pointer=1)}, {"y": None})]
        """,
        (('"a": M', '"b": M'),),
        ran=RERUNS,
    ),
    Scenario(
        "order_of_inputs_that_is_seen",
        """
        from dagger.core import FunctionTask, MemoryDatum

        def f(**given):
            return {"y": list(given)}

        one, two = MemoryDatum(pointer=1), MemoryDatum(pointer=2)
        tasks = [FunctionTask("HERE.f", f, {"a": one, "b": two}, {"y": None})]
        """,
        (('{"a": one, "b": two}', '{"b": two, "a": one}'),),
        ran=RERUNS,
    ),
    Scenario(
        "added_output",
        """
        from dagger.core import FunctionTask

        def f():
            return {name: 1 for name in NAMES}

        NAMES = ["a"]
        tasks = [FunctionTask("HERE.f", f, {}, dict.fromkeys(NAMES))]
        """,
        (('["a"]', '["a", "b"]'),),
        ran=RERUNS,
    ),
    Scenario(
        "explicit_dependency",
        """
        from dagger.core import FunctionTask

        def f():
            return {"y": 1}

        def g():
            return {"z": 1}

        before = FunctionTask("HERE.f", f, {}, {"y": None})
        tasks = [FunctionTask("HERE.g", g, {}, {"z": None}, dependencies=[before])]
        """,
        (('"y": 1', '"y": 2'),),
        ran={"f", "g"},
    ),
    Scenario(
        "explicit_dependency_that_came_out_the_same",
        """
        from dagger.core import FunctionTask

        def f():
            return {"y": 1}

        def g():
            return {"z": 1}

        before = FunctionTask("HERE.f", f, {}, {"y": None})
        tasks = [FunctionTask("HERE.g", g, {}, {"z": None}, dependencies=[before])]
        """,
        (('"y": 1', '"y": 2 - 1 if len("a") else 0'),),
        ran=RERUNS,
    ),
]

SCENARIOS = PLAIN + ARRAYS + FRAMES + FUNCTIONS
