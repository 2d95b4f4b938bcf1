#!/usr/bin/env python3
"""Compares on-demand features of every departure, as datasets and as they are served, with each other and with DuckDB.

A prediction service knows where a flight heads; the example's departures do not say. Here each of them is given a
`bearing`, a golden angle further than the one before it, so that no two ask for the same cosine; every 97th has none.

  1. As of its own time, each departure: `asof extract`, `asof.Store.extract`, and DuckDB by the rules of check_duckdb.py.
  2. Served, each departure as of an instant of its week, the departure time that is in the middle of those of the week:
     the project is materialized to each of these instants, one after the other. JSON over HTTP, gRPC by `asof.connect`,
     and `asof.open` in process, with the clock frozen there, against an extract of the same rows at that instant, and
     that against DuckDB.

All of Asof's own answers are equal bit by bit, statuses included; check_duckdb.py says how DuckDB's floats are compared.
The project is one that is applied and was never materialized. Exit code: 0 equal, 1 different, 2 usage.
"""

import argparse
import datetime as dt
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asof
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from check_duckdb import (
    ARROW_TYPES,
    SPINE_TIME,
    compare,
    computed_floats,
    definitions,
    differing_cells,
    expected_service,
    micros,
    on_demand_reads,
)

SERVICE = "flight_context_v1"
SET = "context"
TURN = 137.50776405  # degrees, the golden angle
WITHOUT = 97  # every so many flights there is no bearing


def main() -> int:
    args = arguments()
    check = Check(args.asof, args.project)
    own_time = with_bearings(pq.read_table(args.project / "data" / "departures.parquet"))
    differences = check.datasets(own_time, "own_time")
    of_weeks = with_times(own_time, middles_of_weeks(times(own_time)))
    differences += check.datasets(of_weeks, "of_weeks")
    differences += check.served(of_weeks)
    print(f"{differences} differences")
    return 1 if differences else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares on-demand features of datasets, of answers and of DuckDB.")
    parser.add_argument("project", type=Path, help="a copy of examples/flights, applied")
    parser.add_argument("--asof", required=True, help="the `asof` command")
    return parser.parse_args()


def with_bearings(departures: pa.Table) -> pa.Table:
    flights = departures["flight_id"].to_numpy()
    bearings = pa.array((flights * TURN) % 360.0, mask=flights % WITHOUT == 0)
    return departures.append_column("bearing", bearings)


def times(spine: pa.Table) -> np.ndarray:
    """Microseconds since 1970."""
    return spine[SPINE_TIME].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()


