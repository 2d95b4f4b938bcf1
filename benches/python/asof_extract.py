"""A dataset from a server: into a data frame, or batch by batch. What is timed begins without a connection."""

import json
import sys
import time

import pandas

import asof
from answer import answer
from frames import write


def main() -> None:
    job = json.loads(sys.argv[1])
    if job["batches"]:
        result = batches(job)
    else:
        spine = pandas.read_parquet(job["spine"])
        start = time.perf_counter()
        with asof.connect(job["url"]) as store:
            frame = store.extract(job["service"], spine=spine).to_pandas()
            seconds = time.perf_counter() - start
        result = {"seconds": seconds, "rows": len(frame), "version": pandas.__version__}
    answer(result)
    if not job["batches"]:
        write(frame, job["spine"], [(name, name, kind) for name, kind in job["features"]], job["out"])


def batches(job: dict) -> dict:
    start = time.perf_counter()
    with asof.connect(job["url"]) as store:
        rows = sum(batch.num_rows for batch in store.extract(job["service"], spine=job["spine"]).batches())
    return {"seconds": time.perf_counter() - start, "rows": rows, "version": asof.__version__}


if __name__ == "__main__":
    main()
