"""Windows as DuckDB makes them: count, sum and mean of the events with floor(t - length, hop) < event time <= t, in the
way that the job names. No two rows of a generated source have the same event time.

"prefix sums": running counts and sums of each key, joined as of the head and as of each tail, and subtracted.
"frames": events and spine in one table, and a frame of the past for each window.
"range joins": each row of the spine with the events of its widest window, grouped by row.
"""

import duckdb

from job import Job, run


def work(job: Job) -> None:
    connection = duckdb.connect(config={"threads": job.threads})
    query = {"prefix sums": prefix_sums, "frames": frames, "range joins": range_joins}[job.form](job)
    connection.execute(
        f"copy ({query}) to '{job.out}' (format parquet, compression zstd, compression_level 1)"
    )


def tail(length: int, hop: int, time: str) -> str:
    """The end of the last hop that the window leaves out, in microseconds."""
    return f"(({time}) - {length}) // {hop} * {hop}"


def columns(job: Job, count: str, total: str) -> str:
    """The features: of each window its count and sum, by the names that it is put in for."""
    view = job.views[0][0]
    counts, sums, means = [], [], []
    for name, _, _ in job.windows:
        n, s = count.format(name), total.format(name)
        counts.append(f"coalesce({n}, 0) as {view}__{job.aggregated}_count_{name}")
        sums.append(f"case when {n} > 0 then {s} end as {view}__{job.aggregated}_sum_{name}")
        means.append(f"case when {n} > 0 then {s} / {n} end as {view}__{job.aggregated}_mean_{name}")
    return ", ".join(counts + sums + means)


def prefix_sums(job: Job) -> str:
    keys = ", ".join(job.keys)
    joins, found = [], []
    for name, length, hop in [("head", 0, 1), *job.windows]:
        on = " and ".join(f"s.{key} = p_{name}.{key}" for key in job.keys)
        at = "s.t" if name == "head" else tail(length, hop, "s.t")
        joins.append(f"asof left join prefix p_{name} on {on} and {at} >= p_{name}.t")
        found += [f"p_{name}.n as n_{name}", f"p_{name}.total as total_{name}"]
    features = columns(job, "(n_head - coalesce(n_{0}, 0))", "(total_head - coalesce(total_{0}, 0))")
    return f"""
        with prefix as (
            select {keys}, epoch_us(event_time) as t,
                count({job.aggregated}) over w as n, sum({job.aggregated}) over w as total
            from read_parquet('{job.views[0][1]}')
            window w as (partition by {keys} order by event_time rows unbounded preceding)
        ), joined as (
            select s.* exclude (t), {", ".join(found)}
            from (select *, epoch_us(event_timestamp) as t from read_parquet('{job.spine}')) s {" ".join(joins)}
        )
        select * exclude ({", ".join(f"n_{w}, total_{w}" for w in ["head", *(name for name, _, _ in job.windows)])}),
            {features}
        from joined order by row_id
    """


def frames(job: Job) -> str:
    keys = ", ".join(job.keys)
    windows, found = [], []
    for name, length, hop in job.windows:
        # Rows after the tail: it is a whole number of microseconds.
        past = f"t - ({tail(length, hop, 't')} + 1)"
        windows.append(
            f"w_{name} as (partition by {keys} order by t range between {past} preceding and current row)"
        )
        found += [
            f"count(v) over w_{name} as n_{name}",
            f"sum(v) over w_{name} as total_{name}",
        ]
    return f"""
        with rows as (
            select {keys}, epoch_us(event_time) as t, {job.aggregated} as v, null as row_id
            from read_parquet('{job.views[0][1]}')
            union all
            select {keys}, epoch_us(event_timestamp) as t, null as v, row_id from read_parquet('{job.spine}')
        ), framed as (
            select row_id as row, {", ".join(found)} from rows window {", ".join(windows)}
        )
        select s.*, {columns(job, "n_{0}", "total_{0}")}
        from read_parquet('{job.spine}') s join framed on s.row_id = framed.row
        order by s.row_id
    """


def range_joins(job: Job) -> str:
    on = " and ".join(f"s.{key} = e.{key}" for key in job.keys)
    widest = max(job.windows, key=lambda window: window[1])
    found = []
    for name, length, hop in job.windows:
        within = f"e.t > {tail(length, hop, 's.t')}"
        found += [
            f"count(e.v) filter ({within}) as n_{name}",
            f"sum(e.v) filter ({within}) as total_{name}",
        ]
    return f"""
        with joined as (
            select s.row_id as row, {", ".join(found)}
            from (select *, epoch_us(event_timestamp) as t from read_parquet('{job.spine}')) s
            join (
                select {", ".join(job.keys)}, epoch_us(event_time) as t, {job.aggregated} as v
                from read_parquet('{job.views[0][1]}')
            ) e on {on} and e.t <= s.t and e.t > {tail(widest[1], widest[2], "s.t")}
            group by s.row_id
        )
        select s.*, {columns(job, "n_{0}", "total_{0}")}
        from read_parquet('{job.spine}') s left join joined on s.row_id = joined.row
        order by s.row_id
    """


if __name__ == "__main__":
    run(duckdb.__version__, work)
