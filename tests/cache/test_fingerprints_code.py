"""The digest of code: the same for another formatting of any module of the standard library, another for any mutant."""

from __future__ import annotations

import ast
import dis
import io
import random
import sys
import tokenize
from pathlib import Path
from types import CodeType

import pytest

from dagger.cache.code_digests import code_form
from dagger.cache.reach import reach

LIBRARY = Path(ast.__file__).parent
MODULES = [
    *("argparse", "ast", "bdb", "calendar", "codecs", "configparser", "csv", "datetime", "difflib", "doctest"),
    *("enum", "fractions", "ftplib", "functools", "heapq", "inspect", "ipaddress", "locale", "mailbox", "optparse"),
    *("pathlib", "pickle", "pickletools", "pprint", "random", "shutil", "statistics", "subprocess", "tarfile"),
    *("tempfile", "textwrap", "threading", "tokenize", "traceback", "typing", "unittest/mock", "uuid", "zipfile"),
    *("asyncio/base_events", "asyncio/tasks", "asyncio/streams", "json/decoder", "logging/__init__"),
]


def _read(name):
    path = LIBRARY / f"{name}.py"
    if not path.exists():
        path = LIBRARY / name / "__init__.py"
    return path.read_text(encoding="utf-8")


def _codes(text):
    """The code of all functions and classes, in order."""
    return _codes_in(compile(text, "<module>", "exec", dont_inherit=True))[1:]


def _codes_in(code):
    found = [code]
    for nested in found:
        found.extend(const for const in nested.co_consts if isinstance(const, CodeType))
    return found


def _split(text):
    """The same source with a line break after every token inside brackets."""
    lines = text.splitlines(keepends=True)
    found, depth, strings, row, column = [], 0, 0, 1, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.ENDMARKER:
            break
        (first, start), (last, end) = token.start, token.end
        while row < first:
            found.append(lines[row - 1][column:])
            row, column = row + 1, 0
        found.append(lines[row - 1][column:start] if row <= len(lines) else "")
        found.append(token.string)
        row, column = last, end
        name = tokenize.tok_name[token.type]
        strings += (name == "FSTRING_START") - (name == "FSTRING_END")
        depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
        is_code = token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE)
        if depth > 0 and not strings and is_code:
            found.append("\n")
    return "".join(found)


