"""How far long calls are: on a terminal and in a notebook, and nowhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from asof import _progress
from asof._progress import Progress

EXTRACT = """
import sys
import asof
with asof.open(sys.argv[1], now="2013-12-30T12:00:00Z") as store:
    rows = sum(batch.num_rows for batch in store.extract("delay_model_v1", spine=sys.argv[2]).batches())
    store.materialize("airport_weather", as_of="2013-12-30T12:00:00Z").wait()
print(rows)
"""


def extract(flights: Path, **kwargs: int) -> subprocess.CompletedProcess[bytes]:
    spine = flights / "data" / "departures.parquet"
    command = [sys.executable, "-c", EXTRACT, str(flights), str(spine)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **kwargs)


def test_a_terminal_has_a_line_that_goes_again(flights: Path) -> None:
    terminal, stderr = pty.openpty()
    try:
        done = extract(flights, stderr=stderr)
    finally:
        os.close(stderr)
    shown = os.read(terminal, 1 << 20).decode()
    os.close(terminal)
    assert done.stdout == b"336776\n"
    lines = shown.split("\r\x1b[K")
    assert lines[0] == "" and lines[-1] == ""
    told = [re.fullmatch(r"extract: ([\d,]+) rows", line) for line in lines if line.startswith("extract")]
    counts = [int(line[1].replace(",", "")) for line in told if line is not None]
    assert counts and counts == sorted(counts) and 0 < counts[0] and counts[-1] <= 336_776
    assert "\n" not in shown


def test_a_pipe_has_none(flights: Path) -> None:
    done = extract(flights, stderr=subprocess.PIPE)
    assert done.stderr == b""


def test_a_notebook_has_one_display_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, text: str) -> None:
            shown.append(f"updated: {text}")

    def display(text: str, display_id: bool) -> Handle:
        assert display_id
        shown.append(f"shown: {text}")
        return Handle()

    shell = type("ZMQInteractiveShell", (), {})()
    notebook = types.ModuleType("IPython")
    displays = types.ModuleType("IPython.display")
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setattr(displays, "Pretty", str, raising=False)
    monkeypatch.setattr(displays, "display", display, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    clock = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock[0])

    progress = Progress("extract", "rows")
    progress.at(1, 2_000)
    assert shown == []
    for second, count in ((0.5, 1_000), (0.6, 1_500), (0.8, 2_000)):
        clock[0] = second
        progress.at(count, 2_000)
    progress.end()
    assert shown == ["shown: extract: 1,000 of 2,000 rows", "updated: extract: 2,000 of 2,000 rows", "updated: "]
