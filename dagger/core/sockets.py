"""Sockets that are as they are meant to be, whatever the user's program has set for its own."""

from __future__ import annotations

import socket


def waiting_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets of which either waits for as long as it takes.

    With a time-out for all sockets, as of `socket.setdefaulttimeout`, a pair's descriptors do not wait: nor would those
    of whoever is handed one.
    """
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(True)
    return pair
