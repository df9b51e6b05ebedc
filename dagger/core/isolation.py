"""How a worker process is set apart: from the terminal, from its manager's end, and one job from the next.

`prepare_own_worker`, or for loky's workers `prepare_worker`, runs once in each: a process group of its own, no standard
input, and a thread that watches the manager. `note`, `no_fork_returns` and `end_leftovers` stand around each job, as
does `capture`.

A worker learns of its manager's end from a socket, whose other end the kernel closes when the manager is gone, however
it went. dagger's own have the one that their jobs come by. loky's start by methods that differ in what is inherited, so
they are sent the path of a socket in a private folder (`ManagerLife`). What holds the interpreter's lock for long (a C
extension) delays the worker's own end until it lets go.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dagger.core.capture import flush_all, leave_log
from dagger.core.process_groups import (
    GRACE,
    SIGKILL,
    become_subreaper,
    children,
    continue_without_parent,
    end_descendants,
    has_children,
    is_child,
    is_tracker,
    kill_group,
    send_group,
)

if TYPE_CHECKING:
    from dagger.cache.locks import FileLock

_LONGEST_SOCKET_PATH = 100
_LOOK_AT_PARENT = 1.0  # seconds; a fork of the manager may hold its end of the socket
_TIME_TO_END = GRACE + 1.0
# Of a connection that a task has closed; until it looks at its parent, the worker's own thread keeps it open.
_TIME_TO_HEAR = _LOOK_AT_PARENT + 0.5
_PAUSE = 0.01
_NUMBER = 8
LONGEST_NOTE = 8192

_prepared = False
_part: FileLock | None = None
_notes: mmap.mmap | None = None


class ManagerLife:
    """The manager's end of its workers' sockets.

    Attributes:
        path: Where workers connect.
    """

    def __init__(self) -> None:
        self._folder = _private_folder()
        self.path = os.path.join(self._folder, "life")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(128)
        self._workers: dict[socket.socket, int] = {}
        self._closed: set[int] = set()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, name="dagger-life", daemon=True)
        self._thread.start()

    def jobs_of_dead(self) -> frozenset[str] | None:
        """Return the logs of the jobs that workers were at last which are gone now; some may have ended well before.

        None where that cannot be told, since somebody has taken the notes away. Gone is also whoever has closed the
        connection: a task that closes all that is open has its worker taken for dead by whoever waits for its result.
        """
        deadline = time.monotonic() + _TIME_TO_HEAR
        try:
            while True:
                workers = [name for name in os.listdir(self._folder) if name.isdigit()]
                gone = [name for name in workers if int(name) in self._closed or not is_child(int(name))]
                if gone or not workers or time.monotonic() > deadline:
                    return frozenset(job for name in gone if (job := _note_in(os.path.join(self._folder, name))))
                time.sleep(_PAUSE)
        except OSError:
            return None

    def close(self) -> None:
        """Let go of the workers: those that are still there end what they run, and then themselves."""
        self._wake.close()
        self._thread.join()
        for connection in self._workers:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _TIME_TO_END
        for connection in list(self._workers):
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            with suppress(OSError):
                connection.recv(1)  # nothing comes but the end
            self._lose(connection)
        self._listener.close()
        self._woken.close()
        _remove_folder(self._folder)

    def _watch(self) -> None:
        from selectors import EVENT_READ, DefaultSelector

        with DefaultSelector() as selector:
            for each in (self._listener, self._woken):
                selector.register(each, EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._listener:
                        connection = self._accept()
                        if connection is not None:
                            selector.register(connection, EVENT_READ)
                    else:
                        assert isinstance(key.fileobj, socket.socket)
                        selector.unregister(key.fileobj)
                        self._closed.add(self._workers[key.fileobj])
                        self._await_end(self._workers[key.fileobj])
                        self._lose(key.fileobj)

    def _accept(self) -> socket.socket | None:
        try:
            connection = self._listener.accept()[0]
            number = connection.recv(_NUMBER, socket.MSG_WAITALL)
        except OSError:
            return None
        if len(number) < _NUMBER:  # it was killed just then
            connection.close()
            return None
        self._workers[connection] = int.from_bytes(number, "big")
        return connection

    def _await_end(self, worker: int) -> None:
        """Let a worker whose task has closed all that was open, the connection too, come to its own end."""
        deadline = time.monotonic() + GRACE
        while is_child(worker) and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def _lose(self, connection: socket.socket) -> None:
        """A worker is gone: what its task started and it had no time to end must go too."""
        connection.close()
        _end_group_of(self._workers.pop(connection))


def _remove_folder(folder: str) -> None:
    with suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def _end_group_of(pid: int) -> None:
    if pid > 1 and pid != os.getpgrp():
        send_group(pid, SIGKILL)


def _private_folder() -> str:
    from tempfile import mkdtemp

    folder = mkdtemp(prefix="dagger-")
    if len(folder) > _LONGEST_SOCKET_PATH:  # the system takes no longer names for sockets
        os.rmdir(folder)
        folder = mkdtemp(prefix="dagger-", dir="/tmp")
    return folder


def prepare_worker(path: str, presence: str | None = None) -> None:
    """Set this process up as a worker of loky's; it ends when the manager does.

    Args:
        path: The manager's `ManagerLife.path`.
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
        path: The manager's `ManagerLife.path`.
        part: The descriptor by which this process is part of the run.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendall(os.getpid().to_bytes(_NUMBER, "big"))
    except OSError:
        os._exit(1)  # it went before this worker was up
    connection.settimeout(_LOOK_AT_PARENT)

    def is_gone() -> bool:
        try:
            return not connection.recv(1)
        except TimeoutError:
            return False
        except OSError:  # a task has closed the connection; whose child this is still tells
            time.sleep(_LOOK_AT_PARENT)
            return False

    _start_watch(is_gone, part, os.path.dirname(path))


def _hang_up_of(descriptor: int) -> Callable[[], bool]:
    import select

    poll = select.poll()
    poll.register(descriptor, 0)

    def is_gone() -> bool:
        for _, event in poll.poll(_LOOK_AT_PARENT * 1000):
            if not event & select.POLLNVAL:
                return True
            time.sleep(_LOOK_AT_PARENT)  # a task has closed the connection; whose child this is still tells
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
        _remove_folder(folder)
    if os.getpgrp() == os.getpid():
        kill_group(os.getpid())
    os._exit(1)


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


def _note_in(path: str) -> str:
    with open(path, "rb") as file:
        return noted(file.read())


def note(log: str) -> None:
    """Let the manager know what this worker is at, should it die: also when its result is on the way.

    Args:
        log: The job's log.
    """
    name = os.fsencode(log) + b"\0"
    if _notes is not None and len(name) <= LONGEST_NOTE:
        _notes[: len(name)] = name
