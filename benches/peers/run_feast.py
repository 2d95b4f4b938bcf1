"""Feast: defines the views over the same files, and materializes them into Redis; `feast serve` reads them after it.

The work that is timed is the materialization; imports and the registry are not part of it.
"""

import contextlib
import datetime
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("FEAST_USAGE", "False")

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType, types
from feast.version import get_version

from job import peak_bytes

TYPES = {"float64": types.Float64, "int64": types.Int64}

CONFIG = """\
project: generated
provider: local
registry: {folder}/registry.db
online_store:
  type: redis
  connection_string: "{redis}"
offline_store:
  type: file
entity_key_serialization_version: 3
"""


def main() -> None:
    job = json.loads(sys.argv[1])
    folder = pathlib.Path(job["folder"])
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(
        CONFIG.format(folder=folder, redis=job["redis"]), encoding="utf-8"
    )
    store = FeatureStore(repo_path=str(folder))
    user = Entity(name="user", join_keys=[job["key"]], value_type=ValueType.INT64)
    ttl = datetime.timedelta(days=job["ttl_days"])
    fields = [Field(name=name, dtype=TYPES[data_type]) for name, data_type in job["features"]]
    views = [
        FeatureView(
            name=view,
            entities=[user],
            ttl=ttl,
            schema=fields,
            source=FileSource(path=path, timestamp_field="event_time"),
        )
        for view, path in job["views"]
    ]
    with contextlib.redirect_stdout(sys.stderr):
        seconds = materialize(store, [user, *views, FeatureService(name=job["service"], features=views)], job, ttl)
    answer = {"result": {"seconds": seconds, "version": get_version()}, "peak_bytes": peak_bytes()}
    print(json.dumps(answer))


def materialize(store: FeatureStore, definitions: list, job: dict, ttl: datetime.timedelta) -> float:
    store.apply(definitions)
    end = datetime.datetime.fromtimestamp(job["end_micros"] / 1e6, datetime.timezone.utc)
    start = time.perf_counter()
    store.materialize(end - ttl, end)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
