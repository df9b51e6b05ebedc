"""Running scripts: the manager's side of the guardian.

`ScriptTask` renders its text (`dagger.core.script_text`), the engine calls `ScriptRunner.run` from one
of its threads, and a guardian process (`dagger.core.guardian`) starts the shell. Each call has a line of
its own to the guardian, so that there is no reader thread and nobody sorts answers: a call waits for its
own, and the line's early end says that the guardian is gone. A line that is free again serves the next call.
"""

from __future__ import annotations

import _socket as socket
import marshal
import os
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from math import inf

from dagger.core.process_groups import GRACE, SIGKILL, end_group
from dagger.core.sockets import Socket, send_descriptor, waiting_pair
from dagger.errors import DaggerError, TaskError
from dagger.lean_typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from subprocess import Popen

# As in the guardian, which imports nothing of the package.
_REQUEST = struct.Struct("=cIddi")
_STARTED = struct.Struct("=ci")
_ENDED = struct.Struct("=ci??dq")
_REFUSED = struct.Struct("=ci")
_GUARDIAN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guardian.py")


class ScriptEnd(NamedTuple):
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


_NEVER_STARTED = ScriptEnd(None, None, timed_out=False, interrupted=True, seconds=0.0, max_rss=0)
_NO_LIMIT = 2**31 - 1


class _Line:
    """A socket to the guardian, and what surroundings it was told last."""

    def __init__(self, connection: Socket) -> None:
        self.connection = connection
        self.env: dict[bytes, bytes] = {}

    def ask_for(self, request: _Request) -> None:
        """Sends a request, without the surroundings where they are the former ones."""
        env = None if request.env == self.env else request.env
        self.env = request.env
        body = marshal.dumps((request.argv, request.cwd, env, request.log))
        self.connection.sendall(_REQUEST.pack(b"s", len(body), request.timeout, request.grace, request.at_once) + body)


