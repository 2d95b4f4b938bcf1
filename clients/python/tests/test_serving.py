"""Features as they are served, pushes, materializations."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from conftest import Server

import asof

UTC = dt.timezone.utc
HOUR = dt.timedelta(hours=1)


def now() -> dt.datetime:
    return dt.datetime.now(UTC).replace(microsecond=0)


def payment(card: object, at: object, amount: object = 1.0, place: object = "here") -> dict[str, object]:
    return {"card": card, "at": at, "amount": amount, "place": place}


def test_what_is_pushed_is_served(store: asof.Store) -> None:
    with pytest.raises(asof.NotReadyError, match="never materialized"):
        store.get_features("fraud_v1", [{"card": 1}])
    at = now() - HOUR
    pushed = store.push("payments", [payment(1, at, 2.5), payment(2, at, None)])
    assert (pushed.rows, pushed.accepted, pushed.rejected, pushed.already_accepted) == (2, 2, [], False)
    features = store.get_features("fraud_v1", [{"card": 2}, {"card": 1}, {"card": 3}, {"card": 1}])
    assert features.to_dicts() == [
        {"card": 2, "last_payment__amount": None, "last_payment__place": "here"},
        {"card": 1, "last_payment__amount": 2.5, "last_payment__place": "here"},
        {"card": 3, "last_payment__amount": None, "last_payment__place": None},
        {"card": 1, "last_payment__amount": 2.5, "last_payment__place": "here"},
    ]
    assert features.names == ["last_payment__amount", "last_payment__place"]
    assert features.status("last_payment:amount") == ["NULL", "PRESENT", "NOT_FOUND", "PRESENT"]
    assert features.event_time("last_payment:amount") == [at, at, None, at]
    ages = features.age("last_payment__amount")
    assert ages[2] is None and HOUR <= ages[0] < 2 * HOUR  # type: ignore[operator]
    assert features.materialized_to("last_payment:amount") is None
    assert abs(features.as_of - now()) < HOUR
    assert len(features) == 4
    assert "4 entities" in repr(features) and "<table>" in features._repr_html_()
    with pytest.raises(asof.NotFoundError, match="last_payment__place"):
        features.status("last_payment:plase")
    named = store.get_features(keys=[{"card": 1}], features=["last_payment:place"])
    assert named.to_dicts() == [{"card": 1, "last_payment__place": "here"}]
    assert store.get_features("fraud_v1", [{"card": None}]).status("last_payment:amount") == ["NOT_FOUND"]


def test_on_demand_features_are_computed_of_what_the_caller_gives(store: asof.Store, shop: Path) -> None:
    features = {
        "ratio": asof.OnDemandFeature("float64", "amount / last_payment.amount"),
        "is_elsewhere": asof.OnDemandFeature("bool", "place is distinct from last_payment.place"),
        "hour": asof.OnDemandFeature("int64", "date_part('hour', at)"),
        "count": asof.OnDemandFeature("int64", "1000 / items"),
    }
    request = {"amount": "float64", "place": "string", "at": "timestamp", "items": "int64"}
    store.apply([shop, asof.OnDemand("context", features, request, owner="ops@example.com")])
    at = now() - HOUR
    store.push("payments", [payment(1, at, 2.5), payment(2, at, None)])
    keys = [
        {"card": 2, "amount": 5.0, "place": "here", "at": at, "items": 3},
        {"card": 1, "amount": 5, "place": "there", "at": at, "items": 0},
        {"card": 3, "amount": None, "place": None, "at": None, "items": None},
    ]
    served = store.get_features(features=["context:*"], keys=keys)
    hour = at.hour
    assert [list(row.values())[5:] for row in served.to_dicts()] == [
        [None, False, hour, 333],
        [2.0, True, hour, None],
        [None, False, None, None],
    ]
    assert served.status("context:ratio") == ["NULL", "PRESENT", "NULL"]
    assert served.event_time("context:ratio") == [None, None, None]
    store.materialize("last_payment").wait()
    spine = [{**key, "event_timestamp": served.as_of} for key in keys]
    extracted = store.extract(features=["context:*"], spine=spine).to_dicts()
    names = [f"context__{name}" for name in features]
    assert [[row[name] for name in names] for row in extracted] == [
        [row[name] for name in names] for row in served.to_dicts()
    ]
    with pytest.raises(asof.InvalidArgumentError, match='request\\["amount"\\]: is missing: give a column of float64'):
        store.get_features(features=["context:ratio"], keys=[{"card": 1}])


def test_windows_move_with_what_is_pushed(store: asof.Store, shop: Path) -> None:
    mean = asof.Aggregate("mean", ["6h", "all"], "amount")
    places = asof.Aggregate("last_n", [dt.timedelta(days=1)], "place", n=2)
    view = asof.View("lately", "card", "payments", owner="ops@example.com", aggregates=[mean, places])
    store.apply([shop, view])
    at = now()
    store.push("payments", [payment(1, at - dt.timedelta(hours=hours), hours, f"p{hours}") for hours in (9, 2, 4)])
    features = store.get_features(features=["lately:*"], keys=[{"card": 1}])
    expected = {"lately__amount_mean_6h": 3.0, "lately__amount_mean_all": 5.0, "lately__place_last_n_1d": ["p4", "p2"]}
    assert features.to_dicts() == [{"card": 1, **expected}]


def test_windows_serve_what_an_extract_gives(store: asof.Store, shop: Path) -> None:
    functions = ("count", "sum", "min", "stddev")
    aggregates = [asof.Aggregate(function, ["1h", "1d", "all"], "amount") for function in functions]
    store.apply([shop, asof.View("spent", "card", "payments", owner="ops@example.com", aggregates=aggregates)])
    at = now()
    ago = [(card, minutes) for card in range(4) for minutes in (1, 59 * card, 700 * card + 3)]
    store.push("payments", [payment(card, at - dt.timedelta(minutes=m), m / 3, "here") for card, m in ago[:7]])
    store.materialize("spent").wait()
    store.push("payments", [payment(card, at - dt.timedelta(minutes=m), m / 3, "here") for card, m in ago[7:]])
    # The last one was never seen.
    keys = [{"card": card} for card in (0, 1, 2, 3, 99)]
    served = store.get_features(features=["spent:*"], keys=keys)
    spine = [{**key, "event_timestamp": served.as_of} for key in keys]
    extracted = store.extract(features=["spent:*"], spine=spine).to_dicts()
    for row in extracted:
        del row["event_timestamp"]
    assert served.to_dicts() == extracted
    never = extracted[-1]
    assert (never["spent__amount_count_all"], never["spent__amount_sum_all"]) == (0, None)
    assert served.status("spent:amount_count_1h")[-1] == "PRESENT"
    assert served.status("spent:amount_sum_1h")[-1] == "NULL"


def test_keys_that_do_not_fit_are_named(store: asof.Store) -> None:
    store.push("payments", [payment(1, now())])
    wrong = [
        ([{"crad": 1}], asof.InvalidArgumentError, "crad"),
        ([{"card": "one"}], asof.InvalidArgumentError, 'keys["card"]'),
        ([{"card": 1.5}], asof.InvalidArgumentError, "card"),
        ([{"card": 1}, {"cart": 2}], asof.InvalidArgumentError, r"keys[1]"),
        ([{"card": object()}], asof.InvalidArgumentError, "object"),
        ([{"card": 2**70}], asof.InvalidArgumentError, "64 bits"),
        ([{"card": 1}, {"card": "x"}], asof.InvalidArgumentError, "one column has values of one type"),
        ({"card": 1}, asof.InvalidArgumentError, "give a list of dicts"),
        ([], asof.InvalidArgumentError, "keys"),
        ([{}], asof.InvalidArgumentError, "no key columns"),
        (None, asof.InvalidArgumentError, "keys: is missing"),
        (7, asof.InvalidArgumentError, "is no table"),
    ]
    for keys, error, text in wrong:
        with pytest.raises(error) as refused:
            store.get_features("fraud_v1", keys)
        assert text in str(refused.value), keys
    with pytest.raises(asof.NotFoundError, match="fraud_v2") as unknown:
        store.get_features("fraud_v2", [{"card": 1}])
    assert unknown.value.suggestion and "fraud_v1" in unknown.value.suggestion
    with pytest.raises(asof.NotFoundError, match='did you mean "amount"'):
        store.get_features(features=["last_payment:amuont"], keys=[{"card": 1}])
    with pytest.raises(asof.InvalidArgumentError, match="give one of both"):
        store.get_features(keys=[{"card": 1}])


def test_pushes_are_accepted_row_by_row(store: asof.Store) -> None:
    at = now()
    rows = [
        payment(1, at),
        payment(2, None),
        payment(3, at + dt.timedelta(days=1)),
        payment(4, dt.datetime(1850, 1, 1, tzinfo=UTC)),
        payment(None, at),
    ]
    pushed = store.push("payments", rows, request_id="first")
    assert pushed.accepted == 2
    assert [row["row"] for row in pushed.rejected] == [1, 2, 3]
    assert "is null" in pushed.rejected[0]["reason"]
    again = store.push("payments", rows, request_id="first")
    assert (again.accepted, again.already_accepted) == (2, True)
    refused = [
        ([payment(1, at) | {"more": 1}], "more"),
        ([{"card": 1, "at": at}], "amount"),
        ([payment(1, at.replace(tzinfo=None))], "zone"),
        ([payment("one", at)], "card"),
    ]
    for wrong, text in refused:
        with pytest.raises(asof.AsofError, match=text):
            store.push("payments", wrong)
    with pytest.raises(asof.AsofError, match="already|other rows"):
        store.push("payments", rows[:1], request_id="first")
    with pytest.raises(asof.NotFoundError, match='did you mean "payments"'):
        store.push("payment", rows)
    with pytest.raises(asof.InvalidArgumentError, match=r"rows\[1\]"):
        store.push("payments", [payment(1, at), {"card": 1}])


def test_ingested_rows_come_with_a_materialization(store: asof.Store) -> None:
    at = now() - HOUR
    ingested = store.ingest("payments", {"card": [1, 2], "at": [at, at], "amount": [1.0, 2.0], "place": ["x", None]})
    assert (ingested.rows, ingested.accepted, ingested.already_accepted) == (2, 2, False)
    run = store.materialize("last_payment")
    assert run.wait(60) is run
    assert run.state == "done"
    [record] = run.records
    assert (record.subject, record.kind, record.rows_written) == ("last_payment", "materialize", 2)
    assert record.finished_at is not None and record.finished_at >= record.started_at
    assert "last_payment" in run._repr_html_()
    features = store.get_features("fraud_v1", [{"card": 1}])
    assert features.status("last_payment:amount") == ["PRESENT"]
    materialized_to = features.materialized_to("last_payment:amount")
    assert materialized_to is not None and materialized_to >= at
    status = store.status()
    assert sorted(name for disk in status.disks for name in disk["holds"]) == ["offline", "online", "registry"]
    assert all(0 < disk["free_bytes"] < disk["size_bytes"] for disk in status.disks)
    assert status.last_backup is None
    assert (status.project, status.views[0]["view"], status.views[0]["rows"]) == ("shop", "last_payment", 2)
    assert "last_payment" in str(status) and "<table>" in status._repr_html_()
    assert [run.id for run in store.runs("last_payment")] == [record.id]
    with pytest.raises(asof.NotFoundError, match="last_payment"):
        store.materialize("last_paymnt")
    with pytest.raises(asof.AsofError, match="already, later than"):
        store.materialize("last_payment", as_of=at - HOUR).wait(60)
    with pytest.raises(asof.InvalidArgumentError, match="zone"):
        store.materialize("last_payment", as_of=at.replace(tzinfo=None))


def test_a_run_is_rolled_back_and_brought_back(store: asof.Store) -> None:
    at = now() - HOUR

    def run_of(amount: float, **more: bool) -> int:
        store.ingest("payments", {"card": [1], "at": [at + dt.timedelta(seconds=amount)], "amount": [amount], "place": ["x"]})
        [record] = store.materialize("last_payment", **more).wait(60).records
        return record.id

    def amount() -> float | None:
        [row] = store.get_features("fraud_v1", [{"card": 1}]).to_dicts()
        return row["last_payment__amount"]

    run_of(1.0)
    before = store.status().views[0]["materialized_to"]
    bad = run_of(2.0)
    assert amount() == 2.0
    undone = store.rollback(bad)
    assert (undone.view, undone.as_of) == ("last_payment", before)
    assert amount() == 1.0
    view = store.status().views[0]
    assert (view["held_back_runs"], view["materialized_to"]) == ([bad], before)
    assert [(run.id, run.kind) for run in store.runs("last_payment", limit=1)] == [(undone.run, "rollback")]
    with pytest.raises(asof.InvalidArgumentError, match="rolled back already"):
        store.rollback(bad)
    with pytest.raises(asof.NotFoundError, match="no run 99"):
        store.rollback(99)
    with pytest.raises(asof.InvalidArgumentError, match="run: is 0"):
        store.rollback(0)
    with pytest.raises(asof.InvalidArgumentError, match="redo"):
        store.materialize("last_payment", full=True, redo=True)
    store.materialize("last_payment", redo=True).wait(60)
    assert amount() == 2.0
    assert store.status().views[0]["held_back_runs"] == []


def test_keys_of_every_type_go_there_and_back(store: asof.Store) -> None:
    import decimal

    card = asof.Entity(
        "all",
        {"a": "bool", "b": "int32", "c": "int64", "d": "string", "e": "bytes", "f": "date", "g": "timestamp"},
    )
    types = {**card.keys, "at": "timestamp", "x": "float64", "y": "decimal(10,2)", "z": "list<int64>"}
    values = {
        "a": True,
        "b": -(2**31),
        "c": 2**62,
        "d": "ü",
        "e": b"\x00\xff",
        "f": dt.date(1969, 12, 31),
        "g": dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    }
    source = asof.Source("everything", event_time="at", schema=types)
    view = asof.View("v", card, source, {"x": "float64", "y": "decimal(10,2)", "z": "list<int64>"}, owner="a@example.com")
    store.apply([card, source, view], allow_breaking=True)
    [[kind]] = [[found.name for found in store.views()]]
    assert kind == "v"
    row = {**values, "at": now(), "x": 0.5, "y": decimal.Decimal("12.30")}
    with pytest.raises(asof.AsofError, match="z"):
        store.push("everything", [row])
    features = None
    if store.push("everything", [row | {"z": None}]).accepted:
        features = store.get_features(features=["v:*"], keys=[values])
    assert features is not None
    assert features.to_dicts() == [{**values, "v__x": 0.5, "v__y": decimal.Decimal("12.30"), "v__z": None}]


def test_a_frozen_clock_serves_the_past(flights: Path) -> None:
    keys = [{"origin": "JFK", "dest": "LAX", "carrier": "UA", "tailnum": "N14228"}]
    with asof.open(flights, now="2013-12-30T12:00:00Z") as store:
        features = store.get_features("delay_model_v1", keys)
        assert features.status("airport_weather:temp") == ["PRESENT"]
        assert features.as_of == dt.datetime(2013, 12, 30, 12, tzinfo=UTC)
    with asof.open(flights, now=dt.datetime(2013, 1, 1, tzinfo=UTC)) as store:
        with pytest.raises(asof.NotReadyError, match="after the clock"):
            store.get_features("delay_model_v1", keys)
    with pytest.raises(asof.InvalidArgumentError, match="now"):
        asof.open(flights, now="yesterday")


def test_flights_meet_the_same_context_in_training_and_in_serving(flights: Path, serve: Callable[..., Server]) -> None:
    at = dt.datetime(2013, 12, 30, 12, tzinfo=UTC)
    asked = [("JFK", "UA", 6, 0.0), ("JFK", "UA", 7, 290.5), ("LGA", "AA", 9, -70.0), ("EWR", "B6", 10, 725.25)]
    asked += [("EWR", "ZZ", 15, 90.0), ("LAX", "UA", 16, 90.0), ("JFK", None, 19, None), (None, "AA", None, 10.0)]
    keys = [dict(zip(("origin", "carrier", "sched_hour", "bearing"), row)) for row in asked]
    spine = [{**row, "event_timestamp": at} for row in keys]
    inputs = ["airport_weather:wind_speed", "airport_weather:wind_dir"]
    inputs += ["carrier_delays:arr_delay_mean_1d", "carrier_delays:arr_delay_mean_30d"]

    def answers(store: asof.Store) -> list[dict[str, object]]:
        served = store.get_features("flight_context_v1", keys).to_dicts()
        extracted = store.extract("flight_context_v1", spine=spine).to_dicts()
        assert extracted == [{**row, "event_timestamp": at} for row in served]
        return served

    with asof.open(flights, now=at) as store:
        served = answers(store)
        only_keys = [{"origin": row["origin"], "carrier": row["carrier"]} for row in keys]
        known = store.get_features(features=inputs, keys=only_keys).to_dicts()
    with asof.connect(serve(flights, "--now", "2013-12-30T12:00:00Z").url) as store:
        assert answers(store) == served

    assert [row["context__is_rush_hour"] for row in served] == [False, True, True, False, False, True, True, None]
    for row, (speed, direction, day, month) in zip(served, (list(one.values())[2:] for one in known)):
        trend = None if day is None else day - month
        assert row["context__carrier_delay_trend"] == trend
        if None in (speed, direction, row["bearing"]):
            assert row["context__headwind"] is None
        else:
            angle = math.radians(direction - row["bearing"])
            assert row["context__headwind"] == pytest.approx(speed * math.cos(angle), rel=1e-9)
    for name in ("context__headwind", "context__carrier_delay_trend"):
        assert {row[name] is None for row in served} == {True, False}


OLD = """
[[source]]
name = "old"
path = "data/old.parquet"
event_time = "event_timestamp"

