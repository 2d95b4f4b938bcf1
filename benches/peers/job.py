"""What the bench asks of a peer, and how the peer answers: the work is timed, imports are not."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    spine: str
    views: list[tuple[str, str]]  # (view, pattern of its source's files)
    keys: list[str]
    features: list[str]
    ttl_days: int
    out: str
    threads: int


def run(version: str, work: Callable[[Job], None]) -> None:
    job = Job(**json.loads(sys.argv[1]))
    start = time.perf_counter()
    work(job)
    seconds = time.perf_counter() - start
    print(json.dumps({"result": {"seconds": seconds, "version": version}, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int | None:
    """The most memory that this process has held at a time, as Linux tells it."""
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
