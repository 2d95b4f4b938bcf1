"""Asof, a feature store: training datasets and online features that cannot disagree.

>>> import asof
>>> store = asof.open("examples/flights")                # a project, in this process
>>> store = asof.connect("grpc://127.0.0.1:2763")        # a server; the same class

>>> dataset = store.extract("delay_model_v1", spine=flights)
>>> dataset.to_pandas()
>>> store.get_features("delay_model_v1", [{"origin": "JFK", "dest": "LAX", "carrier": "UA", "tailnum": "N14228"}])
"""

from __future__ import annotations

from . import aio
from ._asof import __version__
from ._definitions import Entity, Feature, Service, Source, View
from ._errors import (
    AsofError,
    ConflictError,
    DataError,
    DeadlineError,
    DefinitionError,
    InternalError,
    InvalidArgumentError,
    LockedError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    UnavailableError,
)
from ._results import (
    Applied,
    Definition,
    Definitions,
    Features,
    Ingested,
    Plan,
    Pushed,
    RunRecord,
    Status,
    Summary,
    Version,
    Written,
)
from ._store import Dataset, Run, Store, connect, open

__all__ = [
    "Applied",
    "AsofError",
    "ConflictError",
    "DataError",
    "Dataset",
    "DeadlineError",
    "Definition",
    "DefinitionError",
    "Definitions",
    "Entity",
    "Feature",
    "Features",
    "Ingested",
    "InternalError",
    "InvalidArgumentError",
    "LockedError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "Plan",
    "Pushed",
    "Run",
    "RunRecord",
    "Service",
    "Source",
    "Status",
    "Store",
    "Summary",
    "UnavailableError",
    "Version",
    "View",
    "Written",
    "__version__",
    "aio",
    "connect",
    "open",
]
