"""What stores that wait and stores that are awaited have in common: how arguments become calls."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence

from . import _arrow, _asof, _time
from ._definitions import files_of
from ._errors import InvalidArgumentError
from ._results import keys_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._definitions import Definitions


def argument(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(message, "INVALID_ARGUMENT")


class Calls:
    """A native store, and the calls that can be made of it."""

    def __init__(self, native: _asof.Native) -> None:
        self.native = native

    def files(self, definitions: Definitions | None) -> list[tuple[str, bytes]]:
        if definitions is not None:
            return files_of(definitions)
        if not self.native.is_local:
            raise argument(
                "definitions: a server has no files: give Entity, Source, View and Service objects, or the directory of "
                "a project"
            )
        return _asof.definition_files(self.native.place)

    def extract(
        self,
        service: str | None,
        spine: Any,
        features: Sequence[str] | None,
        time_column: str,
        timezone: str | None,
        as_corrected: bool,
        status: bool,
    ) -> tuple[Any, int | None]:
        what = selected(service, features)
        what.update(time_column=_text(time_column, "time_column"), timezone=_zone(timezone))
        what.update(as_corrected=_flag(as_corrected, "as_corrected"), status=_flag(status, "status"))
        if _arrow.is_path(spine):
            return self.native.extract(json.dumps(what), None, os.fspath(spine)), None
        rows = _arrow.rows_of(spine, "spine")
        return self.native.extract(json.dumps(what), rows, None), row_count(spine)

    def read(
        self,
        service: str | None,
        features: Sequence[str] | None,
        at: str | dt.datetime | None,
        span: tuple[str | dt.datetime | None, str | dt.datetime | None, str | None],
        as_corrected: bool,
        status: bool,
    ) -> Any:
        what = selected(service, features)
        what.update(as_corrected=_flag(as_corrected, "as_corrected"), status=_flag(status, "status"))
        start, end, every = span
        given = [value is not None for value in span]
        if any(given) and (not all(given) or at is not None):
            raise argument("start, end, every: go together, without at: such as every=\"1h\" from start to end")
        if at is not None:
            what["at"] = _time.instant_text(at, "at")
        if start is not None and end is not None:
            span_text = {"from": _time.instant_text(start, "start"), "to": _time.instant_text(end, "end")}
            what.update(span_text, every=_step(every))
        return self.native.read(json.dumps(what))

    def get_features(self, service: str | None, keys: Any, features: Sequence[str] | None) -> Any:
        what = selected(service, features)
        if keys is None:
            raise argument("keys: is missing: give a list of dicts of key columns, one for each entity")
        return self.native.get_features(what.get("service"), what.get("features", []), keys_of(keys))

    def push(self, source: str, rows: Any, request_id: str | None) -> Any:
        return self.native.push(source, table(rows), request_id or "")

    def ingest(self, source: str, rows: Any, id: str | None) -> Any:
        return self.native.ingest(source, table(rows), id)

    def materialize(
        self, views: Sequence[str], as_of: str | dt.datetime | None, full: bool, redo: bool
    ) -> Any:
        micros = None if as_of is None else _time.instant_micros(as_of, "as_of")
        names = [_named(view, "views") for view in views]
        if full and redo:
            raise argument("redo: goes with full=False only: a view that is built anew has everything")
        return self.native.materialize(names, micros, _flag(full, "full"), _flag(redo, "redo"))

    def rollback(self, run: int) -> Any:
        if isinstance(run, bool) or not isinstance(run, int) or run < 1:
            raise argument(f"run: is {run!r}, expected the number of a run, as runs() gives it")
        return self.native.rollback(run)


def selected(service: str | None, features: Sequence[str] | None) -> dict[str, Any]:
    """What of the registry is asked for: a service or features."""
    if isinstance(features, str):
        features = [features]
    if (service is None) == (features is None):
        raise argument("service, features: give one of both: the name of a service, or features=[\"view:feature\", …]")
    if service is not None:
        return {"service": _named(service, "service")}
    if not isinstance(features, (list, tuple)) or not features:
        raise argument("features: is empty or no list: give names such as [\"view:feature\", \"view:*\"]")
    return {"features": [_text(feature, "features") for feature in features]}


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise argument(f"{name}: is {type(value).__name__}, expected a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argument(f"{name}: {ascii(value)[:64]} is no text: it has half of a surrogate pair") from None
    return value


def _named(value: object, name: str) -> str:
    """A name, or that of a definition."""
    return _text(value if isinstance(value, str) else getattr(value, "name", value), name)


def _flag(value: object, name: str) -> bool:
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise argument(f"{name}: is {type(value).__name__}, expected True or False")


def _zone(value: object) -> str | None:
    """The name of a zone, or of one of :mod:`zoneinfo`."""
    if value is None or isinstance(value, str):
        return value if value is None else _text(value, "timezone")
    if value is dt.timezone.utc:
        return "UTC"
    return _text(getattr(value, "key", value), "timezone")


def _step(value: object) -> str:
    """A duration such as "1h"."""
    if isinstance(value, dt.timedelta):
        return f"{int(value.total_seconds())}s"
    return _text(value, "every")


def table(rows: Any) -> Any:
    """Rows that are sent: those of a Parquet or Arrow file, or as :func:`_arrow.rows_of` takes them."""
    if _arrow.is_path(rows):
        return _asof.table_of_file(os.fspath(rows))
    return _arrow.rows_of(rows, "rows")


def row_count(rows: Any) -> int | None:
    """How many rows there are, where that is known without taking them."""
    for name in ("num_rows", "height"):
        count = getattr(rows, name, None)
        if isinstance(count, int):
            return count
    return len(rows) if hasattr(rows, "__len__") and not isinstance(rows, dict) else None
