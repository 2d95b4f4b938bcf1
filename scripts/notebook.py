"""Writes examples/flights/train.ipynb from train.py: a cell for each "# %%". `--check` says whether it is up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights"


def cells(text: str) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for number, part in enumerate(text.split("# %%")[1:]):
        head, _, body = part.partition("\n")
        is_text = head.strip() == "[markdown]"
        lines = body.strip("\n").split("\n")
        if is_text:
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        source = [line + "\n" for line in lines[:-1]] + lines[-1:]
        cell: dict[str, object] = {"cell_type": "markdown" if is_text else "code", "id": f"cell-{number}"}
        cell |= {"metadata": {}, "source": source}
        if not is_text:
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell)
    return made


def main() -> None:
    notebook = {
        "cells": cells((FLIGHTS / "train.py").read_text()),
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    path = FLIGHTS / "train.ipynb"
    if "--check" not in sys.argv:
        path.write_text(text)
    elif path.read_text() != text:
        sys.exit(f"error: {path.name} is not what train.py says: run python3 scripts/notebook.py")


main()
