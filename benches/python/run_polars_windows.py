"""Windows as Polars makes them: count, sum and mean of the events with floor(t - length, hop) < event time <= t, in the
way that the job names. A rolling window of Polars has one length, so it has no way to move its tail in steps.

"prefix sums": running counts and sums of each key, joined as of the head and as of each tail, and subtracted.
"range joins": each row of the spine with the events of its widest window, grouped by row.
"""

import polars as pl

from job import Job, run

TIME = "event_timestamp"


def work(job: Job) -> None:
    spine = pl.scan_parquet(job.spine)
    names = spine.collect_schema().names()
    events = pl.scan_parquet(job.views[0][1]).select(
        *job.keys, pl.col("event_time").set_sorted().alias("t"), pl.col(job.aggregated).alias("v")
    )
    made = {"prefix sums": prefix_sums, "range joins": range_joins}[job.form](job, spine, events)
    made.sort("row_id").select(*names, *columns(job)).sink_parquet(
        job.out, compression="zstd", compression_level=1, maintain_order=True
    )


def tail(length: int, hop: int) -> pl.Expr:
    """The end of the last hop that the window leaves out."""
    moment = pl.col(TIME).dt.epoch("us")
    return ((moment - length) // hop * hop).cast(pl.Datetime("us", "UTC"))


def columns(job: Job) -> list[pl.Expr]:
    """The features: of each window its count `n_` and sum `total_`."""
    view = job.views[0][0]
    counts, sums, means = [], [], []
    for name, _, _ in job.windows:
        n, total = pl.col(f"n_{name}"), pl.col(f"total_{name}")
        counts.append(n.cast(pl.Int64).fill_null(0).alias(f"{view}__{job.aggregated}_count_{name}"))
        sums.append(pl.when(n > 0).then(total).alias(f"{view}__{job.aggregated}_sum_{name}"))
        means.append(pl.when(n > 0).then(total / n).alias(f"{view}__{job.aggregated}_mean_{name}"))
    return counts + sums + means


def prefix_sums(job: Job, spine: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
    prefix = events.select(
        *job.keys,
        "t",
        pl.col("v").is_not_null().cum_sum().over(job.keys).alias("n"),
        pl.col("v").cum_sum().over(job.keys).alias("total"),
    )
    joined = spine.sort(TIME)
    for name, length, hop in [("head", 0, 1), *job.windows]:
        # Of rows in order of time the tails are in order as well.
        joined = joined.with_columns(tail(length, hop).set_sorted().alias("at")).join_asof(
            prefix.rename({"n": f"n_{name}", "total": f"total_{name}"}),
            left_on="at",
            right_on="t",
            by=job.keys,
            strategy="backward",
            check_sortedness=False,
        ).drop("at", "t", strict=False)
    within = []
    for name, _, _ in job.windows:
        for part in ("n", "total"):
            before = pl.col(f"{part}_{name}").fill_null(0)
            within.append((pl.col(f"{part}_head") - before).alias(f"{part}_{name}"))
    return joined.with_columns(within)


def range_joins(job: Job, spine: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
    _, length, hop = max(job.windows, key=lambda window: window[1])
    asked = spine.select("row_id", *job.keys, TIME)
    pairs = asked.with_columns(tail(length, hop).alias("tail")).join_where(
        events.rename({key: f"{key}_right" for key in job.keys}),
        *(pl.col(key) == pl.col(f"{key}_right") for key in job.keys),
        pl.col("t") <= pl.col(TIME),
        pl.col("t") > pl.col("tail"),
    )
    found = []
    for name, length, hop in job.windows:
        values = pl.col("v").filter(pl.col("t") > tail(length, hop))
        found += [values.count().alias(f"n_{name}"), values.sum().alias(f"total_{name}")]
    return spine.join(pairs.group_by("row_id").agg(found), on="row_id", how="left")


if __name__ == "__main__":
    run(pl.__version__, work)
