"""The guardian: a small program that starts a manager's scripts, and ends them when the manager is gone.

`dagger.core.scripts` starts one with the first script. It runs as a program of its own, apart from the
package, so that it starts in some milliseconds and its small memory makes starting a shell cheap::

    manager --- control socket: one byte per line, with the line's own socket --- guardian
    manager --- a line: request ->, <- STARTED, <- ENDED, and then the next one --- guardian

A line has one script at a time. `END` on it, or its end, means: end that script. The end of the control
socket means that the manager is gone, however it died: everything is ended, then the guardian itself.

A script that would be one too many waits here for its turn, and not with the manager: so the next one
starts as soon as one has ended, whatever the manager is at.

A script is a session of its own, so that no terminal reaches it. What it leaves behind is ended with it:
members of its session, and on Linux also what made itself a session, since the guardian inherits
orphans and knows them by the variable ``DAGGER_SCRIPT`` that a script and all below it carry. The
variable is a checksum of the command, not a number, so that what a script prints of its surroundings
is the same in each run.
"""

from __future__ import annotations

# The bare C modules, on purpose: signal and socket would double the time that the guardian takes to start.
import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import marshal
import os
import select
import struct
import sys
import time
import zlib

if __name__ == "__main__":  # isolated, so that nothing in the folder can stand for a standard module
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from process_groups import (  # type: ignore[import-not-found]
    GRACE,
    SIGCONT,
    SIGKILL,
    SIGTERM,
    become_subreaper,
    children,
    descendants,
    end_descendants,
    peak_memory,
    send,
    send_group,
)

# A letter comes first. All answers are as long as both together, or longer: who waits for the end wakes once.
REQUEST = struct.Struct("=cIddi")  # "s", bytes of the rest, time-out (inf: none), grace, scripts at once
END = b"e"
STARTED = struct.Struct("=ci")  # "s", process id; 0 where it never started
ENDED = struct.Struct("=ci??dq")  # "e", exit code or minus the signal, timed out, interrupted, seconds, peak memory
REFUSED = struct.Struct("=ci")  # "r", bytes of the rest
SHORTEST = STARTED.size + ENDED.size

HELD = 99  # the same in each run, so that what a script prints of its descriptors is too

_MARK = "DAGGER_SCRIPT"
_LINGER = 0.25  # what a finished script left may end by itself: a `tee` in `> >(tee log)` still writes
_HOPELESS = 5.0  # seconds after SIGKILL; what is still there then sleeps in the kernel
_LONGEST_ARGUMENT = 120_000  # Linux takes 128 KiB for one, whatever the limit for all
_RESET = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)


