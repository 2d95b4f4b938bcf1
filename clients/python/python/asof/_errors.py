"""Exceptions: one class for each way in which a call can fail."""

from __future__ import annotations

import re

#: What a message advises stands behind its last colon or semicolon, and says what to do.
_ADVICE = (
    r"(?s)[:;] ((?:run|give|write|declare|use|wait|start|stop|name the|push|try|close|leave|see|end it|install|plan|apply|"
    r"extract|read them|resume|open|call|convert|did you mean|is it|add|remove|rename|cast|drop|say|take)\b.*)$"
)
_NEAREST = r"(?s)(did you mean .*\?)$"


class AsofError(Exception):
    """Anything that asof refuses or cannot do.

    Attributes:
        code: A gRPC code, such as ``"NOT_FOUND"``: the same in process and over the network.
        message: What is wrong, and what to do about it.
        suggestion: The part of the message that says what to do, or ``None``.
    """

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        found = re.search(_ADVICE, message) or re.search(_NEAREST, message)
        self.suggestion: str | None = found.group(1).strip() if found else None

    def __reduce__(self) -> tuple[type[AsofError], tuple[str, str]]:
        return type(self), (self.message, self.code)


class InvalidArgumentError(AsofError, ValueError):
    """An argument is not as it must be."""


class NotFoundError(AsofError, LookupError):
    """A name is not defined, or there is no such thing."""


class DefinitionError(AsofError, ValueError):
    """Definitions are wrong, or do not fit what they are about. The message names file, line and column of each."""


class DataError(AsofError, ValueError):
    """Rows that were given, or rows of a source, cannot be used."""


class NotReadyError(AsofError):
    """It cannot be done as things stand: a view was never materialized, or the clock is before what was."""


class ConflictError(AsofError):
    """Somebody else was faster, or is at it, or what is to be made is there already."""


class OverloadedError(AsofError):
    """There is no room for it now."""


class UnavailableError(AsofError, ConnectionError):
    """A server, a file or a table cannot be reached."""


class LockedError(UnavailableError):
    """Another process has the project open. The message names it and says how to connect instead."""


class UnauthenticatedError(AsofError, PermissionError):
    """The server asks for a token, or for another one."""


class DeadlineError(AsofError, TimeoutError):
    """The call's time is over."""


class InternalError(AsofError):
    """A bug in asof."""


_BY_CODE: dict[str, type[AsofError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "OUT_OF_RANGE": InvalidArgumentError,
    "UNIMPLEMENTED": InvalidArgumentError,
    "NOT_FOUND": NotFoundError,
    "FAILED_PRECONDITION": NotReadyError,
    "ABORTED": ConflictError,
    "ALREADY_EXISTS": ConflictError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "DEADLINE_EXCEEDED": DeadlineError,
    "UNAUTHENTICATED": UnauthenticatedError,
    "PERMISSION_DENIED": UnauthenticatedError,
    "UNAVAILABLE": UnavailableError,
    "CANCELLED": UnavailableError,
    "DATA_LOSS": DataError,
    "INTERNAL": InternalError,
    "UNKNOWN": InternalError,
}
_BY_KIND: dict[str, type[AsofError]] = {
    "data": DataError,
    "definition": DefinitionError,
    "locked": LockedError,
}


#: What messages say of the command, as it is written here.
_HERE: list[tuple[str, str]] = [
    (r"`asof materialize ([^` ]+)[^`]*`", r'`store.materialize("\1")`'),
    (r"`asof materialize`", "`store.materialize()`"),
    (r"`asof apply[^`]*`", "`store.apply()`"),
    (r"--allow-breaking", "allow_breaking=True"),
    (r"--as-corrected", "as_corrected=True"),
    (r"--overwrite", "overwrite=True"),
    (r"--full", "full=True"),
    (r"--as-of ", "as_of="),
    (r"--now ", "now="),
    (r"--time-column", "time_column="),
    (r"--timezone", "timezone="),
    (r"another --out", "another path"),
    (r"--(from|to|every)\b", r"\1"),
    (r"`asof runs`", "`store.runs()`"),
    (r", or name a project with --project DIR", ""),
]


def of_native(code: str, kind: str, message: str) -> AsofError:
    """The exception of a failure that the native half tells."""
    for written, here in _HERE:
        message = re.sub(written, here, message)
    of = _BY_KIND.get(kind) or _BY_CODE.get(code, AsofError)
    return of(message, code)
