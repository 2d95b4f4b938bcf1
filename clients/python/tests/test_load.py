"""Threads, asyncio, interrupts, and servers that die."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import asof
from conftest import Server

UTC = dt.timezone.utc


def rows(count: int) -> dict[str, list[object]]:
    start = dt.datetime(2013, 6, 1, tzinfo=UTC)
    return {
        "origin": ["JFK"] * count,
        "dest": ["LGA"] * count,
        "carrier": ["UA"] * count,
        "tailnum": ["N14228"] * count,
        "event_timestamp": [start + dt.timedelta(seconds=row) for row in range(count)],
    }


def test_threads_and_asyncio_at_once(flights: Path, serve: Callable[..., Server]) -> None:
    url = serve(flights, "--now", "2013-12-30T12:00:00Z").url
    keys = [{"origin": "JFK", "dest": "LAX", "carrier": "UA", "tailnum": "N14228"}]
    with asof.connect(url) as store:
        expected = store.get_features("delay_model_v1", keys).to_dicts()
        dataset = store.extract("delay_model_v1", spine=rows(1_000)).to_dicts()
        failures: list[BaseException] = []
        calls = 0

        def call() -> None:
            nonlocal calls
            try:
                for _ in range(50):
                    assert store.get_features("delay_model_v1", keys).to_dicts() == expected
                    calls += 1
                assert store.extract("delay_model_v1", spine=rows(1_000)).to_dicts() == dataset
            except BaseException as error:
                failures.append(error)

        async def await_calls() -> None:
            async with asof.aio.connect(url) as awaited:

                async def one() -> None:
                    features = await awaited.get_features("delay_model_v1", keys)
                    assert features.to_dicts() == expected

                await asyncio.gather(*(one() for _ in range(100)))
                extract = await awaited.extract("delay_model_v1", spine=rows(1_000))
                taken = 0
                async for batch in extract.batches():
                    taken += batch.num_rows
                assert taken == extract.summary["rows"] == 1_000

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        asyncio.run(await_calls())
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert calls == 100


def test_asyncio_does_everything(shop: Path) -> None:
    async def work() -> None:
        async with asof.aio.open(shop) as store:
            plan = await store.plan()
            assert plan.add == 4
            await store.apply(plan)
            at = dt.datetime.now(UTC) - dt.timedelta(hours=1)
            pushed = await store.push("payments", [{"card": 1, "at": at, "amount": 1.5, "place": None}])
            assert pushed.accepted == 1
            run = await store.materialize("last_payment")
            assert (await run.wait(60)).state == "done"
            features = await store.get_features("fraud_v1", [{"card": 1}])
            assert features.to_dicts()[0]["last_payment__amount"] == 1.5
            spine = [{"card": 1, "event_timestamp": dt.datetime.now(UTC)}]
            dataset = await store.extract("fraud_v1", spine=spine)
            written = await dataset.write(shop / "train.csv")
            assert written.output.endswith("train.csv")
            assert [found.name for found in await store.services()] == ["fraud_v1"]
            assert (await store.status()).views[0]["rows"] == 1
            with pytest.raises(asof.NotFoundError):
                await store.view("nothing")
        with pytest.raises(asof.InvalidArgumentError, match="closed"):
            await store.views()
        opened = await asof.aio.open(shop)
        # An awaitable that is cancelled ends its call.
        task = asyncio.ensure_future(opened._native.sleep(60.0))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await opened.close()

    asyncio.run(work())


def test_the_interpreter_goes_on_while_a_call_waits(shop: Path) -> None:
    with asof.open(shop) as store:
        waiting = threading.Thread(target=store._native.sleep, args=(0.5,))
        waiting.start()
        ticks = 0
        while waiting.is_alive():
            ticks += 1
            time.sleep(0.001)
        assert ticks > 50


def test_an_interrupt_ends_a_call_that_waits(shop: Path) -> None:
    script = f"""
import asof, signal
# Where tests run in the background, a shell may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
store = asof.open({str(shop)!r})
print("waiting", flush=True)
try:
    store._native.sleep(60.0)
except KeyboardInterrupt:
    print("interrupted")
store.close()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.2)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "interrupted\n"
    assert process.wait() == 0
    assert time.monotonic() - begun < 5
    process.stdout.close()


def test_closing_ends_datasets_that_are_made(shop: Path) -> None:
    script = f"""
import asof, datetime, time
store = asof.open({str(shop)!r})
store.apply()
rows = {{"card": list(range(200_000)), "event_timestamp": [datetime.datetime.now(datetime.timezone.utc)] * 200_000}}
dataset = store.extract("fraud_v1", spine=rows)
begun = time.monotonic()
store.close()
assert time.monotonic() - begun < 5, time.monotonic() - begun
try:
    dataset.to_dicts()
except asof.UnavailableError:
    print("ended")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


def test_a_server_that_dies_amid_a_dataset_gives_no_frame(
    flights: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(flights)
    with asof.connect(server.url) as store:
        spine = rows(300_000)
        dataset = store.extract("delay_model_v1", spine=spine)
        batches = dataset.batches()
        assert next(batches).num_rows > 0
        writing = store.extract("delay_model_v1", spine=spine)
        server.kill()
        with pytest.raises(asof.UnavailableError):
            for _ in batches:
                pass
        out = tmp_path / "train.parquet"
        with pytest.raises(asof.UnavailableError):
            writing.write(out)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(asof.AsofError):
            writing.to_dicts()
        begun = time.monotonic()
        with pytest.raises(asof.UnavailableError):
            store.get_features("delay_model_v1", [{"origin": "JFK", "dest": "LAX", "carrier": "UA", "tailnum": "x"}])
        assert time.monotonic() - begun < 15


def test_a_deadline_is_kept(flights: Path, serve: Callable[..., Server]) -> None:
    server = serve(flights)
    with asof.connect(server.url, deadline=0.5) as store:
        server.process.send_signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            with pytest.raises(asof.DeadlineError) as late:
                store.views()
            assert time.monotonic() - begun < 5
            assert isinstance(late.value, TimeoutError)
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert len(store.views()) == 8
