"""Tables in and out: anything that speaks Arrow's C stream, and pandas without pyarrow."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _asof
from ._errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pandas
    import polars
    import pyarrow


def is_path(rows: object) -> bool:
    """Whether rows are named by their file."""
    return isinstance(rows, (str, os.PathLike))


def rows_of(rows: Any, what: str) -> Any:
    """Something with Arrow's C stream for what a caller gives as rows.

    Taken are pandas and polars data frames, pyarrow tables, batches and readers, DuckDB relations and whatever else has
    ``__arrow_c_stream__`` or ``__arrow_c_array__``; a dict of columns; and a list of dicts.
    """
    if _is_pandas(rows):
        return _of_pandas(rows)
    if _is_column(rows):
        raise _wrong(
            f"{what}: {type(rows).__name__} of {type(rows).__module__.split('.')[0]} is one column: give a table with "
            "names, such as a data frame or a dict of columns"
        )
    if hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "__arrow_c_array__"):
        return rows
    if type(rows).__module__.split(".")[0] in ("duckdb", "_duckdb") and hasattr(rows, "fetch_arrow_reader"):
        return rows.fetch_arrow_reader()
    collect = getattr(rows, "collect", None)
    if type(rows).__module__.startswith("polars.") and callable(collect):
        return collect()
    if isinstance(rows, Mapping):
        return _of_columns(rows, what)
    if isinstance(rows, (list, tuple)) and rows and all(isinstance(row, dict) for row in rows):
        return _of_dicts(rows, what)
    if isinstance(rows, (list, tuple)) and not rows:
        raise _wrong(f"{what}: is empty, and says no columns: give a dict of columns, or a data frame without rows")
    raise InvalidArgumentError(
        f"{what}: {type(rows).__name__} is no table: give a pandas or polars data frame, a pyarrow table, a DuckDB "
        "relation, anything with __arrow_c_stream__, a dict of columns, or a list of dicts",
        "INVALID_ARGUMENT",
    )


def _wrong(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(message, "INVALID_ARGUMENT")


def _of_columns(columns: Mapping[Any, Any], what: str) -> _asof.Table:
    lengths = {}
    for name, values in columns.items():
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
            raise _wrong(f"{what}[{name!r}]: is {type(values).__name__}, expected a list: give one value a row")
        lengths[name] = len(values)
    if not lengths:
        raise _wrong(f"{what}: has no columns")
    if len(set(lengths.values())) > 1:
        raise _wrong(f"{what}: columns of one length are expected, these have {lengths}")
    return _asof.Table.from_columns([(str(name), "values", list(values), None) for name, values in columns.items()])


def _of_dicts(rows: Any, what: str) -> _asof.Table:
    names = list(rows[0])
    if not names:
        raise _wrong(f"{what}[0]: has no columns")
    for place, row in enumerate(rows):
        if set(row) != set(names):
            shown = [", ".join(map(str, columns)) for columns in (row, names)]
            raise _wrong(f"{what}[{place}]: has the columns {shown[0]}; {what}[0] has {shown[1]}")
    return _asof.Table.from_columns([(str(name), "values", [row[name] for row in rows], None) for name in names])


def _is_column(rows: object) -> bool:
    """Whether it is one of pandas, polars or pyarrow, whose struct arrays are tables."""
    known = {(base.__module__.split(".")[0], base.__name__) for base in type(rows).__mro__}
    columns = {("pandas", "Series"), ("polars", "Series"), ("pyarrow", "Array"), ("pyarrow", "ChunkedArray")}
    return bool(known & columns) and ("pyarrow", "StructArray") not in known


def _is_pandas(rows: object) -> bool:
    return type(rows).__module__.split(".")[0] == "pandas" and type(rows).__name__ == "DataFrame"


def _of_pandas(frame: Any) -> Any:
    """A data frame without its index, which pandas itself puts into a stream unless it is a range."""
    if not frame.columns.is_unique:
        raise _wrong(f"the data frame has columns of one name: {list(frame.columns[frame.columns.duplicated()])}")
    try:
        import pyarrow
    except ImportError:
        columns = []
        for place, name in enumerate(frame.columns):
            columns.append((str(name), *_pandas_column(frame.iloc[:, place])))
        return _asof.Table.from_columns(columns)
    try:
        return pyarrow.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except pyarrow.ArrowException as error:
        raise _wrong(f"the data frame cannot be sent: {'; '.join(map(str, error.args))}") from error


def _pandas_column(series: Any) -> tuple[str, Any, bytes | None]:
    dtype = series.dtype
    kind = getattr(dtype, "kind", "O")
    zone = getattr(dtype, "tz", None)
    if kind == "M":
        nulls = series.isna().to_numpy()
        # NumPy has no zones: instants are in UTC there, and others as they are.
        values = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy() if zone is not None else series.to_numpy()
        unit = str(values.dtype)
        name = unit if zone is None else f"{unit} UTC"
        return name, values.astype("int64").tobytes(), nulls.tobytes() if nulls.any() else None
    if kind in "iufb" and type(dtype).__module__.startswith("numpy"):
        values = series.to_numpy()
        code = "?" if kind == "b" else f"{kind}{dtype.itemsize}"
        nulls = values != values if kind == "f" else None
        return code, values.tobytes(), nulls.tobytes() if nulls is not None and nulls.any() else None
    missing = series.isna().to_numpy()
    values = [None if gone else _plain(value) for value, gone in zip(series.tolist(), missing)]
    return "values", values, None


def _plain(value: Any) -> Any:
    to_python = getattr(value, "to_pydatetime", None) or getattr(value, "item", None)
    return to_python() if callable(to_python) else value


def dicts_of(table: _asof.Table) -> list[dict[str, Any]]:
    """Each row as a dict."""
    columns = [table.values(place) for place in range(len(table.column_names))]
    return [dict(zip(table.column_names, row)) for row in zip(*columns)]


def to_arrow(table: Any) -> pyarrow.Table:
    """A ``pyarrow.Table``."""
    return _needed("pyarrow", "to_arrow").table(table)


def to_polars(table: Any) -> polars.DataFrame:
    """A ``polars.DataFrame``."""
    return _needed("polars", "to_polars").DataFrame(table)


def to_pandas(table: _asof.Table) -> pandas.DataFrame:
    """A ``pandas.DataFrame``: by pyarrow where it is installed, else column by column."""
    frames = _needed("pandas", "to_pandas")
    try:
        import pyarrow
    except ImportError:
        return frames.DataFrame(
            {name: _pandas_series(frames, table, place) for place, name in enumerate(table.column_names)}
        )
    return pyarrow.table(table).to_pandas()


def _pandas_series(frames: Any, table: _asof.Table, column: int) -> Any:
    buffer = table.buffer(column)
    if buffer is None:
        return frames.Series(table.values(column), dtype=object)
    zone = buffer[3]
    values = numpy_of(table, column)
    series = frames.Series(values)
    return series.dt.tz_localize("UTC").dt.tz_convert(zone) if zone is not None else series


def numpy_of(table: _asof.Table, column: int) -> Any:
    """A column as a NumPy array. Nulls are NaN among numbers, NaT among days and instants; whole numbers with nulls come
    as float64. What NumPy has no type for comes as objects, with None for null."""
    import numpy

    buffer = table.buffer(column)
    if buffer is None:
        objects: Any = numpy.empty(table.num_rows, dtype=object)
        objects[:] = table.values(column)
        return objects
    dtype, data, nulls, _zone = buffer
    values = numpy.frombuffer(data, dtype=numpy.dtype(dtype))
    if nulls is None:
        return values.copy()
    mask = numpy.frombuffer(nulls, dtype=numpy.bool_)
    if values.dtype.kind == "M":
        values = values.copy()
        values[mask] = numpy.datetime64("NaT")
        return values
    if values.dtype.kind == "b":
        truths: Any = values.astype(object)
        truths[mask] = None
        return truths
    floats = values.astype(values.dtype if values.dtype.kind == "f" else numpy.float64)
    floats[mask] = numpy.nan
    return floats


def _needed(module: str, method: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f"{method}() needs {module}, which is not installed: run `pip install {module}`, or give the object itself "
            "to whatever reads __arrow_c_stream__"
        ) from None
