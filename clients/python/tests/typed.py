"""A program as users write it, which is checked by mypy --strict and never run."""

from __future__ import annotations

import datetime as dt

import asof


def work(store: asof.Store) -> float:
    mean = asof.Aggregate("mean", ["1h", dt.timedelta(days=7)], "amount", type="float64")
    lately = asof.View("lately", "card", "payments", aggregates=[mean], hop=dt.timedelta(minutes=5))
    plan: asof.Plan = store.plan([asof.Entity("card", {"card": "int64"}), lately])
    applied: asof.Applied = store.apply(plan, allow_breaking=True)
    assert applied.version > 0
    dataset: asof.Dataset = store.extract("fraud_v1", spine={"card": [1]}, time_column="at")
    rows: int = sum(batch.num_rows for batch in dataset.batches())
    features: asof.Features = store.get_features("fraud_v1", [{"card": 1}])
    statuses: list[str] = features.status("last_payment:amount")
    ages: list[dt.timedelta | None] = features.age("last_payment:amount")
    run: asof.Run = store.materialize("last_payment", as_of=dt.datetime.now(dt.timezone.utc)).wait(timeout=5)
    undone: asof.RolledBack = store.rollback(run.records[0].id)
    complete_to: dt.datetime | None = undone.as_of
    try:
        pushed: asof.Pushed = store.push("payments", [{"card": 1}])
    except asof.DataError as error:
        print(error.code, error.suggestion or "")
        return 0.0
    return rows + len(statuses) + len(ages) + len(run.records) + pushed.accepted + (complete_to is None)


async def awaited() -> list[dict[str, object]]:
    async with asof.aio.connect("grpc://127.0.0.1:2763") as store:
        dataset = await store.extract(features=["last_payment:*"], spine={"card": [1]})
        async for batch in dataset.batches():
            batch.to_polars()
        return (await store.get_features("fraud_v1", [{"card": 1}])).to_dicts()
