"""Days and instants between Python's forms and counts from 1970."""

from __future__ import annotations

import datetime as dt
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
    if isinstance(value, dec.Decimal):
        return "decimal"
    return None


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
    if not isinstance(exponent, int):
        return "not a number", 0
    whole = "".join(map(str, digits)) + "0" * max(exponent, 0)
    return ("-" if sign else "") + whole, max(-exponent, 0)


def instant(count: int, zone: str | None) -> dt.datetime:
    """The instant of a count of microseconds, in UTC; a local time where there is no zone."""
    if zone is None:
        return _LOCAL_EPOCH + count * _MICROSECOND
    return _EPOCH + count * _MICROSECOND


def day(count: int, zone: str | None = None) -> dt.date:
    """The day of a count of days."""
    del zone
    return dt.date.fromordinal(count + _DAY_ZERO)


def instant_text(value: str | dt.datetime) -> str:
    """An instant as calls take it, such as ``2026-11-22T10:00:00Z``."""
    if isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone: give it one, such as tzinfo=datetime.timezone.utc")
    return value.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def instant_micros(value: str | dt.datetime) -> int:
    """Microseconds since 1970 of an instant."""
    if isinstance(value, str):
        text = value.strip()
        value = dt.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    if value.tzinfo is None:
        raise ValueError(f"{value!s} has no time zone: write it as 2026-11-22T10:00:00Z")
    return micros(value)
