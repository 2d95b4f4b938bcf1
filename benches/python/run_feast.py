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

from feast import FeatureStore
from feast.version import get_version

from answer import answer
from feast_project import define

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
    with contextlib.redirect_stdout(sys.stderr):
        seconds = materialize(store, job)
    answer({"seconds": seconds, "version": get_version()})


def materialize(store: FeatureStore, job: dict) -> float:
    store.apply(define(job))
    ttl = datetime.timedelta(days=job["ttl_days"])
    end = datetime.datetime.fromtimestamp(job["end_micros"] / 1e6, datetime.timezone.utc)
    start = time.perf_counter()
    store.materialize(end - ttl, end)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
