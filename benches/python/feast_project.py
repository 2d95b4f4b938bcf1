"""The generated project as Feast defines it."""

import datetime

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType, types
from feast.data_format import ParquetFormat

TYPES = {"float64": types.Float64, "int64": types.Int64}


def define(job: dict) -> list:
    """One entity, the views with all features, each over the files of its path, and a service of all of them."""
    user = Entity(name="user", join_keys=[job["key"]], value_type=ValueType.INT64)
    fields = [Field(name=job["key"], dtype=types.Int64)]
    fields += [Field(name=name, dtype=TYPES[data_type]) for name, data_type in job["features"]]
    views = [
        FeatureView(
            name=view,
            entities=[user],
            ttl=datetime.timedelta(days=job["ttl_days"]),
            schema=fields,
            source=FileSource(path=path, file_format=ParquetFormat(), timestamp_field="event_time"),
        )
        for view, path in job["views"]
    ]
    return [user, *views, FeatureService(name=job["service"], features=views)]
