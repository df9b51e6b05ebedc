"""Running scripts: the manager's side of the guardian.

`ScriptTask` renders its text (`dagger.core.script_text`), the engine calls `ScriptRunner.run` from one
of its threads, and a guardian process (`dagger.core.guardian`) starts the shell. Each call has a socket
of its own to the guardian, so that there is no reader thread and nobody sorts answers: a call waits for
its own, and the socket's early end says that the guardian is gone.
"""

from __future__ import annotations

import marshal
import os
import socket
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from dagger.core.process_groups import GRACE, SIGKILL, end_group
from dagger.errors import DaggerError, TaskError

if TYPE_CHECKING:
    from subprocess import Popen

_HEADER = struct.Struct("=Idd")  # as in the guardian, which imports nothing of the package
_GUARDIAN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guardian.py")


@dataclass(frozen=True)
class ScriptEnd:
    """How a script ended.

    Attributes:
        exit_code: Its exit code; None when a signal ended it.
        signal: The signal that ended it, or None.
        timed_out: Whether it was ended because its time was up.
        interrupted: Whether it was ended because `interrupt` or `end_all` asked for it.
        seconds: From its start to its end.
        max_rss: Peak memory in bytes of its largest process, as far as its shell waited for it.
    """

    exit_code: int | None
    signal: int | None
    timed_out: bool
    interrupted: bool
    seconds: float
    max_rss: int

    def describe(self) -> str:
        """Says it in words that follow "the script", as in "ended with exit code 2"."""
        if self.timed_out:
            return f"was ended after {self.seconds:.1f} s, when its time was up"
        if self.interrupted:
            return "was interrupted"
        if self.signal is None:
            return f"ended with exit code {self.exit_code}"
        from signal import Signals

        with suppress(ValueError):
            name = Signals(self.signal).name
            return f"was killed by {name}, at a peak memory of {self.max_rss / 2**20:.0f} MiB"
        return f"was killed by signal {self.signal}"


@lru_cache(maxsize=1)
def _shell() -> tuple[str, ...]:
    # Not shutil.which: importing shutil costs more than the search.
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or os.curdir, "bash")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path), "-euo", "pipefail"
    return "/bin/sh", "-eu"


def shell_argv(text: str) -> list[str]:
    """Returns the command that runs a script: ``bash -euo pipefail -c``, else ``sh -eu -c``.

    A text beyond what the kernel takes as one argument is fine for `ScriptRunner.run`, and for it alone.
    """
    return [*_shell(), "-c", text]


