#!/usr/bin/env python3
"""Compares an extract with an as-of join that another engine made.

DuckDB reads the same Parquet files and joins them to the spine by its own ASOF LEFT JOIN, over rows
first reduced to the last row number per key and event time; then a winner older than the view's ttl
is dropped. Of views of aggregates it computes count, mean, max and the like over a frame of its own
windows, from the tail that the formula `floor(t - length, hop)` gives to the row that asks. On-demand
features it computes of those columns and of the spine's by its own reading of their expressions. Views,
ttls, keys, windows, expressions and the service's columns are read from the definition files, so that the
check follows them.

    check_duckdb.py EXTRACT            compare EXTRACT (Parquet) row by row and column by column
    check_duckdb.py --write            write the digests of the expected columns
    check_duckdb.py --verify           check that the stored digests are those of today's files

Digest of a column: SHA-256 over the rows in the spine's order; a null adds the byte 0, a value the
byte 1 and then its bytes: integers and floats little-endian at their width, strings as their length
in bytes (unsigned 32 bits, little-endian) and UTF-8, lists of strings as their length (the same) and the
strings. Exit code: 0 equal, 1 different, 2 usage.

It covers what the example uses: one Parquet file a source with times in UTC, without created times,
deletions or SQL, and refuses definitions that go beyond that. Sums of the example's whole minutes are
exact in any order, so that means are equal to the bit. The cosine of two engines may come from two libraries:
floats that are computed on demand are told apart by their bits, and count as different beyond a relative 1e-12.
"""

import argparse
import hashlib
import json
import math
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SPINE_TIME = "event_timestamp"
HOPS = [("5m", "1s"), ("1h", "1m"), ("12h", "5m"), ("12d", "1h")]  # longest window -> hop; beyond that a day
CLOSE = 1e-12  # of floats that are computed on demand
FUNCTIONS = {"count": "count", "mean": "avg", "sum": "sum", "max": "max", "min": "min", "last_n": "array_agg"}
INPUT = re.compile(r"\b([a-z]\w*)\.([a-z]\w*)")  # view.feature, in an expression
UNITS = {"us": 1, "ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6, "w": 604800 * 10**6}
ARROW_TYPES = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "list<string>": pa.list_(pa.string()),
}


@dataclass(frozen=True)
class Read:
    """One view under one set of the caller's columns."""

    view: str
    path: Path
    event_time: str
    ttl_micros: int | None
    keys: tuple[tuple[str, str], ...]  # (column of the source, column of the spine)
    features: tuple[tuple[str, str, str], ...]  # (output column, column of the source, type)
    label: str
    windows: tuple["Windowed", ...] = ()


@dataclass(frozen=True)
class Windowed:
    """One feature of a view of aggregates."""

    column: str
    function: str
    input: str  # an expression, in SQL
    filter: str
    length: int | None  # microseconds; None for all events
    hop: int
    last: int


def main() -> int:
    args = arguments()
    spine = args.spine or args.project / "data" / "departures.parquet"
    defined = definitions(args.project)
    expected, counts = expected_service(spine, defined, args.project, args.service)
    print(f"duckdb {duckdb.__version__}: {expected.num_rows} rows, {len(counts)} views, {expected.num_columns} columns")
    for label, count in counts.items():
        print(f"  {label}: {count['found']} found, {count['expired']} expired, {count['not_found']} not found")
    differences = 0
    if args.write or args.verify:
        differences += digests(args.digests, args.write, args.service, expected, counts)
    if args.extract:
        differences += compare(args.extract, spine, expected, computed_floats(defined, expected))
    print(f"{differences} differences")
    return 1 if differences else 0


def arguments() -> argparse.Namespace:
    flights = Path(__file__).resolve().parent.parent / "examples" / "flights"
    parser = argparse.ArgumentParser(description="Compares an extract with DuckDB's as-of join.")
    parser.add_argument("extract", nargs="?", type=Path, help="the Parquet file that `asof extract` wrote")
    parser.add_argument("--project", type=Path, default=flights, help="the project directory")
    parser.add_argument("--service", default="delay_model_v1")
    parser.add_argument("--spine", type=Path, help="default: data/departures.parquet of the project")
    parser.add_argument("--digests", type=Path, default=flights / "expected_digests.json")
    parser.add_argument("--write", action="store_true", help="write the digests of the expected columns")
    parser.add_argument("--verify", action="store_true", help="check the stored digests")
    args = parser.parse_args()
    if not (args.extract or args.write or args.verify):
        parser.error("name an extract, or --write, or --verify")
    return args


