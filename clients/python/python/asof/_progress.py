"""How far a long call is, on a terminal or in a notebook; nowhere else."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EVERY = 0.2
_AFTER = 0.5


class Progress:
    """A line that is written over, once a call has lasted half a second."""

    def __init__(self, what: str, unit: str, *, shown: bool | None = None) -> None:
        self._what = what
        self._unit = unit
        self._handle: Any = None
        self._is_notebook = _in_notebook()
        self._shown = shown if shown is not None else self._is_notebook or sys.stderr.isatty()
        self._next = time.monotonic() + _AFTER
        self._written = False

    def at(self, count: int, total: int | None = None) -> None:
        """Tells how far it is."""
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        of = f" of {total:,}" if total is not None else ""
        self._write(f"{self._what}: {count:,}{of} {self._unit}")

    def end(self) -> None:
        """Takes the line away."""
        if self._written:
            self._write("")

    def _write(self, text: str) -> None:
        self._written = True
        if not self._is_notebook:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            return
        from IPython.display import Pretty, display

        if self._handle is None:
            self._handle = display(Pretty(text), display_id=True)
        else:
            self._handle.update(Pretty(text))


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
