"""The extract as DuckDB makes it: its own as-of join, winners older than the ttl dropped after it.

No two rows of a generated source have the same event time, so there are no ties to be broken before the join.
"""

import duckdb

from job import Job, run

MICROS_A_DAY = 86_400_000_000


def work(job: Job) -> None:
    connection = duckdb.connect(config={"threads": job.threads})
    connection.execute(
        f"copy ({query(job)}) to '{job.out}' (format parquet, compression zstd, compression_level 1)"
    )


def query(job: Job) -> str:
    columns = ["s.*"]
    joins = []
    for at, (view, files) in enumerate(job.views):
        row = f"r{at}"
        age = f"epoch_us(s.event_timestamp) - epoch_us({row}.event_time)"
        fresh = f"{age} <= {job.ttl_days * MICROS_A_DAY}"
        columns += [f"case when {fresh} then {row}.{name} end as {view}__{name}" for name in job.features]
        keys = " and ".join(f"s.{key} = {row}.{key}" for key in job.keys)
        joins.append(
            f"asof left join read_parquet('{files}') {row} on {keys} and s.event_timestamp >= {row}.event_time"
        )
    return f"select {', '.join(columns)} from read_parquet('{job.spine}') s {' '.join(joins)} order by s.row_id"


if __name__ == "__main__":
    run(duckdb.__version__, work)