def definitions(project: Path) -> dict[str, dict[str, dict]]:
    """Everything that the definition files define, by kind and name."""
    found: dict[str, dict[str, dict]] = {
        kind: {} for kind in ("entity", "source", "view", "on_demand", "service")
    }
    for file in sorted(project.glob("features/**/*.toml")):
        for kind, items in tomllib.loads(file.read_text("utf-8")).items():
            found[kind].update({item["name"]: item for item in items})
    return found


def service_entries(defined: dict, service: str) -> list[dict]:
    entries = []
    for entry in defined["service"][service]["features"]:
        if isinstance(entry, str):
            view, feature = entry.split(":")
            entry = {"view": view, "features": feature if feature == "*" else [feature]}
        entries.append(entry)
    return entries


def expected_service(
    spine: Path, defined: dict, project: Path, service: str
) -> tuple[pa.Table, dict[str, dict[str, int]]]:
    """The service's columns in the spine's order, and per view that is read how many rows found what."""
    columns: dict[str, pa.ChunkedArray] = {}
    counts = {}
    for entry in service_entries(defined, service):
        on_demand = defined["on_demand"].get(entry["view"])
        reads = on_demand_reads(defined, project, on_demand) if on_demand else [read_of(defined, project, entry)]
        found, of_views = expected_columns(spine, reads)
        if on_demand:
            found = computed_columns(spine, on_demand, entry, found)
        columns.update(zip(found.column_names, found.columns))
        counts.update(of_views)
    return pa.table(columns), counts


def on_demand_reads(defined: dict, project: Path, on_demand: dict) -> list[Read]:
    """What the expressions read, view by view."""
    wanted: dict[str, list[str]] = {}
    for feature in on_demand["features"].values():
        for view, name in INPUT.findall(feature["expression"]):
            names = wanted.setdefault(view, [])
            if name not in names:
                names.append(name)
    return [read_of(defined, project, {"view": view, "features": names}) for view, names in wanted.items()]


def computed_columns(spine: Path, on_demand: dict, entry: dict, inputs: pa.Table) -> pa.Table:
    """The expressions over the spine's request columns and the columns of views, `view.feature` as `view__feature`."""
    if entry["features"] not in ("*", ["*"]) or {"keys", "prefix"} & entry.keys():
        sys.exit(f"on_demand {on_demand['name']!r}: this check knows all features of a set, under their own keys")
    own = pq.read_table(spine, columns=list(on_demand["request"]))
    rows = pa.table([*own.columns, *inputs.columns], own.column_names + inputs.column_names)
    names = {f"{on_demand['name']}__{name}": feature for name, feature in on_demand["features"].items()}
    selected = ", ".join(
        INPUT.sub(r'"\1__\2"', feature["expression"]) + f" as {quoted(name)}" for name, feature in names.items()
    )
    connection = duckdb.connect()
    connection.register("inputs", rows)
    computed = connection.sql(f"select {selected} from inputs").to_arrow_table()
    return pa.table({name: computed[name].cast(ARROW_TYPES[feature["type"]]) for name, feature in names.items()})


def computed_floats(defined: dict, expected: pa.Table) -> set[str]:
    """The columns in which a function of another library may give another last bit."""
    return {
        name
        for name in expected.column_names
        if name.split("__")[0] in defined["on_demand"] and pa.types.is_floating(expected[name].type)
    }