class _Renamer(ast.NodeTransformer):
    """Renames locals that are nothing else, so that their order by name is reversed."""

    def visit_FunctionDef(self, node):
        inner = [n for n in ast.walk(node) if n is not node]
        if any(isinstance(n, (ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.Global, ast.Nonlocal)) for n in inner):
            return self.generic_visit(node)
        if any(isinstance(n, ast.Name) and n.id in ("locals", "vars", "eval", "exec", "dir") for n in inner):
            return node
        taken = {n.arg for n in inner if isinstance(n, ast.arg)}
        taken |= {n.name for n in inner if isinstance(n, ast.ExceptHandler)}
        stored = {n.id for n in inner if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for n in inner:
            if isinstance(n, ast.Name) and n.id in stored - taken and not n.id.startswith("__"):
                n.id = f"z{1000 - len(n.id)}_{n.id[::-1]}"
        return node


@pytest.mark.parametrize("name", MODULES)
def test_formatting(name):
    """All on one line, or one token a line: the code is the same."""
    text = _read(name)
    tree = ast.parse(text)
    before = [code_form(code) for code in _codes(text)]
    assert [code_form(code) for code in _codes(ast.unparse(tree))] == before
    split = _split(text)
    if ast.dump(ast.parse(split)) == ast.dump(tree):
        assert [code_form(code) for code in _codes(split)] == before


@pytest.mark.parametrize("name", MODULES)
def test_renamed_locals(name):
    """With all plain locals renamed, the code is the same."""
    text = ast.unparse(ast.parse(_read(name)))
    renamed = ast.unparse(ast.fix_missing_locations(_Renamer().visit(ast.parse(text))))
    seen = {"f_locals", "f_back", "_getframe", "currentframe", "execute"}

    def sees_names(code):
        return not seen.isdisjoint({*code.co_names, *_nested_names(code)})

    changed = [
        (before.co_name, before.co_firstlineno)
        for before, after in zip(_codes(text), _codes(renamed), strict=True)
        if code_form(before).digest != code_form(after).digest and not sees_names(before)
    ]
    assert changed == []


def _compiles_alike(before, after):
    """Tell whether the compiler made the same of both, as where a mutant's line is never reached."""
    return [_listing(code) for code in _codes_in(before)] == [_listing(code) for code in _codes_in(after)]


def _listing(code):
    values = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    return [(name, None if isinstance(value, CodeType) else repr(value)) for name, value in values]


def _mutations(function):
    """Yield callables that each change the meaning of one function's tree in place."""
    for node in ast.walk(function):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield lambda node=node: setattr(node, "value", node.value + 1)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            yield lambda node=node: setattr(node, "op", ast.Sub())
        elif isinstance(node, ast.Attribute):
            yield lambda node=node: setattr(node, "attr", node.attr + "_")
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.In, ast.Is, ast.Lt)):
            other = {ast.Eq: ast.NotEq, ast.In: ast.NotIn, ast.Is: ast.IsNot, ast.Lt: ast.LtE}
            yield lambda node=node, other=other: node.ops.__setitem__(0, other[type(node.ops[0])]())
        elif isinstance(node, ast.BoolOp):
            yield lambda node=node: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        elif isinstance(node, ast.If) and not isinstance(node.test, ast.Constant):
            yield lambda node=node: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
        elif isinstance(node, ast.Call) and len(node.args) == 2 and ast.dump(node.args[0]) != ast.dump(node.args[1]):
            yield lambda node=node: node.args.reverse()
        elif isinstance(node, ast.Return) and node.value is not None:
            yield lambda node=node: setattr(node, "value", ast.Tuple([node.value], ast.Load()))


@pytest.mark.parametrize("name", MODULES[::3])
def test_mutants(name):
    """A mutant of a function has another digest."""
    text = ast.unparse(ast.parse(_read(name)))
    chooser = random.Random(name)
    missed = []
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    for original in chooser.sample(functions, min(40, len(functions))):
        original.decorator_list, original.returns = [], None
        for argument in ast.walk(original.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        if any(isinstance(node, ast.Nonlocal) for node in ast.walk(original)):
            continue
        source = ast.unparse(original)
        count = len(list(_mutations(ast.parse(source).body[0])))
        for index in chooser.sample(range(count), min(6, count)):
            tree = ast.parse(source)
            list(_mutations(tree.body[0]))[index]()
            mutant = ast.unparse(ast.fix_missing_locations(tree))
            before, after = compile(source, "", "exec"), compile(mutant, "", "exec")
            same_code = _compiles_alike(before, after)
            if code_form(before) == code_form(after) and not same_code:
                missed.append((source, mutant))
    assert missed == []


def test_reach_reads_all_of_the_library():
    """Names are read from any code without an error, and find at least the globals."""
    for name in MODULES:
        for code in _codes(_read(name)):
            names = set(code.co_names) | _nested_names(code) | set(code.co_freevars)
            if names.isdisjoint({"execute", "sql", "query", "evaluate", "eval"}):
                assert {reference.name for reference in reach(code).references} <= names


def _nested_names(code):
    found = set()
    for const in code.co_consts:
        if isinstance(const, CodeType):
            found |= set(const.co_names) | _nested_names(const)
    return found


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of 3.12")
def test_type_parameters():
    """Functions with type parameters digest like any other."""
    one = "def task[T](x: T) -> T:\n    return x + 1\n"
    two = "def task[T](x: T) -> T:\n    # comment\n    return x + 2\n"
    first, other, third = (_codes(text)[0] for text in (one, one.replace("x + 1", "(x +\n 1)"), two))
    assert code_form(first) == code_form(other) != code_form(third)