class _Request(NamedTuple):
    """What the guardian is asked for."""

    argv: list[bytes]
    cwd: bytes
    env: dict[bytes, bytes]
    log: bytes
    timeout: float
    grace: float
    at_once: int


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
        self._control: Socket | None = None
        self._guardian: Popen[bytes] | None = None
        self._calls: dict[_Line, Hashable] = {}
        self._free: list[_Line] = []
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
        at_once: int | None = None,
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
            at_once: It waits until fewer than so many run; None not to wait.

        Returns:
            How it ended. After `end_all`, nothing starts and it counts as interrupted.

        Raises:
            TaskError: It could not be started, or its guardian was killed.
        """
        request = _Request(
            [os.fsencode(argument) for argument in argv],
            os.fsencode(os.path.abspath(cwd)),
            _encoded(env),
            os.fsencode(os.path.abspath(log_path)),
            inf if timeout is None else timeout,
            self._grace,
            _NO_LIMIT if at_once is None else at_once,
        )
        line = self._open(token, request)
        if line is None:
            return _NEVER_STARTED
        is_free = False
        try:
            end = _await_answer(line.connection, argv[0], on_start)
            is_free = True
        except TaskError as error:
            is_free = not isinstance(error, _GuardianLostError)
            raise
        finally:
            with self._changed:
                del self._calls[line]
                if is_free and not self._ended:
                    self._free.append(line)
                else:
                    line.connection.close()
                self._changed.notify_all()
        return end

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
            self._drop_free()
        if control is not None:
            control.close()
        if guardian is not None:
            _await_end(guardian, self._grace + 10)

    def _ask(self, lines: list[_Line]) -> None:
        for line in lines:
            with suppress(OSError):
                line.connection.send(b"e")

    def _open(self, token: Hashable, request: _Request) -> _Line | None:
        """Takes a free line or opens one, and sends a request; None once `end_all` was called.

        All under the lock: a byte from `interrupt` must not come into the middle of a request.
        """
        with self._changed:
            if self._ended:
                return None
            line = self._asked(request)
            self._calls[line] = token
        return line

    def _asked(self, request: _Request) -> _Line:
        """Returns the line that the request was sent on; a guardian found dead is replaced, once."""
        if self._free:
            line = self._free.pop()
            try:
                line.ask_for(request)
            except (BrokenPipeError, ConnectionResetError):
                line.connection.close()
                self._forget()
            else:
                return line
        ours, theirs = waiting_pair()
        with closing(theirs):
            self._send(theirs)
        line = _Line(ours)
        with suppress(BrokenPipeError, ConnectionResetError):  # the missing answer will tell
            line.ask_for(request)
        return line

    def _send(self, theirs: Socket) -> None:
        """Hands the guardian its end of a line; starts one where there is none."""
        for _ in range(2):
            control = self._control or self._start()
            try:
                send_descriptor(control, b"s", theirs.fileno())
            except (BrokenPipeError, ConnectionResetError):
                self._forget()
            else:
                return
        raise TaskError("the guardian of the scripts ends as soon as it is started; its own words are above")

    def _start(self) -> Socket:
        import subprocess

        if not sys.executable:
            raise DaggerError("scripts need a Python to run their guardian, but sys.executable is empty")
        ours, theirs = waiting_pair()
        with closing(theirs):
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
        self._drop_free()
        if self._control is not None:
            self._control.close()
        if self._guardian is not None:
            _await_end(self._guardian, 1.0)
        self._control = self._guardian = None

    def _drop_free(self) -> None:
        for line in self._free:
            line.connection.close()
        self._free.clear()

    def _leave_to_parent(self) -> None:
        """In a forked child: closes its copies, which would keep the guardian from seeing us die."""
        self._drop_free()
        for line in self._calls:
            line.connection.close()
        if self._control is not None:
            self._control.close()
        self.__init__(self._grace, self._held)  # type: ignore[misc]


def _encoded(env: Mapping[str, str]) -> dict[bytes, bytes]:
    if env is os.environ and os.supports_bytes_environ:
        return dict(os.environb._data)  # type: ignore[attr-defined]  # as it is held, without a detour over text
    return {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


class _GuardianLostError(TaskError):
    """The guardian was killed while it had a script."""


def _await_answer(connection: Socket, program: str, on_start: Callable[[int], None] | None) -> ScriptEnd:
    said = bytearray()
    try:
        if on_start is not None:
            _hear(connection, said, _STARTED.size)
            if pid := _pid_from(said):
                on_start(pid)
        _hear(connection, said, _STARTED.size + _ENDED.size)
        if said[:1] == b"r":
            _, size = _REFUSED.unpack_from(said)
            _hear(connection, said, _REFUSED.size + size)
    except EOFError:
        if pid := _pid_from(said):
            end_group(pid, 0.0)
        raise _GuardianLostError(
            "the guardian of the scripts was killed, so that the script was ended too; run it again"
        ) from None
    except BaseException:
        # An exception out of nowhere, as Ctrl-C in the main thread, leaves no script behind.
        # The guardian closes a line that was left, once its script is gone.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1024):
                continue
        raise
    if said[:1] == b"r":
        raise _refusal(program, *marshal.loads(said[_REFUSED.size :]))
    return _end_from(said)


def _hear(connection: Socket, said: bytearray, size: int) -> None:
    """Reads on until so many bytes were said; EOFError when the guardian went away."""
    while len(said) < size:
        try:
            chunk = connection.recv(size - len(said), socket.MSG_WAITALL)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            raise EOFError
        said += chunk


def _pid_from(said: bytearray) -> int:
    """Returns the process id of a script that was started, or 0."""
    return int(_STARTED.unpack_from(said)[1]) if said[:1] == b"s" and len(said) >= _STARTED.size else 0


def _end_from(said: bytearray) -> ScriptEnd:
    _, code, timed_out, interrupted, seconds, peak = _ENDED.unpack_from(said, _STARTED.size)
    if not _pid_from(said):
        return _NEVER_STARTED
    return ScriptEnd(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        timed_out=timed_out,
        interrupted=interrupted,
        seconds=seconds,
        max_rss=peak,
    )


def _refusal(program: str, why: str, name: str | None) -> TaskError:
    return TaskError(f"{program} cannot be started: {why}" + (f": {name}" if name else ""))


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
