#!/usr/bin/env python3
"""Compares an extract with an as-of join that another engine made.

DuckDB reads the same Parquet files and joins them to the spine by its own ASOF LEFT JOIN, over rows
first reduced to the last row number per key and event time; then a winner older than the view's ttl
is dropped. Views, ttls, keys and the service's columns are read from the definition files, so that
the check follows them.

    check_duckdb.py EXTRACT            compare EXTRACT (Parquet) row by row and column by column
    check_duckdb.py --write            write the digests of the expected columns
    check_duckdb.py --verify           check that the stored digests are those of today's files

Digest of a column: SHA-256 over the rows in the spine's order; a null adds the byte 0, a value the
byte 1 and then its bytes: integers and floats little-endian at their width, strings as their length
in bytes (unsigned 32 bits, little-endian) and UTF-8. Exit code: 0 equal, 1 different, 2 usage.

It covers what the example uses: one Parquet file a source with times in UTC, without created times,
deletions or SQL, and refuses definitions that go beyond that.
"""

import argparse
import hashlib
import json
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
UNITS = {"us": 1, "ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6, "w": 604800 * 10**6}
ARROW_TYPES = {"float64": pa.float64(), "int64": pa.int64(), "string": pa.string()}


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


def main() -> int:
    args = arguments()
    spine = args.spine or args.project / "data" / "departures.parquet"
    reads = service_reads(definitions(args.project), args.project, args.service)
    expected, counts = expected_columns(spine, reads)
    print(f"duckdb {duckdb.__version__}: {expected.num_rows} rows, {len(reads)} views, {expected.num_columns} columns")
    for label, count in counts.items():
        print(f"  {label}: {count['found']} found, {count['expired']} expired, {count['not_found']} not found")
    differences = 0
    if args.write or args.verify:
        differences += digests(args.digests, args.write, args.service, expected, counts)
    if args.extract:
        differences += compare(args.extract, spine, expected)
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
    found: dict[str, dict[str, dict]] = {"entity": {}, "source": {}, "view": {}, "service": {}}
    for file in sorted(project.glob("features/**/*.toml")):
        for kind, items in tomllib.loads(file.read_text("utf-8")).items():
            found[kind].update({item["name"]: item for item in items})
    return found


def service_reads(defined: dict, project: Path, service: str) -> list[Read]:
    reads = []
    for entry in defined["service"][service]["features"]:
        if isinstance(entry, str):
            view, feature = entry.split(":")
            entry = {"view": view, "features": feature if feature == "*" else [feature]}
        reads.append(read_of(defined, project, entry))
    return reads


def read_of(defined: dict, project: Path, entry: dict) -> Read:
    view = defined["view"][entry["view"]]
    source = defined["source"][view["source"]]
    beyond = {"created_time", "deleted", "sql", "dates"} & source.keys()
    if beyond:
        sys.exit(f"source {source['name']!r}: this check does not know {sorted(beyond)}")
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


def micros(duration: str) -> int:
    digits = duration.rstrip("usmhdw")
    return int(digits) * UNITS[duration[len(digits) :]]


def expected_columns(spine: Path, reads: list[Read]) -> tuple[pa.Table, dict[str, dict[str, int]]]:
    """The feature columns in the spine's order, and per read how many rows found what."""
    connection = duckdb.connect()
    columns: dict[str, pa.ChunkedArray] = {}
    counts = {}
    for read in reads:
        joined = connection.sql(as_of_query(spine, read)).to_arrow_table()
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
        "little-endian at their width, strings as u32 little-endian length and UTF-8",
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


def compare(extract: Path, spine: Path, expected: pa.Table) -> int:
    """Prints and counts what differs: the spine's own columns first, then every feature column."""
    got, own = pq.read_table(extract), pq.read_table(spine)
    wanted_names = own.column_names + expected.column_names
    if got.num_rows != own.num_rows or got.column_names != wanted_names:
        print(f"rows: expected {own.num_rows}, found {got.num_rows}")
        print(f"columns: expected {wanted_names}\n         found    {got.column_names}")
        return 1
    differences = 0
    for name in wanted_names:
        wanted = (own if name in own.column_names else expected)[name]
        rows = differing_rows(got[name], wanted)
        differences += len(rows)
        for row in rows[:3]:
            print(f"  {name}, row {row}: expected {wanted[row].as_py()!r}, found {got[name][row].as_py()!r}")
    print(f"compared {got.num_rows} rows x {len(wanted_names)} columns of {extract}")
    return differences


def differing_rows(found: pa.ChunkedArray, wanted: pa.ChunkedArray) -> list[int]:
    """Rows that differ by value or null; floats by their bits."""
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
