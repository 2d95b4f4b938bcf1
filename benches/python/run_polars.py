"""The extract as Polars makes it: `join_asof` by key, with the ttl as its tolerance.

The rows of a generated source stand in event order already, no two at the same time; the spine is sorted for the
join, and back for the dataset.
"""

from datetime import timedelta

import polars as pl

from job import Job, run

TIME = "event_timestamp"


def work(job: Job) -> None:
    joined = pl.scan_parquet(job.spine).sort(TIME)
    for view, files in job.views:
        renamed = [pl.col(name).alias(f"{view}__{name}") for name in job.features]
        rows = pl.scan_parquet(files).select(*job.keys, pl.col("event_time").set_sorted().alias(TIME), *renamed)
        joined = joined.join_asof(
            rows,
            on=TIME,
            by=job.keys,
            strategy="backward",
            tolerance=timedelta(days=job.ttl_days),
            check_sortedness=False,
        )
    names = [f"{view}__{name}" for view, _ in job.views for name in job.features]
    spine = pl.scan_parquet(job.spine).collect_schema().names()
    joined.sort("row_id").select(*spine, *names).sink_parquet(
        job.out, compression="zstd", compression_level=1, maintain_order=True
    )


if __name__ == "__main__":
    run(pl.__version__, work)
