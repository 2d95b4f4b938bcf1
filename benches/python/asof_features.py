"""Features of one entity at a time, over and over: from a project in this process, or from a server."""

import json
import statistics
import struct
import sys
import time

import asof
from answer import answer


def main() -> None:
    job = json.loads(sys.argv[1])
    opened = asof.connect(job["url"]) if job["url"] else asof.open(job["project"], now=job["now"])
    with opened as store:
        requests = [[{job["key"]: key}] for key in job["keys"]]
        answers = [bits(store.get_features(job["service"], request).to_dicts()[0]) for request in requests]
        result = {
            "answers": answers,
            "call_micros": median(lambda request: store.get_features(job["service"], request), requests, job),
            "dicts_micros": median(
                lambda request: store.get_features(job["service"], request).to_dicts(), requests, job
            ),
        }
    answer(result)


def bits(row: dict) -> list:
    """The values of a row, of which numbers with a point go as their bits."""
    whole = lambda value: struct.unpack("<q", struct.pack("<d", value))[0] if isinstance(value, float) else value
    return [whole(value) for value in row.values()]


def median(call, requests: list, job: dict) -> float:
    clock = time.perf_counter_ns
    taken = []
    end = clock() + int(job["seconds"] * 1e9)
    while clock() < end:
        for request in requests:
            start = clock()
            call(request)
            taken.append(clock() - start)
    return statistics.median(taken) / 1e3


if __name__ == "__main__":
    main()
