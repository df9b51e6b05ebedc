"""Checking a whole cache: what is damaged, and which results have lost what it takes to restore them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache import Cache
    from dagger.cache.collect import Damage

LOST = "record"


def check(cache: Cache, *, repair: bool = False) -> list[Damage]:
    """Read all of a cache. What is damaged is dropped, since nothing may use it.

    Args:
        cache: The store.
        repair: Forget the results whose blobs are gone, too, so that their tasks run again.

    Returns:
        What was damaged, and each record without its blobs.
    """
    from dagger.cache.collect import Damage, blobs_of

    found = cache.verify()
    lost: dict[str, set[str]] = {}
    for record in cache.all_records():
        gone = sum(not cache.blobs.has(digest, None if size < 0 else size) for digest, size in blobs_of(record))
        if gone:
            name = f"{record.task} {record.key}"
            found.append(Damage(LOST, name, f"{gone} of its blobs {'is' if gone == 1 else 'are'} missing"))
            lost.setdefault(record.root, set()).add(record.task)
    if repair:
        for root, tasks in lost.items():
            cache.forget(root, tasks)
        cache.flush()
    return found
