"""Whatever is edited, in whatever order: after each run all is as a clean build makes it, and no more ran than must.

``DAGGER_TEST_STEPS`` sets how many steps are taken; the default fits into CI's time.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY, Mock

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from random_graphs import (
    KINDS,
    RANGE,
    SCRIPTS,
    SOURCES,
    TRACKED,
    WRITTEN,
    Graph,
    Node,
    changed,
    content as content_of,
    present as present_in,
)

from dagger.cache import Cache
from dagger.cache.digests import digest_bytes
from dagger.cache.filesystems import FileClock
from dagger.core import WorkflowError, WorkflowManager, engine, glance, recall
from dagger.core.glance import Glance
from dagger.core.manifest import Walker
from dagger.core.workspace import Workspace

STEPS = int(os.environ.get("DAGGER_TEST_STEPS", "1000"))
STEPS_AT_ONCE = 40
MOST_NODES = 7

NUMBERS = st.integers(0, RANGE - 1)
EXECUTOR = ThreadPoolExecutor(2)


class Builds(RuleBasedStateMachine):
    """A project that is edited and run in this process, beside a model of it.

    Attributes:
        known: The keys that were executed and not forgotten.
        lost: Digests of blobs that were deleted or damaged.
    """

    kinds: tuple[str, ...] = KINDS

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="dagger-property-"))
        self.graph = Graph()
        self.known: set[tuple[Any, ...]] = set()
        self.lost: set[str] = set()
        self.count = 0
        self.cache: Cache | None = None

    def teardown(self) -> None:
        self._close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @initialize(data=st.data(), size=st.integers(2, 5))
    def begin(self, data: st.DataObject, size: int) -> None:
        for name in self.graph.sources:
            self.graph.write_source(self.folder, name)
        for _ in range(size):
            self._add(data)
        self._run()

    # Edits of the graph and its code

    @precondition(lambda self: len(self.graph.nodes) < MOST_NODES)
    @rule(data=st.data(), run=st.booleans())
    def add_a_task(self, data: st.DataObject, run: bool) -> None:
        self._add(data)
        self._then(run)

    @precondition(lambda self: len(self.graph.nodes) > 1)
    @rule(data=st.data(), run=st.booleans())
    def take_a_task_away(self, data: st.DataObject, run: bool) -> None:
        used = {parent for node in self.graph.nodes.values() for parent in node.parents}
        del self.graph.nodes[data.draw(st.sampled_from([name for name in self.graph.nodes if name not in used]))]
        self._then(run)

    @rule(data=st.data(), salt=NUMBERS, run=st.booleans())
    def edit_code(self, data: st.DataObject, salt: int, run: bool) -> None:
        self._edit(data, salt=salt)
        self._then(run)

    @rule(data=st.data(), note=st.integers(0, 9), run=st.booleans())
    def edit_a_comment(self, data: st.DataObject, note: int, run: bool) -> None:
        self._edit(data, note=note)
        self._then(run)

    @rule(constant=NUMBERS, run=st.booleans())
    def edit_what_a_helper_uses(self, constant: int, run: bool) -> None:
        self.graph.constant = constant
        self._then(run)

    @rule(beside=NUMBERS, run=st.booleans())
    def edit_what_nobody_uses(self, beside: int, run: bool) -> None:
        self.graph.beside = beside
        self._then(run)

    @rule(data=st.data(), run=st.booleans())
    def connect_otherwise(self, data: st.DataObject, run: bool) -> None:
        node = self._any_node(data)
        self.graph.nodes[node.name] = changed(node, parents=self._parents(data, node.kind, before=node.name))
        self._then(run)

    @rule(data=st.data(), run=st.booleans())
    def break_or_mend(self, data: st.DataObject, run: bool) -> None:
        node = self._any_node(data)
        self.graph.nodes[node.name] = changed(node, fails=not node.fails)
        self._then(run)

    # Edits of files

    @rule(data=st.data(), number=NUMBERS, run=st.booleans())
    def edit_a_source(self, data: st.DataObject, number: int, run: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.graph.sources)))
        self.graph.sources[name] = number
        self.graph.write_source(self.folder, name)
        self._then(run)

    @rule(data=st.data(), number=NUMBERS)
    def edit_a_source_in_secret(self, data: st.DataObject, number: int) -> None:
        """Its size and time stay what they were, right after a run."""
        self._run()
        name = data.draw(st.sampled_from([f"s{index}" for index in range(SOURCES)]))
        path = self.folder / f"{name}.txt"
        before = os.stat(path)
        self.graph.sources[name] = number
        self.graph.write_source(self.folder, name)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self._run()

    @rule(data=st.data(), how=st.sampled_from(["delete", "empty", "edit", "touch"]), run=st.booleans())
    def spoil_an_output(self, data: st.DataObject, how: str, run: bool) -> None:
        files = sorted(it for it in self.folder.glob("n*/*")) + sorted(self.folder.glob("n*.*"))
        files = [it for it in files if it.is_file()]
        if files:
            path = data.draw(st.sampled_from(files))
            if how == "delete":
                path.unlink()
            elif how == "touch":
                os.utime(path, (1, 1))
            else:
                path.write_text("" if how == "empty" else "mine\n")
        self._then(run)

    @rule(data=st.data(), run=st.booleans())
    def add_a_stray(self, data: st.DataObject, run: bool) -> None:
        folders = sorted(it for it in self.folder.glob("n*.*") if it.is_dir())
        if folders:
            (data.draw(st.sampled_from(folders)) / "part-9.txt").write_text("stray\n")
        self._then(run)

    # Damage to the cache

    @rule(data=st.data(), garble=st.booleans(), run=st.booleans())
    def damage_a_blob(self, data: st.DataObject, garble: bool, run: bool) -> None:
        blobs = sorted(it for it in self._blobs().rglob("*") if it.is_file())
        if blobs:
            path = data.draw(st.sampled_from(blobs))
            size = path.stat().st_size
            path.chmod(0o600)
            path.unlink()
            if garble:
                path.write_bytes(b"x" * size)
            self.lost.add(path.parent.name + path.name)
        self._then(run)

    @rule(data=st.data(), run=st.booleans())
    def forget_a_task(self, data: st.DataObject, run: bool) -> None:
        name = self._any_node(data).name
        self._open().forget(str(self.folder), {name})
        self.known = {key for key in self.known if key[0] != name}
        self._then(run)

    @rule(run=st.booleans())
    def clear_the_cache(self, run: bool) -> None:
        self._close()
        shutil.rmtree(self.folder / ".dagger", ignore_errors=True)
        self.known.clear()
        self.lost.clear()
        self._then(run)

    @rule()
    def begin_anew(self) -> None:
        """As another process would, with nothing but what was stored."""
        self._close()
        self._run()

    @rule()
    def run(self) -> None:
        self._run()

    # The run, and what must hold after it

    def _then(self, run: bool) -> None:
        if run:
            self._run()

    def _run(self) -> None:
        keys, worth = self.graph.keys(), self.graph.worth()
        must = {name for name, key in keys.items() if key not in self.known}
        may = must | self._explained()
        outcomes, values = self._build()
        ran = {name for name, outcome in outcomes.items() if outcome in ("ran", "failed")}
        assert must <= ran <= may, f"ran {sorted(ran)}, must {sorted(must)}, may {sorted(may)}"
        skipped = {name for name, outcome in outcomes.items() if outcome == "skipped"}
        assert skipped == set(self.graph.nodes) - set(keys)
        assert {name for name, outcome in outcomes.items() if outcome == "failed"} == {
            name for name in keys if self.graph.nodes[name].fails
        }
        for name, node in self.graph.nodes.items():
            if name not in worth:
                continue
            expected = content_of(node, worth[name])
            if node.kind in WRITTEN or node.kind == "pickle":
                assert present_in(node, self.folder) == expected, name
            else:
                assert values[name] == expected, name
        self.known |= {key for name, key in keys.items() if not self.graph.nodes[name].fails}
        self.lost = {digest for digest in self.lost if not self._is_sound(digest)}

    def _build(self) -> tuple[dict[str, str], dict[str, object]]:
        """Run the project; return each task's outcome, and the values that tasks hand on."""
        self.graph.write(self.folder)
        made = self._loaded().build()
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            manager = WorkflowManager(
                list(made.values()), executor=EXECUTOR, cache=self._open(), jobs=2, listeners=[], root_dir=self.folder
            )
            try:
                report = manager.run(keep_going=True)
            except WorkflowError as error:
                report = error.report
            good = {task.task for task in report.tasks if task.outcome in ("ran", "restored", "up to date")}
            values = {name: made[name]["out"].pointer for name in good if self.graph.nodes[name].kind not in WRITTEN}
        finally:
            os.chdir(here)
        return {task.task: task.outcome for task in report.tasks}, values

    def _loaded(self) -> Any:
        """Import the project's modules as they are now."""
        module = None
        for name in ("graph_helpers", "graph_pipeline"):
            path = self.folder / f"{name}.py"
            module = types.ModuleType(name)
            module.__file__ = str(path)
            sys.modules[name] = module
            exec(compile(path.read_text(), str(path), "exec"), vars(module))
        return module

    def _explained(self) -> set[str]:
        """Return the tasks for whose results the store lacks something, if only one of several."""
        if not self.lost:
            return set()
        return {record.task for record in self._open().all_records() if self.lost & _digests(record.outputs)}

    def _is_sound(self, digest: str) -> bool:
        path = self._blobs() / digest[:2] / digest[2:]
        return path.exists() and digest_bytes(path.read_bytes()) == digest

    # Parts of it

    def _open(self) -> Cache:
        if self.cache is None:
            self.cache = Cache.open(str(self.folder / ".dagger"), root=str(self.folder))
        return self.cache

    def _close(self) -> None:
        if self.cache is not None:
            self.cache.close()
            self.cache = None

    def _blobs(self) -> Path:
        return Path(self._open().blobs.directory)

    def _any_node(self, data: st.DataObject) -> Node:
        return self.graph.nodes[data.draw(st.sampled_from(list(self.graph.nodes)))]

    def _edit(self, data: st.DataObject, **fields: Any) -> None:
        node = self._any_node(data)
        self.graph.nodes[node.name] = changed(node, **fields)

    def _add(self, data: st.DataObject) -> None:
        # Few names and numbers, so that what comes was often there before.
        free = [f"n{index}" for index in range(MOST_NODES) if f"n{index}" not in self.graph.nodes]
        kind = data.draw(st.sampled_from(self.kinds))
        parents = self._parents(data, kind, before=None)
        name = data.draw(st.sampled_from(free))
        self.graph.nodes[name] = Node(name, kind, data.draw(NUMBERS), parents)

    def _parents(self, data: st.DataObject, kind: str, before: str | None) -> tuple[str, ...]:
        names = list(self.graph.nodes)
        earlier = names if before is None else names[: names.index(before)]
        usable = [it for it in earlier if kind not in SCRIPTS or self.graph.nodes[it].kind in WRITTEN]
        given = [*usable, *(f"s{index}" for index in range(SOURCES))]
        return tuple(data.draw(st.lists(st.sampled_from(given), max_size=3, unique=True)))


