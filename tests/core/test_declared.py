"""What is looked at in C where that could be compiled: it is what Python comes to."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import MappingProxyType

import pytest
from hypothesis import example, given, strategies as st

from dagger.abstract import AbstractDatum, DatumList, DatumState, TaskState
from dagger.core import datum as compiled, task as compiled_tasks

_declared = pytest.importorskip("dagger.abstract._declared", reason="dagger was not compiled here")


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
    for files, kind in ((one, compiled.FileDatum), (other, plain.FileDatum)):
        assert list(files) == list(declared)
        for name, file in files.items():
            if compiled._is_plain_path(declared[name]):
                assert type(file) is kind
                assert (file.pointer, file.state.name, file.parents) == (declared[name], "POPULATED", [])
                assert file._known_quickhash is None
            else:
                assert file is None


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


def test_tasks_are_declared_the_same_where_nothing_could_be_compiled(nothing_compiled, tmp_path):
    """And what is wrong with one is told in the same words."""
    said = [
        subprocess.check_output([sys.executable, "-c", begin + DECLARE], cwd=tmp_path, text=True)
        for begin in ("", nothing_compiled)
    ]
    assert said[0] == said[1]
    for what in ("AVAILABLE", "POPULATED", "DeclarationError", "FileGlob"):
        assert what in said[0]


def test_each_output_is_declared_by_itself():
    """Whether a path is plain has nothing to do with the other outputs."""
    asked = []

    class Own(compiled_tasks.FunctionTask):
        def _output(self, name, declared):
            asked.append(name)
            return super()._output(name, declared)

    task = Own("t", len, {}, {"plain": "a.txt", "value": None, "other": "b.txt", "folder": "c/../d.txt\\"})
    assert asked == ["value", "folder"]
    assert list(task.outputs) == ["plain", "value", "other", "folder"]
    assert Own("t", len, {}, MappingProxyType({"a": "a.txt"}))["a"].pointer == "a.txt"


def test_what_an_output_was_declared_with_is_what_its_first_task_was_told(tmp_path, monkeypatch):
    """A second task that is told of it later, when it holds what the first has made, does not change that."""
    monkeypatch.chdir(tmp_path)
    value = compiled.MemoryDatum()
    one = compiled_tasks.FunctionTask("one", lambda: {"x": 1}, {}, {"x": value})
    one.run()
    compiled_tasks.FunctionTask("other", len, {}, {"y": DatumList(compiled.MemoryDatum, [value])})
    one.function = lambda: 1 / 0
    one.update_state(TaskState.WAITING)
    with pytest.raises(ZeroDivisionError):
        one.run()
    assert value.state is DatumState.EMPTY


def test_an_output_that_is_replaced_keeps_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two").write_text("2")
    task = compiled_tasks.FunctionTask("t", lambda x: open(x, "w").close(), {}, {"x": "one"})
    for datum in (compiled.FileDatum(task, pointer="two"), compiled.FileDatum(pointer="two")):
        task.outputs["x"] = datum
        task.update_state(TaskState.WAITING)
        task.run()
        assert (datum.state, datum.pointer) == (DatumState.AVAILABLE, "two")
