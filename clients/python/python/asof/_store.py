"""A feature store, for callers that wait."""

from __future__ import annotations

import atexit
import datetime as dt
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

from . import _arrow, _asof, _time
from ._calls import Calls, argument
from ._errors import DeadlineError
from ._progress import Progress
from ._results import (
    Applied,
    DatasetState,
    Definition,
    Definitions,
    Features,
    Ingested,
    Plan,
    Pushed,
    RolledBack,
    RunRecord,
    RunState,
    Status,
    Summary,
    Version,
    Written,
    escaped,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pandas
    import polars
    import pyarrow

    from ._definitions import Definitions as DefinitionsLike

#: Stores of this process that are open: what was pushed to them goes to its tables before the process ends.
_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def open(path: str | os.PathLike[str] = ".", *, now: str | dt.datetime | None = None) -> Store:
    """Opens a project in this process, as DuckDB opens a file: no server is needed.

    The process has the project's online store for itself until the store is closed.

    Args:
        path: The project's directory, which holds ``asof.toml``.
        now: Freezes the clock at an instant, so that historical data is served as of its own time.

    Raises:
        NotFoundError: There is no project.
        LockedError: Another process has it open. The message says which, and how to connect to it.
    """
    store = Store(_asof.open(_project(path), None if now is None else _time.instant_text(now, "now"), False))
    _open_stores.add(store)
    return store


def connect(
    url: str,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    deadline: float | None = None,
) -> Store:
    """Connects to a server, such as ``grpc://127.0.0.1:2763``, or with TLS ``grpcs://features.example.org:2763``.

    Args:
        url: Where it listens.
        token: The token that the server asks for; without one, what the variable ``ASOF_TOKEN`` holds. Over ``grpc://``
            it goes as it is.
        ca: A file in PEM with the authority that signed the server's certificate; without one, what the variable
            ``ASOF_CA`` names, and else those that this machine trusts.
        deadline: The longest that a call may take, in seconds. Without one, extracts take as long as they take, and
            small calls are given 10 seconds.

    Raises:
        UnavailableError: Nobody answers there, or with a certificate that is not trusted.
        UnauthenticatedError: The server asks for a token, or for another one.
    """
    return Store(_asof.connect(_url(url), _token(token), _authority(ca), deadline, False))


def _project(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if "://" in text:
        raise argument(f"{text} is a server: use asof.connect(\"{text}\")")
    return text


def _url(url: str) -> str:
    scheme, found, _ = url.partition("://")
    if not found or scheme not in ("grpc", "grpcs", "http", "https"):
        raise argument(f"{url!r} is no URL of a server: write it as grpc://127.0.0.1:2763")
    return url


def _token(token: str | None) -> str | None:
    return os.environ.get("ASOF_TOKEN") if token is None else token


def _authority(ca: str | os.PathLike[str] | None) -> str | None:
    return os.environ.get("ASOF_CA") if ca is None else os.fspath(ca)


@atexit.register
def _close_all() -> None:
    # First what still reads rows of Python: no thread may do so when the interpreter ends.
    _asof.shutdown()
    for store in list(_open_stores):
        store.close()


class Store:
    """A feature store: a project in this process (:func:`open`) or a server (:func:`connect`).

    Calls may be made by several threads at once; they wait without the interpreter's lock. Ctrl-C ends one that waits.
    """

    def __init__(self, native: _asof.Native) -> None:
        self._calls = Calls(native)
        self._native = native

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the project back; what was pushed is in its tables then. Twice is as good as once."""
        self._native.close()

    def __repr__(self) -> str:
        state = "closed" if self._native.is_closed else "in this process" if self._native.is_local else "a server"
        return f"<asof.Store: {self._native.place} ({state})>"

    # What is defined.

    def plan(self, definitions: DefinitionsLike | None = None) -> Plan:
        """What applying definitions would change.

        Args:
            definitions: All that shall be defined: objects, directories of projects, or files; what is not among them
                is removed. Without any, the definition files of the project that is open.

        Raises:
            DefinitionError: Mistakes, each with its file, line and column.
        """
        files = self._calls.files(definitions)
        return Plan.of_native(self._native.plan(files), files)

    def apply(self, plan: Plan | DefinitionsLike | None = None, *, allow_breaking: bool = False) -> Applied:
        """Makes a plan, or definitions as :meth:`plan` takes them, the registry's new version.

        Args:
            plan: The plan, or what to plan.
            allow_breaking: Whether a change may break a service that is defined.

        Raises:
            ConflictError: The registry was changed since the plan was made.
            NotReadyError: The change breaks a service.
        """
        made = plan if isinstance(plan, Plan) else self.plan(plan)
        return Applied.of_native(self._native.apply(made.files, made.base_version, allow_breaking))

    def entities(self) -> Definitions:
        """The entities that are defined."""
        return Definitions.of_native(self._native.definitions("entity"))

    def sources(self) -> Definitions:
        """The sources that are defined."""
        return Definitions.of_native(self._native.definitions("source"))

    def views(self) -> Definitions:
        """The views that are defined."""
        return Definitions.of_native(self._native.definitions("view"))

    def on_demands(self) -> Definitions:
        """The sets of on-demand features that are defined."""
        return Definitions.of_native(self._native.definitions("on_demand"))

    def services(self) -> Definitions:
        """The services that are defined."""
        return Definitions.of_native(self._native.definitions("service"))

    def entity(self, name: str) -> Definition:
        """An entity."""
        return self._definition("entity", name)

    def source(self, name: str) -> Definition:
        """A source."""
        return self._definition("source", name)

    def view(self, name: str) -> Definition:
        """A view."""
        return self._definition("view", name)

    def on_demand(self, name: str) -> Definition:
        """A set of on-demand features."""
        return self._definition("on_demand", name)

    def service(self, name: str) -> Definition:
        """A service, with its columns."""
        return self._definition("service", name)

    def search(self, query: str) -> Definitions:
        """The definitions in whose names, descriptions, owners or tags all words of a query occur."""
        return Definitions.of_native(self._native.search(query))

    def history(self) -> list[Version]:
        """The versions of the registry, the oldest first."""
        return Version.all_of_native(self._native.history())

    def _definition(self, kind: str, name: str) -> Definition:
        import json

        return Definition(**json.loads(self._native.definition(kind, name)))

    # Datasets.

    def extract(
        self,
        service: str | None = None,
        *,
        spine: Any,
        features: Sequence[str] | None = None,
        time_column: str = "event_timestamp",
        timezone: str | None = None,
        as_corrected: bool = False,
        status: bool = False,
    ) -> Dataset:
        """The dataset of a spine: its rows in their order with its columns, and behind them the features as of each row's
        time: what was known then, and nothing that became known later.

        Args:
            service: The service whose features are wanted.
            spine: The rows: key columns and a time each. A pandas or polars data frame, a pyarrow table, a DuckDB
                relation, anything with ``__arrow_c_stream__``, a dict of columns, a list of dicts, or the path of a
                Parquet, Arrow or CSV file.
            features: Instead of a service, features such as ``["airport_weather:temp", "plane_specs:*"]``.
            time_column: The spine's column of instants.
            timezone: The zone of times that carry none, such as ``"Europe/Berlin"``.
            as_corrected: Whether rows count from their event time on, whenever they became known. Models that are
                trained on that see what nobody knew then.
            status: Whether to add a column of statuses for each feature, and of event times for each view.

        Raises:
            DataError: The spine has no such column, or a time without a zone, or a key of another type.
            NotFoundError: No such service or feature.
        """
        native, rows = self._calls.extract(service, spine, features, time_column, timezone, as_corrected, status)
        return Dataset(native, rows)

    def read(
        self,
        service: str | None = None,
        *,
        features: Sequence[str] | None = None,
        at: str | dt.datetime | None = None,
        start: str | dt.datetime | None = None,
        end: str | dt.datetime | None = None,
        every: str | None = None,
        as_corrected: bool = False,
        status: bool = False,
    ) -> Dataset:
        """The features of every key that is known, sorted by key, then time: as of now, as of ``at``, or at each time
        ``every`` so often (such as ``"1h"``) from ``start`` to ``end``."""
        native = self._calls.read(service, features, at, (start, end, every), as_corrected, status)
        return Dataset(native, None)

    # Serving.

    def get_features(
        self, service: str | None = None, keys: Any = None, *, features: Sequence[str] | None = None
    ) -> Features:
        """The features of some entities, as they are served now.

        Args:
            service: The service whose features are wanted.
            keys: Up to 10,000 entities: a list of dicts of their key columns, or a table. The request columns of
                on-demand features stand beside the keys.
            features: Instead of a service, features such as ``["airport_weather:temp"]``.

        Raises:
            NotReadyError: A view was never materialized or pushed to.
            InvalidArgumentError: A key or request column is missing, unknown or of another type.
        """
        return Features(self._calls.get_features(service, keys, features))

    def push(self, source: str, rows: Any, *, request_id: str | None = None) -> Pushed:
        """Pushes rows to a managed source: they are served when the call returns, and come to the source's table and so
        to every extract.

        Args:
            source: The source, which has a ``schema``.
            rows: The rows with exactly its columns, as :meth:`extract` takes them, or the path of a Parquet or Arrow
                file.
            request_id: Tells this push from others: within 7 days the same id has no further effect, so that a push of
                which no answer came can be repeated.

        Returns:
            How many rows were accepted, and of each other one what is wrong with it.
        """
        return Pushed.of_native(self._calls.push(source, rows, request_id))

    def ingest(self, source: str, rows: Any, *, id: str | None = None) -> Ingested:
        """Appends rows to a managed source in one commit: all or none. They are served with the next materialization.

        Args:
            source: The source, which has a ``schema``.
            rows: As :meth:`push` takes them.
            id: What comes again under an id has no effect; without one, what comes again with the same content.
        """
        return Ingested.of_native(self._calls.ingest(source, rows, id))

    # Jobs.

    def materialize(
        self,
        *views: str,
        as_of: str | dt.datetime | None = None,
        full: bool = False,
        redo: bool = False,
    ) -> Run:
        """Begins to bring what is new of views to the online store: of these, or of all. :meth:`Run.wait` waits for it.

        Args:
            views: The views.
            as_of: The instant as of which; now without one.
            full: Whether to build the views anew.
            redo: Whether to bring back first what was rolled back.
        """
        return Run(self._native, RunRecord.all_of_native(self._calls.materialize(views, as_of, full, redo)))

    def rollback(self, run: int) -> RolledBack:
        """Undoes the last run of a view, in seconds: what it brought is held back until ``materialize(view, redo=True)``.

        What was pushed stays.

        Args:
            run: Its number, as :meth:`runs` gives it.

        Raises:
            NotFoundError: There is no such run.
            InvalidArgumentError: It is not the last completed run of a view.
        """
        return RolledBack.of_native(self._calls.rollback(run))

    def runs(self, subject: str = "", *, limit: int = 0) -> list[RunRecord]:
        """The runs of a view, a source or a service, or all runs, the newest first: up to ``limit``, or 100."""
        if limit < 0:
            raise argument(f"limit: is {limit}, expected 0 or more")
        return RunRecord.all_of_native(self._native.runs(subject, limit))

    def status(self) -> Status:
        """What is served of each view, and how far behind it is."""
        return Status.of_native(self._native.status())


class Dataset:
    """A dataset, whose rows are made while they are taken.

    ``to_arrow()``, ``to_pandas()`` and ``to_polars()`` take all rows and keep them, so that each of them can follow
    another; so does whatever reads ``__arrow_c_stream__``. ``batches()`` and ``write()`` keep nothing in memory, and take
    the rows once.
    """

    def __init__(self, native: _asof.NativeDataset, spine_rows: int | None) -> None:
        self._state = DatasetState(native, spine_rows)

    @property
    def column_names(self) -> list[str]:
        """The columns: those of the spine, then the features."""
        return self._state.column_names

    @property
    def summary(self) -> Summary:
        """What was found: rows, and how often each feature had which status. It takes all rows, unless that was done."""
        return Summary(self._told()["summary"])

    @property
    def manifest(self) -> dict[str, Any]:
        """From what, and by which rules, the dataset was made. It takes all rows, unless that was done."""
        manifest: dict[str, Any] = self._told()["provenance"]
        return manifest

    @property
    def run(self) -> int:
        """The number of the extract in the ledger of runs."""
        run: int = self._told()["run"]
        return run

    def to_arrow(self) -> pyarrow.Table:
        """All rows as a ``pyarrow.Table``."""
        return _arrow.to_arrow(self._all())

    def to_pandas(self) -> pandas.DataFrame:
        """All rows as a ``pandas.DataFrame``."""
        return _arrow.to_pandas(self._all())

    def to_polars(self) -> polars.DataFrame:
        """All rows as a ``polars.DataFrame``."""
        return _arrow.to_polars(self._all())

    def to_dicts(self) -> list[dict[str, Any]]:
        """All rows, each as a dict."""
        return _arrow.dicts_of(self._all())

    def batches(self) -> Iterator[Batch]:
        """The rows in batches, in memory that does not grow with them. Ended early, it ends the extract."""
        if self._state.table is not None:
            return iter([Batch(self._state.table)])
        self._state.begin("batches()")
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        progress = Progress("extract", "rows")
        taken = 0
        try:
            while (table := self._state.native.next()) is not None:
                taken += table.num_rows
                progress.at(taken, self._state.spine_rows)
                yield Batch(table)
        finally:
            progress.end()
        self._ended()

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Written:
        """Writes all rows to a ``.parquet``, ``.arrow`` or ``.csv`` file, and its manifest beside it: whole or not at
        all. The rows are not kept in memory.

        Raises:
            ConflictError: The file is there already.
        """
        path = os.fspath(path)
        _asof.check_target(path, overwrite)
        if self._state.table is None:
            self._state.begin("write()")
        written = Written.of_native(self._state.native.write(path, overwrite, self._state.table))
        self._ended()
        return written

    def __arrow_c_schema__(self) -> object:
        return self._state.native.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._all().__arrow_c_stream__(requested_schema)

    def _all(self) -> _asof.Table:
        with self._state.lock:
            if self._state.table is None:
                self._state.begin("an earlier call, which failed or was interrupted")
                self._state.table = self._rest()
                self._ended()
            return self._state.table

    def _rest(self) -> _asof.Table:
        progress = Progress("extract", "rows")
        tables: list[_asof.Table] = []
        taken = 0
        try:
            while (table := self._state.native.next()) is not None:
                taken += table.num_rows
                tables.append(table)
                progress.at(taken, self._state.spine_rows)
        finally:
            progress.end()
        return self._state.native.joined(tables)

    def _ended(self) -> None:
        import json

        told = self._state.native.told()
        self._state.told = None if told is None else json.loads(told)

    def _told(self) -> dict[str, Any]:
        if self._state.told is None and self._state.table is None and not self._state.is_taken:
            self._all()
        return self._state.need_told()

    def __repr__(self) -> str:
        return repr(self._state)

    def _repr_html_(self) -> str:
        if self._state.told is not None:
            return self.summary._repr_html_()
        return f"<p>{escaped(repr(self))}: {escaped(', '.join(self.column_names))}</p>"


class Batch:
    """Some rows of a dataset, for whatever reads ``__arrow_c_stream__``."""

    def __init__(self, table: _asof.Table) -> None:
        self._table = table

    @property
    def num_rows(self) -> int:
        """How many rows."""
        return self._table.num_rows

    @property
    def column_names(self) -> list[str]:
        """The columns."""
        return self._table.column_names

    def to_arrow(self) -> pyarrow.Table:
        """The rows as a ``pyarrow.Table``."""
        return _arrow.to_arrow(self._table)

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a ``pandas.DataFrame``."""
        return _arrow.to_pandas(self._table)

    def to_polars(self) -> polars.DataFrame:
        """The rows as a ``polars.DataFrame``."""
        return _arrow.to_polars(self._table)

    def __arrow_c_schema__(self) -> object:
        return self._table.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return self.num_rows


class Run(RunState):
    """Materializations that were begun together, one a view."""

    def __init__(self, native: _asof.Native, records: list[RunRecord]) -> None:
        super().__init__(records)
        self._native = native

    def refresh(self) -> Run:
        """Looks how far they are."""
        for view in self.subjects:
            self.take(RunRecord.all_of_native(self._native.runs(view, 0)))
        return self

    def wait(self, timeout: float | None = None) -> Run:
        """Waits until all have ended.

        Args:
            timeout: Seconds after which to give up waiting; the runs go on.

        Raises:
            AsofError: What failed.
            DeadlineError: They have not ended within the timeout.
        """
        progress = Progress("materialize", "rows read")
        pause = _pauses(timeout)
        try:
            while self.state == "running":
                self._native.sleep(pause(self))
                self.refresh()
                progress.at(sum(record.rows_read for record in self.records))
        finally:
            progress.end()
        self.check()
        return self


def _pauses(timeout: float | None) -> Callable[[RunState], float]:
    """How long to wait before looking again: ever longer, up to half a second."""
    import time

    end = None if timeout is None else time.monotonic() + timeout
    pause = 0.005

    def step(run: RunState) -> float:
        nonlocal pause
        pause = min(pause * 1.5, 0.5)
        left = pause if end is None else end - time.monotonic()
        if left <= 0:
            raise DeadlineError(f"{run!r} did not end within {timeout} s; it goes on", "DEADLINE_EXCEEDED")
        return min(pause, left)

    return step