[[view]]
name = "old_payment"
entity = "card"
source = "old"
owner = "ops@example.com"
[view.features]
amount = "float64"
"""


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_run_that_failed_raises_what_it_was(shop: Path, serve: Callable[..., Server], is_remote: bool) -> None:
    data = shop / "data" / "old.parquet"
    data.parent.mkdir()
    with asof.open(shop) as store:
        store.apply()
        store.extract("fraud_v1", spine={"card": [1], "event_timestamp": [now()], "amount": [2.5]}).write(data)
        (shop / "features" / "old.toml").write_text(OLD)
        store.apply()
    with asof.connect(serve(shop).url) if is_remote else asof.open(shop) as store:
        store.materialize("old_payment").wait()
        data.write_bytes(b"PAR1 and nothing that follows from it PAR1")
        with pytest.raises(asof.DataError, match="old.parquet") as failed:
            store.materialize("old_payment").wait()
        assert failed.value.code == "DATA_LOSS"
        assert [run.error_code for run in store.runs("old_payment")] == [15, None]


def test_a_server_asks_for_its_token_and_shows_its_certificate(
    shop: Path, serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(shop / "key.pem")
    for link in issued.cert_chain_pems:
        link.write_to_path(shop / "cert.pem", append=True)
    protected = '[serve]\ntoken = "env:SHOP_TOKEN"\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n'
    (shop / "asof.toml").write_text('project = "shop"\n' + protected)
    token = "0123456789abcdef"
    monkeypatch.setenv("SHOP_TOKEN", token)
    url = serve(shop).url.replace("https://", "grpcs://")
    assert url.startswith("grpcs://")
    with asof.connect(url, token=token, ca=ca) as store:
        store.apply(shop)
        assert store.push("payments", [payment(1, now() - HOUR)]).accepted == 1
        assert store.get_features("fraud_v1", [{"card": 1}]).to_dicts()[0]["last_payment__place"] == "here"
        assert len(store.extract("fraud_v1", spine=[{"card": 1, "event_timestamp": now()}]).to_dicts()) == 1
    with pytest.raises(asof.UnauthenticatedError, match="this server asks for its token"):
        asof.connect(url, ca=ca)
    with pytest.raises(asof.UnauthenticatedError, match="the token is not this server's") as refused:
        asof.connect(url, token=token[:-1], ca=ca)
    assert refused.value.code == "UNAUTHENTICATED" and isinstance(refused.value, PermissionError)
    with pytest.raises(asof.UnavailableError, match="UnknownIssuer"):
        asof.connect(url, token=token)
    with pytest.raises(asof.UnavailableError):
        asof.connect(url.replace("grpcs://", "grpc://"), token=token)
    monkeypatch.setenv("ASOF_TOKEN", token)
    monkeypatch.setenv("ASOF_CA", str(ca))
    asof.connect(url).close()
