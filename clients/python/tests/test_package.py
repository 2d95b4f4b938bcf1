"""The package itself: what it brings, how it is opened, who else may."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import asof
from conftest import Server

OPTIONAL = ["IPython", "duckdb", "numpy", "pandas", "polars", "pyarrow"]


def test_the_import_takes_nothing_along() -> None:
    script = f"import sys, asof; print([name for name in {OPTIONAL} if name in sys.modules], asof.__version__)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == f"[] {importlib.metadata.version('asof')}"
    script = """
import sys, asof
assert "asyncio" not in sys.modules and "aio" in dir(asof)
assert asof.aio is sys.modules["asof.aio"]
asof.nothing
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.endswith("AttributeError: module 'asof' has no attribute 'nothing'\n"), done.stderr
    requires = importlib.metadata.requires("asof") or []
    assert [needed for needed in requires if "extra ==" not in needed] == []


def test_a_project_is_open_in_one_process(shop: Path, serve: Callable[..., Server]) -> None:
    with asof.open(shop) as store:
        assert "in this process" in repr(store)
        with pytest.raises(asof.LockedError, match="open in this process already: use that store, or close it first"):
            asof.open(shop)
        script = f"import asof\ntry: asof.open({str(shop)!r})\nexcept asof.LockedError as error: print(error)"
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        assert f"process {os.getpid()}" in done.stdout
        assert "asof.connect(" in done.stdout
    assert "closed" in repr(store)
    with pytest.raises(asof.InvalidArgumentError, match="the store is closed"):
        store.views()
    store.close()
    server = serve(shop)
    with pytest.raises(asof.LockedError) as locked:
        asof.open(shop)
    assert str(locked.value).endswith(f'is served at {server.url} by process {server.pid}: use asof.connect("{server.url}")')
    assert locked.value.code == "UNAVAILABLE"
    assert locked.value.suggestion == f'use asof.connect("{server.url}")'


def test_a_project_that_was_closed_can_be_opened_at_once(shop: Path) -> None:
    with asof.open(shop) as store:
        store.apply()
        at = dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=1)
        rows = range(2_000)
        store.ingest("payments", {"card": rows, "at": [at] * 2_000, "amount": [1.0] * 2_000, "place": ["x"] * 2_000})
    for _ in range(8):
        with asof.open(shop) as store:
            store.materialize(full=True).wait()


def test_a_store_that_nobody_refers_to_is_given_back(shop: Path) -> None:
    asof.open(shop).apply()
    for _ in range(3):
        # The store before has a moment to end.
        for attempt in range(100):
            try:
                assert len(asof.open(shop).views()) == 1
                break
            except asof.LockedError:
                assert attempt < 99


def test_what_was_pushed_is_in_the_table_when_the_process_ends(shop: Path) -> None:
    script = f"""
import asof, datetime
store = asof.open({str(shop)!r})
store.apply()
now = datetime.datetime.now(datetime.timezone.utc)
store.push("payments", [{{"card": 1, "at": now, "amount": 2.5, "place": "x"}}])
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert not (shop / ".asof" / "online" / "asof.intake").exists()
    with asof.open(shop) as store:
        assert store.get_features("fraud_v1", [{"card": 1}]).to_dicts()[0]["last_payment__amount"] == 2.5


def test_a_forked_process_opens_its_own(shop: Path) -> None:
    with asof.open(shop) as store:
        store.apply()
        child = os.fork()
        if child == 0:
            try:
                store.views()
            except asof.InvalidArgumentError as error:
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(store.views()) == 1


def test_what_a_process_began_is_refused_to_one_that_it_forked(shop: Path) -> None:
    script = f"""
import asyncio, os, signal
import asof, asof.aio
async def views(path):
    async with asof.aio.open(path) as store:
        return await store.views()
asyncio.run(views({str(shop)!r}))
with asof.open({str(shop)!r}) as store:
    store.apply()
    spine = {{"card": [1], "event_timestamp": ["2026-01-01T00:00:00Z"]}}
    dataset = store.extract("fraud_v1", spine=spine)
    if os.fork() == 0:
        signal.alarm(20)
        for call in (dataset.to_dicts, lambda: asyncio.run(views("elsewhere"))):
            try:
                call()
            except asof.InvalidArgumentError as error:
                assert "forked" in str(error), error
            else:
                os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    assert len(dataset.to_dicts()) == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_there_is_no_project_or_server(tmp_path: Path) -> None:
    with pytest.raises(asof.NotFoundError, match="asof.toml"):
        asof.open(tmp_path)
    with pytest.raises(asof.UnavailableError, match="no server answers at grpc://127.0.0.1:1 .*: start one"):
        asof.connect("grpc://127.0.0.1:1")
    with pytest.raises(asof.InvalidArgumentError, match="use asof.connect"):
        asof.open("grpc://127.0.0.1:1")
    with pytest.raises(asof.InvalidArgumentError, match="write it as grpc://127.0.0.1:2763"):
        asof.connect("not a url")
    with pytest.raises(asof.InvalidArgumentError, match="token is empty, or has letters"):
        asof.connect("grpc://127.0.0.1:1", token="a b")
    with pytest.raises(asof.InvalidArgumentError, match="none.pem cannot be read"):
        asof.connect("grpcs://127.0.0.1:1", ca=tmp_path / "none.pem")


def test_errors_can_be_pickled() -> None:
    error = asof.NotFoundError("unknown view \"x\": did you mean \"y\"?", "NOT_FOUND")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.message) == (asof.NotFoundError, "NOT_FOUND", error.message)
    assert error.suggestion == 'did you mean "y"?'
    assert isinstance(error, LookupError)
