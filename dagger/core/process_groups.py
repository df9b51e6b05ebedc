"""Ending processes whole: a group, or a tree with whatever has left the group.

The guardian ends scripts with this, and a worker what its task left running. It is loaded by the
guardian, which has twenty milliseconds to start, so that it imports next to nothing.

On Linux a process that became a *child subreaper* inherits every descendant whose own parent is gone,
also one that made a session of its own; so its descendants in ``/proc`` are all that it ever started.
Elsewhere there is no such thing, and only groups can be ended.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # typing and collections cost the guardian a third of its start
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from resource import struct_rusage

# By number: importing signal costs as much as all the rest of this module.
SIGKILL = 9
SIGTERM = 15
SIGSTOP = 17 if sys.platform == "darwin" else 19
SIGCONT = 19 if sys.platform == "darwin" else 18

GRACE = 2.0
"""Seconds between asking a process to end and making it."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL = 0.01
_HOPELESS = 5.0  # seconds after SIGKILL at which a process in uninterruptible sleep is given up


def become_subreaper() -> bool:
    """Makes this process inherit its descendants' orphans.

    Returns:
        Whether it does now; False where the system knows no subreapers.
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def continue_without_parent() -> bool:
    """Has this process continued when its parent is gone, which may have stopped it and been killed then.

    Returns:
        Whether it will be; False where the system has no signal for that.
    """
    return _prctl(_PR_SET_PDEATHSIG, SIGCONT)


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(_control()(option, value))
    except (ImportError, OSError, AttributeError):
        return False


def _control() -> Callable[[int, int], bool]:
    try:
        if __package__:
            from dagger.core._system import control
        else:  # in the guardian
            from _system import control  # type: ignore[import-not-found]
    except ImportError:
        from ctypes import CDLL

        return lambda option, value: CDLL(None).prctl(option, value, 0, 0, 0) == 0
    return control  # type: ignore[no-any-return]


def children(pid: int) -> list[int]:
    """Lists the direct children of a process, zombies among them; empty where ``/proc`` is not Linux's."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{thread}"):
                return _parents().get(pid, [])  # a kernel without CONFIG_PROC_CHILDREN
        except OSError:
            continue
    return found


def has_children() -> bool:
    """Tells by one call whether this process has children at all; where that cannot be told, it may have some."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except (AttributeError, OSError):
        return True
    return True


def descendants(pid: int) -> list[int]:
    """Lists all that a process started and that is still there, parents before their children.

    Args:
        pid: The process, which is not in the list itself.

    Returns:
        Process ids; empty where ``/proc`` is not Linux's.
    """
    found: list[int] = []
    seen = {pid}
    waiting = [pid]
    while waiting:
        for child in children(waiting.pop()):
            if child not in seen:
                seen.add(child)
                found.append(child)
                waiting.append(child)
    return found


def send(pids: Iterable[int], number: int) -> None:
    """Sends a signal to each process that is there and ours."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def send_group(group: int, number: int) -> bool:
    """Sends a signal to a process group; 0 only asks.

    Returns:
        Whether there is such a group.
    """
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Darwin's answer for a group of zombies; elsewhere a member that changed its user, out of reach.
        return False
    return True


def end_descendants(pid: int, grace: float = GRACE, *, keep: Collection[int] = ()) -> list[int]:
    """Ends all that a process started, in whatever group or session it is now.

    A worker calls this with its own id once a task is over; for that it must have become a subreaper
    before. Linux only: elsewhere there is nothing to find, and only groups can be ended.

    Args:
        pid: The process whose descendants must go; it stays itself.
        grace: Seconds between SIGTERM and SIGKILL.
        keep: Children to leave alone, with all below them.

    Returns:
        What was ended, in the order it was found.
    """

    def left() -> list[int]:
        spared = set(keep)
        for kept in keep:
            spared.update(descendants(kept))
        found = [each for each in descendants(pid) if each not in spared]
        return _reaped(found) if pid == os.getpid() else found

    return _end(left, send, grace)


