"""Numbers of NumPy where definitions want numbers."""

from __future__ import annotations

import numpy

import asof


def test_numbers_of_numpy_are_numbers() -> None:
    def text(n: int, quantiles: list[float]) -> str:
        last = asof.Aggregate("last_n", ["1h"], "x", n=n)
        shares = asof.Aggregate("approx_quantile", ["1h"], "x", quantiles=quantiles)
        return asof.View("v", "e", "s", aggregates=[last, shares]).to_toml()

    assert text(numpy.int64(3), numpy.array([0.5, 0.95])) == text(3, [0.5, 0.95])  # type: ignore[arg-type]
