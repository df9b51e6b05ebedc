"""What a job prints goes to its log: what Python, C code and child processes print.

File descriptors belong to the whole process, so outside its main thread nothing is captured. Most jobs print nothing;
so a worker of dagger's own has one file for all of them, which becomes the log of the job that prints into it.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from dagger.core.jobs import LOG_TAIL
from dagger.core.process_groups import is_running
from dagger.lean_typing import TYPE_CHECKING, Any


class Capture:
    """Captures while it is entered, job by job.

    Args:
        shared: The name, beside the logs, of the file of jobs that print nothing; empty where each has one of its own.
    """

    def __init__(self, shared: str = "") -> None:
        self._shared = shared

    def __enter__(self) -> Capture:
        self._is_on = threading.current_thread() is threading.main_thread()
        if self._is_on:
            self._streams: tuple[Any, ...] = sys.stdout, sys.stderr
            self._mine: tuple[Any, ...] = ()
            _flush(*self._streams)
            self._former = os.dup(1), os.dup(2)
            self._log: int | None = None
            self._path = self._wanted = ""
        return self

    def begin(self, path: str) -> None:
        """Send what is printed from here on to a log; one that is there is replaced.

        Where the file cannot be written, what is printed is lost.
        """
        if not self._is_on:
            return
        self._wanted = path
        place = os.path.join(os.path.dirname(path), self._shared) if self._shared else path
        if self._log is None or self._path != place:
            self._drop()
            self._path, self._log = _open_log(place)
        for number in (1, 2):
            os.dup2(self._log, number)
        if not self._mine or not all(map(_is_fresh, self._mine)):
            self._mine = _stream(1), _stream(2)
        sys.stdout, sys.stderr = self._mine

    def end(self) -> str:
        """Give the streams back, and return the last of what was printed since `begin`."""
        if not self._is_on or self._log is None:
            return ""
        _flush(*self._mine, *self._streams)
        sys.stdout, sys.stderr = self._streams
        size = os.lseek(self._log, 0, os.SEEK_END)
        if not size:
            if not self._shared:
                self._drop()
            return ""
        log, self._log = self._log, None
        try:
            if self._shared:
                with suppress(OSError):
                    os.replace(self._path, self._wanted)
            return os.pread(log, LOG_TAIL, max(0, size - LOG_TAIL)).decode(errors="replace")
        finally:
            os.close(log)

    def _drop(self) -> None:
        """Let go of a file into which nothing was printed."""
        log, self._log = self._log, None
        if log is not None:
            os.close(log)
            with suppress(OSError):
                os.unlink(self._path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_on:
            return
        for number, copy in zip((1, 2), self._former, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        self._drop()


@contextmanager
def capture_output(path: str) -> Iterator[None]:
    """Send all that is printed in here to a file.

    Args:
        path: The log; one that is there is replaced. There is none where nothing was printed.
    """
    with Capture() as capture:
        capture.begin(path)
        try:
            yield
        finally:
            capture.end()


_SHARED = "worker-"


def shared_log(pid: int) -> str:
    """Return the name of the file that a worker's jobs share."""
    return f"{_SHARED}{pid}.log"


def remove_shared_logs(folder: str, names: Iterable[str]) -> None:
    """Remove of a folder's files those that workers have left which were killed with their managers."""
    for name in names:
        pid = name.removeprefix(_SHARED).removesuffix(".log")
        if name.startswith(_SHARED) and pid.isdecimal() and not is_running(int(pid)):
            with suppress(OSError):
                os.unlink(os.path.join(folder, name))


def leave_log(log: str, pid: int, *, was_running: bool) -> None:
    """Let what a job printed whose worker is gone stay as its log.

    Args:
        log: The job's log.
        pid: The worker.
        was_running: Whether it was at the job still; else there is nothing to keep.
    """
    shared = os.path.join(os.path.dirname(log), shared_log(pid))
    with suppress(OSError):
        if was_running and os.stat(shared).st_size:
            os.replace(shared, log)
        else:
            os.unlink(shared)


def _open_log(path: str) -> tuple[str, int]:
    # Appending, so that child processes with an offset of their own do not write over each other.
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    try:
        return path, os.open(path, flags, 0o600)
    except OSError:
        return "", os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


class _Log(io.FileIO):
    """Loses what a full disk does not take: no task fails for want of room for its log."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


class _Stream(io.TextIOWrapper):
    """Notes whether a job has changed how it writes."""

    def reconfigure(self, **options: Any) -> None:
        self.is_changed = True
        super().reconfigure(**options)


def _stream(number: int) -> _Stream:
    raw = io.BufferedWriter(_Log(number, "w", closefd=False))
    return _Stream(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _is_fresh(stream: _Stream) -> bool:
    """Tell whether a job's stream is as it was made, so that the next job can have it."""
    try:
        return not stream.closed and not vars(stream)
    except ValueError:  # its buffer was taken out of it
        return False


def flush_all() -> None:
    """Write out what Python and C code still hold of what was printed."""
    _flush(sys.stdout, sys.stderr)


def _flush(*streams: Any) -> None:
    for stream in streams:
        with suppress(Exception):  # a task may have closed it, or there never was one
            stream.flush()
    with suppress(Exception):
        _flush_c()


def _flush_c() -> None:
    from ctypes import CDLL

    CDLL(None).fflush(None)


if not TYPE_CHECKING:
    with suppress(ImportError):
        from dagger.core._system import flush as _flush_c