class Line:
    """A socket to the manager, and what it has last sent on it as surroundings."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.job: Job | None = None
        self.env: dict[bytes, bytes] = {}


class Job:
    """One script: its process, its line, and how far its end has come."""

    def __init__(self, line: Line, body: bytes, timeout: float, grace: float, at_once: int) -> None:
        self.line = line
        self.body = body
        self.timeout = timeout
        self.grace = grace
        self.at_once = at_once
        self.pid = 0
        self.mark = ""
        self.started = 0.0
        self.deadline: float | None = None
        self.timed_out = self.interrupted = False
        self.end: tuple[int, float, int] | None = None  # wait status, seconds, peak memory
        self.term_at: float | None = None
        self.kill_at: float | None = None
        self.looked_gone = False


class Guardian:
    """Starts, watches and ends scripts; one thread, one loop."""

    def __init__(self, control: socket.socket, manager: int) -> None:
        self.control = control
        self.manager = manager
        self.leaving = False
        self.lines: dict[int, Line] = {}  # by their socket's descriptor
        self.waiting: list[Job] = []
        self.running: dict[int, Job] = {}  # by process id, until reaped
        self.jobs: dict[int, Job] = {}  # by their line's descriptor, until answered
        self.children = OwnChildren()
        self.poll = select.poll()
        self.wakeup, writing = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self.poll.register(self.wakeup, select.POLLIN)
        self.poll.register(control.fileno(), select.POLLIN)

    def serve(self) -> None:
        """Works until the manager is gone and nothing of its scripts is left."""
        while self.jobs or not self.leaving:
            for descriptor, _ in self.poll.poll(self._patience() * 1000):
                if descriptor == self.wakeup:
                    self._wake()
                elif descriptor == self.control.fileno():
                    self._accept()
                elif descriptor in self.lines:
                    self._hear(self.lines[descriptor])
            if not self.leaving and os.getppid() != self.manager:
                self._leave()  # another process still holds a copy of the manager's socket
            self._reap()
            self._advance()
            self._start()

    def _patience(self) -> float:
        """Seconds to sleep when nothing happens: short while something is being ended."""
        if any(job.term_at is not None for job in self.jobs.values()):
            return 0.01
        deadlines = [job.deadline for job in self.jobs.values() if job.deadline is not None]
        return max(0.0, min([time.monotonic() + 1.0, *deadlines]) - time.monotonic())

    def _wake(self) -> None:
        try:
            numbers = os.read(self.wakeup, 4096)
        except BlockingIOError:
            return
        if any(number != signal.SIGCHLD for number in numbers):
            self._leave()

    def _leave(self) -> None:
        self.leaving = True
        self.poll.unregister(self.control.fileno())
        self.control.close()
        self.manager = os.getppid()
        for line in list(self.lines.values()):
            if line.job is None:
                self._drop(line)
            else:
                self._interrupt(line.job)

    def _accept(self) -> None:
        try:
            found = receive_descriptors(self.control, 1)
        except EOFError:
            self._leave()
            return
        if not found:
            return  # no descriptor was free; that line's call sees its socket closed
        self.lines[found[0]] = Line(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, found[0]))
        self.poll.register(found[0], select.POLLIN)

    def _drop(self, line: Line) -> None:
        """Lets go of a line on which nobody speaks any more; its script is ended."""
        del self.lines[line.connection.fileno()]
        self.poll.unregister(line.connection.fileno())
        if line.job is None:
            line.connection.close()
        else:
            self._interrupt(line.job)

    def _hear(self, line: Line) -> None:
        try:
            said = line.connection.recv(1 << 16)
        except OSError:
            said = b""
        if not said:
            self._drop(line)
        while said:
            if said[:1] != END:
                said = self._take(line, said)
            else:  # a script that has just ended may still be asked to
                said = said[1:]
                if line.job is not None:
                    self._interrupt(line.job)

    def _take(self, line: Line, said: bytes) -> bytes:
        """Takes a request whose beginning was heard; returns what was said behind it."""
        try:
            said += receive(line.connection, max(0, REQUEST.size - len(said)))
            _, size, *limits = REQUEST.unpack_from(said)
            whole = REQUEST.size + size
            said += receive(line.connection, max(0, whole - len(said)))
        except EOFError:
            self._drop(line)
            return b""
        line.job = Job(line, said[REQUEST.size : whole], *limits)
        self.waiting.append(line.job)
        return said[whole:]

    def _start(self) -> None:
        """Starts what waits, as far as there is room."""
        while self.waiting and len(self.jobs) < self.waiting[0].at_once:
            job = self.waiting.pop(0)
            try:
                self._spawn(job, *marshal.loads(job.body))
            except OSError as error:
                name = None if error.filename is None else os.fsdecode(error.filename)
                refusal = marshal.dumps((error.strerror or str(error), name))
                self._tell(job, REFUSED.pack(b"r", len(refusal)) + refusal.ljust(SHORTEST, b"\0"), is_last=True)
            else:
                job.deadline = job.started + job.timeout
                self.running[job.pid] = self.jobs[job.line.connection.fileno()] = job
                self._tell(job, STARTED.pack(b"s", job.pid))

    def _spawn(self, job: Job, argv: list[bytes], cwd: bytes, env: dict[bytes, bytes] | None, log: bytes) -> None:
        if env is not None:
            job.line.env = env
        os.chdir(cwd)
        job.mark = self._mark(argv, cwd)
        job.line.env[_MARK.encode()] = job.mark.encode()
        opened = [os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)]
        try:
            argv = [self._short(argument, opened) for argument in argv]
            for descriptor in opened[1:]:
                os.set_inheritable(descriptor, True)
            job.started = time.monotonic()
            job.pid = spawn(argv, job.line.env, opened[0])
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _mark(self, argv: list[bytes], cwd: bytes) -> str:
        plain = mark = f"{zlib.crc32(bytes(1).join([cwd, *argv])):08x}"
        taken = {job.mark for job in self.jobs.values()}
        twin = 1
        while mark in taken:
            twin += 1
            mark = f"{plain}-{twin}"
        return mark

    def _short(self, argument: bytes, opened: list[int]) -> bytes:
        """Returns an argument that the kernel takes: a longer script is read from an unlinked file."""
        if len(argument) <= _LONGEST_ARGUMENT:
            return argument
        opened.append(unlinked_file(argument))
        return b". /dev/fd/%d" % opened[-1]

    def _interrupt(self, job: Job) -> None:
        if job in self.waiting:
            self.waiting.remove(job)
            ended = ENDED.pack(END, 0, False, True, 0.0, 0)
            self._tell(job, STARTED.pack(b"s", 0) + ended, is_last=True)
            return
        if job.end is None:
            job.interrupted = True
        self._ask(job)

    def _ask(self, job: Job) -> None:
        """Asks a script and all of it to end; again when it was asked before does nothing."""
        now = time.monotonic()
        if job.kill_at is None:
            job.term_at, job.kill_at = now, now + job.grace
            self._send(job, self._left(job), SIGTERM)

    def _send(self, job: Job, pids: list[int], number: int) -> None:
        send_group(job.pid, number)
        send(pids, number)
        if number == SIGTERM:  # a stopped process would sleep through it
            send_group(job.pid, SIGCONT)
            send(pids, SIGCONT)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            job = self.running.pop(pid, None)
            if job is not None:
                job.end = status, time.monotonic() - job.started, peak_memory(usage)
                job.deadline = None
                if job.term_at is None:
                    job.term_at = time.monotonic() + _LINGER

    def _advance(self) -> None:
        """Takes each script that has ended, or must, one step further."""
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if job.deadline is not None and now >= job.deadline:
                job.timed_out, job.deadline = True, None
                self._ask(job)
            if job.term_at is None:
                continue
            pids = self._left(job)
            if job.end is not None and not pids and not send_group(job.pid, 0):
                # The kernel's list of children can be short while some of them exit: look once more.
                if job.kill_at is None or job.looked_gone:
                    self._answer(job)
                job.looked_gone = True
            elif job.kill_at is None:
                if now >= job.term_at:
                    self._ask(job)
            elif now >= job.kill_at + _HOPELESS:
                self._answer(job)
            elif now >= job.kill_at:
                self._send(job, pids, SIGKILL)

    def _left(self, job: Job) -> list[int]:
        """Lists what there is of a script; a group's members elsewhere than on Linux are not listed."""
        roots = [] if job.end is not None else [job.pid]
        roots += [child for child in self.children.now() if child not in self.running and self._owns(job, child)]
        return [pid for root in roots for pid in (root, *descendants(root))]

    def _owns(self, job: Job, orphan: int) -> bool:
        try:
            if os.getsid(orphan) == job.pid:
                return True
            with open(f"/proc/{orphan}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            return False
        mark = _MARK.encode() + b"="
        found = [variable for variable in variables if variable.startswith(mark)]
        # One that hides where it comes from belongs to whoever is alone.
        return found == [mark + job.mark.encode()] if found else len(self.jobs) == 1

    def _answer(self, job: Job) -> None:
        status, seconds, peak = job.end or (SIGKILL, time.monotonic() - job.started, 0)
        self.running.pop(job.pid, None)
        del self.jobs[job.line.connection.fileno()]
        code = os.waitstatus_to_exitcode(status)
        self._tell(job, ENDED.pack(END, code, job.timed_out, job.interrupted, seconds, peak), is_last=True)

    def _tell(self, job: Job, said: bytes, *, is_last: bool = False) -> None:
        """Tells the manager something of a script, if it still listens; after the last, its line is free."""
        line = job.line
        if is_last:
            line.job = None
        try:
            if is_last and self.leaving:  # before the answer, so that nothing can be sent that is not heard
                line.connection.shutdown(socket.SHUT_RD)
            line.connection.sendall(said)
        except OSError:
            pass
        if is_last and line.connection.fileno() not in self.lines:
            line.connection.close()
        elif is_last and self.leaving:
            self._drop(line)


class OwnChildren:
    """Lists this process's children: at two calls of the kernel, where it has a file of them that can stay open."""

    def __init__(self) -> None:
        self.this = os.getpid()
        try:
            self.file = os.open(f"/proc/{self.this}/task/{self.this}/children", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.file = -1

    def now(self) -> list[int]:
        """Lists them, zombies among them."""
        if self.file < 0:
            return list(children(self.this))
        found = b""
        while more := os.pread(self.file, 1 << 16, len(found)):
            found += more
        return [int(pid) for pid in found.split()]


def spawn(argv: list[bytes], env: dict[bytes, bytes], log: int) -> int:
    """Starts a program in a session of its own, with an empty stdin, and returns its process id."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    try:
        return os.posix_spawnp(argv[0], argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET)
    except NotImplementedError:  # a libc from before POSIX_SPAWN_SETSID
        return os.posix_spawnp(argv[0], argv, env, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=_RESET)
    except OSError as error:
        raise OSError(error.errno, error.strerror, argv[0]) from None


def unlinked_file(content: bytes) -> int:
    """Returns the descriptor of a file without a name that holds `content`, at its beginning."""
    try:
        descriptor = os.memfd_create("dagger-script")
    except (AttributeError, OSError):
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def receive(connection: socket.socket, size: int) -> bytes:
    """Reads exactly so many bytes; EOFError when the manager went away in between."""
    chunks = []
    while size:
        try:
            chunk = connection.recv(min(size, 1 << 20))
        except OSError:
            chunk = b""
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def receive_descriptors(connection: socket.socket, most: int) -> list[int]:
    """Reads one byte and the descriptors that came with it, as far as there was room; EOFError at the end."""
    size = struct.calcsize("i")
    try:
        said, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(most * size))
    except OSError:
        said, ancillary = b"", []
    found = [
        descriptor
        for level, kind, data in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for (descriptor,) in struct.iter_unpack("i", data[: len(data) - len(data) % size])
    ]
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    if not said:
        raise EOFError
    return found


def main() -> None:
    """Serves the socket whose descriptor, and the manager whose process id, the arguments name.

    A third argument is a descriptor that the scripts inherit, and whose file is touched when all has ended.
    """
    given = int(sys.argv[1])
    if given == HELD:
        given = os.dup(HELD)
        os.close(HELD)
    os.set_inheritable(given, False)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, given)
    if sys.argv[3:] and int(sys.argv[3]) != HELD:  # where the manager has many files open, it can be that already
        os.dup2(int(sys.argv[3]), HELD)
        os.close(int(sys.argv[3]))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    become_subreaper()
    try:
        Guardian(control, int(sys.argv[2])).serve()
    finally:
        end_descendants(os.getpid(), GRACE)
        if sys.argv[3:]:
            os.utime(HELD)


if __name__ == "__main__":
    main()
