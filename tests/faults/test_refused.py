"""What cannot go well is refused before anything runs: in one message that names the culprits, by exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

PREAMBLE = """
import functools, os
from concurrent.futures import ThreadPoolExecutor
from dagger.abstract import AbstractTask, DatumList, InputForm
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask, WorkflowManager

def value():
    open("ran", "a").close()
    return {"x": 1}

def take(a, b=0):
    open("ran", "a").close()
    return {"x": a}

def write(out):
    open("ran", "a").close()

def script(name, *paths, **more):
    outputs = {f"o{i}": path for i, path in enumerate(paths)}
    return ScriptTask(name, outputs=outputs, script="touch ran" + "".join(f" {{{it}}}" for it in outputs), **more)

def reading(name, path, **more):
    inputs, outputs = {"i": FileDatum(pointer=path)}, {"r": f"{name}.made"}
    return ScriptTask(name, inputs, outputs, script="cat {i} > {r}; touch ran", **more)

def one(**options):
    return FunctionTask("t", value, outputs={"x": None}, **options)

good = script("good", "good.txt")

def run(*tasks, **options):
    WorkflowManager([good, *tasks], **options).run()

os.makedirs("real", exist_ok=True)
os.makedirs("deep/er", exist_ok=True)
if not os.path.lexists("linked"):
    os.symlink("real", "linked")
for name in ("a.txt", "real/a.txt", "source.csv", "deep/source.csv"):
    if not os.path.exists(name):
        with open(name, "w") as file:
            file.write("mine")
