"""The same store for asyncio: every call that waits elsewhere is awaited here.

>>> async with asof.aio.connect("grpc://127.0.0.1:2763") as store:
...     features = await store.get_features("delay_model_v1", keys)
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _arrow, _asof, _time
from ._calls import Calls
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
)
from ._store import Batch, _authority, _pauses, _project, _token, _url

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from ._definitions import Definitions as DefinitionsLike

__all__ = ["Dataset", "Run", "Store", "connect", "open"]


class _Opening:
    """A store that is being opened: await it, or enter it with ``async with``."""

    def __init__(self, begin: Callable[[], Awaitable[_asof.Native]]) -> None:
        self._begin = begin
        self._store: Store | None = None

    def __await__(self) -> Generator[Any, None, Store]:
        return self._open().__await__()

    async def _open(self) -> Store:
        return Store(await self._begin())

    async def __aenter__(self) -> Store:
        self._store = await self._open()
        return self._store

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            await self._store.close()


def open(path: str | os.PathLike[str] = ".", *, now: str | dt.datetime | None = None) -> _Opening:
    """Opens a project in this process; see :func:`asof.open`."""
    text = None if now is None else _time.instant_text(now, "now")
    directory = _project(path)
    return _Opening(lambda: _asof.open(directory, text, True))


def connect(
    url: str,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    deadline: float | None = None,
) -> _Opening:
    """Connects to a server; see :func:`asof.connect`."""
    server, bearer, authority = _url(url), _token(token), _authority(ca)
    return _Opening(lambda: _asof.connect(server, bearer, authority, deadline, True))


class Store:
    """A feature store whose calls are awaited; they take and give what those of :class:`asof.Store` do."""

    def __init__(self, native: _asof.Native) -> None:
        self._calls = Calls(native)
        self._native: Any = native

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Gives the project back; what was pushed is in its tables then."""
        await self._native.close()

    def __repr__(self) -> str:
        return f"<asof.aio.Store: {self._native.place}>"

    async def plan(self, definitions: DefinitionsLike | None = None) -> Plan:
        """What applying definitions would change; see :meth:`asof.Store.plan`."""
        files = self._calls.files(definitions)
        return Plan.of_native(await self._native.plan(files), files)

    async def apply(
        self, plan: Plan | DefinitionsLike | None = None, *, allow_breaking: bool = False
    ) -> Applied:
        """Makes a plan the registry's new version; see :meth:`asof.Store.apply`."""
        made = plan if isinstance(plan, Plan) else await self.plan(plan)
        return Applied.of_native(await self._native.apply(made.files, made.base_version, allow_breaking))

    async def entities(self) -> Definitions:
        """The entities that are defined."""
        return Definitions.of_native(await self._native.definitions("entity"))

    async def sources(self) -> Definitions:
        """The sources that are defined."""
        return Definitions.of_native(await self._native.definitions("source"))

    async def views(self) -> Definitions:
        """The views that are defined."""
        return Definitions.of_native(await self._native.definitions("view"))

    async def on_demands(self) -> Definitions:
        """The sets of on-demand features that are defined."""
        return Definitions.of_native(await self._native.definitions("on_demand"))

    async def services(self) -> Definitions:
        """The services that are defined."""
        return Definitions.of_native(await self._native.definitions("service"))

    async def entity(self, name: str) -> Definition:
        """An entity."""
        return await self._definition("entity", name)

    async def source(self, name: str) -> Definition:
        """A source."""
        return await self._definition("source", name)

    async def view(self, name: str) -> Definition:
        """A view."""
        return await self._definition("view", name)

    async def on_demand(self, name: str) -> Definition:
        """A set of on-demand features."""
        return await self._definition("on_demand", name)

    async def service(self, name: str) -> Definition:
        """A service, with its columns."""
        return await self._definition("service", name)

    async def search(self, query: str) -> Definitions:
        """The definitions in which all words of a query occur."""
        return Definitions.of_native(await self._native.search(query))

    async def history(self) -> list[Version]:
        """The versions of the registry, the oldest first."""
        return Version.all_of_native(await self._native.history())

    async def _definition(self, kind: str, name: str) -> Definition:
        return Definition(**json.loads(await self._native.definition(kind, name)))

    async def extract(
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
        """The dataset of a spine; see :meth:`asof.Store.extract`."""
        call, rows = self._calls.extract(service, spine, features, time_column, timezone, as_corrected, status)
        return Dataset(await call, rows)

    async def read(
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
        """The features of every key that is known; see :meth:`asof.Store.read`."""
        call = self._calls.read(service, features, at, (start, end, every), as_corrected, status)
        return Dataset(await call, None)

    async def get_features(
        self, service: str | None = None, keys: Any = None, *, features: Sequence[str] | None = None
    ) -> Features:
        """The features of some entities, as they are served now; see :meth:`asof.Store.get_features`."""
        return Features(await self._calls.get_features(service, keys, features))

    async def push(self, source: str, rows: Any, *, request_id: str | None = None) -> Pushed:
        """Pushes rows to a managed source; see :meth:`asof.Store.push`."""
        return Pushed.of_native(await self._calls.push(source, rows, request_id))

    async def ingest(self, source: str, rows: Any, *, id: str | None = None) -> Ingested:
        """Appends rows to a managed source in one commit; see :meth:`asof.Store.ingest`."""
        return Ingested.of_native(await self._calls.ingest(source, rows, id))

    async def materialize(
        self, *views: str, as_of: str | dt.datetime | None = None, full: bool = False, redo: bool = False
    ) -> Run:
        """Begins to bring what is new of views to the online store; see :meth:`asof.Store.materialize`."""
        told = await self._calls.materialize(views, as_of, full, redo)
        return Run(self._native, RunRecord.all_of_native(told))

    async def rollback(self, run: int) -> RolledBack:
        """Undoes the last run of a view; see :meth:`asof.Store.rollback`."""
        return RolledBack.of_native(await self._calls.rollback(run))

    async def runs(self, subject: str = "", *, limit: int = 0) -> list[RunRecord]:
        """The runs of a view, a source or a service, or all runs, the newest first."""
        return RunRecord.all_of_native(await self._native.runs(subject, limit))

    async def status(self) -> Status:
        """What is served of each view, and how far behind it is."""
        return Status.of_native(await self._native.status())


class Dataset:
    """A dataset, whose rows are made while they are taken; see :class:`asof.Dataset`."""

    def __init__(self, native: Any, spine_rows: int | None) -> None:
        self._state = DatasetState(native, spine_rows)
        self._native = native
        self._lock = asyncio.Lock()

    @property
    def column_names(self) -> list[str]:
        """The columns: those of the spine, then the features."""
        return self._state.column_names

    @property
    def summary(self) -> Summary:
        """What was found. It is known once all rows were taken."""
        return Summary(self._state.need_told()["summary"])

    @property
    def manifest(self) -> dict[str, Any]:
        """From what, and by which rules, the dataset was made. It is known once all rows were taken."""
        manifest: dict[str, Any] = self._state.need_told()["provenance"]
        return manifest

    @property
    def run(self) -> int:
        """The number of the extract in the ledger of runs. It is known once all rows were taken."""
        run: int = self._state.need_told()["run"]
        return run

    async def to_dicts(self) -> list[dict[str, Any]]:
        """All rows, each as a dict."""
        return _arrow.dicts_of(await self._all())

    async def to_arrow(self) -> pyarrow.Table:
        """All rows as a ``pyarrow.Table``."""
        return _arrow.to_arrow(await self._all())

    async def to_pandas(self) -> pandas.DataFrame:
        """All rows as a ``pandas.DataFrame``."""
        return _arrow.to_pandas(await self._all())

    async def to_polars(self) -> polars.DataFrame:
        """All rows as a ``polars.DataFrame``."""
        return _arrow.to_polars(await self._all())

    async def batches(self) -> AsyncIterator[Batch]:
        """The rows in batches, in memory that does not grow with them."""
        if self._state.table is not None:
            yield Batch(self._state.table)
            return
        self._state.begin("batches()")
        while (table := await self._native.next()) is not None:
            yield Batch(table)
        await self._ended()

    async def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Written:
        """Writes all rows to a file, and its manifest beside it; see :meth:`asof.Dataset.write`."""
        path = os.fspath(path)
        _asof.check_target(path, overwrite)
        if self._state.table is None:
            self._state.begin("write()")
        written = Written.of_native(await self._native.write(path, overwrite, self._state.table))
        await self._ended()
        return written

    async def _all(self) -> _asof.Table:
        async with self._lock:
            if self._state.table is None:
                self._state.begin("an earlier call, which failed or was cancelled")
                tables = []
                while (table := await self._native.next()) is not None:
                    tables.append(table)
                self._state.table = self._native.joined(tables)
                await self._ended()
            return self._state.table

    async def _ended(self) -> None:
        told = await self._native.told()
        self._state.told = None if told is None else json.loads(told)

    def __repr__(self) -> str:
        return repr(self._state)


class Run(RunState):
    """Materializations that were begun together, one a view."""

    def __init__(self, native: Any, records: list[RunRecord]) -> None:
        super().__init__(records)
        self._native = native

    async def refresh(self) -> Run:
        """Looks how far they are."""
        for view in self.subjects:
            self.take(RunRecord.all_of_native(await self._native.runs(view, 0)))
        return self

    async def wait(self, timeout: float | None = None) -> Run:
        """Waits until all have ended; see :meth:`asof.Run.wait`."""
        pause = _pauses(timeout)
        while self.state == "running":
            await self._native.sleep(pause(self))
            await self.refresh()
        self.check()
        return self
