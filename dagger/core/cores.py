"""How many cores there are to use."""

from __future__ import annotations

import math
import os
from functools import lru_cache

_GROUP = "/sys/fs/cgroup"


@lru_cache(maxsize=1)
def cores() -> int:
    """Return the cores that this process may use, not what the machine has: by its affinity and its group's quota.

    ``LOKY_MAX_CPU_COUNT`` lowers it, as it does where loky counts.
    """
    try:
        free = len(os.sched_getaffinity(0))
    except AttributeError:
        free = os.cpu_count() or 1
    most = os.environ.get("LOKY_MAX_CPU_COUNT", "")
    return max(1, min(free, _quota(), int(most) if most.isdecimal() else free))


def _quota() -> int:
    """Return how many cores' time a control group of Linux may have, of the second version or the first."""
    try:
        with open(f"{_GROUP}/cpu.max") as file:
            time, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open(f"{_GROUP}/cpu/cpu.cfs_quota_us") as file, open(f"{_GROUP}/cpu/cpu.cfs_period_us") as other:
                time, period = file.read().strip(), other.read().strip()
        except OSError:
            time = period = "max"
    limited = time.isdecimal() and period.isdecimal() and int(time) > 0 and int(period) > 0
    return math.ceil(int(time) / int(period)) if limited else 2**31
