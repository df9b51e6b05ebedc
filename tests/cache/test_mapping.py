"""Large files are digested where they lie in the page cache, by children that may die of it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import xxhash

SIZE = 5 << 20

SETTING = f"""
import os, subprocess, sys, threading
from dagger.cache import StatIndex, mapping
from dagger.cache.filesystems import FileClock

class Later(FileClock):
    def racy_since(self, path, device):
        return super().racy_since(path, device) + 10**10

mapping.LARGE = {SIZE}
forks = []
os.register_at_fork(before=lambda: forks.append(1))
paths = [os.path.abspath(name) for name in sorted(os.listdir("."))]
"""


@pytest.fixture(autouse=True)
def _needs_this(tmp_path: Path) -> None:
    (tmp_path / "probe").write_bytes(b"x")
    try:
        with open(tmp_path / "probe", "rb") as file:
            assert os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
    except (AttributeError, OSError):
        pytest.skip("nobody tells here what is in the page cache")
    (tmp_path / "probe").unlink()


def run(folder: Path, text: str) -> list[str]:
    """Run Python in a process of its own, which has one thread."""
    command = [sys.executable, "-c", SETTING + textwrap.dedent(text)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=100).stdout.split()


def make(folder: Path, count: int) -> list[str]:
    """Write some large files; return their digests."""
    contents = [os.urandom(SIZE + number) for number in range(count)]
    for number, content in enumerate(contents):
        (folder / f"{number}").write_bytes(content)
    return [xxhash.xxh3_128_hexdigest(content) for content in contents]


def test_a_large_file_is_mapped_by_a_child(tmp_path: Path) -> None:
    """It has the digest of its content, and is known from then on; a small one needs no child."""
    digests = make(tmp_path, 1)
    (tmp_path / "small").write_bytes(b"small")
    text = """
        index = StatIndex(clock=Later())
        print(index.digest_file("0"), index.digest_file("0"), len(forks))
        index.digest_file("small")
        print(len(forks))
    """
    assert run(tmp_path, text) == [*digests, *digests, "1", "1"]


def test_several_are_mapped_side_by_side(tmp_path: Path) -> None:
    """All of those ahead are known once the first was asked for; one that is gone is no matter."""
    digests = make(tmp_path, 5)
    text = """
        index = StatIndex(clock=Later())
        index.ahead = lambda: [*paths, os.path.abspath("gone")]
        index.digest_file("3")
        made = len(forks)
        print(*map(index.digest_file, paths), made, len(forks))
    """
    assert run(tmp_path, text) == [*digests, "5", "5"]


def test_no_child_beside_threads(tmp_path: Path) -> None:
    """A process of several threads reads: a fork of it would not be safe."""
    digests = make(tmp_path, 2)
    text = """
        stop = threading.Event()
        threading.Thread(target=stop.wait).start()
        index = StatIndex(clock=Later())
        index.ahead = lambda: paths
        print(*map(index.digest_file, paths), len(forks))
        stop.set()
    """
    assert run(tmp_path, text) == [*digests, "0"]


def test_a_file_that_is_cut_off_meanwhile_kills_nobody(tmp_path: Path) -> None:
    """Whoever maps a file dies when somebody truncates it; who asks for the digest does not."""
    make(tmp_path, 1)
    text = """
        cutting = 'import os\\nwhile True:\\n for size in (1, %d): os.truncate("0", size)'
        other = subprocess.Popen([sys.executable, "-c", cutting % mapping.LARGE])
        died = 0
        while len(forks) < 100 or not died and len(forks) < 5000:
            with open("0", "rb") as file:
                size = mapping.LARGE
                try:
                    died += mapping.MappedDigest(file.fileno(), size).result() is None
                except OSError:
                    pass
            StatIndex().digest_file("0")
        other.kill()
        other.wait()
        os.truncate("0", 1)
        print(bool(died), StatIndex().digest_file("0"))
    """
    first = (tmp_path / "0").read_bytes()[:1]
    assert run(tmp_path, text) == ["True", xxhash.xxh3_128_hexdigest(first)]
