"""How loky's workers learn of their manager's end, and the manager of theirs: the manager's part.

What a worker does is in `isolation`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

from dagger.core.isolation import BYTES_OF_ID, LOOK_AT_PARENT, noted, remove_folder
from dagger.core.process_groups import GRACE, SIGKILL, is_child, send_group

_LONGEST_SOCKET_PATH = 100
_TIME_TO_END = GRACE + 1.0
# Of a connection that a task has closed; until it looks at its parent, the worker's own thread keeps it open.
_TIME_TO_HEAR = LOOK_AT_PARENT + 0.5
_PAUSE = 0.01


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
        remove_folder(self._folder)

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
            number = connection.recv(BYTES_OF_ID, socket.MSG_WAITALL)
        except OSError:
            return None
        if len(number) < BYTES_OF_ID:  # it was killed just then
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


def _note_in(path: str) -> str:
    with open(path, "rb") as file:
        return noted(file.read())
