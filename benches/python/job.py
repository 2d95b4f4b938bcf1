"""What the bench asks of a peer, and how the peer answers: the work is timed, imports are not."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from answer import answer


@dataclass(frozen=True)
class Job:
    spine: str
    views: list[tuple[str, str]]  # (view, pattern of its source's files)
    keys: list[str]
    features: list[str]
    ttl_days: int
    aggregated: str
    windows: list[tuple[str, int, int]]  # (name, length, hop) in microseconds
    form: str
    out: str
    threads: int


def run(version: str, work: Callable[[Job], None]) -> None:
    job = Job(**json.loads(sys.argv[1]))
    start = time.perf_counter()
    work(job)
    seconds = time.perf_counter() - start
    answer({"seconds": seconds, "version": version})
