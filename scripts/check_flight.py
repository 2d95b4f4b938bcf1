"""What docs/flight.md says, by pyarrow, against a running server; called by check_flight.sh."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as parquet


def exchange(client, command, spine):
    what = flight.FlightDescriptor.for_command(json.dumps(command))
    writer, reader = client.do_exchange(what)
    with writer:
        writer.begin(spine.schema)
        writer.write_table(spine, max_chunksize=50_000)
        writer.done_writing()
        chunks, told = [], None
        for chunk in reader:
            if chunk.data is not None:
                chunks.append(chunk.data)
            else:
                told = json.loads(chunk.app_metadata.to_pybytes())
        return pa.Table.from_batches(chunks, reader.schema), told


def refused(call, text):
    try:
        call()
    except (pa.ArrowException, flight.FlightError) as refusal:
        assert text in str(refusal), refusal
    else:
        raise AssertionError(f"not refused: {text}")


def main(work):
    url = json.loads((work / "server.json").read_text().splitlines()[0])["url"]
    client = flight.connect(url.replace("http://", "grpc://"))
    spine = parquet.read_table(work / "data" / "departures.parquet")
    service = {"service": "delay_model_v1"}

    dataset, told = exchange(client, service, spine)
    expected = parquet.read_table(work / "extract.parquet")
    assert dataset.schema.equals(expected.schema), (dataset.schema, expected.schema)
    assert dataset.equals(expected), "the dataset over Flight is another one than that in the file"
    assert told["summary"]["rows"] == spine.num_rows

    # Categories, as pandas sends them, come back as text.
    coded = spine.set_column(
        spine.schema.get_field_index("origin"), "origin", spine["origin"].dictionary_encode()
    )
    assert exchange(client, service, coded)[0].equals(expected)

    paths = {tuple(info.descriptor.path) for info in client.list_flights()}
    assert (b"service", b"delay_model_v1") in paths, paths
    info = client.get_flight_info(flight.FlightDescriptor.for_path("view", "airport_weather"))
    everything = client.do_get(info.endpoints[0].ticket).read_all()
    assert everything.num_rows > 0 and everything.schema.names[0] in info.schema.names

    refused(
        lambda: exchange(client, {"service": "delay_model_v2"}, spine),
        'unknown service "delay_model_v2"; did you mean "delay_model_v1"?',
    )
    refused(
        lambda: exchange(client, service, spine.drop_columns(["event_timestamp"])),
        'the spine has no time column "event_timestamp"',
    )
    print(f"{dataset.num_rows} rows and {dataset.num_columns} columns are the same over Flight and in the file")


main(Path(sys.argv[1]))
