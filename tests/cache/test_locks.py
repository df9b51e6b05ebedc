"""Locks: one holder, no stale ones, held by whoever inherited them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from dagger.cache.locks import remove_unused_lock, try_lock

HOLD = "import sys, dagger.cache.locks as l; k = l.try_lock(sys.argv[1]); print(k is not None, flush=True); input()"


def test_one_holder(tmp_path: Path) -> None:
    """A second taker gets nothing until the first lets go; it never waits."""
    path = str(tmp_path / "deep" / "lock")
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    first.release()
    first.release()
    with try_lock(path) or os.abort():
        assert try_lock(path) is None
    assert try_lock(path) is not None


def test_shared_holders(tmp_path: Path) -> None:
    """Shared holders go together, but not with an exclusive one."""
    path = str(tmp_path / "lock")
    first, second = try_lock(path, shared=True), try_lock(path, shared=True)
    assert first is not None
    assert second is not None
    assert try_lock(path) is None
    first.release()
    second.release()
    assert try_lock(path) is not None


def test_no_stale_lock(tmp_path: Path) -> None:
    """A holder that is killed leaves no lock behind."""
    path = str(tmp_path / "lock")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    assert try_lock(path) is None
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert try_lock(path) is not None


def test_orphan_keeps_it(tmp_path: Path) -> None:
    """A child that inherited the descriptor holds the lock after its parent let go, until it ends."""
    path = str(tmp_path / "lock")
    lock = try_lock(path)
    assert lock is not None
    descriptor = lock.fileno()
    assert descriptor is not None
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(descriptor,))
    lock.release()
    assert try_lock(path) is None
    child.communicate()
    assert try_lock(path) is not None


def test_removal_is_safe(tmp_path: Path) -> None:
    """A lock file is removed only while nobody holds it, and its successor is a lock again."""
    path = str(tmp_path / "lock")
    held = try_lock(path)
    assert held is not None
    assert not remove_unused_lock(path)
    held.release()
    assert remove_unused_lock(path)
    assert not os.path.exists(path)
    assert try_lock(path) is not None