"""


@dataclass(frozen=True)
class Fault:
    """A pipeline that is refused.

    Attributes:
        body: What stands behind the preamble.
        told: What the message says, whatever the order.
    """

    name: str
    body: str
    told: tuple[str, ...]


def _fault(name: str, body: str, *told: str) -> Fault:
    return Fault(name, textwrap.dedent(body).strip(), told)


GRAPHS = [
    _fault(
        "a cycle",
        """
        a = FunctionTask("a", take, {"a": MemoryDatum()}, {"x": None})
        b = FunctionTask("b", take, {"a": a["x"]}, {"x": None})
        c = FunctionTask("c", take, {"a": b["x"]}, {"x": None})
        a.inputs["a"] = c["x"]
        run(c)
        """,
        "cycle",
        "a → b → c → a",
    ),
    _fault(
        "a task that takes its own output",
        """
        a = FunctionTask("a", take, {"a": MemoryDatum()}, {"x": None})
        a.inputs["a"] = a["x"]
        run(a)
        """,
        "cycle",
        "a → a",
    ),
    _fault(
        "a cycle through a dependency",
        """
        a, b = script("a", "1"), script("b", "2")
        a.dependencies.append(b)
        b.dependencies.append(a)
        run(a)
        """,
        "cycle",
    ),
    _fault(
        "one identifier twice",
        "run(script('t', '1'), script('t', '2'))",
        "two tasks are named 't'",
    ),
    _fault(
        "several faults at once",
        """
        run(script("t", "1"), script("t", "2"), reading("r", "no-1.csv"), script("p", "same"), script("q", "./same"))
        """,
        "two tasks are named 't'",
        "'p' and 'q' both write",
        "no-1.csv",
    ),
]

FILES = [
    _fault("one output of two tasks", "run(script('p', 'a.txt'), script('q', 'a.txt'))", "'p'", "'q'", "a.txt"),
    _fault("through ./", "run(script('p', 'a.txt'), script('q', './a.txt'))", "'p'", "'q'", "a.txt"),
    _fault("through ..", "run(script('p', 'a.txt'), script('q', 'deep/../a.txt'))", "'p'", "'q'", "a.txt"),
    _fault("through //", "run(script('p', 'deep/n.txt'), script('q', 'deep//n.txt'))", "'p'", "'q'", "n.txt"),
    _fault(
        "absolute and relative",
        "run(script('p', 'a.txt'), script('q', os.path.abspath('a.txt')))",
        "'p'",
        "'q'",
        "a.txt",
    ),
    _fault(
        "through a symlinked directory",
        "run(script('p', 'real/n.txt'), script('q', 'linked/n.txt'))",
        "'p'",
        "'q'",
        "n.txt",
    ),
    _fault(
        "through a symlink",
        """
        if not os.path.lexists("link.txt"):
            os.symlink("a.txt", "link.txt")
        run(script("p", "a.txt"), script("q", "link.txt"))
        """,
        "'p'",
        "'q'",
        "link.txt",
    ),
    _fault(
        "a function and a script", "run(script('p', 'f'), FunctionTask('q', write, outputs={'out': 'f'}))", "'p'", "'q'"
    ),
    _fault(
        "two pickles",
        "run(PklTask('p', value, outputs={'x': 'f.pkl'}), PklTask('q', value, outputs={'x': './f.pkl'}))",
        "'p'",
        "'q'",
        "f.pkl",
    ),
    _fault("two outputs of one task", "run(script('p', 'f', './f'))", "'p'", "'o0'", "'o1'", "both"),
    _fault(
        "a member of a list",
        """
        parts = DatumList(FileDatum, [FileDatum(pointer="1.part"), FileDatum(pointer="2.part")])
        run(ScriptTask("p", outputs={"parts": parts}, script="touch ran {parts}"), script("q", "2.part"))
        """,
        "'p'",
        "'q'",
        "2.part",
    ),
    _fault(
        "two members of one list",
        """
        parts = DatumList(FileDatum, [FileDatum(pointer="1.part"), FileDatum(pointer="./1.part")])
        run(ScriptTask("p", outputs={"parts": parts}, script="touch ran {parts}"))
        """,
        "'p'",
        "'parts'",
        "1.part",
    ),
    _fault(
        "inside another's directory",
        "run(script('p', 'out/'), script('q', 'out/in/n.txt'))",
        "'p'",
        "'q'",
        "out/in/n.txt",
    ),
    _fault(
        "inside another's directory through a symlink",
        "run(script('p', 'real/'), script('q', 'linked/n.txt'))",
        "'p'",
        "'q'",
        "n.txt",
    ),
    _fault(
        "a file that another's pattern takes in",
        """
        parts = ScriptTask("p", outputs={"all": "deep/*.part"}, script="touch ran deep/1.part")
        run(parts, script("q", "deep/9.part"))
        """,
        "'p'",
        "'q'",
        "deep/9.part",
    ),
    _fault(
        "a source that a pattern takes in",
        """
        parts = ScriptTask("p", outputs={"all": "deep/*.csv"}, script="touch ran deep/1.csv")
        run(parts, reading("q", "deep/source.csv"))
        """,
        "'p'",
        "'q'",
        "deep/source.csv",
    ),
    _fault("an output that is a source", "run(script('p', 'a.txt'), reading('q', './a.txt'))", "'p'", "'q'", "a.txt"),
    _fault(
        "a source that is a symlink to an output",
        """
        if not os.path.lexists("way.txt"):
            os.symlink("a.txt", "way.txt")
        run(script("p", "a.txt"), reading("q", "way.txt"))
        """,
        "'p'",
        "'q'",
        "way.txt",
    ),
    _fault(
        "an output that is a symlink to a source",
        """
        if not os.path.lexists("over.txt"):
            os.symlink("source.csv", "over.txt")
        run(script("p", "over.txt"), reading("q", "source.csv"))
        """,
        "'p'",
        "'q'",
        "over.txt",
    ),
    _fault(
        "a task that reads its own output",
        "run(ScriptTask('p', {'i': FileDatum(pointer='a.txt')}, {'o': './a.txt'}, script='touch ran; sort {i} > {o}'))",
        "'p'",
        "its own output",
        "a.txt",
    ),
    _fault(
        "a source in a directory that is made",
        "run(script('p', 'deep/'), reading('q', 'deep/source.csv'))",
        "'p'",
        "'q'",
        "deep/source.csv",
    ),
    _fault(
        "an output in a directory that is read",
        "run(script('p', 'deep/n.txt'), reading('q', 'deep/'))",
        "'p'",
        "'q'",
        "deep/n.txt",
    ),
    _fault("an output in the cache", "run(script('p', '.dagger/n.txt'))", "'p'", ".dagger/n.txt", "cache"),
    _fault("an output that is the cache", "run(script('p', '.dagger/'))", "'p'", ".dagger", "is the cache"),
    _fault(
        "an output around the cache", "run(script('p', 'real/'), cache='real/cache')", "'p'", "real", "holds the cache"
    ),
    _fault(
        "an output in the cache through a symlink",
        "run(script('p', 'real/cache/n.txt'), cache='linked/cache')",
        "'p'",
        "real/cache/n.txt",
        "cache",
    ),
    _fault(
        "an output that is the project",
        "run(script('p', '../{}/'.format(os.path.basename(os.getcwd()))))",
        "'p'",
        "project",
    ),
    _fault("an output around the project", "run(script('p', '../'))", "'p'", "project"),
    _fault("a source that is not there", "run(reading('p', 'no.csv'))", "'p'", "'i'", "no.csv"),
    _fault(
        "several sources that are not there",
        "run(*(reading(f'p{n}', f'no-{n}.csv') for n in range(5)))",
        *(f"'p{n}'" for n in range(5)),
        *(f"no-{n}.csv" for n in range(5)),
    ),
    _fault(
        "members of a list that are not there",
        """
        both = DatumList(FileDatum, pointer=["a.txt", "no-1.csv", "no-2.csv"])
        run(ScriptTask("p", {"i": both}, {"o": "o"}, script="touch ran; cat {i} > {o}"))
        """,
        "'p'",
        "no-1.csv",
        "no-2.csv",
    ),
    _fault(
        "a symlink to nowhere as a source",
        """
        if not os.path.lexists("nowhere"):
            os.symlink("no.csv", "nowhere")
        run(reading("p", "nowhere"))
        """,
        "'p'",
        "nowhere",
    ),
    _fault(
        "a source without a path",
        "run(ScriptTask('p', {'i': FileDatum()}, {'o': 'o'}, script='touch ran; cat {i} > {o}'))",
        "'p'",
        "'i'",
    ),
    _fault(
        "a value that nobody gave",
        "run(FunctionTask('p', take, {'a': MemoryDatum()}, {'x': None}))",
        "'p'",
        "'a'",
        "empty",
    ),
]

CALLS = [
    _fault(
        "an input that the function lacks",
        "run(FunctionTask('p', take, {'a': MemoryDatum(pointer=1), 'c': MemoryDatum(pointer=1)}, {'x': None}))",
        "'p'",
        "'c'",
    ),
    _fault(
        "a parameter without an input",
        "run(FunctionTask('p', take, {'b': MemoryDatum(pointer=1)}, {'x': None}))",
        "'p'",
        "'a'",
    ),
    _fault(
        "a parameter by position only",
        "def f(a, /):\n    value()\nrun(FunctionTask('p', f, {'a': MemoryDatum(pointer=1)}, {'x': None}))",
        "'p'",
        "'a'",
    ),
    _fault(
        "an output that the function does not write",
        "run(FunctionTask('p', value, outputs={'out': 'o'}))",
        "'p'",
        "'out'",
    ),
    _fault(
        "a parameter for an output that is missing",
        "run(FunctionTask('p', write, outputs={'x': None}))",
        "'p'",
        "'out'",
    ),
    _fault(
        "one name for an input and a written output",
        "run(FunctionTask('p', write, {'out': MemoryDatum(pointer=1)}, {'out': 'o'}))",
        "'p'",
        "'out'",
        "both an input and an output",
    ),
    _fault(
        "one name for an input and an output of a script",
        "run(ScriptTask('p', {'o': FileDatum(pointer='a.txt')}, {'o': 'n'}, script='touch ran; cat {o}'))",
        "'p'",
        "'o'",
        "both an input and an output",
    ),
    _fault(
        "a value for a script",
        "run(ScriptTask('p', {'i': MemoryDatum(pointer=1)}, {'o': 'o'}, script='touch ran; echo {i} > {o}'))",
        "'p'",
        "'i'",
        "path",
    ),
    _fault(
        "an unknown placeholder",
        "run(ScriptTask('p', outputs={'o': 'o'}, script='touch ran; echo {oo} > {o}'))",
        "'p'",
        "{oo}",
    ),
    _fault(
        "a misspelt placeholder beside another",
        "run(ScriptTask('p', outputs={'o': 'o'}, script='touch ran; echo {oo} {ooo} > {o}'))",
        "{oo}",
        "{ooo}",
    ),
    _fault(
        "a brace of the shell's",
        "run(ScriptTask('p', outputs={'o': 'o'}, script='touch ran; echo ${HOME} > {o}'))",
        "'p'",
        "{HOME}",
        "{{",
    ),
    _fault(
        "a single brace", "run(ScriptTask('p', outputs={'o': 'o'}, script='f() { touch ran; }; f > {o}'))", "'p'", "{{"
    ),
    _fault(
        "a pattern as a placeholder",
        "run(ScriptTask('p', outputs={'o': 'n-*.txt'}, script='touch ran {o}'))",
        "'p'",
        "{o}",
        "pattern",
    ),
    _fault(
        "an odd name in a here-document",
        "run(ScriptTask('p', outputs={'o': 'an odd name'}, script='touch ran\\ncat <<EOF\\n{o}\\nEOF'))",
        "'p'",
        "'an odd name'",
        "line 3",
    ),
    _fault(
        "a name that ends a here-document",
        "run(ScriptTask('p', outputs={'o': 'EOF'}, script='touch ran\\ncat <<EOF\\n{o}\\nEOF'))",
        "'p'",
        "here-document",
    ),
    _fault(
        "an odd name in a program",
        "run(ScriptTask('p', outputs={'o': 'an odd name'}, script='touch ran\\nbash -c \"touch {o}\"'))",
        "'p'",
        "'an odd name'",
    ),
    _fault(
        "several paths where one has room",
        """
        both = DatumList(FileDatum, pointer=["a.txt", "source.csv"])
        run(ScriptTask("p", {"i": both}, {"o": "o"}, script="touch ran; sort < {i} > {o}"))
        """,
        "'p'",
        "2 paths",
    ),
    _fault(
        "a name to ignore that is no input",
        "run(FunctionTask('p', take, {'a': MemoryDatum(pointer=1)}, {'x': None}, ignore=['aa']))",
        "'p'",
        "ignore",
        "'aa'",
    ),
    _fault("an option that there is not", "one(retry=3)", "'t'", "'retry'", "'retries'"),
    _fault("an option of a script that there is not", "script('p', 'o', tool=['awk'])", "'p'", "'tool'", "'tools'"),
]

RESOURCES = [
    _fault("a demand beyond the supply", "run(one(resources={'gpu': 3}), resources={'gpu': 2})", "'t'", "3 gpu", "2"),
    _fault(
        "two demands beyond the supply",
        "run(one(resources={'gpu': 3, 'gb': 9}), resources={'gpu': 2, 'gb': 8})",
        "3 gpu",
        "9 gb",
    ),
    _fault("a negative demand", "one(resources={'gpu': -1})", "'t'", "'gpu'", "-1"),
    _fault("a demand that is no number", "one(resources={'gpu': float('nan')})", "'t'", "'gpu'", "nan"),
    _fault("a demand of True", "one(resources={'gpu': True})", "'t'", "'gpu'", "True"),
    _fault("a demand in text", "one(resources={'gpu': '1'})", "'t'", "'gpu'", "'1'"),
    _fault("demands that are a list", "one(resources=['gpu'])", "'t'", "resources", "list"),
    _fault("demands that are an empty list", "one(resources=[])", "'t'", "resources", "list"),
    _fault("a demand of no kind", "one(resources={1: 1})", "'t'", "1"),
    _fault("a negative supply", "run(one(), resources={'gpu': -1})", "'gpu'", "-1"),
    _fault("a supply that is no number", "run(one(), resources={'gpu': float('nan')})", "'gpu'", "nan"),
    _fault("a supply of True", "run(one(), resources={'gpu': True})", "'gpu'", "True"),
    _fault("a supply in text", "run(one(), resources={'gpu': '2'})", "'gpu'", "'2'"),
    _fault("a supply that is a list", "run(one(), resources=['gpu'])", "resources", "list"),
]

TYPES = [
    _fault("an identifier that is no text", "FunctionTask(7, value)", "identifier", "int"),
    _fault("an identifier that is bytes", "FunctionTask(b't', value)", "identifier", "bytes"),
    _fault("an empty identifier", "FunctionTask('', value)", "identifier", "empty"),
    _fault("an identifier with a newline", "FunctionTask('a\\nb', value)", r"'a\nb'", "identifier"),
    _fault("an identifier with a NUL", "FunctionTask('a\\0b', value)", r"'a\x00b'", "identifier"),
    _fault("an identifier with an escape", "FunctionTask('a\\x1b[2Jb', value)", r"'a\x1b[2Jb'", "identifier"),
    _fault("an identifier with half a character", "FunctionTask('a\\udc80b', value)", r"'a\udc80b'", "identifier"),
    _fault("a function that is none", "FunctionTask('t', 7)", "'t'", "int"),
    _fault("a function's name", "FunctionTask('t', 'value')", "'t'", "str"),
    _fault("inputs that are a list", "FunctionTask('t', take, [MemoryDatum(pointer=1)])", "'t'", "inputs", "list"),
    _fault(
        "inputs that are a datum", "FunctionTask('t', take, MemoryDatum(pointer=1))", "'t'", "inputs", "MemoryDatum"
    ),
    _fault("inputs that are an empty text", "FunctionTask('t', take, '')", "'t'", "inputs", "str"),
    _fault("an input that is no datum", "FunctionTask('t', take, {'a': 1})", "'t'", "'a'", "int"),
    _fault("an input that is a task", "FunctionTask('t', take, {'a': good})", "'t'", "'a'", "ScriptTask"),
    _fault(
        "an input's name that is no text", "FunctionTask('t', take, {1: MemoryDatum(pointer=1)})", "'t'", "1", "int"
    ),
    _fault("an output that another task lacks", "FunctionTask('t', take, {'a': good['oo']})", "'good'", "'oo'"),
    _fault("outputs that are a path", "FunctionTask('t', write, outputs='o.txt')", "'t'", "outputs", "str"),
    _fault("outputs that are a list", "FunctionTask('t', write, outputs=['o.txt'])", "'t'", "outputs", "list"),
    _fault("outputs that are an empty list", "FunctionTask('t', write, outputs=[])", "'t'", "outputs", "list"),
    _fault("an output that is a number", "FunctionTask('t', write, outputs={'out': 7})", "'t'", "'out'", "int"),
    _fault("an output that is bytes", "FunctionTask('t', write, outputs={'out': b'o'})", "'t'", "'out'", "bytes"),
    _fault("an output that is a class", "FunctionTask('t', value, outputs={'x': MemoryDatum})", "'t'", "'x'"),
    _fault("an output without a path", "FunctionTask('t', write, outputs={'out': ''})", "'t'", "'out'"),
    _fault("an output with a NUL", "FunctionTask('t', write, outputs={'out': 'a\\0b'})", "'t'", "'out'"),
    _fault("an output's name that is no text", "FunctionTask('t', value, outputs={1: None})", "'t'", "1", "int"),
    _fault(
        "an output of a script without a path",
        "run(ScriptTask('t', outputs={'o': FileDatum()}, script='touch ran {o}'))",
        "'t'",
        "'o'",
    ),
    _fault(
        "an output of a script that is none",
        "ScriptTask('t', outputs={'o': None}, script='touch ran')",
        "'t'",
        "'o'",
        "path",
    ),
    _fault(
        "a value as an output of a script",
        "ScriptTask('t', outputs={'o': MemoryDatum()}, script='touch ran')",
        "'t'",
        "'o'",
    ),
    _fault("dependencies that are a task", "one(dependencies=good)", "'t'", "dependencies"),
    _fault("dependencies that are names", "one(dependencies=['good'])", "'t'", "dependency 0", "str"),
    _fault("a script that is a list", "ScriptTask('t', script=['touch', 'ran'])", "'t'", "script", "list"),
    _fault("a script with a NUL", "run(ScriptTask('t', script='touch ran\\0'))", "'t'", "NUL"),
    _fault("a variable's name alone", "script('t', 'o', env='HOME')", "'t'", "env", "list"),
    _fault("no variables", "script('t', 'o', env=None)", "'t'", "env", "list"),
    _fault("a program that is a number", "script('t', 'o', tools=[7])", "'t'", "tools"),
    _fault("cache= in text", "one(cache='no')", "'t'", "cache", "'no'"),
    _fault("cache=None", "one(cache=None)", "'t'", "cache", "None"),
    _fault("retries below nothing", "one(retries=-1)", "'t'", "retries", "-1"),
    _fault("half a retry", "one(retries=0.5)", "'t'", "retries", "0.5"),
    _fault("retries=True", "one(retries=True)", "'t'", "retries", "True"),
    _fault("retries=None", "one(retries=None)", "'t'", "retries", "None"),
    _fault("no time", "one(timeout=0)", "'t'", "timeout", "0"),
    _fault("a time below nothing", "one(timeout=-1)", "'t'", "timeout", "-1"),
    _fault("a time in text", "one(timeout='9')", "'t'", "timeout", "'9'"),
    _fault("a time that is no number", "one(timeout=float('nan'))", "'t'", "timeout", "nan"),
    _fault("a time without end", "one(timeout=float('inf'))", "'t'", "timeout", "inf"),
    _fault("timeout=True", "one(timeout=True)", "'t'", "timeout", "True"),
    _fault("a version that is an object", "one(version=object())", "'t'", "version", "object"),
    _fault("ignore= with one name", "one(ignore='a')", "'t'", "ignore", "list"),
    _fault("ignore= with a number", "one(ignore=[1])", "'t'", "ignore", "int"),
    _fault("a list of no type of datum", "DatumList(int)", "DatumList", "int"),
    _fault("a list of other data", "DatumList(FileDatum, [MemoryDatum(pointer=1)])", "DatumList item 0", "MemoryDatum"),
    _fault("a list of paths", "DatumList(FileDatum, ['a.txt'])", "DatumList item 0", "str"),
    _fault("a list that is a number", "DatumList(FileDatum, 7)", "DatumList", "int"),
    _fault("a file without a path", "FileDatum(pointer='')", "FileDatum", "''"),
    _fault("a file that is a number", "FileDatum(pointer=7)", "FileDatum", "7"),
]

MANAGERS = [
    _fault("a manager of no task", "WorkflowManager('t')", "tasks", "str"),
    _fault("a manager of a number", "WorkflowManager([good, 7])", "tasks", "int"),
    _fault("a manager of nothing", "WorkflowManager(None)", "tasks", "NoneType"),
    _fault("no jobs", "run(jobs=0)", "jobs", "0"),
    _fault("jobs below nothing", "run(jobs=-1)", "jobs", "-1"),
    _fault("jobs in text", "run(jobs='2')", "jobs", "'2'"),
    _fault("half a job", "run(jobs=1.5)", "jobs", "1.5"),
    _fault("jobs=True", "run(jobs=True)", "jobs", "True"),
    _fault("no workers", "run(executor_kwargs={'max_workers': 0})", "max_workers", "0"),
    _fault("executor_kwargs that are a list", "run(executor_kwargs=['max_workers'])", "executor_kwargs", "list"),
    _fault(
        "an option that loky lacks", "run(one(), executor_kwargs={'max_worker': 2})", "executor_kwargs", "'max_worker'"
    ),
    _fault(
        "an option that is dagger's",
        "run(one(), executor_kwargs={'initializer': print})",
        "executor_kwargs",
        "'initializer'",
    ),
    _fault("an executor that is none", "run(one(), executor=7)", "executor", "int"),
    _fault("an executor's class", "run(one(), executor=ThreadPoolExecutor)", "executor", "ThreadPoolExecutor"),
    _fault("a cache that is a number", "run(cache=7)", "cache", "int"),
    _fault("a cache that is a file", "run(cache='a.txt')", "a.txt", "DAGGER_CACHE_DIR"),
    _fault("a root that is not there", "run(root_dir='nowhere')", "root_dir", "nowhere"),
    _fault("a root that is a file", "run(root_dir='a.txt')", "root_dir", "a.txt"),
    _fault("a root that is a number", "run(root_dir=7)", "root_dir", "int"),
    _fault("undeclared= of another kind", "run(undeclared='never')", "undeclared", "'never'"),
    _fault("listeners that are one", "run(listeners=print)", "listeners"),
    _fault("a listener that is none", "run(listeners=[7])", "listeners", "int"),
    _fault(
        "a time limit in threads", "run(one(timeout=5), executor=ThreadPoolExecutor(1))", "'t'", "timeout", "executor"
    ),
    _fault(
        "tracking in threads",
        "run(one(), executor=ThreadPoolExecutor(1), undeclared='error')",
        "undeclared",
        "executor",
    ),
]

FAULTS = [*GRAPHS, *FILES, *CALLS, *RESOURCES, *TYPES, *MANAGERS]

# Each pipeline runs in a process of its own, forked where everything is imported: a fresh start takes much longer.
DRIVER = """
import json, os, runpy, sys
import dagger.cli.group, dagger.cli.ledger, dagger.cli.progress, dagger.cli.run, dagger.cli.script, dagger.core.engine

