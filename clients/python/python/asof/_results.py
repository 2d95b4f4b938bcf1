"""What calls give."""

from __future__ import annotations

import datetime as dt
import json
import threading
from dataclasses import dataclass, field

from . import _arrow, _asof, _time
from ._errors import ConflictError, InvalidArgumentError, NotFoundError, of_native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy
    import pandas
    import polars
    import pyarrow

    Values = dict[str, Any]
else:
    Values = dict


def escaped(text: str) -> str:
    """A text for a notebook."""
    import html

    return html.escape(text)


def table_html(headings: list[str], rows: list[list[str]]) -> str:
    """A table for a notebook."""
    head = "".join(f"<th>{escaped(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def table_text(headings: list[str], rows: list[list[str]]) -> str:
    """A table for a terminal."""
    widths = [max(map(len, column)) for column in zip(headings, *rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (headings, *rows)]
    return "\n".join(lines)


@dataclass(frozen=True)
class Plan:
    """What applying definitions would change. Print it to read it."""

    #: The registry's version that it was made against.
    base_version: int
    #: Whether there is anything to change.
    has_changes: bool
    #: How many definitions are added, changed and removed.
    add: int
    change: int
    remove: int
    #: Each change: ``action``, ``kind``, ``name`` and ``fields``.
    changes: list[dict[str, Any]]
    #: What breaks a service: ``object``, ``service`` and ``columns``.
    breaking: list[dict[str, Any]]
    #: Views that need to be materialized anew.
    new_generations: list[str]
    notes: list[str]
    text: str = field(repr=False)
    files: list[tuple[str, bytes]] = field(repr=False)

    @classmethod
    def of_native(cls, told: str, files: list[tuple[str, bytes]]) -> Plan:
        values = json.loads(told)
        values.setdefault("new_generations", [])
        return cls(files=files, **values)

    def __str__(self) -> str:
        return self.text.rstrip("\n")

    def _repr_html_(self) -> str:
        return f"<pre>{escaped(str(self))}</pre>"


@dataclass(frozen=True)
class Applied:
    """What an apply did."""

    #: The registry's version now.
    version: int
    #: Whether it is a new one.
    changed: bool
    text: str = field(repr=False)

    @classmethod
    def of_native(cls, told: str) -> Applied:
        values = json.loads(told)
        return cls(version=values["version"]["number"], changed=values["changed"], text=values["text"])

    def __str__(self) -> str:
        return self.text.rstrip("\n")


@dataclass(frozen=True)
class Definition:
    """A definition as the registry has it."""

    kind: str
    name: str
    description: str = ""
    owner: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    #: The registry's version that it was read from.
    version: int = 0
    #: Of a service, its columns: ``name``, ``feature`` and ``type``.
    columns: list[dict[str, str]] = field(default_factory=list, repr=False)
    toml: str = field(default="", repr=False)

    def to_toml(self) -> str:
        """The definition as a file writes it."""
        return self.toml

    def _repr_html_(self) -> str:
        about = [["name", self.name]]
        about += [[name, value] for name, value in (("description", self.description), ("owner", self.owner)) if value]
        about += [["tags", ", ".join(f"{name}={value}" for name, value in self.tags.items())]] if self.tags else []
        text = table_html([self.kind, ""], about)
        if self.columns:
            rows = [[column["name"], column["type"], column["feature"]] for column in self.columns]
            text += table_html(["column", "type", "feature"], rows)
        return text + f"<pre>{escaped(self.toml)}</pre>"


class Definitions(list[Definition]):
    """Definitions, shown as a table."""

    @classmethod
    def of_native(cls, told: str) -> Definitions:
        values = json.loads(told)
        return cls(Definition(version=values["version"], **definition) for definition in values["definitions"])

    def _rows(self) -> list[list[str]]:
        return [[found.kind, found.name, found.owner, found.description] for found in self]

    def __str__(self) -> str:
        return table_text(["kind", "name", "owner", "description"], self._rows())

    def _repr_html_(self) -> str:
        return table_html(["kind", "name", "owner", "description"], self._rows())


@dataclass(frozen=True)
class Version:
    """A version of the registry."""

    number: int
    applied_at: dt.datetime
    digest: str

    @classmethod
    def all_of_native(cls, told: str) -> list[Version]:
        return [
            cls(found["number"], _time.instant(found["applied_at_micros"], "UTC"), found["digest"])
            for found in json.loads(told)
        ]


def _instant(micros: int | None) -> dt.datetime | None:
    return None if micros is None else _time.instant(micros, "UTC")


@dataclass(frozen=True)
class RunRecord:
    """A run as the ledger has it. Of materializations the subject is a view."""

    id: int
    kind: str
    subject: str
    #: "running", "done", "failed" or "cut short", where the process that ran it is gone.
    state: str
    error: str
    started_at: dt.datetime
    finished_at: dt.datetime | None
    as_of: dt.datetime | None
    rows_read: int
    rows_written: int
    rows_skipped: int
    error_code: int | None = field(default=None, repr=False)

    @classmethod
    def all_of_native(cls, told: str) -> list[RunRecord]:
        records = []
        for found in json.loads(told):
            records.append(cls._of(found))
        return records

    @classmethod
    def _of(cls, found: dict[str, Any]) -> RunRecord:
        for name in ("started_at", "finished_at", "as_of"):
            found[name] = _instant(found.pop(f"{name}_micros"))
        return cls(**found)


#: The codes of gRPC by their numbers, as far as runs fail with them.
_CODES = {
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
}


class RunState:
    """Runs that were begun together, one a view, and how far they are."""

    def __init__(self, records: list[RunRecord]) -> None:
        self.records = records

    @property
    def state(self) -> str:
        """ "running" until all have ended; then "failed" where any did, else "done"."""
        states = {record.state for record in self.records}
        return next((state for state in ("running", "failed") if state in states), "done")

    def take(self, newer: list[RunRecord]) -> None:
        """Takes over what the ledger says by now."""
        by_id = {record.id: record for record in newer}
        self.records = [by_id.get(record.id, record) for record in self.records]

    @property
    def subjects(self) -> list[str]:
        """The views whose runs have not ended."""
        return [record.subject for record in self.records if record.state == "running"]

    def check(self) -> None:
        """Raises what failed."""
        failed = [record for record in self.records if record.state == "failed"]
        if not failed:
            return
        text = failed[0].error
        if len(self.records) > 1:
            text = "\n".join(f"run {record.id} of {record.subject} failed: {record.error}" for record in failed)
        code = _CODES.get(failed[0].error_code or 0, "FAILED")
        # Of a run that says that a definition does not fit.
        kind = "definition" if code == "FAILED_PRECONDITION" else ""
        raise of_native(code, kind, text)

    def __repr__(self) -> str:
        runs = ", ".join(f"{record.subject} {record.state}" for record in self.records)
        return f"Run({runs})"

    def _repr_html_(self) -> str:
        rows = [
            [str(run.id), run.subject, run.state, f"{run.rows_read:,}", f"{run.rows_written:,}"]
            for run in self.records
        ]
        return table_html(["run", "view", "state", "rows read", "rows written"], rows)


@dataclass(frozen=True)
class Pushed:
    """What became of rows that were pushed."""

    #: The rows that were given.
    rows: int
    #: Those that were accepted: they are served, and come to the source's table and so to every extract.
    accepted: int
    #: The others: ``row``, its place from 0 on, and ``reason``.
    rejected: list[dict[str, Any]]
    #: Whether an earlier push of the same id had brought them already.
    already_accepted: bool

    @classmethod
    def of_native(cls, told: str) -> Pushed:
        return cls(**json.loads(told))


@dataclass(frozen=True)
class Ingested:
    """What became of rows that were ingested."""

    rows: int
    #: Those that this call appended to the table.
    accepted: int
    #: Whether an earlier ingest under the same id had brought them already.
    already_accepted: bool
    id: str
    table_version: int

    @classmethod
    def of_native(cls, told: str) -> Ingested:
        return cls(**json.loads(told))


@dataclass(frozen=True)
class RolledBack:
    """A run that was undone."""

    #: The run that undid it.
    run: int
    view: str
    #: The instant up to which the view is complete again; None where nothing of it is served any more.
    as_of: dt.datetime | None

    @classmethod
    def of_native(cls, told: str) -> RolledBack:
        values = json.loads(told)
        return cls(values["run"], values["view"], _instant(values["as_of_micros"]))


@dataclass(frozen=True)
class Status:
    """What is served, as of the store's clock."""

    project: str
    registry_version: int
    now: dt.datetime
    #: Per view ``view``, ``materialized_to``, ``lag``, ``rows``, ``expired_rows``, ``pending_rows``, ``bytes``, ``last_run`` (a
    #: :class:`RunRecord`, or None) and more.
    views: list[dict[str, Any]]
    #: Per source with a stream ``source``, ``reading``, ``problem`` and ``lanes``: of each part of the stream ``lane``,
    #: ``next``, ``messages``, ``pending``, ``dead_letters``, ``lost`` and ``last_dead_letter``.
    streams: list[dict[str, Any]] = field(default_factory=list)
    #: Per file system that the project keeps something on ``holds`` (``registry``, ``online``, ``offline``), ``free_bytes``
    #: and ``size_bytes``.
    disks: list[dict[str, Any]] = field(default_factory=list)
    #: The last backup, ``taken_at`` and ``directory``; None where none is known of.
    last_backup: dict[str, Any] | None = None
    #: What the online store has lost of what it had acknowledged, as after a power cut, ``changes`` (None where it is not
    #: known how many) and ``found_at``; None where nothing was, or ``asof verify --accept-loss`` was run since.
    lost_writes: dict[str, Any] | None = None

    @classmethod
    def of_native(cls, told: str) -> Status:
        values = json.loads(told)
        for view in values["views"]:
            view["materialized_to"] = _instant(view.pop("materialized_to_micros"))
            lag = view.pop("lag_micros")
            view["lag"] = None if lag is None else dt.timedelta(microseconds=lag)
            last = view["last_run"]
            view["last_run"] = None if last is None else RunRecord._of(last)
        for stream in values["streams"]:
            for lane in stream["lanes"]:
                last = lane["last_dead_letter"]
                if last is not None:
                    last["at"] = _instant(last.pop("at_micros"))
        backup = values["last_backup"]
        if backup is not None:
            backup["taken_at"] = _instant(backup.pop("taken_at_micros"))
        lost = values["lost_writes"]
        if lost is not None:
            lost["found_at"] = _instant(lost.pop("found_at_micros"))
        now = _time.instant(values["now_micros"], "UTC")
        views, streams, disks = values["views"], values["streams"], values["disks"]
        return cls(values["project"], values["registry_version"], now, views, streams, disks, backup, lost)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        headings = ["view", "materialized to", "lag", "rows", "expired", "pending", "bytes"]

        def shown(value: Any) -> str:
            return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)

        names = ["view", "materialized_to", "lag", "rows", "expired_rows", "pending_rows", "bytes"]
        return headings, [[shown(view[name]) for name in names] for view in self.views]

    def __str__(self) -> str:
        return table_text(*self._table())

    def _repr_html_(self) -> str:
        return table_html(*self._table())


class Summary(Values):
    """What an extract found: ``rows``, and counts for each of ``features`` and ``views``. Print it to read it."""

    def _rows(self) -> list[list[str]]:
        rows = []
        for feature in self.get("features", []):
            counts = feature["counts"]
            shown = [f"{counts.get(name, 0):,}" for name in _COUNTS]
            rows.append([feature["column"], feature["type"], *shown])
        return rows

    def __str__(self) -> str:
        table = table_text(["feature", "type", *(name.replace("_", " ") for name in _COUNTS)], self._rows())
        return f"{self.get('rows', 0):,} rows, {self.get('columns', 0):,} columns\n{table}"

    def _repr_html_(self) -> str:
        headings = ["feature", "type", *(name.replace("_", " ") for name in _COUNTS)]
        return f"<p>{self.get('rows', 0):,} rows</p>" + table_html(headings, self._rows())


_COUNTS = ["present", "null", "not_found", "expired", "held_back"]


@dataclass(frozen=True)
class Written:
    """A dataset that was written."""

    #: The file, and its manifest, which says from what and how it was made.
    output: str
    manifest: str
    bytes: int
    digest: str

    @classmethod
    def of_native(cls, told: str) -> Written:
        return cls(**json.loads(told))


class DatasetState:
    """What there is of a dataset: rows that are still to come, or all of them in memory."""

    def __init__(self, native: _asof.NativeDataset, spine_rows: int | None) -> None:
        self.native = native
        self.spine_rows = spine_rows
        self.table: _asof.Table | None = None
        self.told: dict[str, Any] | None = None
        self.lock = threading.Lock()
        self._taken: str | None = None

    def begin(self, how: str) -> None:
        """Notes that the rows are taken now, which can be done once."""
        if self._taken is not None:
            raise ConflictError(
                f"the rows of this dataset were taken by {self._taken} already: extract it again, and take them with "
                "to_arrow(), to_pandas() or to_polars() first, which keep them",
                "ABORTED",
            )
        self._taken = how

    @property
    def is_taken(self) -> bool:
        return self._taken is not None

    def need_told(self) -> dict[str, Any]:
        if self.told is None:
            raise ConflictError(
                "what a dataset was made from is known behind its last row: take all rows first", "ABORTED"
            )
        return self.told

    @property
    def column_names(self) -> list[str]:
        return self.native.column_names

    def __repr__(self) -> str:
        taken = f"rows taken by {self._taken}" if self.is_taken else "rows not taken yet"
        rows = f"{self.table.num_rows:,} rows" if self.table is not None else taken
        return f"<asof.Dataset: {rows}, {len(self.column_names)} columns>"


class Features:
    """The features of some entities, in the order in which the keys were given.

    A feature is named as in the service, ``"airport_weather:temp"``, or as its column, ``"airport_weather__temp"``; with
    a prefix ``"dest_airport_weather__temp"``.
    """

    def __init__(self, native: _asof.NativeFeatures) -> None:
        self._native = native
        self._table: _asof.Table | None = None

    def __len__(self) -> int:
        return len(self._native)

    @property
    def names(self) -> list[str]:
        """The features' columns, in the order of the service or of the call."""
        return self._native.names

    @property
    def as_of(self) -> dt.datetime:
        """The instant as of which the values hold."""
        return _time.instant(self._native.as_of_micros, "UTC")

    def status(self, feature: str) -> list[str]:
        """What there is to say of each value: PRESENT, NULL, NOT_FOUND, EXPIRED or HELD_BACK."""
        statuses: list[str] = self._known(feature, self._native.statuses(_column(feature)))
        return statuses

    def event_time(self, feature: str) -> list[dt.datetime | None]:
        """When each value was true, those of expired ones included."""
        times = self._known(feature, self._native.event_times_micros(_column(feature)))
        return [_instant(time) for time in times]

    def age(self, feature: str) -> list[dt.timedelta | None]:
        """How old each value is: from when it was true to the instant of the answer."""
        return [None if time is None else self.as_of - time for time in self.event_time(feature)]

    def materialized_to(self, feature: str) -> dt.datetime | None:
        """The instant up to which the rows of the feature's view are complete; ``None`` where they were only pushed."""
        self.status(feature)
        return _instant(self._native.materialized_to_micros(_column(feature)))

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict for each entity: its keys, and its features, ``None`` unless PRESENT."""
        return _arrow.dicts_of(self._rows())

    def to_arrow(self) -> pyarrow.Table:
        """The keys and the features as a ``pyarrow.Table``."""
        return _arrow.to_arrow(self._rows())

    def to_pandas(self) -> pandas.DataFrame:
        """The keys and the features as a ``pandas.DataFrame``."""
        return _arrow.to_pandas(self._rows())

    def to_polars(self) -> polars.DataFrame:
        """The keys and the features as a ``polars.DataFrame``."""
        return _arrow.to_polars(self._rows())

    def to_numpy(self) -> numpy.ndarray[Any, Any]:
        """The features without the keys, shape (entities, features): float64 with NaN for what is absent where all are
        numbers, else objects."""
        import numpy

        table = self._rows()
        keys = len(table.column_names) - len(self.names)
        columns = [_arrow.numpy_of(table, keys + place) for place in range(len(self.names))]
        numbers = all(column.dtype.kind in "iufb" for column in columns)
        shape = (len(self), len(columns))
        matrix: numpy.ndarray[Any, Any] = numpy.empty(shape, dtype=numpy.float64 if numbers else object)
        for place, column in enumerate(columns):
            matrix[:, place] = column
        return matrix

    def __arrow_c_schema__(self) -> object:
        return self._rows().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._rows().__arrow_c_stream__(requested_schema)

    def _rows(self) -> _asof.Table:
        if self._table is None:
            self._table = self._native.table()
        return self._table

    def _known(self, feature: str, found: Any) -> Any:
        if found is None:
            raise NotFoundError(f"no feature {feature!r} was asked for: there are {', '.join(self.names)}", "NOT_FOUND")
        return found

    def __repr__(self) -> str:
        return f"<asof.Features: {len(self)} entities, {len(self.names)} features, as of {self.as_of.isoformat()}>"

    def _repr_html_(self) -> str:
        rows = [[str(value) for value in row.values()] for row in self.to_dicts()[:20]]
        return table_html(self._rows().column_names, rows)


def _column(feature: str) -> str:
    return feature.replace(":", "__")


def keys_of(keys: Any) -> Any:
    """Keys as the native half takes them: dicts as they are, other rows by Arrow."""
    if isinstance(keys, dict):
        raise InvalidArgumentError(
            "keys: is one dict: give a list of dicts, one for each entity, such as [{\"origin\": \"JFK\"}]",
            "INVALID_ARGUMENT",
        )
    if isinstance(keys, list) and all(isinstance(row, dict) for row in keys):
        return keys
    return _arrow.rows_of(keys, "keys")
