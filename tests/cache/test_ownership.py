"""Whose code a module is, and which installed distribution stands for it."""

from __future__ import annotations

import collections
import importlib
import importlib.util
import json
import math
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import types
import zipfile
from dataclasses import make_dataclass

import numpy
import pytest

import dagger
from dagger.cache import distributions
from dagger.cache.fingerprints import fingerprint
from dagger.cache.ownership import canonical_name, distribution, is_own, is_own_class, with_required
from dagger.errors import UndigestibleError


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write files, put folders of theirs on the path, import one module."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def call(name, files, *folders):
        for file, text in files.items():
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        for folder in folders or ("",):
            monkeypatch.syspath_prepend(str(tmp_path / folder))
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield call
    for name in set(sys.modules) - before:
        del sys.modules[name]
    for cached in (distributions._installed, distributions._metadata_folders, distributions._requirements):
        cached.cache_clear()


@pytest.mark.parametrize("module", [json, math, sys, collections, numpy, numpy.random, pytest, dagger])
def test_not_own(module):
    """The standard library, built in or not, what is installed, and dagger itself are not own."""
    assert not is_own(module)
    assert not is_own(module.__name__)


def test_own(load):
    """A module in a folder of the user's is own, also if it is called like a standard one."""
    assert is_own(load("surely_mine", {"surely_mine.py": ""}))
    assert is_own("surely_mine")
    mine = types.ModuleType("types")
    mine.__file__ = "/home/somebody/project/types.py"
    assert is_own(mine)


def test_code_without_a_module():
    """What exec, an interpreter or a notebook defined is own."""
    assert is_own(None)
    assert is_own("__main__")
    assert is_own(types.ModuleType("made_in_memory"))


def test_virtual_environment_inside_the_project(load):
    """What is installed in an environment inside the project's folder is still not own."""
    folder = ".venv/lib/python3/site-packages"
    assert not is_own(load("inside_venv", {f"{folder}/inside_venv.py": ""}, folder))


def test_editable_install(load, tmp_path):
    """A package whose metadata alone is in site-packages is own, and no distribution."""
    site = "env/site-packages"
    metadata = f"{site}/edited-1.0.dist-info"
    module = load(
        "edited",
        {
            "src/edited/__init__.py": "N = 1",
            f"{metadata}/METADATA": "Name: edited\nVersion: 1.0\n",
            f"{metadata}/RECORD": "edited-1.0.dist-info/METADATA,,\n__editable__.edited.pth,,\n",
            f"{site}/__editable__.edited.pth": str(tmp_path / "src"),
        },
        site,
        "src",
    )
    assert is_own(module)
    assert distribution(module) is None


def test_namespace_package(load):
    """A namespace package is own where its folder is the user's."""
    module = load("spacious.inner", {"spacious/inner.py": ""})
    assert is_own(module)
    assert is_own("spacious")


def test_zip(load, tmp_path):
    """A module in a zip of the user's is own, and its functions are followed."""
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("zipped.py", "N = 1\ndef task(): return N\n")
    module = load("zipped", {}, "code.zip")
    assert is_own(module)
    assert [part.name for part in fingerprint(module.task).parts] == ["zipped.N", "zipped.task"]


def test_module_without_source(load, tmp_path):
    """A module of which only the compiled file is there has the same fingerprint."""
    import py_compile

    text = "N = 1\ndef task():\n    return N\n"
    module = load("pipeline", {"one/pipeline.py": text}, "one")
    before = fingerprint(module.task)
    (tmp_path / "two").mkdir()
    py_compile.compile(str(tmp_path / "one/pipeline.py"), cfile=str(tmp_path / "two/pipeline.pyc"))
    shutil.rmtree(tmp_path / "one")
    del sys.modules["pipeline"]
    module = load("pipeline", {}, "two")
    assert module.__file__.endswith(".pyc")
    after = fingerprint(module.task)
    assert after == before
    assert [part.source for part in after.parts if part.kind == "function"] == [""]


def test_canonical_name():
    """A script goes by its file's name, an interactive session by what Python calls it."""
    assert canonical_name("package.module") == "package.module"
    assert canonical_name("__main__", {"__file__": "/somewhere/pipeline.py"}) == "pipeline"
    assert canonical_name("__main__", {}) == "__main__"


def test_distribution():
    """An installed module stands for its distribution's name and version."""
    assert distribution(numpy.random) == ("numpy", numpy.__version__)
    assert distribution("numpy.linalg") == ("numpy", numpy.__version__)
    assert distribution(json) is None
    assert distribution(dagger) is None


def test_distribution_of_another_name(load):
    """A module is found in its distribution by the list of files, whatever both are called."""
    site = "site-packages"
    metadata = f"{site}/Strange_Name-2.5.dist-info"
    module = load(
        "quite_different",
        {
            f"{site}/quite_different/__init__.py": "",
            f"{metadata}/METADATA": "Metadata-Version: 2.1\nName: Strange-Name\nVersion: 2.5\n\nText: no\n",
            f"{metadata}/RECORD": "quite_different/__init__.py,sha256=x,0\n",
        },
        site,
    )
    assert distribution(module) == ("Strange-Name", "2.5")


