"""Starting a worker's process, before anything else of a run is there: what it does first is what all wait for.

`PROGRAM` is what a Python is started with; it looks for no garbage until it is up. Its standard input is then a socket
to the manager, on which comes first the import path by which the manager found dagger. All else that goes between the
two is framed by its size::

    manager --- Setup, round, round -> | <- ready (nothing), outcomes, outcomes --- worker

Before outcomes stands which round they are of, by the order in which a worker is sent them.
"""

from __future__ import annotations

import marshal
import os
import signal
import struct
import sys
from contextlib import closing, suppress

from dagger.core.offers import CAN_TAKE_BACK
from dagger.core.places import import_path
from dagger.core.process_groups import kill_tree
from dagger.core.sockets import Socket, waiting_pair
from dagger.errors import DaggerError
from dagger.lean_typing import NamedTuple

PROGRAM = """
import gc, marshal, os, sys
gc.disable()
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(0, size - len(data)) or sys.exit(1)
    return data
sys.path = marshal.loads(read(int.from_bytes(read(8), sys.byteorder)))
from dagger.core.worker import main
main()
"""

SIZE = struct.Struct("=Q")
"""Comes before all that is sent: how many bytes it has."""
NUMBER = struct.Struct("=Q")


class Setup(NamedTuple):
    """What a worker is told of its manager; the file of notes comes with it, as a descriptor.

    Attributes:
        path: Its import path.
        argv: Its ``sys.argv``.
        folder: Its working directory.
        authkey: What lets processes of `multiprocessing` know each other, None where that was not used.
        presence: `Presence.path`.
        place: Where in the file the worker's own notes begin.
        takes_back: Whether what it was sent may be taken back (`offers`).
    """

    path: list[str]
    argv: list[str]
    folder: str
    authkey: bytes | None
    presence: str
    place: int
    takes_back: bool


def setup(presence: str, place: int) -> Setup:
    """Return what a worker is told of this process.

    Args:
        presence: `Presence.path`.
        place: Where in the file of notes the worker's own begin.
    """
    folder = os.getcwd()
    process = sys.modules.get("multiprocessing.process")
    authkey = None if process is None else bytes(process.current_process().authkey)
    argv = [str(argument) for argument in getattr(sys, "argv", ())]
    return Setup(_plain_path(sys.path, folder), argv, folder, authkey, presence, place, CAN_TAKE_BACK)


def framed(data: bytes) -> bytes:
    """Return bytes as they are sent."""
    return SIZE.pack(len(data)) + data


class Spawned(NamedTuple):
    """A worker's process and the manager's end of its socket."""

    pid: int
    connection: Socket


class Early(NamedTuple):
    """Workers that were started before what runs anything was there; those that are taken are taken out.

    Attributes:
        most: How many there can be work for.
        begun: When the first was started, by the monotonic clock.
        workers: Those that could be started.
    """

    most: int
    begun: float
    workers: list[Spawned]


def spawn() -> Spawned:
    """Start a worker's process.

    Returns:
        It; it ends by itself when nobody has the connection.

    Raises:
        DaggerError: There is no Python for it.
        OSError: It cannot be started.
    """
    if not sys.executable:
        raise DaggerError("functions need a Python to run their workers, but sys.executable is empty")
    path = marshal.dumps(_plain_path(import_path, os.getcwd()))
    ours, theirs = waiting_pair()
    with closing(theirs):
        command = [sys.executable, "-c", PROGRAM]
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=actions,
            setpgroup=0,  # what the terminal sends is for the manager to hear, and to decide on
            setsigmask=(),
            setsigdef=(signal.SIGCHLD,),
        )
    with suppress(OSError):  # it is gone already, which will be heard of
        ours.sendall(framed(path))
    return Spawned(pid, ours)


def _plain_path(path: list[str], folder: str) -> list[str]:
    return [str(place) or folder for place in path if isinstance(place, (str, os.PathLike))]


def dismiss(workers: list[Spawned]) -> None:
    """End workers that have not been given anything to do."""
    while workers:
        pid, connection = workers.pop()
        kill_tree(pid)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        connection.close()
