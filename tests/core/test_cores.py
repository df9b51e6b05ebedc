"""How many tasks run at once where nobody says so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dagger.core import cores as module


def _counted(code: str = "", **env: str) -> int:
    text = f"import os\n{code}\nfrom dagger.core.cores import cores\nprint(cores())"
    done = subprocess.run(
        [sys.executable, "-c", text], env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_what_this_process_may_use():
    """Not what the machine has; the variable lowers it, and never raises it."""
    free = _counted()
    assert 1 <= free <= (os.cpu_count() or 1)
    assert _counted(LOKY_MAX_CPU_COUNT="1") == 1
    assert _counted(LOKY_MAX_CPU_COUNT="9999") == free
    assert _counted(LOKY_MAX_CPU_COUNT="none") == free
    if hasattr(os, "sched_setaffinity"):
        assert _counted("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})") == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 2**31),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2**31),
        ({"cpu.max": "nonsense\n"}, 2**31),
        ({}, 2**31),
    ],
)
def test_the_quota_of_a_control_group(tmp_path, monkeypatch, files, expected):
    """Of the second version of control groups, or of the first."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "_GROUP", str(tmp_path))
    assert module._quota() == expected
