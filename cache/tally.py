"""What `gc` must remember of a million records, in some tens of bytes each."""

from __future__ import annotations

import math

import xxhash

_LARGEST = 1 << 62

Rank = tuple[float, int]
"""When something was last used, and who used it, which tells apart what was used at once."""


class Tally:
    """Names, each with the latest time at which it counted, and a size.

    Names are held as 64 bits of their digest. Two of them that fall together are taken for one, which is kept for as
    long as either: nothing is thrown away for that. The table is SQLite's, in memory: a third of what a dict takes.
    """

    def __init__(self) -> None:
        import sqlite3

        self._table = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._table.execute("PRAGMA temp_store = MEMORY")
        self._table.execute("CREATE TABLE tally (name INTEGER PRIMARY KEY, at REAL, by INTEGER, size INTEGER)")

    def note(self, name: str, rank: Rank = (0.0, 0), size: int = 0) -> None:
        """Count a name; of several ranks the highest stays."""
        self._table.execute(
            "INSERT INTO tally VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET at = excluded.at, "
            "by = excluded.by WHERE (excluded.at, excluded.by) > (at, by)",
            (number(name), *rank, min(size, _LARGEST)),
        )

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def last(self, name: str) -> float:
        """Return the latest time of a name; 0 of one that was never counted."""
        found = self._find(name)
        return 0.0 if found is None else found

    def first_beyond(self, most: int) -> Rank:
        """Return the rank with which the sizes of all names from the highest rank down exceed ``most``."""
        for at, by, size in self._table.execute("SELECT at, by, size FROM tally ORDER BY at DESC, by DESC"):
            most -= size
            if most < 0:
                return at, by
        return -math.inf, 0

    def _find(self, name: str) -> float | None:
        found = self._table.execute("SELECT at FROM tally WHERE name = ?", (number(name),)).fetchone()
        return None if found is None else found[0]


def number(name: str) -> int:
    """Return 64 bits that stand for a name, as a number that SQLite holds."""
    return int(xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))) - (1 << 63)
