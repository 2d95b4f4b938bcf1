# %% [markdown]
# # What a leak promises, and what it delivers
#
# Will a flight land more than a quarter of an hour late? We train a model on the flights of 2013 twice: once with
# features as of each scheduled departure, and once with a join that many pipelines have: by the day. Then we let both
# predict what a server would be asked, and serve one prediction.
#
# It needs `asof`, `pandas`, `pyarrow` and `scikit-learn`. Run it in the directory of the project, from a terminal or as
# the notebook beside it.

# %%
from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import asof

HERE = Path(globals().get("__file__", "train.py")).resolve().parent

# %% [markdown]
# ## The project
#
# Its definitions are files under `features`. `plan` says what applying them would change; nothing happens before `apply`.

# %%
store = asof.open(HERE, now="2013-12-30T12:00:00Z")
plan = store.plan()
print(plan)
store.apply(plan, allow_breaking=False)

# %% [markdown]
# ## The honest dataset
#
# A row of the spine is a flight, its keys, the moment at which it was due to leave, and the label. The dataset has the same
# rows, with what was known at that moment behind them.

# %%
spine = pd.read_parquet(HERE / "data" / "departures.parquet")
spine = spine.sort_values("event_timestamp", kind="stable").iloc[:: 336_776 // 60_000].reset_index(drop=True)
honest = store.extract("delay_model_v1", spine=spine)
print(honest.summary)

# %% [markdown]
# ## The leaked one
#
# "The features of the day of the flight": the same call, with every time moved to the end of its day. By then most flights
# have landed, and `plane_last_landing` and `carrier_last_landing` know how late they were, the label itself among them.

# %%
by_day = spine.assign(event_timestamp=spine["event_timestamp"].dt.normalize() + pd.Timedelta(hours=30))
leaked = store.extract("delay_model_v1", spine=by_day)

# %% [markdown]
# ## Two models
#
# Both are trained on the flights until September and tried on those after it. The score is the area under the ROC curve:
# 0.5 is a coin, 1.0 knows everything.

# %%
texts = ("origin", "dest", "model", "manufacturer")
features = [name for name in honest.column_names if name not in spine.columns]
# One flight of the year went to an airport with a weather station of these: its columns teach nothing.
numbers = [name for name in features if not name.endswith(texts) and not name.startswith("dest_")]
known = spine["arr_delay"].notna()
late = (spine["arr_delay"] > 15)[known]
trains = (spine["event_timestamp"] < pd.Timestamp("2013-10-01", tz="UTC"))[known]


def inputs(dataset: asof.Dataset) -> pd.DataFrame:
    frame = dataset.to_pandas()
    hours = frame[["sched_hour", "distance"]]
    return pd.concat([hours, frame[numbers]], axis="columns")[known.to_numpy()]


honest_inputs, leaked_inputs = inputs(honest), inputs(leaked)


def trained(frame: pd.DataFrame) -> HistGradientBoostingClassifier:
    model = HistGradientBoostingClassifier(random_state=0, max_iter=80)
    return model.fit(frame[trains.to_numpy()], late[trains])


def score(model: HistGradientBoostingClassifier, frame: pd.DataFrame) -> float:
    after = ~trains.to_numpy()
    return float(roc_auc_score(late[after], model.predict_proba(frame[after])[:, 1]))


honest_model, leaked_model = trained(honest_inputs), trained(leaked_inputs)

# %% [markdown]
# What counts is the score on features as they are at the moment of the prediction: those are what a server has.

# %%
scores = pd.DataFrame(
    {
        "promised": [score(honest_model, honest_inputs), score(leaked_model, leaked_inputs)],
        "delivered": [score(honest_model, honest_inputs), score(leaked_model, honest_inputs)],
    },
    index=["as of the departure", "by the day"],
)
print(scores.round(3))

# %% [markdown]
# ## One prediction
#
# The same features, served: materialized as of a moment and read by key. Training and serving share one contract, so that
# the model meets the numbers that it was trained on.

# %%
store.materialize(as_of="2013-12-30T12:00:00Z").wait()
flight = {"origin": "JFK", "dest": "LAX", "carrier": "UA", "tailnum": "N14228"}
served = store.get_features("delay_model_v1", [flight])
row = served.to_pandas().assign(sched_hour=7, distance=2475.0)[list(honest_inputs.columns)]
chance = float(honest_model.predict_proba(row.astype("float64"))[0, 1])
print(f"{flight}: late with a chance of {chance:.0%}, as of {served.as_of:%Y-%m-%d %H:%M} UTC")
print("temperature at JFK:", served.to_dicts()[0]["airport_weather__temp"], served.status("airport_weather:temp")[0])

# %% [markdown]
# Offline and online say the same: an extract for that moment has the values that were served.

# %%
moment = dt.datetime(2013, 12, 30, 12, tzinfo=dt.timezone.utc)
again = store.extract("delay_model_v1", spine=[{**flight, "event_timestamp": moment}]).to_dicts()[0]
assert {name: again[name] for name in served.names} == {name: served.to_dicts()[0][name] for name in served.names}
store.close()
