"""What is looked at in C where that could be compiled: it is what Python comes to."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from hypothesis import example, given, strategies as st

from dagger.abstract import AbstractDatum
from dagger.core import datum as compiled

_declared = pytest.importorskip("dagger.abstract._declared", reason="dagger was not compiled here")

COMPILED = ("abstract._declared", "cache._stamps", "core._leaving", "core._outline", "core._system")
NOTHING_COMPILED = f"import sys; sys.modules.update({{'dagger.' + name: None for name in {COMPILED}}})\n"


@pytest.fixture(scope="module")
def plain():
    """The same module, as it is where there is no compiler."""
    spec = importlib.util.spec_from_file_location("dagger.core.datum_in_python", compiled.__file__)
    module = importlib.util.module_from_spec(spec)
    kept = sys.modules["dagger.abstract._declared"]
    sys.modules["dagger.abstract._declared"] = None
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules["dagger.abstract._declared"] = kept
    assert module._promised is None
    return module


paths = st.text(st.characters(max_codepoint=300), max_size=6) | st.text("ab/.*?[\\ \x7f~", max_size=6)
values = paths | st.sampled_from(["a" * 250, "a" * 251, "a" * 4_096]) | st.none() | st.binary(max_size=2)


@given(values)
@example("é")
@example("\ud800")
def test_a_plain_path_is_one_in_both(plain, value):
    is_plain = compiled._is_plain_path(value)
    assert is_plain == plain._is_plain_path(value)
    if is_plain:
        assert compiled.is_path(value)
        assert not compiled.is_pattern(value)


@given(st.dictionaries(st.text(max_size=3), values, max_size=3))
def test_outputs_are_promised_in_both(plain, declared):
    one, other = compiled.promised_files(declared), plain.promised_files(declared)
    assert (one is None) == (other is None)
    for files, kind in ((one, compiled.FileDatum), (other, plain.FileDatum)):
        if files is not None:
            assert list(files) == list(declared)
            assert all(type(it) is kind for it in files.values())
            assert [it.pointer for it in files.values()] == list(declared.values())
            assert {(it.state.name, it.parents == [], it._known_quickhash) for it in files.values()} <= {
                ("POPULATED", True, None)
            }


class _Pretends:
    @property
    def __class__(self):
        return compiled.MemoryDatum


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("data", "are_named"),
    [
        ({}, True),
        ({"a": compiled.MemoryDatum(), "b": compiled.FileDatum(), "c": compiled.FileGlob("*.x")}, True),
        ({"a": compiled.MemoryDatum(), "b": 1}, False),
        ({"a": compiled.MemoryDatum}, False),
        ({"a": _Pretends()}, False),
        ({1: compiled.MemoryDatum()}, False),
        ({_Text("a"): compiled.MemoryDatum()}, False),  # which Python goes on to take
        ([], False),
        (None, False),
    ],
)
def test_data_by_name(data, are_named):
    assert _declared.are_named(data, AbstractDatum) is are_named


DECLARE = """
from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask

class Text(str):
    pass

class Own(MemoryDatum):
    pass

def made(kind, *declared):
    try:
        task = kind("t", *declared, **({"script": "true"} if kind is ScriptTask else {}))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return [[(name, type(it).__name__, it.state.name, str(it.pointer), it._declared_pointer(), it.parents == [task])
             for name, it in data.items()] for data in (task.inputs, task.outputs)]

here = FileDatum(pointer="here.txt")
for inputs in ({}, {"a": here}, {"a": Own(pointer=1)}, {1: here}, {Text("a"): here}, {"a": "here.txt"}, [here], None):
    print(made(ScriptTask, inputs, {"b": "out.txt"}))
    print(made(FunctionTask, len, inputs, {"b": None}))
odd = ("a b.txt", "dir/", "a*.txt", "", "a\\0b", "é.txt", "a.pkl", "x" * 300, None, 1, MemoryDatum(), here)
for path in ("a.txt", *odd):
    for outputs in ({"a": path}, {"a": "plain.txt", "b": path}):
        print(made(ScriptTask, {}, outputs))
        print(made(FunctionTask, len, {}, outputs))
"""


def test_tasks_are_declared_the_same_where_nothing_could_be_compiled(tmp_path):
    """And what is wrong with one is told in the same words."""
    said = [
        subprocess.check_output([sys.executable, "-c", begin + DECLARE], cwd=tmp_path, text=True)
        for begin in ("", NOTHING_COMPILED)
    ]
    assert said[0] == said[1]
    for what in ("AVAILABLE", "POPULATED", "DeclarationError", "FileGlob"):
        assert what in said[0]
