"""How a worker process is set apart: from the terminal, from its manager's end, and one job from the next.

`prepare_own_worker`, or for loky's workers `prepare_worker`, runs once in each: a process group of its own, no standard
input, and a thread that watches the manager. `note`, `no_fork_returns` and `end_leftovers` stand around each job, as
does `capture`.

A worker learns of its manager's end from a socket, whose other end the kernel closes when the manager is gone, however
it went. dagger's own have the one that their jobs come by. loky's start by methods that differ in what is inherited, so
they are sent the path of a socket in a private folder (`manager_life`). What holds the interpreter's lock for long (a C
extension) delays the worker's own end until it lets go.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dagger.core.capture import flush_all, leave_log
from dagger.core.process_groups import (
    GRACE,
    become_subreaper,
    children,
    continue_without_parent,
    end_descendants,
    has_children,
    is_tracker,
    kill_group,
)
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger.cache.locks import FileLock

LOOK_AT_PARENT = 1.0  # seconds; a fork of the manager may hold its end of the socket
LONGEST_NOTE = 8192
BYTES_OF_ID = 8  # in which a worker of loky's says who it is

_prepared = False
_part: FileLock | None = None
_notes: mmap.mmap | None = None


def prepare_worker(path: str, presence: str | None = None) -> None:
    """Set this process up as a worker of loky's; it ends when the manager does.

    Args:
        path: The manager's `manager_life.ManagerLife.path`.
        presence: The run's `Presence.path`, which this process is part of until its end.
    """
    global _prepared, _notes
    _set_apart()
    watch_manager(path, None if presence is None else _join(presence))
    _notes = _open_notes(os.path.join(os.path.dirname(path), str(os.getpid())))
    _prepared = True
    from dagger.core import rounds  # noqa: F401  (loaded while the manager still plans, not with the first job)


def prepare_own_worker(connection: int, notes: mmap.mmap, presence: str) -> None:
    """Set this process up as a worker of dagger's own; it ends when the manager does.

    Args:
        connection: The descriptor of its socket to the manager, who keeps the other end for as long as it is there.
        notes: What `note` writes to.
        presence: The run's `Presence.path`, which this process is part of until its end.
    """
    global _prepared, _notes
    _set_apart()
    _start_watch(_hang_up_of(connection), _join(presence))
    _notes = notes
    _prepared = True


def _set_apart() -> None:
    with suppress(OSError):  # it may lead a session already
        os.setpgid(0, 0)
    # A handler, not SIG_IGN: that would be inherited by what tasks start.
    signal.signal(signal.SIGINT, _leave_to_manager)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})  # the manager held them meanwhile
    _close_input()
    become_subreaper()
    continue_without_parent()


def _open_notes(path: str) -> mmap.mmap:
    """Make a file that a note costs no call to; and no task can close it, or open its own under its descriptor."""
    with open(path, "x+b") as file:
        file.truncate(LONGEST_NOTE)
        return mmap.mmap(file.fileno(), LONGEST_NOTE)


def _join(presence: str) -> int | None:
    """Become part of the run before its manager is looked for: one that comes after it waits until all are gone."""
    from dagger.cache.presence import join

    global _part
    _part = join(presence)
    if _part is None:
        os._exit(1)  # another run has come meanwhile
    return _part.fileno()


def _leave_to_manager(_signal: int, _frame: object) -> None:
    """The manager hears of an interrupt too, and decides."""


def _close_input() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing != 0:
        os.close(nothing)


def watch_manager(path: str, part: int | None = None) -> None:
    """End this process, with everything that it runs, as soon as the manager is gone.

    Args:
        path: The manager's `manager_life.ManagerLife.path`.
        part: The descriptor by which this process is part of the run.
    """
    import socket

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendall(os.getpid().to_bytes(BYTES_OF_ID, "big"))
    except OSError:
        os._exit(1)  # it went before this worker was up
    connection.settimeout(LOOK_AT_PARENT)

    def is_gone() -> bool:
        try:
            return not connection.recv(1)
        except TimeoutError:
            return False
        except OSError:  # a task has closed the connection; whose child this is still tells
            time.sleep(LOOK_AT_PARENT)
            return False

    _start_watch(is_gone, part, os.path.dirname(path))


def _hang_up_of(descriptor: int) -> Callable[[], bool]:
    poll = select.poll()
    poll.register(descriptor, 0)

    def is_gone() -> bool:
        for _, event in poll.poll(LOOK_AT_PARENT * 1000):
            if not event & select.POLLNVAL:
                return True
            time.sleep(LOOK_AT_PARENT)  # a task has closed the connection; whose child this is still tells
        return False

    return is_gone


def _start_watch(is_gone: Callable[[], bool], part: int | None, folder: str = "") -> None:
    arguments = (is_gone, os.getppid(), part, folder)
    threading.Thread(target=_watch, args=arguments, name="dagger-watch", daemon=True).start()


def _watch(is_gone: Callable[[], bool], parent: int, part: int | None, folder: str) -> None:
    while os.getppid() == parent and not is_gone():
        pass
    # Nobody will take a result any more, and who is asked to end deserves no more time than a task that timed out.
    with suppress(Exception):
        end_descendants(os.getpid(), GRACE, keep=helpers())
    with suppress(Exception):
        if _notes is not None:
            leave_log(noted(_notes[:]), os.getpid(), was_running=True)
    with suppress(Exception):
        from dagger.cache.presence import leave

        leave(part)
    if folder and os.getppid() != parent:  # else the manager is there, and its folder too: a task has closed the socket
        remove_folder(folder)
    if os.getpgrp() == os.getpid():
        kill_group(os.getpid())
    os._exit(1)


def remove_folder(folder: str) -> None:
    """Remove a folder with the files in it."""
    with suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def end_leftovers() -> list[int]:
    """End the processes that a job left running.

    Does nothing in a process that is not dagger's own, whose children are somebody else's, and on systems that do not
    tell what a process has started.

    Returns:
        The ids of what was ended.
    """
    if not _prepared or not has_children():
        return []
    ended = end_descendants(os.getpid(), GRACE, keep=helpers())
    _forget_fork_server(ended)
    return ended


def _forget_fork_server(ended: list[int]) -> None:
    """Tell `multiprocessing` that its fork server is gone: it trips over one that was ended behind its back.

    Its own way to stop one waits for it, and that may be for ever.
    """
    module: Any = sys.modules.get("multiprocessing.forkserver")
    server = None if module is None else module._forkserver
    if server is not None and server._forkserver_pid in ended:
        os.close(server._forkserver_alive_fd)
        server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None


def helpers() -> list[int]:
    """The processes that libraries track their resources with: they run no code of the user's, and stay."""
    found = [pid for pid in children(os.getpid()) if is_tracker(pid)]
    module: Any = sys.modules.get("multiprocessing.resource_tracker")  # where it cannot be told from outside
    pid = None if module is None else module._resource_tracker._pid
    return found if pid is None else [*found, pid]


@contextmanager
def no_fork_returns() -> Iterator[None]:
    """End a child that a task forked when it comes to the end of the task's code, as a second worker in the making."""
    mine = os.getpid()
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        if os.getpid() != mine:
            _end_fork(error)


def _end_fork(error: BaseException | None) -> None:
    """End this process as Python would at the end of its script, but for what is only to be done once."""
    status = 0 if error is None else 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
    flush_all()
    os._exit(status & 0xFF)


def noted(notes: bytes) -> str:
    """Return what `note` has written."""
    return os.fsdecode(notes.partition(b"\0")[0])


def note(log: str) -> None:
    """Let the manager know what this worker is at, should it die: also when its result is on the way.

    Args:
        log: The job's log.
    """
    name = os.fsencode(log) + b"\0"
    if _notes is not None and len(name) <= LONGEST_NOTE:
        _notes[: len(name)] = name
