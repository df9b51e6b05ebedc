"""Starting a worker's process, before anything else of a run is there: what it does first is what all wait for.

`PROGRAM` is what a Python is started with. Its standard input is then a socket to the manager, on which comes first the
manager's import path, so that the same dagger is found. All else that goes between the two is framed by its size::

    manager --- Setup, round, round -> | <- ready (nothing), outcomes, outcomes --- worker
"""

from __future__ import annotations

import marshal
import os
import socket
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

from dagger.core.process_groups import kill_tree
from dagger.errors import DaggerError

PROGRAM = """
import marshal, sys
sys.path = marshal.load(open(0, "rb", 0, closefd=False))
from dagger.core.worker import main
main()
"""


SIZE = struct.Struct("=Q")
"""Comes before all that is sent: how many bytes it has."""


class Setup(NamedTuple):
    """What a worker is told of its manager.

    Attributes:
        argv: Its ``sys.argv``.
        folder: Its working directory.
        authkey: What lets processes of `multiprocessing` know each other, None where that was not used.
        life: `ManagerLife.path`.
        presence: `Presence.path`.
    """

    argv: list[str]
    folder: str
    authkey: bytes | None
    life: str
    presence: str


def setup(life: str, presence: str) -> Setup:
    """Return what a worker is told of this process.

    Args:
        life: `ManagerLife.path`.
        presence: `Presence.path`.
    """
    process = sys.modules.get("multiprocessing.process")
    authkey = None if process is None else bytes(process.current_process().authkey)
    return Setup(list(sys.argv), os.getcwd(), authkey, life, presence)


def framed(data: bytes) -> bytes:
    """Return bytes as they are sent."""
    return SIZE.pack(len(data)) + data


class Spawned(NamedTuple):
    """A worker's process and the manager's end of its socket."""

    pid: int
    connection: socket.socket


def spawn() -> Spawned:
    """Start a worker's process; it ends by itself when nobody has the connection.

    Raises:
        DaggerError: There is no Python for it.
        OSError: It cannot be started.
    """
    if not sys.executable:
        raise DaggerError("functions need a Python to run their workers, but sys.executable is empty")
    folder = os.getcwd()
    path = [os.fspath(place) or folder for place in sys.path if isinstance(place, (str, os.PathLike))]
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(marshal.dumps(path))
        command = [sys.executable, "-c", PROGRAM]
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
        # A group of its own, so that what the terminal sends is for the manager to hear, and to decide on.
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setpgroup=0, setsigmask=())
    return Spawned(pid, ours)


def dismiss(workers: list[Spawned]) -> None:
    """End workers that have not been given anything to do."""
    while workers:
        pid, connection = workers.pop()
        kill_tree(pid)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        connection.close()
