"""What a worker was sent ahead of its time, and another may have for as long as it is not begun.

Each round has a byte in memory that a worker shares with its manager. Whoever changes it first has the round: the
worker to run it, the manager to give it to another. That takes one step of the processor's, for which Python has no
function; where `_system.c` could not be compiled, what was sent is not taken back.
"""

from __future__ import annotations

from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mmap

SLOTS = 8
"""Bytes of memory: more than the rounds that a worker has still to read, which are one that was taken back, one that it
comes to then, and one ahead."""

_OPEN, _TAKEN = 1, 2

try:
    from dagger.core._system import swap as _swap
except ImportError:
    _swap = None

CAN_TAKE_BACK = _swap is not None


class Offers:
    """The rounds of one worker, by the order in which they are sent.

    Args:
        memory: Shared.
        start: Where in it their bytes begin.
    """

    def __init__(self, memory: mmap.mmap, start: int) -> None:
        self._memory = memory
        self._start = start

    def make(self, number: int) -> None:
        """Let a round be taken, before it is sent."""
        self._memory[self._start + number % SLOTS] = _OPEN

    def take(self, number: int) -> bool:
        """Take a round, and return whether the other side had not done so; a worker always may where it never does."""
        return _swap is None or _swap(self._memory, self._start + number % SLOTS, _OPEN, _TAKEN)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
