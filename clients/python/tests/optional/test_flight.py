"""pyarrow's own Flight client against a server, as docs/flight.md shows it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
import pytest

import asof
from conftest import Server

SERVICE = "delay_model_v1"
UTC = dt.timezone.utc


def command(value: object) -> flight.FlightDescriptor:
    return flight.FlightDescriptor.for_command(json.dumps(value))


def exchange(client: flight.FlightClient, what: object, spine: pa.Table) -> pa.Table:
    writer, reader = client.do_exchange(command(what))
    with writer:
        writer.begin(spine.schema)
        writer.write_table(spine)
        writer.done_writing()
        return pa.Table.from_batches([chunk.data for chunk in reader if chunk.data is not None])


def test_datasets_are_those_of_the_package(flights: Path, serve: Callable[..., Server]) -> None:
    spine = pq.read_table(flights / "data" / "departures.parquet").slice(0, 20_000)
    url = serve(flights).url
    with flight.connect(url) as client, asof.connect(url) as store:
        found = exchange(client, {"service": SERVICE}, spine)
        assert found.equals(store.extract(SERVICE, spine=spine).to_arrow().combine_chunks()) or found.to_pylist() == (
            store.extract(SERVICE, spine=spine).to_dicts()
        )
        named = {info.descriptor.path[1].decode() for info in client.list_flights()}
        assert {SERVICE, "airport_weather"} <= named
        info = client.get_flight_info(flight.FlightDescriptor.for_path("view", "plane_specs"))
        planes = client.do_get(info.endpoints[0].ticket).read_all()
        assert planes.num_rows == len(store.read(features=["plane_specs:*"]).to_dicts()) == 3_322
        for what, error, text in (
            ({"service": "nope"}, flight.FlightServerError, "nope"),
            ({"service": SERVICE, "more": 1}, pa.ArrowInvalid, "more"),
            (3, pa.ArrowInvalid, "command|object|expected"),
        ):
            with pytest.raises((error, KeyError, pa.ArrowException), match=text):
                exchange(client, what, spine.slice(0, 1))
        with pytest.raises(pa.ArrowInvalid, match="event_timestamp"):
            exchange(client, {"service": SERVICE}, spine.drop_columns("event_timestamp"))


def test_rows_are_put(shop: Path, serve: Callable[..., Server]) -> None:
    url = serve(shop).url
    with flight.connect(url) as client, asof.connect(url) as store:
        store.apply(shop)
        at = dt.datetime.now(UTC) - dt.timedelta(hours=1)
        columns = {"card": [1, 2], "at": [at, at], "amount": [1.0, 2.0], "place": ["x", None]}
        rows = pa.table(columns).cast(
            pa.schema(
                {"card": pa.int64(), "at": pa.timestamp("us", "UTC"), "amount": pa.float64(), "place": pa.string()}
            )
        )
        writer, answers = client.do_put(command({"push": {"source": "payments"}}), rows.schema)
        with writer:
            writer.write_table(rows)
            writer.done_writing()
            answer = answers.read()
            assert answer is not None
            assert json.loads(answer.to_pybytes())["accepted"] == 2
        assert store.get_features("fraud_v1", [{"card": 2}]).to_dicts()[0]["last_payment__amount"] == 2.0