def middles_of_weeks(instants: np.ndarray) -> np.ndarray:
    """For each instant the one in the middle of those of its week."""
    weeks = instants // micros("1w")
    middles = np.empty_like(instants)
    for week in np.unique(weeks):
        of_week = weeks == week
        middles[of_week] = np.sort(instants[of_week])[of_week.sum() // 2]
    return middles


def with_times(spine: pa.Table, instants: np.ndarray) -> pa.Table:
    column = spine.column_names.index(SPINE_TIME)
    return spine.set_column(column, SPINE_TIME, pa.array(instants, pa.timestamp("us", "UTC")))


class Check:
    """The project, the command, and what on-demand features of it read and give."""

    def __init__(self, command: str, project: Path) -> None:
        self.command = [command, "--project", str(project)]
        self.project = project
        self.defined = definitions(project)
        on_demand = self.defined["on_demand"][SET]
        reads = on_demand_reads(self.defined, project, on_demand)
        self.views = [read.view for read in reads]
        self.keys = sorted({column for read in reads for _, column in read.keys})
        self.request = list(on_demand["request"])
        self.types = {
            f"{SET}__{name}": ARROW_TYPES[feature["type"]] for name, feature in on_demand["features"].items()
        }

    def datasets(self, spine: pa.Table, name: str) -> int:
        """The differences between the command's dataset, the package's and DuckDB's."""
        path, out = self.project / f"{name}.parquet", self.dataset(name)
        pq.write_table(spine, path)
        subprocess.run(
            [*self.command, "extract", "--service", SERVICE, "--spine", str(path), "--out", str(out)], check=True
        )
        expected, _ = expected_service(path, self.defined, self.project, SERVICE)
        differences = compare(out, path, expected, computed_floats(self.defined, expected))
        with asof.open(self.project) as store:
            of_package = store.extract(SERVICE, spine=spine).to_arrow()
        differences += differing_cells(of_package, pq.read_table(out))
        print(f"compared {of_package.num_rows} rows x {of_package.num_columns} columns of asof.Store.extract")
        return differences

    def dataset(self, name: str) -> Path:
        return self.project / f"{name}.{SERVICE}.parquet"

    def served(self, spine: pa.Table) -> int:
        """The differences between the dataset of these rows and what is served of them as of their times."""
        extracted = pq.read_table(self.dataset("of_weeks")).select(list(self.types))
        instants = times(spine)
        asked = spine.select([*self.keys, *self.request])
        differences = rows = 0
        for instant in np.unique(instants):
            chosen = np.flatnonzero(instants == instant)
            keys, wanted = asked.take(chosen), extracted.take(chosen)
            for way, answer in self.answers(at(instant), keys):
                different = differing_cells(answer, with_statuses(wanted))
                if different:
                    print(f"  {different} of {way} as of {at(instant)}")
                differences += different
                rows += answer.num_rows
        weeks = len(np.unique(instants))
        print(f"compared {rows} rows x {len(self.types)} columns and statuses served in 3 ways as of {weeks} instants")
        return differences

    def answers(self, instant: str, keys: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """What is served as of an instant, way by way."""
        with asof.open(self.project, now=instant) as store:
            store.materialize(*self.views, as_of=instant).wait()
            yield "asof.open", self.of_package(store, keys)
        with self.server(instant) as url:
            with asof.connect(url.replace("http://", "grpc://")) as store:
                yield "asof.connect", self.of_package(store, keys)
            yield "JSON", self.of_json(url, keys)

    @contextmanager
    def server(self, instant: str) -> Iterator[str]:
        serve = [*self.command, "serve", "--listen", "127.0.0.1:0", "--now", instant, "--json"]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield json.loads(process.stdout.readline())["url"]
            finally:
                process.terminate()

    def of_package(self, store: asof.Store, keys: pa.Table) -> pa.Table:
        features = store.get_features(SERVICE, keys)
        statuses = {f"{name}__status": pa.array(features.status(name)) for name in self.types}
        found = features.to_arrow().select(list(self.types))
        return pa.table({**dict(zip(found.column_names, found.columns)), **statuses})

    def of_json(self, url: str, keys: pa.Table) -> pa.Table:
        given = {
            "service": SERVICE,
            "keys": keys.select(self.keys).to_pydict(),
            "request": keys.select(self.request).to_pydict(),
        }
        request = urllib.request.Request(f"{url}/v1/get-features", json.dumps(given).encode())
        with urllib.request.urlopen(request) as response:
            columns = {column["name"]: column for column in json.load(response)["columns"]}
        values = {name: pa.array(columns[name]["values"], data_type) for name, data_type in self.types.items()}
        statuses = {f"{name}__status": pa.array(columns[name]["statuses"]) for name in self.types}
        return pa.table({**values, **statuses})


def at(instant: int) -> str:
    return (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=int(instant))).isoformat() + "Z"


def with_statuses(values: pa.Table) -> pa.Table:
    """With a column of statuses for each column, which follow from the values."""
    statuses = {
        f"{name}__status": pa.array(np.where(values[name].is_valid().to_numpy(), "PRESENT", "NULL"))
        for name in values.column_names
    }
    return pa.table({**dict(zip(values.column_names, values.columns)), **statuses})


if __name__ == "__main__":
    sys.exit(main())
