"""Datasets: the same in process, from a server and from the command; whole or not at all."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import asof
from conftest import Server, command

UTC = dt.timezone.utc
SERVICE = "delay_model_v1"


def spine(rows: int, seed: int) -> dict[str, list[Any]]:
    """Random flights: known and unknown keys, nulls, and times within 2013, before and after it."""
    chance = random.Random(seed)
    start = dt.datetime(2012, 12, 1, tzinfo=UTC)
    airports = ["JFK", "LGA", "EWR", "LAX", "", "ÅLE", None]
    return {
        "note": [f"{seed}-{row}" if chance.random() < 0.9 else None for row in range(rows)],
        "origin": [chance.choice(airports) for _ in range(rows)],
        "dest": [chance.choice(airports) for _ in range(rows)],
        "carrier": [chance.choice(["UA", "AA", "B6", "ZZ", None]) for _ in range(rows)],
        "tailnum": [chance.choice(["N14228", "N24211", "N619AA", "none", None]) for _ in range(rows)],
        "event_timestamp": [start + dt.timedelta(seconds=chance.randrange(430 * 86_400)) for _ in range(rows)],
    }


@pytest.mark.parametrize("seed", range(6))
def test_in_process_and_remote_are_the_same(flights: Path, serve: Callable[..., Server], seed: int) -> None:
    rows = spine([0, 1, 7, 500, 2_000, 20_000][seed], seed)
    options = [{}, {"status": True}, {"as_corrected": True}, {"status": True, "as_corrected": True}][seed % 4]
    with asof.open(flights) as store:
        local = store.extract(SERVICE, spine=rows, **options)
        table = local.to_dicts()
    with asof.connect(serve(flights).url) as store:
        remote = store.extract(SERVICE, spine=rows, **options)
        assert remote.to_dicts() == table
        assert remote.column_names == local.column_names
    # All but the plan, which tells times.
    assert {**local.summary, "plan": ""} == {**remote.summary, "plan": ""}
    assert local.manifest["spine"] == remote.manifest["spine"]
    assert local.summary["rows"] == len(rows["note"])
    assert [row["note"] for row in table] == rows["note"]


def test_a_file_is_a_spine_and_gives_what_the_command_gives(flights: Path, tmp_path: Path, serve: Callable[..., Server]) -> None:
    path = flights / "data" / "departures.parquet"
    written = tmp_path / "command.parquet"
    told = command(flights, "extract", "--service", SERVICE, "--spine", str(path), "--out", str(written))
    with asof.open(flights) as store:
        dataset = store.extract(SERVICE, spine=path)
        out = dataset.write(tmp_path / "local.parquet")
        summary = {name: told[name] for name in dataset.summary if name != "plan"}
        assert {name: dataset.summary[name] for name in summary} == summary
    with asof.connect(serve(flights).url) as store:
        remote = store.extract(SERVICE, spine=str(path)).write(tmp_path / "remote.parquet")
    assert out.digest == remote.digest == told["digest"]
    assert Path(out.output).read_bytes() == Path(remote.output).read_bytes() == written.read_bytes()
    command(flights, "replay", remote.manifest, "--out", str(tmp_path / "again.parquet"))
    assert (tmp_path / "again.parquet").read_bytes() == written.read_bytes()
    manifest = json.loads(Path(remote.manifest).read_text())
    assert manifest["content"]["spine"]["path"] == str(path.resolve())


def test_rows_are_taken_once_or_kept(store: asof.Store, tmp_path: Path) -> None:
    at = dt.datetime.now(UTC)
    store.push("payments", [{"card": card, "at": at, "amount": float(card), "place": None} for card in range(1, 4)])
    rows = [{"card": card % 5, "event_timestamp": at + dt.timedelta(minutes=1)} for card in range(200)]
    dataset = store.extract("fraud_v1", spine=rows)
    assert "not taken yet" in repr(dataset)
    assert sum(len(batch) for batch in dataset.batches()) == 200
    assert dataset.summary["rows"] == 200
    assert "last_payment__amount" in str(dataset.summary) and "<table>" in dataset._repr_html_()
    with pytest.raises(asof.ConflictError, match="taken by batches"):
        dataset.to_dicts()
    kept = store.extract("fraud_v1", spine=rows)
    assert kept.to_dicts() == kept.to_dicts()
    once = store.extract("fraud_v1", spine=rows)
    with pytest.raises(asof.AsofError, match="should end in"):
        once.write(tmp_path / "train.xyz")
    assert once.write(tmp_path / "once.parquet").digest == kept.write(tmp_path / "kept.parquet").digest
    assert [batch.num_rows for batch in kept.batches()] == [200]
    assert kept.manifest["service"] == "fraud_v1"
    assert kept.run in [run.id for run in store.runs("fraud_v1") if run.kind == "extract"]
    # One that is ended early ends the server's work as well.
    early = store.extract("fraud_v1", spine=rows)
    for _ in early.batches():
        break
    with pytest.raises(asof.ConflictError, match="known behind its last row"):
        early.summary


def test_every_key_that_is_known(store: asof.Store) -> None:
    at = dt.datetime.now(UTC) - dt.timedelta(hours=3)
    store.ingest("payments", [{"card": card, "at": at, "amount": float(card), "place": "x"} for card in (2, 1)])
    hours = [at + dt.timedelta(hours=hour) for hour in (-1, 1)]
    assert [row["card"] for row in store.read("fraud_v1").to_dicts()] == [1, 2]
    past = store.read(features=["last_payment:amount"], at=hours[0], as_corrected=True).to_dicts()
    assert all(row["last_payment__amount"] is None for row in past)
    grid = store.read("fraud_v1", start=hours[0], end=hours[1], every="1h", as_corrected=True).to_dicts()
    assert [row["card"] for row in grid].count(1) >= 1
    with pytest.raises(asof.InvalidArgumentError, match="go together"):
        store.read("fraud_v1", start=hours[0])
    with pytest.raises(asof.AsofError, match="fortnight|every"):
        store.read("fraud_v1", start=hours[0], end=hours[1], every="fortnight").to_dicts()


def test_files_are_not_written_over(store: asof.Store, tmp_path: Path) -> None:
    rows = [{"card": 1, "event_timestamp": dt.datetime.now(UTC)}]
    out = tmp_path / "train.arrow"
    out.write_text("precious")
    with pytest.raises(asof.ConflictError, match="exists"):
        store.extract("fraud_v1", spine=rows).write(out)
    assert out.read_text() == "precious"
    written = store.extract("fraud_v1", spine=rows).write(out, overwrite=True)
    assert out.stat().st_size == written.bytes
    with pytest.raises(asof.AsofError, match="csv|arrow|parquet"):
        store.extract("fraud_v1", spine=rows).write(tmp_path / "train.xlsx")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted(
        [out.name, Path(written.manifest).name]
    )


NOW = dt.datetime(2026, 1, 1, tzinfo=UTC)
BAD_SPINES: list[tuple[Any, str]] = [
    ({"card": [1], "at": [NOW]}, "event_timestamp"),
    ({"card": [1], "event_timestamp": [None]}, "null"),
    ({"card": [1], "event_timestamp": [NOW.replace(tzinfo=None)]}, "zone"),
    ({"card": [1], "event_timestamp": ["noon"]}, "noon"),
    ({"card": [1], "event_timestamp": ["2026-01-01 00:00"]}, "zone"),
    ({"card": [1.5], "event_timestamp": [NOW]}, "card"),
    ({"card": ["x"], "event_timestamp": [NOW]}, "card"),
    ({"cart": [1], "event_timestamp": [NOW]}, "card"),
    ({"card": [1], "event_timestamp": [NOW], "last_payment__amount": [1]}, "last_payment__amount"),
    ({"card": [1, 2], "event_timestamp": [NOW]}, "length"),
    ([{"card": 1}, {"event_timestamp": NOW}], r"spine\[1\]"),
    ({"card": [1], "event_timestamp": [object()]}, "object"),
    ("missing.parquet", "missing.parquet"),
    (3, "no table"),
    (None, "no table"),
]


@pytest.mark.parametrize("bad", range(len(BAD_SPINES)))
def test_spines_that_do_not_fit_are_refused(store: asof.Store, bad: int) -> None:
    rows, text = BAD_SPINES[bad]
    with pytest.raises(asof.AsofError, match=text) as refused:
        store.extract("fraud_v1", spine=rows).to_dicts()
    assert not isinstance(refused.value, asof.InternalError)
    assert refused.value.code == "INVALID_ARGUMENT" or "missing.parquet" in str(rows)


def test_spines_that_look_odd_are_taken(store: asof.Store) -> None:
    store.push("payments", [{"card": 1, "at": dt.datetime.now(UTC), "amount": 1.0, "place": "x"}])
    later = dt.datetime.now(UTC) + dt.timedelta(minutes=1)
    local = later.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30)))
    for rows in (
        {"card": [1.0], "event_timestamp": [later]},
        {"card": [1], "event_timestamp": [local]},
        {"card": [1], "event_timestamp": [later.isoformat()]},
        {"when": [later.replace(tzinfo=None)], "card": [1]},
    ):
        options = {"time_column": "when", "timezone": "UTC"} if "when" in rows else {}
        [row] = store.extract("fraud_v1", spine=rows, **options).to_dicts()  # type: ignore[arg-type]
        assert row["last_payment__amount"] == 1.0
    assert store.extract("fraud_v1", spine={"card": [], "event_timestamp": []}, timezone="UTC").to_dicts() == []
    with pytest.raises(asof.NotFoundError, match="fraud_v1"):
        store.extract("fraud_v2", spine=rows)
    with pytest.raises(asof.InvalidArgumentError, match="give one of both"):
        store.extract("fraud_v1", features=["last_payment:amount"], spine=rows)
    with pytest.raises(asof.AsofError, match="Mars"):
        store.extract("fraud_v1", spine=rows, timezone="Mars/Base").to_dicts()


def test_arguments_of_another_type_are_refused(store: asof.Store) -> None:
    rows = [{"card": 1, "event_timestamp": dt.datetime.now(UTC)}]
    wrong: list[dict[str, Any]] = [
        {"status": "yes"},
        {"as_corrected": 1},
        {"time_column": 3},
        {"timezone": 3},
        {"timezone": "\ud800"},
    ]
    for options in wrong:
        with pytest.raises(asof.InvalidArgumentError, match=next(iter(options))):
            store.extract("fraud_v1", spine=rows, **options)
    with pytest.raises(asof.InvalidArgumentError, match="features"):
        store.extract(features=["last_payment:amount", 3], spine=rows)  # type: ignore[list-item]
    with pytest.raises(asof.InvalidArgumentError, match="service"):
        store.extract(3, spine=rows)  # type: ignore[arg-type]
    assert store.extract(store.service("fraud_v1"), spine=rows, timezone=UTC).to_dicts()  # type: ignore[arg-type]
    with pytest.raises(asof.InvalidArgumentError, match="zone"):
        store.read("fraud_v1", at=dt.datetime(2026, 1, 1))
    with pytest.raises(asof.InvalidArgumentError, match="at: is date"):
        store.read("fraud_v1", at=dt.date(2026, 1, 1))  # type: ignore[arg-type]
    with pytest.raises(asof.InvalidArgumentError, match="is no instant"):
        store.materialize(as_of="yesterday")
    with pytest.raises(asof.InvalidArgumentError, match="deadline"):
        asof.connect("grpc://127.0.0.1:1", deadline=1e18)
    for spine, text in (([], "is empty"), ({}, "no columns"), ([{}], "no columns"), ({"card": 1}, "expected a list")):
        with pytest.raises(asof.InvalidArgumentError, match=text):
            store.extract("fraud_v1", spine=spine)