def is_tracker(pid: int) -> bool:
    """Tells whether a process removes semaphores and shared memory, once all that used them are gone.

    It is `multiprocessing`'s or loky's, runs no code of the user's, and ends by itself when it has done so.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"resource_tracker import main" in file.read()
    except OSError:
        return False


def stop_tree(pid: int) -> list[int]:
    """Keeps a process, and all that it started but trackers, from doing anything more, such as to start others.

    Returns:
        Their ids.
    """
    found = [pid, *(each for each in descendants(pid) if not is_tracker(each))]
    send(found, SIGSTOP)
    return found


def kill_tree(pid: int) -> None:
    """Makes a process end at once, with all that it started but trackers, and its group, if it leads one.

    It is left to be reaped.
    """
    has_trackers = any(map(is_tracker, descendants(pid)))
    send([*stop_tree(pid), *stop_tree(pid)], SIGKILL)
    if pid == os.getpgrp():
        return
    if has_trackers:
        kill_group(pid)
    else:
        send_group(pid, SIGKILL)


def kill_group(group: int) -> None:
    """Makes a group end at once, but for trackers; this process last, if it is of the group."""
    try:
        everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        everybody = []
    members = [pid for pid in everybody if _group_of(pid) == group]
    if not any(map(is_tracker, members)):
        send_group(group, SIGKILL)
        return
    members.sort(key=lambda pid: pid == os.getpid())
    send((pid for pid in members if not is_tracker(pid)), SIGKILL)


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def end_group(group: int, grace: float = GRACE) -> None:
    """Ends a process group, and on Linux what its leader started outside it.

    Args:
        group: The group's id, which is its leader's process id; never one's own group.
        grace: Seconds between SIGTERM and SIGKILL.
    """
    if group == os.getpgrp():
        raise ValueError("a process cannot end its own group and live to tell")
    known: set[int] = set()

    def left() -> list[int]:
        known.update(descendants(group))
        alive = [each for each in known if is_running(each)]
        return [group, *alive] if send_group(group, 0) and not _is_zombie(group) else alive

    def tell(pids: Iterable[int], number: int) -> None:
        send_group(group, number)
        send(pids, number)

    _end(left, tell, grace)


def _end(left: Callable[[], list[int]], tell: Callable[[Iterable[int], int], None], grace: float) -> list[int]:
    """Asks what is left to end, then makes it, looking anew each time since it may still be forking."""
    ended: dict[int, None] = {}
    start = time.monotonic()
    while pids := left():
        overdue = time.monotonic() - start - grace
        if overdue > _HOPELESS:
            break
        if overdue >= 0:
            tell(pids, SIGKILL)
        elif fresh := [pid for pid in pids if pid not in ended]:
            tell(fresh, SIGTERM)
            tell(fresh, SIGCONT)  # a stopped process would sleep through it
        ended.update(dict.fromkeys(pids))
        time.sleep(_POLL)
    return list(ended)


def _reaped(pids: list[int]) -> list[int]:
    """Takes away those of our own children that have ended, and returns the others."""
    left = []
    for pid in pids:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                left.append(pid)
        except ChildProcessError:
            if is_running(pid):
                left.append(pid)
    return left


def _stat(pid: int | str) -> tuple[str, int]:
    """Reads a process's state letter and parent; the name before them may hold anything."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[1])


def _is_zombie(pid: int) -> bool:
    try:
        return _stat(pid)[0] in "ZX"
    except (OSError, IndexError):
        return False


def is_running(pid: int) -> bool:
    """Tells whether there is such a process, zombies aside."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def is_child(pid: int) -> bool:
    """Tells whether a child of this process still runs, and leaves it to others to take its exit code."""
    if not hasattr(os, "waitid"):
        return is_running(pid)
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def peak_memory(usage: struct_rusage) -> int:
    """Returns the most memory that what this is of has had, in bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _parents() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.setdefault(_stat(name)[1], []).append(int(name))
            except (OSError, IndexError):
                continue
    return found