def read_of(defined: dict, project: Path, entry: dict) -> Read:
    view = defined["view"][entry["view"]]
    source = defined["source"][view["source"]]
    beyond = {"created_time", "deleted", "sql", "dates"} & source.keys()
    if beyond:
        sys.exit(f"source {source['name']!r}: this check does not know {sorted(beyond)}")
    if "aggregate" in view:
        return aggregates_of(defined, project, entry, view, source)
    declared = {
        name: {"type": spec} if isinstance(spec, str) else spec for name, spec in view["features"].items()
    }
    wanted = declared if entry["features"] in ("*", ["*"]) else entry["features"]
    prefix = f"{entry['prefix']}_" if "prefix" in entry else ""
    mapped = entry.get("keys", {})
    return Read(
        view=view["name"],
        path=project / source["path"],
        event_time=source["event_time"],
        ttl_micros=micros(view["ttl"]) if "ttl" in view else None,
        keys=tuple((key, mapped.get(key, key)) for key in defined["entity"][view["entity"]]["keys"]),
        features=tuple(
            (f"{prefix}{view['name']}__{name}", declared[name].get("column", name), declared[name]["type"])
            for name in wanted
        ),
        label=f"{prefix}{view['name']}",
    )


def aggregates_of(defined: dict, project: Path, entry: dict, view: dict, source: dict) -> Read:
    prefix = f"{entry['prefix']}_" if "prefix" in entry else ""
    mapped = entry.get("keys", {})
    if "hop" in view:
        sys.exit(f"view {view['name']!r}: this check knows usual hops")
    known: dict[str, tuple[Windowed, str]] = {}
    for aggregate in view["aggregate"]:
        function = aggregate["function"]
        if function not in FUNCTIONS:
            sys.exit(f"view {view['name']!r}: this check does not know {function!r}")
        read = quoted(aggregate["input"]) if "input" in aggregate else None
        value = read or aggregate.get("expression", "1")
        stem = aggregate.get("name") or "_".join([*([aggregate["input"]] if read else []), function])
        wanted = f"({value}) is not null and ({aggregate.get('where', 'true')})"
        data_type = {"count": "int64", "last_n": f"list<{aggregate.get('type', 'float64')}>"}.get(function, "float64")
        for window in aggregate["windows"]:
            length = None if window == "all" else micros(window)
            column = f"{prefix}{view['name']}__{stem}_{window}"
            feature = Windowed(column, function, value, wanted, length, hop_of(length), aggregate.get("n", 0))
            known[f"{stem}_{window}"] = (feature, data_type)
    named = known if entry["features"] in ("*", ["*"]) else entry["features"]
    listed = [known[name] for name in named]
    return Read(
        view=view["name"],
        path=project / source["path"],
        event_time=source["event_time"],
        ttl_micros=None,
        keys=tuple((key, mapped.get(key, key)) for key in defined["entity"][view["entity"]]["keys"]),
        features=tuple((window.column, window.column, data_type) for window, data_type in listed),
        label=f"{prefix}{view['name']}",
        windows=tuple(window for window, _ in listed),
    )


def hop_of(length: int | None) -> int:
    if length is None:
        return 1
    usual = [micros(hop) for longest, hop in HOPS if length <= micros(longest)]
    return min([*usual, micros("1d")][0], length)


def micros(duration: str) -> int:
    digits = duration.rstrip("usmhdw")
    return int(digits) * UNITS[duration[len(digits) :]]


def expected_columns(spine: Path, reads: list[Read]) -> tuple[pa.Table, dict[str, dict[str, int]]]:
    """The feature columns in the spine's order, and per read how many rows found what."""
    connection = duckdb.connect()
    columns: dict[str, pa.ChunkedArray] = {}
    counts = {}
    for read in reads:
        query = windows_query(spine, read) if read.windows else as_of_query(spine, read)
        joined = connection.sql(query).to_arrow_table()
        outcome = joined["outcome"].to_pylist()
        counts[read.label] = {word: outcome.count(word) for word in ("found", "expired", "not_found")}
        for name, _, data_type in read.features:
            columns[name] = joined[name].cast(ARROW_TYPES[data_type])
    return pa.table(columns), counts


