"""A worker process: runs rounds of jobs that its manager sends, one after the other, until that is gone.

`spawning` starts it, and says what goes between the two.
"""

from __future__ import annotations

import _pickle as pickle
import fcntl
import gc
import mmap
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from dagger.core.capture import shared_log
from dagger.core.isolation import LONGEST_NOTE, prepare_own_worker
from dagger.core.offers import CAN_TAKE_BACK, SLOTS, Offers
from dagger.core.process_groups import GRACE
from dagger.core.rounds import Round
from dagger.core.sockets import Socket, receive_descriptor
from dagger.core.spawning import NUMBER, SIZE, Setup, framed
from dagger.errors import DaggerError

_MOST = 1024
"""Descriptors that are closed where it cannot be told which are open."""
_TIME_TO_END = 5 * GRACE  # seconds; longer than it takes, where the manager is gone indeed
_OUT_OF_THE_WAY = 100
"""The least descriptor of the connection: tasks open and close those with small numbers."""


def main() -> None:
    """Serve the socket that is the standard input."""
    _close_inherited()
    connection = _connection()
    try:
        given, notes = _receive_setup(connection)
    except EOFError:
        os._exit(1)  # it is not needed after all
    if given.takes_back and not CAN_TAKE_BACK:
        os.write(2, b"dagger: a worker cannot load what its manager has: was dagger installed anew meanwhile?\n")
        os._exit(1)
    _set_up(given, connection, notes)
    offers = Offers(notes, LONGEST_NOTE)
    try:
        # One for all: between the rounds there is nothing here that any of them could find.
        with Round(shared_log(os.getpid()), _watch_of(connection)) as here:
            connection.sendall(framed(b""))
            _load_the_rest()
            gc.enable()  # which `PROGRAM` keeps off
            for number in count():
                (size,) = SIZE.unpack(_read(connection, SIZE.size))
                is_mine = offers.take(number)  # before it is read: who dies of that has begun it
                packed = _read(connection, size)
                if is_mine:
                    connection.sendall(framed(NUMBER.pack(number) + _answer(here, packed)))
                if here.is_spoilt:
                    break  # another takes its place
    except EOFError:
        threading.Event().wait(_TIME_TO_END)  # the manager is gone, and who watches for that ends this process
    except OSError:
        pass  # a task has closed the connection
    os._exit(1)


def _watch_of(connection: Socket) -> Callable[[], bool]:
    """Return what tells whether a descriptor is still the connection: a task may close it, or open its own there."""
    descriptor, former = connection.fileno(), os.fstat(connection.fileno())

    def is_there() -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), former)
        except OSError:
            return False

    return is_there


def _connection() -> Socket:
    """Take the socket out of the way, and have standard streams whatever the manager has."""
    try:
        descriptor = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    except OSError:  # so many are not allowed
        descriptor = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the least number that is free
            os.set_inheritable(number, True)
    return Socket(fileno=descriptor)


def _receive_setup(connection: Socket) -> tuple[Setup, mmap.mmap]:
    size, descriptor = receive_descriptor(connection, SIZE.size)
    given: Setup = pickle.loads(_read(connection, SIZE.unpack(size)[0]))
    notes = mmap.mmap(descriptor, LONGEST_NOTE + SLOTS, offset=given.place)
    os.close(descriptor)
    return given, notes


def _set_up(given: Setup, connection: Socket, notes: mmap.mmap) -> None:
    sys.path[:] = given.path
    sys.argv = given.argv
    os.chdir(given.folder)
    if given.authkey is not None:
        from multiprocessing import current_process

        current_process().authkey = given.authkey
    prepare_own_worker(connection.fileno(), notes, given.presence)


def _load_the_rest() -> None:
    """Import what the first round needs besides, while the manager still plans."""
    with suppress(ImportError):  # whoever needs it will say so
        from dagger.cache import values  # noqa: F401
        from dagger.core import value_files  # noqa: F401


def _answer(here: Round, packed: bytearray) -> bytes:
    try:
        return here.run_all(packed)
    except BaseException as error:  # what a task raised is in its outcome; this is a fault of ours, or no memory
        return pickle.dumps(DaggerError(f"{type(error).__name__}: {error}"))


def _read(connection: Socket, size: int) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def _close_inherited() -> None:
    """Close what the manager's program has opened for its children: a worker is none that it knows of."""
    try:
        found = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        found = list(range(_MOST))
    for descriptor in found:
        if descriptor > 2:
            with suppress(OSError):
                os.close(descriptor)