class OldBuilds(Builds):
    """The same where a file is known by its stat at once, and not only when it is two seconds old.

    Few tasks are compared at once, so that some are as they were where others are not. And some run while others are
    still to be looked up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.part, self.time = FileClock.racy_since, recall._PART, engine._TO_KNOW_MORE
        FileClock.racy_since = lambda *given: self.clock(*given) + 10**11  # type: ignore[method-assign]
        recall._PART, engine._TO_KNOW_MORE = 3, 0.0

    def teardown(self) -> None:
        FileClock.racy_since = self.clock  # type: ignore[method-assign]
        recall._PART, engine._TO_KNOW_MORE = self.part, self.time
        super().teardown()

    def _build(self) -> tuple[dict[str, str], dict[str, object]]:
        found = super()._build()
        time.sleep(0.01)  # what is edited from here on is of another tick of the file system's clock
        return found


class FreshBuilds(Builds):
    """The same in a fresh process for each run, with workers, which can be watched for what they read undeclared."""

    kinds = (*KINDS, TRACKED)

    def _build(self) -> tuple[dict[str, str], dict[str, object]]:
        self._close()
        self.graph.write(self.folder)
        report = self.folder / "report.jsonl"
        report.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "graph_pipeline.py"],
            cwd=self.folder,
            env={**os.environ, "DAGGER_REPORT": str(report), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # A further one is there where a value's blob was damaged, so that its task ran once more when it was asked for.
        first, *_ = report.read_text().splitlines()
        tasks = json.loads(first)["tasks"]
        values = json.loads((self.folder / "values.json").read_text())
        return {task["task"]: task["outcome"] for task in tasks}, values


def _digests(outputs: Any) -> set[str]:
    found = set()
    for output in outputs:
        found |= {output.content, *(member.digest for member in output.members)} | _digests(output.items)
    return found


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=max(1, examples),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


TestBuilds = Builds.TestCase
TestBuilds.settings = _settings(STEPS // STEPS_AT_ONCE, STEPS_AT_ONCE)

TestOldBuilds = OldBuilds.TestCase
TestOldBuilds.settings = _settings(STEPS // STEPS_AT_ONCE, STEPS_AT_ONCE)

TestFreshBuilds = FreshBuilds.TestCase
TestFreshBuilds.settings = _settings(STEPS // 200, 12)


def _blind_to_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workspace, "_is", lambda _self, full, _member: os.path.lexists(full))


def _blind_to_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Walker, "_add_input", lambda *_: None)


def _blind_to_code(monkeypatch: pytest.MonkeyPatch) -> None:
    code = Walker.code
    monkeypatch.setattr(Walker, "code", lambda self, task: (code(self, task)[0], ()))


def _blind_to_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cache, "records", lambda _self, _key: [])
    monkeypatch.setattr(Cache, "records_many", lambda _self, keys: {key: [] for key in keys})


def _glancing_past_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Glance, "_is_source", lambda *_: True)


def _glancing_past_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Glance, "_is_made", lambda *_: True)


def _glancing_past_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "ManyStamps", lambda *_: Mock(taken=lambda: ANY))


def _outlining_without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Walker, "_plain_code", lambda *_: "")


def _tied_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Walker, "_add_own_rows", lambda _self, _task, rows: rows.append(("input", "time", str(time.time_ns())))
    )


@pytest.mark.parametrize(
    ("break_it", "machine"),
    [
        (_blind_to_files, Builds),
        (_blind_to_inputs, Builds),
        (_blind_to_code, Builds),
        (_blind_to_records, Builds),
        (_tied_to_time, Builds),
        (_glancing_past_sources, OldBuilds),
        (_glancing_past_outputs, OldBuilds),
        (_glancing_past_stamps, OldBuilds),
        (_outlining_without_code, OldBuilds),
    ],
)
def test_a_wrong_builder_is_found_out(
    break_it: Callable[[pytest.MonkeyPatch], None], machine: type[Builds], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The property is worth something: a builder that misses changes, or runs too much, does not pass."""
    break_it(monkeypatch)
    few = settings(_settings(12, STEPS_AT_ONCE), phases=[Phase.generate], database=None, derandomize=True)
    with pytest.raises((AssertionError, pickle.UnpicklingError)):  # a spoilt output may not even be a pickle
        run_state_machine_as_test(machine, settings=few)