def apart(folder, way):
    child = os.fork()
    if not child:
        code = 70
        try:
            os.chdir(folder)
            for number in (1, 2):
                os.dup2(os.open(f"../{os.path.basename(folder)}.{way}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
            if way == "dagger":
                from dagger.cli import main
                sys.argv = ["dagger", "run", "pipeline.py"]
                main()
            else:
                code = python()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def python():
    from dagger.errors import DaggerError
    try:
        runpy.run_path("pipeline.py", run_name="__main__")
    except (ValueError, TypeError, KeyError) as error:
        print(error)
        return error.exit_code if isinstance(error, DaggerError) else 71
    return 0

print(json.dumps({folder: [apart(folder, way) for way in ("dagger", "python")] for folder in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Outcome:
    """How a pipeline ended: by `dagger run`, in plain Python, what it left behind and what it took away."""

    code: int
    said: str
    python_code: int
    python_said: str
    left: frozenset[str]
    touched: tuple[str, ...]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every pipeline's end."""
    home = tmp_path_factory.mktemp("refused")
    folders = {fault.name: home / f"p{number}" for number, fault in enumerate(FAULTS)}
    for fault in FAULTS:
        folders[fault.name].mkdir()
        (folders[fault.name] / "pipeline.py").write_text(f"{PREAMBLE}\n{fault.body}\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGGER_")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, folders.values())],
        env=kept,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    return {name: _outcome(folder, codes[str(folder)]) for name, folder in folders.items()}


def _outcome(folder: Path, codes: list[int]) -> Outcome:
    def said(way: str) -> str:
        return Path(f"{folder}.{way}").read_text().strip()

    def is_touched(name: str) -> bool:
        return not (folder / name).exists() or (folder / name).read_text() != "mine"

    touched = tuple(filter(is_touched, ("a.txt", "real/a.txt", "source.csv", "deep/source.csv")))
    return Outcome(codes[0], said("dagger"), codes[1], said("python"), frozenset(os.listdir(folder)), touched)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_refused_before_anything_runs(fault: Fault, outcomes: dict[str, Outcome]) -> None:
    """One message, the same from `dagger run` and in plain Python; no task started, no file touched, no cache made."""
    outcome = outcomes[fault.name]
    assert outcome.code == 2, outcome.said
    assert outcome.python_code == 2, outcome.python_said
    assert outcome.said == f"dagger: {outcome.python_said}"
    assert [part for part in fault.told if part not in outcome.said] == []
    assert "Traceback" not in outcome.said
    assert not outcome.left & {"ran", "good.txt", ".dagger"}
    assert not outcome.touched


def test_what_is_merely_odd_is_not_refused(project):
    """Nothing that can go well is taken for a fault."""
    project.write("precious.txt", "mine")
    project.write("source.csv", "mine")
    os.symlink("precious.txt", project.path / "link.txt")
    os.link(project.path / "source.csv", project.path / "hard.txt")
    (project.path / "parts").mkdir()
    project.write("parts/other.csv", "mine")
    project.write("parts/.hidden.part", "mine")
    body = """
    def adding(function):
        @functools.wraps(function)
        def wrapper(**given):
            return function(1, **given)
        return wrapper

    @adding
    def injected(a, /, b):
        return {"x": a + b}

    def any_of(**given):
        return {"x": len(given)}

    def folder(whole, one):
        for name in ("1", "2"):
            with open(os.path.join(whole, name), "w") as file:
                file.write(name)

    b = MemoryDatum(pointer=1)
    twice = DatumList(FileDatum, pointer=["a.txt", "a.txt"])
    parts = ScriptTask("parts", outputs={"all": "parts/*.part"}, script="touch parts/1.part")
    run(
        script("over a link", "link.txt"),
        script("over a hard link", "hard.txt"),
        parts,
        reading("beside a pattern", "parts/other.csv"),
        reading("hidden from a pattern", "parts/.hidden.part"),
        FunctionTask("injected", injected, {"b": b}, {"x": None}, resources={"gpu": 0.5, "unnamed": 9}),
        FunctionTask("any", any_of, {"b": b, "c": b}, {"x": None}, dependencies=(), ignore=("c",), version=0),
        FunctionTask("b", any_of, {"x": b}, {"x": None}),
        FunctionTask("folder", folder, outputs={"whole": "folder/", "one": "folder/1"}),
        ScriptTask("unused", {"i": FileDatum(pointer="source.csv")}, {"o": "unused"}, script="touch unused"),
        ScriptTask("list", {"i": twice}, {"o": "l"}, script="cat <<E > {o}\\n{i}\\nE"),
        script("elsewhere", os.path.abspath("../elsewhere.txt")),
        resources={"gpu": float("inf")},
    )
    """
    project.write("pipeline.py", f"{PREAMBLE}\n{textwrap.dedent(body)}")
    project.dagger("run", "pipeline.py")
    assert project.came_out("failed", "skipped") == set()
    assert len(project.ran()) == 13
    assert project.read("precious.txt") == "mine"
    assert project.read("source.csv") == "mine"
    assert not (project.path / "link.txt").is_symlink()
    assert project.read("parts/.hidden.part") == project.read("parts/other.csv") == "mine"
    project.dagger("run", "pipeline.py")
    assert project.ran() == set()


def test_one_file_in_two_cases_is_one_output_where_case_is_ignored(project):
    """macOS keeps `A.txt` and `a.txt` as one file."""
    project.write("probe", "")
    if not project.exists("PROBE"):
        pytest.skip("this file system tells upper from lower case")
    project.write("pipeline.py", f"{PREAMBLE}\nrun(script('p', 'N.txt'), script('q', 'n.txt'))\n")
    refused = project.dagger("run", "pipeline.py", check=False)
    assert refused.returncode == 2
    assert "both write" in refused.stderr