def test_namespace_shared_by_distributions(load):
    """Of two distributions that share a namespace, each owns its part."""
    site = "site-packages"
    files = {}
    for part in ("one", "two"):
        metadata = f"{site}/shared_{part}-1.{part}.dist-info"
        files[f"{site}/sharedspace/{part}/__init__.py"] = ""
        files[f"{metadata}/METADATA"] = f"Name: shared-{part}\nVersion: 1.{part}\n"
        files[f"{metadata}/RECORD"] = f"sharedspace/{part}/__init__.py,,\n"
    assert distribution(load("sharedspace.one", files, site)) == ("shared-one", "1.one")
    assert distribution("sharedspace.two") == ("shared-two", "1.two")  # not loaded


def test_required_distributions(load):
    """What a distribution requires counts, transitively; optional extras and what is missing do not."""
    site = "site-packages"
    files = {f"{site}/topmost.py": ""}
    wants = {
        "topmost": ["Middle_One>=1", "absentee", "extra-thing ; extra == 'plot'"],
        "middle-one": ['bottom (>=2) ; python_version > "3"'],
        "bottom": ["topmost"],
        "extra-thing": [],
    }
    for name, required in wants.items():
        metadata = f"{site}/{name.replace('-', '_')}-1.0.dist-info"
        lines = "".join(f"Requires-Dist: {entry}\n" for entry in required)
        files[f"{metadata}/METADATA"] = f"Name: {name}\nVersion: 1.0\n{lines}"
        files[f"{metadata}/RECORD"] = f"{name}.py,,\n"
    found = distribution(load("topmost", files, site))
    assert found is not None
    assert with_required([found]) == (("bottom", "1.0"), ("middle-one", "1.0"), ("topmost", "1.0"))


def test_module_that_no_distribution_claims(load):
    """A stray file in site-packages counts by its content."""
    site = "site-packages"
    one = load("stray_one", {f"{site}/stray_one.py": "N = 1", f"{site}/stray_two.py": "N = 2"}, site)
    two = load("stray_two", {}, site)
    assert distribution(one)[0] == "stray_one"
    assert distribution(one)[1] != distribution(two)[1]


def test_classes():
    """Classes tell by more than their module's name whose they are."""
    space = {}
    exec("class Mine: pass", space)
    assert space["Mine"].__module__ == "builtins"
    assert is_own_class(space["Mine"])
    assert is_own_class(make_dataclass("Made", ["a"]))
    assert not is_own_class(int)
    assert not is_own_class(numpy.ndarray)
    assert not is_own_class(type(numpy.random.normal))


def test_methods_of_executed_classes(monkeypatch):
    """A class that exec defined, in bare globals or with fields, counts with all of its methods."""
    text = """
        from dataclasses import dataclass
        @dataclass
        class Fields:
            n: int = 1
            def __eq__(self, other): return VALUE
        class Plain:
            def __init__(self): self.n = VALUE
        def first(): return Fields()
        def second(): return Plain()
    """
    found = []
    for value in (1, 2):
        module = types.ModuleType("made")
        monkeypatch.setitem(sys.modules, "made", module)
        exec(textwrap.dedent(text).replace("VALUE", str(value)), vars(module))
        found.append([fingerprint(vars(module)[name]).digest for name in ("first", "second")])
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


EXTENSION = """
#include <Python.h>
static PyObject *value(PyObject *self, PyObject *args) { return PyLong_FromLong(VALUE); }
static PyMethodDef methods[] = {{"value", value, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "compiled", NULL, -1, methods};
PyMODINIT_FUNC PyInit_compiled(void) { return PyModule_Create(&module); }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_own_extension(tmp_path):
    """An own extension module counts by its file, however it is reached."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    include = sysconfig.get_paths()["include"]
    found = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "compiled.c").write_text(EXTENSION.replace("VALUE", str(number)))
        command = ["cc", "-shared", "-fPIC", f"-I{include}", "compiled.c", "-o", f"compiled{suffix}"]
        if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
            pytest.skip("cannot compile an extension here")
        (folder / "pipeline.py").write_text(
            "import compiled\nfrom compiled import value\n"
            "def one(): return compiled.value()\ndef two(): return value()\n"
            "def three():\n    import compiled as c\n    return c.value()\n"
        )
        script = """
            import pipeline
            from dagger.cache.fingerprints import fingerprint
            for name in ("one", "two", "three"):
                found = fingerprint(getattr(pipeline, name))
                print(found.digest, [part.name for part in found.parts if part.kind == "extension"])
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], cwd=folder, capture_output=True, text=True, check=True
        )
        found.append(done.stdout.splitlines())
    assert all(line.endswith("['compiled']") for line in found[0])
    assert all(before != after for before, after in zip(*found, strict=True))


def test_extension_that_is_gone(monkeypatch, tmp_path):
    """An extension module whose file cannot be read leaves no fingerprint."""
    module = types.ModuleType("vanished")
    module.__file__ = str(tmp_path / "vanished.so")
    monkeypatch.setitem(sys.modules, "vanished", module)
    space = {"vanished": module}
    exec("def task(): return vanished", space)
    with pytest.raises(UndigestibleError, match="vanished"):
        fingerprint(space["task"])
