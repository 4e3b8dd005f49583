"""What this machine has, and whether a piece of work fits it: said before the work starts, not found out by being
killed."""

import logging
import os
from pathlib import Path

from sensorium.core.errors import ResourceError

logger = logging.getLogger(__name__)


def available_memory() -> int:
    """Return the bytes that a process of this machine, or of this container, can still take."""
    limits = [_meminfo("MemAvailable")]
    # A container's limit (cgroup v2) may be lower than what the machine has.
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if limit != "max":
            limits.append(int(limit) - used)
    except (OSError, ValueError):
        pass  # no cgroup v2 here: the machine's own figure stands
    return max(min(limits), 0)


def _meminfo(key: str) -> int:
    found = _told(Path("/proc/meminfo"), key)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if found is None else found


def _told(path: Path, key: str) -> int | None:
    """Return the bytes that a line `key: ... kB` of a file of the kernel tells, or None where there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None  # not Linux
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def peak_memory() -> int:
    """Return the largest resident size that this process has had, in bytes.

    On Linux it is `VmHWM`, which begins anew with each program: `ru_maxrss` hands on the peak of the process that
    started this one.
    """
    import resource
    import sys

    if (told := _told(Path("/proc/self/status"), "VmHWM")) is not None:
        return told
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def require_memory(needed: int, what: str) -> None:
    """Say how much memory a piece of work needs, and refuse it when the machine does not have that much.

    Args:
        needed: The estimate, in bytes.
        what: The work, as the subject of a sentence ("the item graph of 200,000 items").

    Raises:
        ResourceError: The estimate is larger than what is available; the message holds both numbers.
    """
    available = available_memory()
    if needed > available:
        raise ResourceError(
            f"{what} needs about {readable_bytes(needed)} of memory and {readable_bytes(available)} are free: "
            "use a smaller set or a larger machine"
        )
    logger.info("%s needs about %s of memory", what, readable_bytes(needed))


def readable_bytes(count: int | float) -> str:
    """Return a size for people: 1536 -> "1.5 KB"."""
    size = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def readable_seconds(seconds: float) -> str:
    """Return a duration for people: 75 -> "1 min 15 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
