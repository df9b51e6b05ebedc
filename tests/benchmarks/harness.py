"""Runs contenders in turn, round after round, and keeps what each round took.

One machine is never quiet for long, so who is compared runs side by side: each round runs every contender once, in an
order that differs, and what counts is the median of many rounds. CPU time stands beside wall time, since other
work on the machine disturbs it less.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

NOISY = ("DAGGER_", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "MAKE")


@dataclass(frozen=True)
class Contender:
    """One way to do a case's work.

    Attributes:
        name: How the table calls it.
        command: What is measured: the whole process.
        folder: Where it runs.
        before: Done before each round and not measured.
        check: Called with what the command printed; raises if it did not do its work.
        reports: The command prints the number that counts, as the last line of its output; else its wall time does.
        constant: A number instead of a command, such as an ideal or a limit.
        env: Variables for the command, besides those of the caller.
    """

    name: str
    command: Sequence[str] = ()
    folder: Path = Path()
    before: Callable[[], object] | None = None
    check: Callable[[str], object] | None = None
    reports: bool = False
    constant: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """What one round of one contender took.

    Attributes:
        value: What counts: wall seconds, or what the command reported.
        cpu: User and system seconds of the process and of those that it waited for.
        peak: The largest resident set among these, in bytes.
    """

    value: float
    cpu: float = 0.0
    peak: int = 0


@dataclass(frozen=True)
class Target:
    """What must hold: one contender's median is at most ``limit`` times another's, or ``limit`` where there is none."""

    subject: str
    against: str
    limit: float
    by: str = "value"


@dataclass
class Result:
    """What a case came to.

    Attributes:
        case: Its name on the command line.
        title: What it compares.
        n: How many tasks, or other things.
        samples: Of each contender.
        targets: What must hold.
        unit: Of the values.
        notes: What a reader should know.
        revision: Of dagger, as it was measured.
    """

    case: str
    title: str
    n: int
    samples: dict[str, list[Sample]]
    targets: list[Target] = field(default_factory=list)
    unit: str = "s"
    notes: list[str] = field(default_factory=list)
    revision: str = ""

    def median(self, name: str, by: str = "value") -> float:
        """Return the median over a contender's rounds."""
        return statistics.median(getattr(sample, by) for sample in self.samples[name])

    def least(self, name: str, by: str = "value") -> float:
        """Return the least of a contender's rounds."""
        return min(getattr(sample, by) for sample in self.samples[name])

    def spread(self, name: str) -> float:
        """Return half of the range from the first to the third quartile, as a part of the median."""
        values = [sample.value for sample in self.samples[name]]
        if len(values) < 3 or not (middle := statistics.median(values)):
            return 0.0
        first, _, third = statistics.quantiles(values, n=4, method="inclusive")
        return (third - first) / 2 / middle

    def ratio(self, target: Target) -> float:
        """Return how many times the other's median the subject's is, or the subject's where there is no other."""
        own = self.median(target.subject, target.by)
        return own / self.median(target.against, target.by) if target.against else own

    def to_json(self) -> dict[str, object]:
        """Return plain data that ``from_json`` takes back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, object]) -> Result:
        """Return what ``to_json`` was called on."""
        plain = dict(data)
        samples = {name: [Sample(**it) for it in rounds] for name, rounds in plain.pop("samples").items()}  # type: ignore[attr-defined]
        targets = [Target(**it) for it in plain.pop("targets")]  # type: ignore[attr-defined]
        return cls(samples=samples, targets=targets, **plain)  # type: ignore[arg-type]


class Aside:
    """Where what a contender has made goes before it makes it again; deleted when all rounds are over.

    ext4 without a journal seeks each new inode past all that went in the last half minute, so that a round would pay up
    to a millisecond a file for what was deleted before it.

    Args:
        folder: On the same file system.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def take(self, paths: Iterable[Path]) -> None:
        """Move these there."""
        paths = list(paths)
        aside = self._folder / str(time.time_ns())
        aside.mkdir(parents=True)
        for path in paths:
            path.rename(aside / path.name)


def race(contenders: Sequence[Contender], rounds: int, *, settle: int = 0) -> dict[str, list[Sample]]:
    """Run every contender in every round, in an order of its own, so that nobody always follows the same one.

    Args:
        contenders: Who takes part.
        rounds: How many rounds count.
        settle: How many rounds come before and do not.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(-settle, rounds):
        for contender in random.Random(number).sample(contenders, len(contenders)):
            sample = measure(contender)
            if number >= 0:
                samples[contender.name].append(sample)
        progress(f"    round {number + 1} of {rounds}")
    return samples


def measure(contender: Contender) -> Sample:
    """Run a contender once.

    Raises:
        RuntimeError: Its command failed; the message has the end of what it printed.
    """
    if contender.constant is not None:
        return Sample(contender.constant)
    if contender.before is not None:
        contender.before()
    with tempfile.TemporaryFile("w+", errors="replace") as printed:
        clock = time.perf_counter()
        process = subprocess.Popen(
            contender.command,
            cwd=contender.folder,
            env={**clean_environment(), **contender.env},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - clock
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise RuntimeError(f"{contender.name}: {contender.command} exited with {process.returncode}:\n{text[-1500:]}")
    if contender.check is not None:
        contender.check(text)
    value = float(text.split()[-1]) if contender.reports else seconds
    kilobytes = 1 if sys.platform == "darwin" else 1024
    return Sample(value, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * kilobytes)


def clean_environment() -> dict[str, str]:
    """Return the caller's environment without what would steer a contender."""
    return {name: value for name, value in os.environ.items() if not name.startswith(NOISY)}


def call(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command that prepares something, and return what it printed.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env={**clean_environment(), **(env or {})},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise RuntimeError(f"{command} exited with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def progress(text: str) -> None:
    """Say on standard error how far things are."""
    print(text, file=sys.stderr, flush=True)


def save(results: Iterable[Result], path: Path) -> list[Result]:
    """Add results to those in a file, in place of former ones of the same case and size; return all of them."""
    known = {(it.case, it.n): it for it in load(path)}
    known.update({(it.case, it.n): it for it in results})
    kept = sorted(known.values(), key=lambda it: (it.case, it.n))
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(it.to_json()) for it in kept]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return kept


def load(path: Path) -> list[Result]:
    """Return the results in a file; none where there is no file."""
    return [Result.from_json(it) for it in json.loads(path.read_text())] if path.exists() else []