def as_of_query(spine: Path, read: Read) -> str:
    keys = [quoted(key) for key, _ in read.keys]
    on = " and ".join(f"s.{quoted(theirs)} = r.{quoted(ours)}" for ours, theirs in read.keys)
    age = f"epoch_us(s.{quoted(SPINE_TIME)}) - epoch_us(r.event_time)"
    expired = "false" if read.ttl_micros is None else f"({age}) > {read.ttl_micros}"
    source_columns = sorted({column for _, column, _ in read.features})
    features = ", ".join(
        f"case when not {expired} then r.{quoted('f_' + column)} end as {quoted(name)}" for name, column, _ in read.features
    )
    carried = ", ".join(f"{quoted(column)} as {quoted('f_' + column)}" for column in source_columns)
    time = quoted(read.event_time)
    present = " and ".join(f"{key} is not null" for key in [*keys, time])
    return f"""
        with spine as (
            select *, file_row_number as spine_row
            from read_parquet('{escaped(spine)}', file_row_number = true)
        ),
        last_rows as (
            select {", ".join(keys)}, {time} as event_time, true as found, {carried}
            from read_parquet('{escaped(read.path)}', file_row_number = true)
            where {present}
            qualify row_number() over (partition by {", ".join(keys)}, {time} order by file_row_number desc) = 1
        )
        select
            case when r.found is null then 'not_found' when {expired} then 'expired' else 'found' end as outcome,
            {features}
        from spine s asof left join last_rows r on {on} and s.{quoted(SPINE_TIME)} >= r.event_time
        order by s.spine_row
    """


def windows_query(spine: Path, read: Read) -> str:
    """Each aggregate over the rows of the source from behind the window's tail to the spine's row.

    Source and spine rows stand in one table, ordered by time: a frame ends with its peers, so that an event at
    exactly the instant counts, and begins one microsecond behind floor(t - length, hop).
    """
    keys = [quoted(key) for key, _ in read.keys]
    same = ", ".join(f"{quoted(theirs)} as {ours}" for (_, theirs), ours in zip(read.keys, keys))
    present = " and ".join(f"{key} is not null" for key in keys)
    features = ", ".join(
        f"case when {present} then {windowed(window, keys)} end as {quoted(window.column)}" for window in read.windows
    )
    return f"""
        with events as (
            select *, true as is_event, epoch_us({quoted(read.event_time)}) as t, file_row_number as place
            from read_parquet('{escaped(read.path)}', file_row_number = true)
            where {present} and {quoted(read.event_time)} is not null
        ),
        spine as (
            select {same}, false as is_event, epoch_us({quoted(SPINE_TIME)}) as t, file_row_number as place
            from read_parquet('{escaped(spine)}', file_row_number = true)
        ),
        both_sides as (select * from events union all by name select * from spine),
        computed as (
            select place, is_event, case when {present} then 'found' else 'not_found' end as outcome, {features}
            from both_sides
        )
        select * from computed where not is_event order by place
    """


def windowed(window: Windowed, keys: list[str]) -> str:
    begin = "unbounded preceding"
    if window.length is not None:
        tail = f"((t - {window.length}) // {window.hop}) * {window.hop}"
        begin = f"(t - ({tail} + 1)) preceding"
    frame = f"(partition by {', '.join(keys)} order by t range between {begin} and current row)"
    only = f"filter (where is_event and {window.filter})"
    function = FUNCTIONS[window.function]
    if window.function == "last_n":
        value = f"array_agg({{'t': t, 'place': place, 'value': {window.input}}}) {only} over {frame}"
        return f"list_transform(list_sort({value})[-{window.last}:], lambda one: one.value)"
    return f"{function}({window.input}) {only} over {frame}"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def escaped(path: Path) -> str:
    return str(path).replace("'", "''")


def column_digest(column: pa.ChunkedArray) -> str:
    array = column.combine_chunks()
    valid = pc.is_valid(array).to_numpy(zero_copy_only=False)
    digest = hashlib.sha256()
    if pa.types.is_string(array.type):
        for value in array.to_pylist():
            text = b"" if value is None else value.encode()
            digest.update(b"\0" if value is None else b"\1" + len(text).to_bytes(4, "little") + text)
        return digest.hexdigest()
    if pa.types.is_list(array.type):
        for value in array.to_pylist():
            digest.update(b"\0" if value is None else b"\1" + len(value).to_bytes(4, "little"))
            for item in value or []:
                text = item.encode()
                digest.update(len(text).to_bytes(4, "little") + text)
        return digest.hexdigest()
    values = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    width = values.dtype.itemsize
    rows = np.empty((len(values), 1 + width), dtype=np.uint8)
    rows[:, 0] = valid
    rows[:, 1:] = values.view(np.uint8).reshape(-1, width)
    keep = np.ones_like(rows, dtype=bool)
    keep[:, 1:] = valid[:, None]
    digest.update(rows[keep].tobytes())
    return digest.hexdigest()


