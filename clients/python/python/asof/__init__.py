"""Asof, a feature store: training datasets and online features that cannot disagree.

>>> import asof
>>> store = asof.open("examples/flights")                # a project, in this process
>>> store = asof.connect("grpc://127.0.0.1:2763")        # a server; the same class

>>> dataset = store.extract("delay_model_v1", spine=flights)
>>> dataset.to_pandas()
>>> store.get_features("delay_model_v1", [{"origin": "JFK", "dest": "LAX", "carrier": "UA", "tailnum": "N14228"}])
"""

from __future__ import annotations

from ._asof import __version__
from ._definitions import Aggregate, Entity, Feature, OnDemand, OnDemandFeature, Service, Source, View
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
    UnauthenticatedError,
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
    RolledBack,
    RunRecord,
    Status,
    Summary,
    Version,
    Written,
)
from ._store import Dataset, Run, Store, connect, open

# `typing` and `decimal` are not imported where nothing runs them: importing asof takes little memory.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import aio

__all__ = [
    "Aggregate",
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
    "OnDemand",
    "OnDemandFeature",
    "OverloadedError",
    "Plan",
    "Pushed",
    "RolledBack",
    "Run",
    "RunRecord",
    "Service",
    "Source",
    "Status",
    "Store",
    "Summary",
    "UnauthenticatedError",
    "UnavailableError",
    "Version",
    "View",
    "Written",
    "__version__",
    "aio",
    "connect",
    "open",
]


def __getattr__(name: str) -> object:
    # It is imported where it is used: asyncio takes longer than all the rest.
    if name == "aio":
        import importlib

        return importlib.import_module(".aio", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