class ScriptRunner:
    """Runs scripts under a guardian; safe to call from several threads at once.

    The guardian starts with the first script, and again when somebody killed it. However this process
    ends, its scripts end with it, within seconds.

    Args:
        grace: Seconds between asking a script to end and making it.
        held: A descriptor that the guardian, the scripts and all that they start hold too; the guardian touches its
            file when it ends last.
    """

    def __init__(self, grace: float = GRACE, held: int | None = None) -> None:
        self._grace = grace
        self._held = held
        self._changed = threading.Condition()
        self._control: socket.socket | None = None
        self._guardian: Popen[bytes] | None = None
        self._calls: dict[socket.socket, Hashable] = {}
        self._ended = False
        _runners.add(self)

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        log_path: str,
        timeout: float | None = None,
        on_start: Callable[[int], None] | None = None,
        token: Hashable = None,
    ) -> ScriptEnd:
        """Runs a command to its end, and ends what it left running.

        Args:
            argv: The command; without a slash, its name is searched for in ``PATH``.
            cwd: Where it runs.
            env: Its environment, to which ``DAGGER_SCRIPT`` is added.
            log_path: The file that takes what it prints, made anew.
            timeout: Seconds after which it is ended; None for no limit.
            on_start: Called with its process id, which is its group's and session's too.
            token: What `interrupt` knows it by.

        Returns:
            How it ended. After `end_all`, nothing starts and it counts as interrupted.

        Raises:
            TaskError: It could not be started, or its guardian was killed.
        """
        request = marshal.dumps(
            (
                [os.fsencode(argument) for argument in argv],
                os.fsencode(os.path.abspath(cwd)),
                _encoded(env),
                os.fsencode(os.path.abspath(log_path)),
            )
        )
        connection = self._open(token, request, inf if timeout is None else timeout)
        if connection is None:
            return ScriptEnd(None, None, False, True, 0.0, 0)
        try:
            return self._wait(connection, argv, on_start)
        finally:
            with self._changed:
                self._calls.pop(connection, None)
                self._changed.notify_all()
            connection.close()

    def interrupt(self, token: Hashable) -> None:
        """Asks the scripts that run under this token to end; their `run` returns when they have."""
        with self._changed:
            self._ask([each for each, known in self._calls.items() if known == token])

    def end_all(self) -> None:
        """Ends every running script with all that it started, and lets no other start.

        Afterwards none is running; each call of `run` returns, with `ScriptEnd.interrupted`.
        """
        with self._changed:
            self._ended = True
            self._ask(list(self._calls))
            self._changed.wait_for(lambda: not self._calls, timeout=self._grace + 10)

    def close(self) -> None:
        """Ends what still runs, and the guardian. A second time is harmless."""
        self.end_all()
        with self._changed:
            guardian, control = self._guardian, self._control
            self._guardian = self._control = None
        if control is not None:
            control.close()
        if guardian is not None:
            _await_end(guardian, self._grace + 10)

    def _ask(self, connections: list[socket.socket]) -> None:
        for connection in connections:
            with suppress(OSError):
                connection.send(b"e")

    def _open(self, token: Hashable, request: bytes, timeout: float) -> socket.socket | None:
        """Opens a call's own socket and sends its request; None once `end_all` was called.

        All under the lock: a byte from `interrupt` must not come into the middle of a request.
        """
        ours, theirs = socket.socketpair()
        with self._changed:
            with theirs:
                if self._ended:
                    ours.close()
                    return None
                self._send(theirs)
            self._calls[ours] = token
            header = _HEADER.pack(len(request), timeout, self._grace)
            with suppress(BrokenPipeError, ConnectionResetError):  # the missing answer will tell
                ours.sendall(header)
                ours.sendall(request)
        return ours

    def _send(self, theirs: socket.socket) -> None:
        """Hands the guardian its end of a call's socket; starts one where there is none."""
        for _ in range(2):  # a guardian found dead is replaced, once
            control = self._control or self._start()
            try:
                socket.send_fds(control, [b"s"], [theirs.fileno()])
            except (BrokenPipeError, ConnectionResetError):
                self._forget()
            else:
                return
        raise TaskError("the guardian of the scripts ends as soon as it is started; its own words are above")

    def _start(self) -> socket.socket:
        import subprocess

        if not sys.executable:
            raise DaggerError("scripts need a Python to run their guardian, but sys.executable is empty")
        ours, theirs = socket.socketpair()
        with theirs:
            command = [
                sys.executable,
                "-I",
                "-S",
                _GUARDIAN,
                str(theirs.fileno()),
                str(os.getpid()),
                *([] if self._held is None else [str(self._held)]),
            ]
            self._guardian = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno(), *([] if self._held is None else [self._held])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the manager to hear, and to decide on
            )
        self._control = ours
        return ours

    def _forget(self) -> None:
        """Lets go of a guardian that is gone."""
        if self._control is not None:
            self._control.close()
        if self._guardian is not None:
            _await_end(self._guardian, 1.0)
        self._control = self._guardian = None

    def _wait(
        self,
        connection: socket.socket,
        argv: Sequence[str],
        on_start: Callable[[int], None] | None,
    ) -> ScriptEnd:
        pid: int | None = None
        try:
            pid = _pid_from(_hear(connection), argv[0])
            if on_start is not None:
                on_start(pid)
            return _end_from(_hear(connection))
        except EOFError:
            if pid is not None:
                end_group(pid, 0.0)
            raise TaskError(
                "the guardian of the scripts was killed, so that the script was ended too; run it again"
            ) from None
        except BaseException:
            # An exception out of nowhere, as Ctrl-C in the main thread, leaves no script behind.
            with suppress(OSError, EOFError):
                connection.send(b"e")
                while pid is not None and _hear(connection)[0] != "ended":
                    continue
            raise

    def _leave_to_parent(self) -> None:
        """In a forked child: closes its copies, which would keep the guardian from seeing us die."""
        for connection in (self._control, *self._calls):
            if connection is not None:
                connection.close()
        self.__init__(self._grace, self._held)  # type: ignore[misc]


def _encoded(env: Mapping[str, str]) -> dict[bytes, bytes]:
    if env is os.environ and os.supports_bytes_environ:
        return dict(os.environb._data)  # type: ignore[attr-defined]  # as it is held, without a detour over text
    return {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


def _pid_from(said: tuple[object, ...], program: str) -> int:
    if said[0] == "refused":
        _, why, name = said
        raise TaskError(f"{program} cannot be started: {why}" + (f": {name}" if name else ""))
    pid = said[1]
    assert isinstance(pid, int)
    return pid


def _end_from(said: tuple[object, ...]) -> ScriptEnd:
    _, code, timed_out, interrupted, seconds, peak = said
    assert isinstance(code, int)
    assert isinstance(seconds, float)
    assert isinstance(peak, int)
    return ScriptEnd(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        timed_out=bool(timed_out),
        interrupted=bool(interrupted),
        seconds=seconds,
        max_rss=peak,
    )


def _hear(connection: socket.socket) -> tuple[object, ...]:
    (size,) = struct.unpack("=I", _receive(connection, 4))
    said = marshal.loads(_receive(connection, size))
    assert isinstance(said, tuple)
    return said


def _receive(connection: socket.socket, size: int) -> bytes:
    """Reads exactly so many bytes; EOFError when the guardian went away."""
    data = b""
    while len(data) < size:
        try:
            chunk = connection.recv(size - len(data))
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            raise EOFError
        data += chunk
    return data


def _await_end(guardian: Popen[bytes], seconds: float) -> None:
    from subprocess import TimeoutExpired

    try:
        guardian.wait(seconds)
    except TimeoutExpired:
        guardian.send_signal(SIGKILL)
        guardian.wait()


_runners: weakref.WeakSet[ScriptRunner] = weakref.WeakSet()


def _in_forked_child() -> None:
    for runner in list(_runners):
        runner._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