def digests(file: Path, write: bool, service: str, expected: pa.Table, counts: dict) -> int:
    today = {
        "service": service,
        "spine": "data/departures.parquet",
        "rows": expected.num_rows,
        "digest": "sha256 over the rows in spine order: null = 00; value = 01, then integers and floats "
        "little-endian at their width, strings as u32 little-endian length and UTF-8, lists as their length and items",
        "views": counts,
        "columns": [
            {
                "name": name,
                "type": str(expected[name].type),
                "nulls": expected[name].null_count,
                "sha256": column_digest(expected[name]),
            }
            for name in expected.column_names
        ],
    }
    for column in today["columns"]:
        print(f"  {column['sha256']}  {column['name']} ({column['type']}, {column['nulls']} nulls)")
    if write:
        file.write_text(json.dumps(today, indent=2) + "\n", "utf-8")
        print(f"wrote {file}")
        return 0
    if json.loads(file.read_text("utf-8")) != today:
        print(f"{file} does not hold these digests")
        return 1
    return 0


def compare(extract: Path, spine: Path, expected: pa.Table, computed: set[str]) -> int:
    """Prints and counts what differs: the spine's own columns first, then every feature column."""
    got, own = pq.read_table(extract), pq.read_table(spine)
    wanted_names = own.column_names + expected.column_names
    if got.num_rows != own.num_rows or got.column_names != wanted_names:
        print(f"rows: expected {own.num_rows}, found {got.num_rows}")
        print(f"columns: expected {wanted_names}\n         found    {got.column_names}")
        return 1
    differences = differing_cells(got, pa.table([*own.columns, *expected.columns], wanted_names), computed)
    print(f"compared {got.num_rows} rows x {len(wanted_names)} columns of {extract}")
    return differences


def differing_cells(found: pa.Table, wanted: pa.Table, computed: set[str] = frozenset()) -> int:
    """How many cells of two tables of the same rows and columns differ; floats by their bits, but for computed ones."""
    differences = 0
    for name in wanted.column_names:
        rows = differing_rows(found[name], wanted[name])
        if name in computed and rows:
            far = [row for row in rows if not close(found[name][row].as_py(), wanted[name][row].as_py())]
            if len(far) < len(rows):
                print(f"  {name}: {len(rows) - len(far)} rows differ in their last bits only")
            rows = far
        differences += len(rows)
        for row in rows[:3]:
            print(f"  {name}, row {row}: expected {wanted[name][row].as_py()!r}, found {found[name][row].as_py()!r}")
    return differences


def close(found: float | None, wanted: float | None) -> bool:
    return None not in (found, wanted) and math.isclose(found, wanted, rel_tol=CLOSE)


def differing_rows(found: pa.ChunkedArray, wanted: pa.ChunkedArray) -> list[int]:
    """Rows that differ by value or null; floats by their bits."""
    if pa.types.is_list(wanted.type):
        return [row for row, pair in enumerate(zip(found.to_pylist(), wanted.to_pylist())) if pair[0] != pair[1]]
    if found.type != wanted.type:
        found = found.cast(wanted.type)
    found, wanted = found.combine_chunks(), wanted.combine_chunks()
    nulls = pc.not_equal(pc.is_null(found), pc.is_null(wanted))
    if pa.types.is_floating(wanted.type):
        bits = [pc.fill_null(side, 0.0).to_numpy(zero_copy_only=False).view(np.int64) for side in (found, wanted)]
        values = pa.array(bits[0] != bits[1])
    else:
        values = pc.fill_null(pc.not_equal(found, wanted), False)
    return np.flatnonzero(pc.or_(nulls, values).to_numpy(zero_copy_only=False)).tolist()


if __name__ == "__main__":
    sys.exit(main())
