"""Tables of other packages: in by every door, out by every other."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof

UTC = dt.timezone.utc
SERVICE = "delay_model_v1"


@pytest.fixture(scope="module")
def departures(flights: Path) -> pa.Table:
    return pq.read_table(flights / "data" / "departures.parquet").slice(0, 5_000)


def test_every_kind_of_table_is_a_spine(flights: Path, departures: pa.Table) -> None:
    connection = duckdb.connect()
    connection.register("departures", departures)
    frame = departures.to_pandas()
    spines: list[Any] = [
        departures,
        pa.RecordBatchReader.from_batches(departures.schema, departures.to_batches(max_chunksize=700)),
        frame,
        pl.from_arrow(departures),
        pl.from_arrow(departures).lazy(),  # type: ignore[union-attr]
        connection.sql("select * from departures"),
        frame.assign(origin=frame["origin"].astype("category")),
    ]
    with asof.open(flights) as store:
        expected = store.extract(SERVICE, spine=departures).to_arrow()
        for spine in spines:
            found = store.extract(SERVICE, spine=spine).to_arrow()
            features = expected.column_names[departures.num_columns :]
            assert found.select(features).equals(expected.select(features)), type(spine)
            assert found.num_rows == departures.num_rows


def test_a_dataset_comes_out_by_every_door(flights: Path, departures: pa.Table) -> None:
    with asof.open(flights) as store:
        dataset = store.extract(SERVICE, spine=departures, status=True)
        table = dataset.to_arrow()
        assert isinstance(table, pa.Table)
        pd.testing.assert_frame_equal(dataset.to_pandas(), table.to_pandas())
        frame = dataset.to_polars()
        assert isinstance(frame, pl.DataFrame) and frame.equals(pl.from_arrow(table))
        assert pa.table(dataset).equals(table)
        assert pl.DataFrame(dataset).equals(frame)
        [[counted]] = duckdb.sql("select count(*) from table_").fetchall() if (table_ := table) else [[0]]
        assert counted == departures.num_rows
        batches = [batch.to_arrow() for batch in store.extract(SERVICE, spine=departures, status=True).batches()]
        assert pa.concat_tables(batches).equals(table)
        rows = dataset.to_dicts()
        assert rows == table.to_pylist()


def test_what_pandas_gets_without_pyarrow_is_the_same(flights: Path, departures: pa.Table) -> None:
    from asof import _arrow

    with asof.open(flights) as store:
        frame = departures.to_pandas()
        columns = [(str(name), *_arrow._pandas_column(frame[name])) for name in frame.columns]
        plain = asof._asof.Table.from_columns(columns)  # type: ignore[attr-defined]
        dataset = store.extract(SERVICE, spine=plain)
        expected = store.extract(SERVICE, spine=frame).to_pandas()
        table = dataset._all()
        built = pd.DataFrame(
            {name: _arrow._pandas_series(pd, table, place) for place, name in enumerate(table.column_names)}
        )
        for name in expected.columns:
            left, right = built[name], expected[name]
            assert list(left.isna()) == list(right.isna()), name
            present = ~left.isna()
            assert list(left[present]) == list(right[present]), name


def test_a_pandas_frame_of_every_type_without_pyarrow() -> None:
    from asof import _arrow

    instants = pd.to_datetime(["2026-01-01T00:00:00.123456789", None]).tz_localize("Europe/Berlin")
    frame = pd.DataFrame(
        {
            "bool": [True, False],
            "i1": np.array([-1, 1], dtype="int8"),
            "u8": np.array([0, 2**63], dtype="uint64"),
            "f4": np.array([np.nan, 0.5], dtype="float32"),
            "text": ["a", None],
            "category": pd.Categorical(["x", None]),
            "instant": instants,
            "local": pd.to_datetime(["2026-01-01", None]),
            "Int64": pd.array([1, None], dtype="Int64"),
            "boolean": pd.array([True, None], dtype="boolean"),
            "day": [dt.date(2026, 1, 1), None],
        }
    )
    table = asof._asof.Table.from_columns(  # type: ignore[attr-defined]
        [(str(name), *_arrow._pandas_column(frame[name])) for name in frame.columns]
    )
    found = pa.table(table)
    assert found.column("bool").to_pylist() == [True, False]
    assert found.column("i1").type == pa.int8() and found.column("u8").to_pylist() == [0, 2**63]
    assert found.column("f4").to_pylist() == [None, 0.5]
    assert found.column("text").to_pylist() == ["a", None]
    assert found.column("category").to_pylist() == ["x", None]
    assert found.column("instant").cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist() == [instants[0].value, None]
    assert str(found.column("instant").type).endswith("tz=UTC]")
    assert found.column("local").null_count == 1
    assert found.column("Int64").to_pylist() == [1, None]
    assert found.column("boolean").to_pylist() == [True, None]
    assert found.column("day").to_pylist() == [dt.date(2026, 1, 1), None]


def test_features_as_arrays_and_frames(flights: Path) -> None:
    keys = pd.DataFrame(
        {"origin": ["JFK", "LGA"], "dest": ["LAX", "JFK"], "carrier": ["UA", "AA"], "tailnum": ["N14228", "unknown"]}
    )
    with asof.open(flights, now="2013-12-30T12:00:00Z") as store:
        features = store.get_features(SERVICE, keys)
        table = features.to_arrow()
        assert table.num_rows == 2 and table.column_names[:4] == list(keys.columns)
        assert features.to_pandas().shape == (2, table.num_columns)
        assert features.to_polars().equals(pl.from_arrow(table))
        assert pa.table(features).equals(table)
        assert features.to_numpy().dtype == object
        of_two = keys[["origin", "tailnum"]]
        numbers = store.get_features(keys=of_two, features=["airport_weather:temp", "plane_specs:seats"])
        matrix = numbers.to_numpy()
        assert (matrix.shape, matrix.dtype) == ((2, 2), np.float64)
        assert matrix[0, 0] == numbers.to_dicts()[0]["airport_weather__temp"]
        assert np.isnan(matrix[1, 1])
        assert store.get_features(SERVICE, pl.from_pandas(keys)).to_dicts() == features.to_dicts()


def test_frames_are_pushed_and_ingested(store: asof.Store, tmp_path: Path) -> None:
    at = dt.datetime.now(UTC) - dt.timedelta(hours=1)
    frame = pl.DataFrame({"card": [1, 2], "at": [at, at], "amount": [1.0, 2.0], "place": ["x", None]})
    assert store.push("payments", frame).accepted == 2
    assert store.push("payments", frame.to_pandas()).accepted == 2
    path = tmp_path / "rows.parquet"
    frame.write_parquet(path)
    assert store.push("payments", path).accepted == 2
    assert store.ingest("payments", str(path)).accepted == 2
    many = pl.concat([frame] * 12_500)
    pushed = store.push("payments", many)
    assert (pushed.rows, pushed.accepted) == (25_000, 25_000)
    with pytest.raises(asof.AsofError, match="expected a file"):
        store.push("payments", tmp_path / "rows.txt")
    with pytest.raises(asof.AsofError, match="amount"):
        store.push("payments", frame.with_columns(amount=pl.lit("much")))
    assert store.get_features("fraud_v1", [{"card": 2}]).to_dicts()[0]["last_payment__amount"] == 2.0


@pytest.mark.parametrize("without", [[], ["pyarrow"]])
def test_a_part_of_a_frame_is_sent_without_its_index(
    store: asof.Store, monkeypatch: pytest.MonkeyPatch, without: list[str]
) -> None:
    for module in without:
        monkeypatch.setitem(sys.modules, module, None)
    at = dt.datetime.now(UTC) - dt.timedelta(hours=1)
    frame = pd.DataFrame({"card": [1, 2, 3], "at": [at] * 3, "amount": [1.0, None, 3.0], "place": ["x", None, "z"]})
    part = frame[frame["card"] > 1]
    assert store.push("payments", part).accepted == 2
    with pytest.raises(asof.AsofError, match="card"):
        store.push("payments", frame.set_index("card"))
    spine = part[["card"]].assign(event_timestamp=pd.Timestamp.now("UTC"))
    dataset = store.extract("fraud_v1", spine=spine)
    assert dataset.column_names == ["card", "event_timestamp", "last_payment__amount", "last_payment__place"]
    assert dataset.to_pandas()["last_payment__amount"].isna().tolist() == [True, False]
    with pytest.raises(asof.InvalidArgumentError, match="columns of one name"):
        store.push("payments", frame[["card", "card"]])
    with pytest.raises(asof.AsofError):
        store.push("payments", frame.assign(place=["x", 3, object()]))


def test_values_of_numpy_and_pandas_are_keys(store: asof.Store) -> None:
    at = np.datetime64("2026-01-01T00:00:00.123456789")
    row = {"card": np.int64(1), "at": pd.Timestamp(at, tz="UTC"), "amount": np.float32(0.5), "place": np.str_("x")}
    assert store.push("payments", [row, {**row, "card": np.int8(2), "amount": pd.NA}]).accepted == 2
    features = store.get_features("fraud_v1", [{"card": np.int64(1)}, {"card": np.int64(2)}, {"card": pd.NA}])
    assert features.status("last_payment:amount") == ["PRESENT", "NULL", "NOT_FOUND"]
    columns = {"card": np.array([1, 2]), "event_timestamp": np.array([at, at])}
    assert len(store.extract("fraud_v1", spine=columns, timezone="UTC").to_dicts()) == 2


def test_values_of_every_type_are_pythons_own(store: asof.Store) -> None:
    at = dt.datetime(2026, 1, 1, 12, 30, 15, 250_000)
    of_type = {
        pa.time32("s"): dt.time(23, 59, 59),
        pa.time32("ms"): dt.time(0, 0, 0, 1_000),
        pa.time64("us"): dt.time(1, 2, 3, 4),
        pa.duration("s"): dt.timedelta(days=-1, seconds=5),
        pa.duration("us"): dt.timedelta(microseconds=-1),
        pa.date32(): at.date(),
        pa.date64(): dt.date(1901, 2, 3),
        pa.timestamp("ms"): at,
        pa.decimal128(38, 3): decimal.Decimal("-12345678901234567890.125"),
        pa.decimal256(60, 2): decimal.Decimal("1" * 50 + ".25"),
        pa.float16(): 0.5,
        pa.binary(3): b"abc",
        pa.list_(pa.duration("ms")): [dt.timedelta(milliseconds=7), None],
    }
    names = {str(place): kind for place, kind in enumerate(of_type)}
    spine = pa.table(
        {
            "card": [1, 2],
            "event_timestamp": pa.array([at, at]).cast(pa.timestamp("us", "UTC")),
            **{name: pa.array([of_type[kind], None], kind) for name, kind in names.items()},
        }
    )
    rows = store.extract("fraud_v1", spine=spine).to_dicts()
    assert [{name: row[name] for name in names} for row in rows] == spine.select(list(names)).to_pylist()


@pytest.mark.parametrize("column", [pd.Series([1]), pl.Series([1]), pa.array([1]), pa.chunked_array([[1]])])
def test_a_column_is_no_table(store: asof.Store, column: Any) -> None:
    with pytest.raises(asof.InvalidArgumentError, match="spine: .* is one column: give a table with names"):
        store.extract("fraud_v1", spine=column)
    with pytest.raises(asof.InvalidArgumentError, match="keys: .* is one column: give a table with names"):
        store.get_features("fraud_v1", column)


def test_a_reader_of_python_is_left_alone_at_the_end(shop: Any) -> None:
    script = f"""
