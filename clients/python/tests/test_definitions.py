"""Definitions from files and from objects: the same TOML, the same checks."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pytest

import asof

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CARD = asof.Entity("card", {"card": "int64"})
PAYMENTS = asof.Source(
    "payments",
    event_time="at",
    schema={"card": "int64", "at": "timestamp", "amount": "float64", "place": "string"},
)
LAST = asof.View(
    "last_payment",
    entity=CARD,
    source=PAYMENTS,
    owner="ops@example.com",
    features={"amount": "float64", "place": "string"},
)
FRAUD = asof.Service("fraud_v1", ["last_payment:*"])


def test_objects_are_the_same_as_files(store: asof.Store) -> None:
    plan = store.plan([CARD, PAYMENTS, LAST, FRAUD])
    assert not plan.has_changes, str(plan)
    again = store.apply([CARD, PAYMENTS, LAST, FRAUD])
    assert (again.version, again.changed) == (1, False)
    for kind, definition in (("entity", CARD), ("source", PAYMENTS), ("view", LAST), ("service", FRAUD)):
        assert definition.to_toml() == getattr(store, kind)(definition.name).to_toml()


def test_the_toml_of_objects_is_what_the_registry_writes(flights: Path) -> None:
    classes: dict[str, Any] = {
        "entity": asof.Entity,
        "source": asof.Source,
        "view": asof.View,
        "on_demand": asof.OnDemand,
        "service": asof.Service,
    }
    with asof.open(flights) as store:
        kinds = (store.entities(), store.sources(), store.views(), store.on_demands(), store.services())
        found = [getattr(store, listed.kind)(listed.name) for kind in kinds for listed in kind]
    objects = []
    for definition in found:
        [values] = tomllib.loads(definition.to_toml())[definition.kind]
        if definition.kind == "view":
            features = values.pop("features", {}).items()
            values["features"] = {
                name: asof.Feature(**feature) if isinstance(feature, dict) else feature for name, feature in features
            }
            values["aggregates"] = [asof.Aggregate(**aggregate) for aggregate in values.pop("aggregate", [])]
        if definition.kind == "on_demand":
            features = values["features"].items()
            values["features"] = {name: asof.OnDemandFeature(**feature) for name, feature in features}
        objects.append(classes[definition.kind](**values))
        assert objects[-1].to_toml() == definition.to_toml()
    assert len(objects) == 20
    assert sum(bool(getattr(definition, "aggregates", ())) for definition in objects) == 4
    with asof.open(flights) as store:
        assert not store.plan(objects).has_changes


def test_on_demand_features_are_what_the_registry_writes(store: asof.Store) -> None:
    context = asof.OnDemand(
        "context",
        {
            "is_large": asof.OnDemandFeature("bool", "amount > 2 * last_payment.amount", "More than twice the last."),
            "label": asof.OnDemandFeature("string", "case when is_large then \"the place\" else 'no' end"),
        },
        request={"amount": "float64", "the place": "string"},
        description="Of the payment.",
        owner="ops@example.com",
        tags={"domain": "fraud"},
    )
    plan = store.plan([CARD, PAYMENTS, LAST, context, asof.Service("s", [LAST, context])])
    assert {"on_demand context", "service s"} <= {f"{change['kind']} {change['name']}" for change in plan.changes}
    store.apply(plan, allow_breaking=True)
    assert [found.name for found in store.on_demands()] == ["context"]
    assert store.on_demand("context").to_toml() == context.to_toml()
    columns = [column["name"] for column in store.service("s").columns]
    assert columns[-2:] == ["context__is_large", "context__label"]
    with pytest.raises(asof.DefinitionError, match='has no feature "amuont"; did you mean "amount"'):
        store.plan([CARD, PAYMENTS, LAST, asof.OnDemand("o", {"x": asof.OnDemandFeature("bool", "last_payment.amuont > 1")})])


def test_quantiles_of_any_size_are_toml() -> None:
    quantiles = [1e-22, 1e20, 1e-5, 1]
    aggregate = asof.Aggregate("approx_quantile", ["1h"], "x", quantiles=quantiles)
    text = asof.View("v", "e", "s", aggregates=[aggregate]).to_toml()
    assert tomllib.loads(text)["view"][0]["aggregate"][0]["quantiles"] == quantiles


def test_every_field_of_an_aggregate_is_what_the_registry_writes(store: asof.Store) -> None:
    windows = asof.View(
        "card_payments",
        entity=CARD,
        source=PAYMENTS,
        hop=dt.timedelta(minutes=5),
        owner="ops@example.com",
        aggregates=[
            asof.Aggregate("count", [dt.timedelta(hours=1), "all"], name="payments", where="amount > 0"),
            asof.Aggregate("mean", ("1h", "7d"), "amount", type="float64", description="Mean \u202e amount"),
            asof.Aggregate("sum", ["1d"], expression="amount * 2", name="twice", type="float64"),
            asof.Aggregate("last_n", ["1d"], "place", n=3, type="string"),
            asof.Aggregate("approx_quantile", ["1d"], "amount", quantiles=[0.5, 0.95, 1e-5], type="float64"),
        ],
    )
    store.apply([CARD, PAYMENTS, LAST, windows, FRAUD])
    assert store.view("card_payments").to_toml() == windows.to_toml()
    assert 'hop = "5m"' in windows.to_toml() and 'windows = ["1h", "all"]' in windows.to_toml()
    assert "quantiles = [0.5, 0.95, 0.00001]" in windows.to_toml()
    assert not store.plan([CARD, PAYMENTS, LAST, windows, FRAUD]).has_changes
    both = asof.View(**{**windows.__dict__, "features": {"amount": "float64"}})
    with pytest.raises(asof.AsofError, match="make two views of it"):
        store.plan([CARD, PAYMENTS, LAST, both, FRAUD])


def test_hostile_text_stays_text(store: asof.Store) -> None:
    nasty = 'a "quote", a \\ backslash,\na line,\ta tab, \x1b[31m, \x7f and \u202e reversed'
    changed = asof.Service("fraud_v1", ["last_payment:*"], description=nasty, tags={"a b": 'c"d'})
    store.apply([CARD, PAYMENTS, LAST, changed])
    found = store.service("fraud_v1")
    assert (found.description, found.tags) == (nasty, {"a b": 'c"d'})
    assert found.to_toml() == changed.to_toml()


def test_a_plan_says_what_it_would_change(store: asof.Store) -> None:
    longer = asof.View(**{**LAST.__dict__, "ttl": "3h"})
    plan = store.plan([CARD, PAYMENTS, longer, FRAUD])
    assert (plan.add, plan.change, plan.remove) == (0, 1, 0)
    assert plan.changes[0]["fields"] == [{"field": "ttl", "old": None, "new": '"3h"'}]
    assert "last_payment" in str(plan)
    assert "<pre>" in plan._repr_html_()
    store.apply(plan, allow_breaking=True)
    with pytest.raises(asof.ConflictError, match="plan again"):
        store.apply(plan, allow_breaking=True)


def test_a_change_that_breaks_a_service_needs_a_word(store: asof.Store) -> None:
    without = asof.View(**{**LAST.__dict__, "features": {"amount": "float64"}})
    definitions = [CARD, PAYMENTS, without, asof.Service("fraud_v1", ["last_payment:amount"])]
    assert store.plan(definitions).breaking[0]["service"] == "fraud_v1"
    with pytest.raises(asof.NotReadyError, match="fraud_v1"):
        store.apply(definitions)
    assert store.apply(definitions, allow_breaking=True).changed


def test_mistakes_are_told_together(store: asof.Store) -> None:
    wrong = [
        asof.Entity("card", {"card": "int46"}),
        asof.View("v", entity="card", source="nowhere", owner="a@example.com", features={"x": "float64"}, ttl="-3h"),
    ]
    with pytest.raises(asof.AsofError) as problems:
        store.plan(wrong)
    text = str(problems.value)
    assert "features/python.toml:3:" in text and "int46" in text
    assert "nowhere" in text and "-3h" in text
    assert problems.value.code == "INVALID_ARGUMENT"
    with pytest.raises(asof.InvalidArgumentError, match="int is no definition"):
        store.plan([3])  # type: ignore[list-item]


def test_a_server_has_no_files(shop: Path, serve: Any) -> None:
    with asof.connect(serve(shop).url) as store:
        with pytest.raises(asof.InvalidArgumentError, match="a server has no files"):
            store.plan()
        assert store.apply(shop).changed
        assert store.apply(str(shop / "features" / "all.toml")).version == 1


def test_looking_around(store: asof.Store) -> None:
    assert [found.name for found in store.views()] == ["last_payment"]
    assert [found.kind for found in store.search("last_payment")][:1] == ["view"]
    assert "last_payment" in str(store.views())
    assert "<table>" in store.views()._repr_html_()
    assert "last_payment__place" in store.service("fraud_v1")._repr_html_()
    assert [version.number for version in store.history()] == [1]
    with pytest.raises(asof.NotFoundError, match="last_payment") as unknown:
        store.view("last_paymnt")
    assert unknown.value.code == "NOT_FOUND"


def test_a_source_may_have_a_stream(store: asof.Store) -> None:
    stream = {"kafka": "env:KAFKA", "topic": "payments", "group": "g", "format": "json", "from": "latest"}
    filled = dataclasses.replace(PAYMENTS, stream=stream)
    store.apply([CARD, filled, LAST, FRAUD])
    assert store.source("payments").to_toml() == filled.to_toml()
    [told] = store.status().streams
    assert (told["source"], told["lanes"]) == ("payments", [])
    # This process reads none, and a server without the variable cannot.
    assert not told["reading"]
    with pytest.raises(asof.InvalidArgumentError, match=r"stream\['topic'\] is int"):
        asof.Source("s", "at", schema={}, stream={"topic": 3})  # type: ignore[dict-item]


def test_objects_are_checked_when_they_are_made() -> None:
    wrong: list[tuple[Any, str]] = [
        (lambda: asof.Service("s", "last_payment:*"), "features is str, expected a list"),
        (lambda: asof.Service("s", [{"view": "v", "features": None}]), r"features\[0\]\['features'\] is NoneType"),
        (lambda: asof.Service("s", [3]), r"features\[0\] is int"),  # type: ignore[list-item]
        (lambda: asof.View("v", "e", "s", ["amount"]), "features is list"),  # type: ignore[arg-type]
        (lambda: asof.View("v", "e", "s", {"a": float}), r"features\['a'\] is type"),  # type: ignore[dict-item]
        (lambda: asof.View("v", 3, "s", {}), "entity is int, expected a name or a Entity"),  # type: ignore[arg-type]
        (lambda: asof.Entity("e", {"a": int}), r"Entity 'e': keys\['a'\] is type"),  # type: ignore[dict-item]
        (lambda: asof.Source("s", "at", tags=["x"]), "tags is list"),  # type: ignore[arg-type]
        (lambda: asof.Entity(3, {}), "Entity: name is int"),  # type: ignore[arg-type]
        (lambda: asof.Aggregate("mean", "1h", "x"), "Aggregate: windows is str, expected a list"),
        (lambda: asof.Aggregate("mean", [3600], "x"), r"windows\[0\] is int, expected a string or a timedelta"),  # type: ignore[list-item]
        (lambda: asof.Aggregate("last_n", ["1h"], "x", n="3"), "n is str, expected an int"),  # type: ignore[arg-type]
        (lambda: asof.Aggregate("last_n", ["1h"], "x", n=True), "n is bool, expected an int"),
        (lambda: asof.Aggregate("approx_quantile", ["1h"], "x", quantiles=0.5), "quantiles is float, expected a list"),  # type: ignore[arg-type]
        (lambda: asof.Aggregate("approx_quantile", ["1h"], "x", quantiles=["p50"]), r"quantiles\[0\] is str"),  # type: ignore[list-item]
        (lambda: asof.Aggregate(len, ["1h"]), "function is builtin_function"),  # type: ignore[arg-type]
        (lambda: asof.View("v", "e", "s", aggregates=[{"function": "sum"}]), r"aggregates\[0\] is dict"),  # type: ignore[list-item]
        (lambda: asof.View("v", "e", "s", hop=5), "hop is int"),  # type: ignore[arg-type]
        (lambda: asof.OnDemand("o", ["x"]), "features is list, expected a dict"),  # type: ignore[arg-type]
        (lambda: asof.OnDemand("o", {"x": "bool"}), r"features\['x'\] is str, expected an OnDemandFeature"),  # type: ignore[dict-item]
        (lambda: asof.OnDemand("o", {}, request={"x": float}), r"request\['x'\] is type"),  # type: ignore[dict-item]
        (lambda: asof.OnDemandFeature("bool", 3), "expression is int"),  # type: ignore[arg-type]
    ]
    for make, text in wrong:
        with pytest.raises(asof.InvalidArgumentError, match=text):
            make()
    ttls = ((dt.timedelta(hours=3), "3h"), (dt.timedelta(seconds=90), "90s"), (dt.timedelta(days=2), "2d"))
    for ttl, text in (*ttls, (dt.timedelta(microseconds=1_500), "1500us"), (dt.timedelta(microseconds=5_000), "5ms")):
        assert f'ttl = "{text}"' in asof.View("v", "e", "s", {}, ttl=ttl).to_toml()
    assert 'path = "data/x.parquet"' in asof.Source("s", "at", path=Path("data") / "x.parquet").to_toml()
    assert '"last_payment:*"' in asof.Service("s", (view for view in [LAST])).to_toml()  # type: ignore[arg-type]
