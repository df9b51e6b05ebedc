"""Digests, fingerprints, records and blobs: what is remembered, and how it is known again.

Can be used and tested alone; knows nothing of tasks. Each public name is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module

from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.blobs import BlobStore as BlobStore
    from dagger.cache.cache import Cache as Cache
    from dagger.cache.digests import (
        Digest as Digest,
        digest_bytes as digest_bytes,
        digest_value as digest_value,
        register_digest as register_digest,
    )
    from dagger.cache.files import (
        StatIndex as StatIndex,
        directory_listing_digest as directory_listing_digest,
    )
    from dagger.cache.fingerprints import (
        Fingerprint as Fingerprint,
        Fingerprinter as Fingerprinter,
        Part as Part,
        fingerprint as fingerprint,
    )
    from dagger.cache.locks import FileLock as FileLock, try_lock as try_lock
    from dagger.cache.records import (
        Entry as Entry,
        Member as Member,
        Output as Output,
        Read as Read,
        Reason as Reason,
        Record as Record,
    )

_MODULES = {
    "blobs": ("BlobStore",),
    "cache": ("Cache",),
    "digests": ("Digest", "digest_bytes", "digest_value", "register_digest"),
    "files": ("StatIndex", "directory_listing_digest"),
    "fingerprints": ("Fingerprint", "Fingerprinter", "Part", "fingerprint"),
    "locks": ("FileLock", "try_lock"),
    "records": ("Entry", "Member", "Output", "Read", "Reason", "Record"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dagger.cache' has no attribute {name!r}")
    value = getattr(import_module(f"dagger.cache.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