import asof, pyarrow as pa, time, datetime
store = asof.open({str(shop)!r})
store.apply()
now = datetime.datetime.now(datetime.timezone.utc)
batch = pa.record_batch({{"card": pa.array([1]), "event_timestamp": pa.array([now])}})
def slowly():
    while True:
        time.sleep(0.01)
        yield batch
reader = pa.RecordBatchReader.from_batches(batch.schema, slowly())
import threading
def extract():
    try:
        store.extract("fraud_v1", spine=reader).to_dicts()
    except asof.AsofError:
        pass
threading.Thread(target=extract, daemon=True).start()
time.sleep(0.5)
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_rows_that_break_off_are_not_ingested(store: asof.Store) -> None:
    whole = pa.table(
        {
            "card": [1, 2],
            "at": pa.array([dt.datetime(2026, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
            "amount": [1.0, 2.0],
            "place": ["x", "y"],
        }
    )

    def batches() -> Iterator[pa.RecordBatch]:
        yield whole.to_batches()[0]
        raise RuntimeError("the disk is gone")

    reader = pa.RecordBatchReader.from_batches(whole.schema, batches())
    with pytest.raises(asof.DataError, match="the disk is gone"):
        store.ingest("payments", reader, id="monday")
    ingested = store.ingest("payments", whole, id="monday")
    assert (ingested.accepted, ingested.already_accepted) == (2, False)
