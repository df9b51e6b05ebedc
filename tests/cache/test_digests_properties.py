"""Value digests under random values: the same when made again, in any process; else different."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from dagger.cache.digests import digest_value

settings.register_profile("digests", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("digests")


@dataclasses.dataclass(frozen=True)
class Node:
    left: object
    right: object


def _nodes(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(Node, children, children)


_HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0]),
    st.text(st.characters(), max_size=80),
    st.text("ab", max_size=3),
    st.binary(max_size=80),
    st.complex_numbers(),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.fractions(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.timedeltas(),
    st.uuids(),
)


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(children, max_size=5),
        st.lists(children, max_size=4).map(tuple),
        st.dictionaries(_HASHABLE, children, max_size=4),
        _nodes(children),
    )


_KEYS = st.recursive(
    _HASHABLE,
    lambda keys: st.one_of(st.lists(keys, max_size=3).map(tuple), st.frozensets(keys, max_size=4), _nodes(keys)),
    max_leaves=6,
)
VALUES = st.recursive(
    st.one_of(_KEYS, st.sets(_KEYS, max_size=5), st.lists(st.integers(), min_size=14, max_size=20)),
    _containers,
    max_leaves=12,
)


def meaning(value: object) -> object:
    """A form of a value in which `==` says what the digest should: types, order, signs, zones."""
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(meaning, value)]
    if isinstance(value, dict):
        return ["dict", *([meaning(key), meaning(item)] for key, item in value.items())]
    if isinstance(value, (set, frozenset)):
        return [type(value).__name__, *sorted((meaning(item) for item in value), key=repr)]
    if isinstance(value, Node):
        return ["Node", meaning(value.left), meaning(value.right)]
    if isinstance(value, datetime.datetime):
        return ["datetime", repr(value.replace(tzinfo=None)), repr(value.tzinfo)]
    return [type(value).__name__, str(value) if isinstance(value, decimal.Decimal) else repr(value)]


def rebuilt(value: Any) -> Any:
    """The value made anew: sets filled the other way round, and no part shared with the original."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(rebuilt, value))
    if isinstance(value, dict):
        return {rebuilt(key): rebuilt(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return type(value)([rebuilt(item) for item in value][::-1])
    if isinstance(value, Node):
        return Node(rebuilt(value.left), rebuilt(value.right))
    return copy.deepcopy(value)


@given(VALUES)
def test_made_again_is_the_same(value: object) -> None:
    """A rebuilt and an unpickled value have the digest of the original."""
    digest = digest_value(value)
    assert len(digest) == 32
    assert digest_value(rebuilt(value)) == digest
    assert digest_value(pickle.loads(pickle.dumps(value))) == digest


@given(VALUES, VALUES)
def test_digests_are_equal_just_when_meanings_are(one: object, other: object) -> None:
    """Two values have one digest exactly if nothing tells them apart."""
    assert (digest_value(one) == digest_value(other)) == (meaning(one) == meaning(other))


@given(st.lists(st.one_of(VALUES, st.sampled_from([1, True, 1.0, "1", b"1", (), [], {}, "", None])), max_size=30))
def test_no_two_values_of_a_batch_collide(values: list[object]) -> None:
    """There are as many digests as meanings, also one level down."""
    meanings = {repr(meaning(value)) for value in values}
    assert len({digest_value(value) for value in values}) == len(meanings)
    assert len({digest_value([[value], value]) for value in values}) == len(meanings)


@given(VALUES, VALUES)
def test_shared_is_as_copied(part: object, other: object) -> None:
    """Sharing makes no difference, wherever in the value."""
    value = [part, {"a": part, "b": [other, part]}, (other, other)]
    assert digest_value(value) == digest_value(rebuilt(value))


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=6), st.data())
def test_graphs_are_told_apart_by_their_unfolding(edges: list[list[int]], data: st.DataObject) -> None:
    """Lists that refer to each other in any way agree with a copy, and show a changed leaf."""

    def build(mark: int) -> list[Any]:
        nodes: list[list[Any]] = [[number == mark] for number in range(len(edges))]
        for node, targets in zip(nodes, edges, strict=True):
            node.extend(nodes[target % len(nodes)] for target in targets)
        return nodes

    mark = data.draw(st.integers(0, len(edges) - 1))
    value = build(mark)
    assert digest_value(value) == digest_value(build(mark)) == digest_value(copy.deepcopy(value))
    assert digest_value(value) != digest_value(build(-1))
    for node, copied in zip(value, build(mark), strict=True):
        assert digest_value(node) == digest_value(copied)


_OTHER_PROCESS = """
import json, pickle, sys
sys.path[:0] = json.loads(sys.argv[1])
from dagger.cache.digests import digest_value
values = pickle.load(open(sys.argv[2], "rb"))
print(json.dumps([digest_value(value) for value in values]))
"""


def test_processes_agree(tmp_path: Path) -> None:
    """Fresh processes under other hash seeds give the digests of this one."""
    batch: list[object] = []

    @settings(max_examples=800, database=None, suppress_health_check=list(HealthCheck))
    @given(VALUES)
    def fill(value: object) -> None:
        batch.append(value)

    fill()
    words = [f"word {number}" for number in range(1000)]
    batch += [set(words), {word: {word} for word in words}, frozenset((word, len(word)) for word in words)]
    file = tmp_path / "values.pickle"
    # The other process cannot import this module, so it has no Node.
    batch = [value for value in batch if b"Node" not in pickle.dumps(value)]
    assert len(batch) > 100
    file.write_bytes(pickle.dumps(batch))
    here = [digest_value(value) for value in batch]
    for seed in ("0", "12345"):
        command = [sys.executable, "-c", _OTHER_PROCESS, json.dumps(sys.path), str(file)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(made.stdout) == here
