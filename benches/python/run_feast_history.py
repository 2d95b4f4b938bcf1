"""Feast: the dataset of a data frame's rows, by its DuckDB store, as a data frame."""

import contextlib
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("FEAST_USAGE", "False")

import pandas
from feast import FeatureStore
from feast.version import get_version

from answer import answer
from feast_project import define
from frames import write

CONFIG = """\
project: generated
provider: local
registry: {folder}/registry.db
online_store:
  type: sqlite
  path: {folder}/online.db
offline_store:
  type: duckdb
entity_key_serialization_version: 3
"""


def main() -> None:
    job = json.loads(sys.argv[1])
    folder = pathlib.Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "feature_store.yaml").write_text(CONFIG.format(folder=folder), encoding="utf-8")
    with contextlib.redirect_stdout(sys.stderr):
        store = FeatureStore(repo_path=str(folder))
        store.apply(define(job))
        spine = pandas.read_parquet(job["spine"])
        start = time.perf_counter()
        found = store.get_historical_features(
            entity_df=spine, features=store.get_feature_service(job["service"]), full_feature_names=True
        )
        frame = found.to_df()
        seconds = time.perf_counter() - start
    answer({"seconds": seconds, "rows": len(frame), "version": get_version()})
    columns = [(f"{view}__{name}", f"{view}__{name}", kind) for view, _ in job["views"] for name, kind in job["features"]]
    # Feast gives the rows in an order of its own.
    write(frame.sort_values("row_id", ignore_index=True), job["spine"], columns, job["out"])


if __name__ == "__main__":
    main()
