"""Days and instants between Python's forms and counts from 1970."""

from __future__ import annotations

import datetime as dt
import sys

from ._errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import decimal as dec
    from typing import Any

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_LOCAL_EPOCH = dt.datetime(1970, 1, 1)
_DAY_ZERO = dt.date(1970, 1, 1).toordinal()
_MICROSECOND = dt.timedelta(microseconds=1)


def kind(value: Any) -> str | None:
    """What a value is, other than text, bytes, a number or a truth value."""
    if isinstance(value, dt.datetime):
        return "local" if value.tzinfo is None else "instant"
    if isinstance(value, dt.date):
        return "day"
    # Whoever has such a number has imported its module, which is not small.
    decimals = sys.modules.get("decimal")
    if decimals is not None and isinstance(value, decimals.Decimal):
        return "decimal"
    return None


def plain(value: Any) -> Any:
    """A value as Python's own, where it is one of NumPy's or of pandas': ``None`` for what is missing."""
    module = type(value).__module__.split(".")[0]
    if module == "pandas" and type(value).__name__ in ("NAType", "NaTType"):
        return None
    if module != "numpy" or getattr(value, "ndim", 0) != 0:
        return value
    if type(value).__name__ == "datetime64":
        # Finer ones would come as numbers.
        return value.astype("datetime64[us]").item()
    return value.item()


def micros(value: dt.datetime) -> int:
    """Microseconds since 1970; of a local time since 1970 there."""
    epoch = _LOCAL_EPOCH if value.tzinfo is None else _EPOCH
    return (value - epoch) // _MICROSECOND


def days(value: dt.date) -> int:
    """Days since 1970."""
    return value.toordinal() - _DAY_ZERO


def decimal(value: dec.Decimal) -> tuple[str, int]:
    """The digits of a number with its sign, and how many of them stand after the point."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not -38 <= exponent <= 38:
        return "not a number of 38 digits", 0
    whole = "".join(map(str, digits)) + "0" * max(exponent, 0)
    return ("-" if sign else "") + whole, max(-exponent, 0)


def instant(count: int, zone: str | None) -> dt.datetime:
    """The instant of a count of microseconds, in UTC; a local time where there is no zone."""
    if zone is None:
        return _LOCAL_EPOCH + count * _MICROSECOND
    return _EPOCH + count * _MICROSECOND


def day(count: int) -> dt.date:
    """The day of a count of days."""
    return dt.date.fromordinal(count + _DAY_ZERO)


def time_of_day(count: int) -> dt.time:
    """The time of a count of microseconds since midnight."""
    return (_LOCAL_EPOCH + count * _MICROSECOND).time()


def span(count: int) -> dt.timedelta:
    """So many microseconds."""
    return count * _MICROSECOND


def instant_text(value: object, name: str) -> str:
    """An instant as calls take it, such as ``2026-11-22T10:00:00Z``."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dt.datetime):
        raise InvalidArgumentError(
            f"{name}: is {type(value).__name__}, expected a datetime with a time zone, or text such as "
            "2026-11-22T10:00:00Z",
            "INVALID_ARGUMENT",
        )
    if value.tzinfo is None:
        raise InvalidArgumentError(
            f"{name}: {value} has no time zone: give it one, such as tzinfo=datetime.timezone.utc", "INVALID_ARGUMENT"
        )
    return (_LOCAL_EPOCH + (value - _EPOCH)).isoformat(timespec="microseconds") + "Z"


def instant_micros(value: object, name: str) -> int:
    """Microseconds since 1970 of an instant."""
    text = instant_text(value, name).strip()
    try:
        read = dt.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        raise InvalidArgumentError(
            f"{name}: {text[:64]!r} is no instant: write it as 2026-11-22T10:00:00Z", "INVALID_ARGUMENT"
        ) from None
    if read.tzinfo is None:
        raise InvalidArgumentError(
            f"{name}: {text} has no time zone: write it as 2026-11-22T10:00:00Z", "INVALID_ARGUMENT"
        )
    return micros(read)
