"""The tutorial, as a script and as a notebook."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from conftest import FLIGHTS


def test_the_tutorial_shows_what_a_leak_promises(tmp_path: Path) -> None:
    project = tmp_path / "flights"
    shutil.copytree(FLIGHTS, project, ignore=shutil.ignore_patterns(".asof"))
    done = subprocess.run([sys.executable, project / "train.py"], check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    [honest] = [line for line in lines if line[:4] == ["as", "of", "the", "departure"]]
    [leaked] = [line for line in lines if line[:3] == ["by", "the", "day"]]
    promised, delivered = float(leaked[-2]), float(leaked[-1])
    assert float(honest[-1]) > 0.6
    assert promised > float(honest[-1]) + 0.1, done.stdout
    assert delivered < promised - 0.1, done.stdout
    assert delivered <= float(honest[-1]), done.stdout
    assert "late with a chance of" in done.stdout


def test_the_notebook_is_the_script() -> None:
    script = FLIGHTS.parents[1] / "scripts" / "notebook.py"
    subprocess.run([sys.executable, script, "--check"], check=True)
