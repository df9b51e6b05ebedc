"""What must be known of the file system under a path: is it a network's, what time is it there."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

NETWORK_KINDS = frozenset(
    [
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "afpfs",
        "webdav",
        "davfs",
        "fuse.davfs2",
        "fuse.sshfs",
        "sshfs",
        "9p",
        "afs",
        "ceph",
        "fuse.ceph",
        "fuse.glusterfs",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "fhgfs",
        "pvfs2",
        "orangefs",
        "ocfs2",
        "gfs",
        "gfs2",
        "coda",
        "ncpfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.gcsfuse",
    ]
)
# Mounts of a host in its guest, which SQLite can be used on, but whose stamps are another clock's.
FOREIGN_CLOCKS = NETWORK_KINDS | {"virtiofs", "vboxsf", "prl_fs", "drvfs", "fakeowner", "osxfs", "grpcfuse"}

SECOND = 1_000_000_000
_RACY = 2 * SECOND
_RACY_FOREIGN = 3600 * SECOND


def is_network(path: str) -> bool:
    """Whether ``path``, which need not exist, is on a network, as far as can be told."""
    return _kind(os.path.realpath(path)) in NETWORK_KINDS


def _has_foreign_clock(path: str) -> bool:
    """Whether the stamps of files may come from another machine's clock."""
    kind = _kind(os.path.realpath(path))
    return kind in FOREIGN_CLOCKS or kind.startswith("fuse")


def temporary_place() -> str:
    """Return where temporary files go, as `tempfile` says, which takes longer to load than a small run takes else."""
    if "tempfile" not in sys.modules:  # it may have been told where
        named = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp")
        with suppress(OSError):
            descriptor = _nameless(named)
            try:
                os.write(descriptor, b"there is room")
            finally:
                os.close(descriptor)
            return os.path.abspath(named)
    from tempfile import gettempdir

    return gettempdir()


def _kind(path: str) -> str:
    """The type of the mount that holds ``path``; ``""`` where the system does not tell."""
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                point = _unquote(fields.split(" ")[4])
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, rest.split(" ", 1)[0]
    except OSError:
        return _kind_from_mount(path) if sys.platform == "darwin" else ""
    return kind


def _unquote(text: str) -> str:
    for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, plain)
    return text


def _kind_from_mount(path: str) -> str:
    import subprocess

    listed = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    best, kind = "", ""
    for line in listed.splitlines():
        point, _, rest = line.partition(" on ")[2].rpartition(" (")
        if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, rest.split(",", 1)[0]
    return kind


class FileClock:
    """The file system's own now, seen on a file that is touched for it.

    The clock of a process and the stamps of its files need not agree (a server stamps its own
    files), and a clock can be set back in between; hence a touch for each question, at 20
    microseconds.

    Args:
        directory: Where the touched file goes; elsewhere when None or not writable.
    """

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory
        self._descriptor: int | None = None
        self._owner = 0
        self._device = -1
        self._foreign: dict[int, bool] = {}

    def racy_since(self, path: str, device: int) -> int:
        """The stamp in nanoseconds from which on a file of ``device`` may still change unnoticed.

        A change in the same tick of the file system's clock leaves the stamps as they are. Two
        seconds cover the coarsest clock. Where the touched file lies on another device than
        ``path``, both carry this machine's stamps, unless ``path`` is on a network: then only
        stamps of an hour ago are trusted.
        """
        now = self._touch()
        if device != self._device and self._is_foreign(path, device):
            return min(now, time.time_ns()) - _RACY_FOREIGN
        return now - _RACY

    @property
    def has_met_foreign(self) -> bool:
        """Whether some file that was asked for has its stamps from another clock than this."""
        return any(self._foreign.values())

    def _touch(self) -> int:
        if self._descriptor is None or self._owner != os.getpid():
            self._descriptor = self._open()
            self._owner = os.getpid()
            self._device = os.fstat(self._descriptor).st_dev
        os.utime(self._descriptor)
        return os.fstat(self._descriptor).st_mtime_ns

    def _open(self) -> int:
        try:
            if self._directory is None:
                raise FileNotFoundError
            return _nameless(self._directory)
        except OSError:
            return _nameless(temporary_place())

    def _is_foreign(self, path: str, device: int) -> bool:
        if device not in self._foreign:
            self._foreign[device] = _has_foreign_clock(path)
        return self._foreign[device]

    def __del__(self) -> None:
        if self._descriptor is not None and self._owner == os.getpid():
            os.close(self._descriptor)


def _nameless(folder: str) -> int:
    """Open a file without a name: it has stamps as any other, and leaves nothing behind."""
    path = os.path.join(folder, f"dagger-clock-{os.getpid()}-{os.urandom(8).hex()}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return descriptor
