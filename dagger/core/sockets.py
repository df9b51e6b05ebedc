"""Sockets between dagger's own processes: what `socket` is made of, for to load the rest all would wait.

They are as they are meant to be, whatever the user's program has set for its own.
"""

from __future__ import annotations

import _socket as socket
import struct

_DESCRIPTOR = struct.Struct("=i")

Socket = socket.socket


def waiting_pair() -> tuple[Socket, Socket]:
    """Return two connected sockets of which either waits for as long as it takes.

    With a time-out for all sockets, as of `socket.setdefaulttimeout`, a pair's descriptors do not wait: nor would those
    of whoever is handed one.
    """
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(True)
    return pair


def send_descriptor(connection: Socket, said: bytes, descriptor: int) -> None:
    """Send bytes, and with them a descriptor of this process."""
    connection.sendmsg([said], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(descriptor))])


def receive_descriptor(connection: Socket, size: int) -> tuple[bytes, int]:
    """Return what `send_descriptor` sent.

    Args:
        connection: Where it comes from.
        size: How many bytes it sent.

    Raises:
        EOFError: Nothing comes any more.
    """
    said, sent, _, _ = connection.recvmsg(size, socket.CMSG_LEN(_DESCRIPTOR.size))
    if not sent:
        raise EOFError
    _, _, packed = sent[0]
    return said, _DESCRIPTOR.unpack_from(packed)[0]
