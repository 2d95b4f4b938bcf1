"""Definitions as objects: the same as in a file, and checked by the same rules."""

from __future__ import annotations

import datetime as dt
import numbers
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import _asof
from ._errors import InvalidArgumentError

_BARE = r"[A-Za-z0-9_-]+"


_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _text(value: str) -> str:
    """A string of TOML on one line, with what a terminal might obey as its number."""

    def escaped(char: str) -> str:
        control = char < " " or "\x7f" <= char <= "\x9f"
        obeyed = control or "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"
        return _SHORT.get(char) or (f"\\u{ord(char):04X}" if obeyed else char)

    return '"' + "".join(map(escaped, value)) + '"'


def _key(name: str) -> str:
    return name if re.fullmatch(_BARE, name) else _text(name)


def _inline(values: Mapping[str, str]) -> str:
    inside = ", ".join(f"{_key(name)} = {value}" for name, value in values.items())
    return f"{{ {inside} }}" if inside else "{}"


def _texts(values: Mapping[str, str]) -> str:
    return _inline({name: _text(value) for name, value in values.items()})


def _lines(kind: str, fields: Sequence[tuple[str, str | None]]) -> str:
    lines = [f"[[{kind}]]"]
    lines += [f"{name} = {value}" for name, value in fields if value is not None]
    return "\n".join(lines) + "\n"


def _optional(value: str | None) -> str | None:
    return None if value is None else _text(value)


def _wrong(of: object, field: str, value: object, expected: str) -> InvalidArgumentError:
    name = getattr(of, "name", None)
    what = f"{type(of).__name__} {name!r}" if isinstance(name, str) else type(of).__name__
    return InvalidArgumentError(
        f"{what}: {field} is {type(value).__name__}, expected {expected}", "INVALID_ARGUMENT"
    )


def _check_texts(of: object, *fields: str, optional: Sequence[str] = ()) -> None:
    for name in (*fields, *optional):
        value = getattr(of, name)
        if not isinstance(value, str) and not (value is None and name in optional):
            raise _wrong(of, name, value, "a string")


_NOUNS: dict[type, str] = {
    int: "an int",
    numbers.Integral: "an int",
    numbers.Real: "a number",
    str: "a string",
    dt.timedelta: "a timedelta",
}


def _list(of: object, field: str, types: tuple[type, ...], expected: str) -> tuple[Any, ...]:
    """The values of a field, each of one of some types."""
    values = getattr(of, field)
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
        raise _wrong(of, field, values, expected)
    values = tuple(values)
    for place, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, types):
            names = " or ".join(_NOUNS.get(type, f"a {type.__name__}") for type in types)
            raise _wrong(of, f"{field}[{place}]", value, names)
    return values


def _decimal(value: float) -> str:
    """A number as a file writes it, without an exponent where it is a small share of one."""
    text = repr(int(value) if isinstance(value, numbers.Integral) else float(value))
    return f"{value:.20f}".rstrip("0") if "e-" in text and value > 1e-16 else text


def _check_mapping(of: object, field: str, *, optional: bool = False) -> None:
    values = getattr(of, field)
    if values is None and optional:
        return
    if not isinstance(values, Mapping):
        raise _wrong(of, field, values, "a dict of strings")
    for name, value in values.items():
        if not isinstance(name, str):
            raise _wrong(of, f"a key of {field}", name, "a string")
        if not isinstance(value, str):
            raise _wrong(of, f"{field}[{name!r}]", value, "a string")


_ABOUT = ("description", "owner")
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def _duration(value: dt.timedelta) -> str:
    """A duration as a file writes it, such as "3h"."""
    seconds, rest = divmod(value, dt.timedelta(seconds=1))
    if rest:
        microseconds = value // dt.timedelta(microseconds=1)
        return f"{microseconds}us" if microseconds % 1_000 else f"{microseconds // 1_000}ms"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


@dataclass(frozen=True)
class Entity:
    """What features are about, by its key columns.

    Args:
        name: Its name.
        keys: The key columns and their types, such as ``{"origin": "string"}``.
        description, owner, tags: For whoever looks for it.
    """

    name: str
    keys: Mapping[str, str]
    description: str | None = None
    owner: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_texts(self, "name", optional=_ABOUT)
        _check_mapping(self, "keys")
        _check_mapping(self, "tags")

    def to_toml(self) -> str:
        """The definition as a file writes it."""
        return _lines("entity", [("name", _text(self.name)), ("keys", _texts(self.keys)), *_notes(self)])


@dataclass(frozen=True)
class Source:
    """Where rows come from: files or a table at a ``path``, or a table of asof's own with a ``schema``.

    Args:
        name: Its name.
        event_time: The column that says when a row was true.
        path: Files (a pattern such as ``"data/*.parquet"``) or a Delta table, relative to the project.
        schema: Instead of a path, the columns and types of a table that takes pushes and ingests.
        created_time: The column that says when a row became known.
        event_id: The column by which of rows of one event the first counts (with ``schema`` only).
        stream: The messages that fill it (with ``schema`` only), such as ``{"nats": "nats://host:4222", "subject":
            "clicks"}`` or ``{"kafka": "host:9092", "topic": "clicks", "format": "avro", "avro_schema": …}``; what a
            server reads, see ``docs/streams.md``.
        timezone: The zone of times that carry none, such as ``"America/New_York"``.
        dates: Whether a date stands for its ``"start"`` or its ``"end"``.
        deleted: The column that says that there is nothing any more.
        sql: A row-wise query over the columns, ``select … from source``.
        description, owner, tags: For whoever looks for it.
    """

    name: str
    event_time: str
    path: str | os.PathLike[str] | None = None
    schema: Mapping[str, str] | None = None
    created_time: str | None = None
    event_id: str | None = None
    stream: Mapping[str, str] | None = None
    timezone: str | None = None
    dates: str | None = None
    deleted: str | None = None
    sql: str | None = None
    description: str | None = None
    owner: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.path, os.PathLike):
            object.__setattr__(self, "path", os.fspath(self.path))
        columns = ("path", "created_time", "event_id", "timezone", "dates", "deleted", "sql")
        _check_texts(self, "name", "event_time", optional=(*columns, *_ABOUT))
        _check_mapping(self, "schema", optional=True)
        _check_mapping(self, "stream", optional=True)
        _check_mapping(self, "tags")

    def to_toml(self) -> str:
        """The definition as a file writes it."""
        return _lines(
            "source",
            [
                ("name", _text(self.name)),
                ("schema", None if self.schema is None else _texts(self.schema)),
                ("path", None if self.path is None else _text(os.fspath(self.path))),
                ("event_time", _text(self.event_time)),
                ("created_time", _optional(self.created_time)),
                ("event_id", _optional(self.event_id)),
                ("timezone", _optional(self.timezone)),
                ("dates", _optional(self.dates)),
                ("deleted", _optional(self.deleted)),
                ("sql", _optional(self.sql)),
                ("stream", None if self.stream is None else _texts(self.stream)),
                *_notes(self),
            ],
        )


@dataclass(frozen=True)
class Feature:
    """A feature of a view.

    Args:
        type: Its type, such as ``"float64"``.
        column: The column of the source, where it has another name than the feature.
        description: For whoever looks for it.
    """

    type: str
    column: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        _check_texts(self, "type", optional=("column", "description"))

    def _value(self) -> str:
        if self.column is None and self.description is None:
            return _text(self.type)
        values = {"type": self.type, "column": self.column, "description": self.description}
        return _texts({name: value for name, value in values.items() if value is not None})


@dataclass(frozen=True)
class Aggregate:
    """What is computed of all events of a key within windows of time, in the place of features of a :class:`View`.

    The features are called by the input, the function and the window, such as ``arr_delay_mean_1h``.

    Args:
        function: ``"count"``, ``"sum"``, ``"mean"``, ``"min"``, ``"max"``, ``"variance"``, ``"stddev"``, ``"first"``,
            ``"last"``, ``"last_n"``, ``"count_distinct"`` or ``"approx_quantile"``.
        windows: How far each window goes back, such as ``["1h", "7d", "all"]``, or timedeltas.
        input: The column of the source.
        expression: In the place of a column, an expression over the columns of one row; it needs a ``name``.
        type: As which type the input is read, where that is not the type of the source's schema, or else ``"float64"``.
        name: What the features' names begin with, in the place of the input's name.
        n: How many values ``"last_n"`` gives.
        quantiles: Which quantiles ``"approx_quantile"`` gives, such as ``[0.5, 0.95]``.
        where: A condition over the columns of one row, without which an event does not count.
        description: For whoever looks for it.
    """

    function: str
    windows: Sequence[str | dt.timedelta]
    input: str | None = None
    expression: str | None = None
    type: str | None = None
    name: str | None = None
    n: int | None = None
    quantiles: Sequence[float] | None = None
    where: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        _check_texts(self, "function", optional=("input", "expression", "type", "name", "where", "description"))
        windows = _list(self, "windows", (str, dt.timedelta), 'a list such as ["1h", "7d", "all"]')
        windows = tuple(_duration(window) if isinstance(window, dt.timedelta) else window for window in windows)
        object.__setattr__(self, "windows", windows)
        if self.n is not None:
            if isinstance(self.n, bool) or not isinstance(self.n, numbers.Integral):
                raise _wrong(self, "n", self.n, "an int")
            object.__setattr__(self, "n", int(self.n))
        if self.quantiles is not None:
            quantiles = _list(self, "quantiles", (numbers.Real,), "a list such as [0.5, 0.95]")
            object.__setattr__(self, "quantiles", quantiles)

    def _block(self) -> str:
        quantiles = None if self.quantiles is None else f"[{', '.join(map(_decimal, self.quantiles))}]"
        return _lines(
            "view.aggregate",
            [
                ("name", _optional(self.name)),
                ("input", _optional(self.input)),
                ("expression", _optional(self.expression)),
                ("type", _optional(self.type)),
                ("function", _text(self.function)),
                ("n", None if self.n is None else str(self.n)),
                ("quantiles", quantiles),
                ("windows", _value(self.windows)),
                ("where", _optional(self.where)),
                ("description", _optional(self.description)),
            ],
        )


@dataclass(frozen=True)
class View:
    """A named set of features of one entity, from one source.

    Args:
        name: Its name.
        entity: The name of its entity, or the entity.
        source: The name of its source, or the source.
        features: The features, each by its name: a type such as ``"float64"``, or a :class:`Feature`.
        ttl: How long a row stays valid, such as ``"3h"`` or a timedelta; for ever without one.
        description, owner, tags: For whoever looks for it.
        aggregates: In the place of features, what is computed within windows of time: each an :class:`Aggregate`.
        hop: In what steps the tails of the windows move, such as ``"5m"`` or a timedelta.
    """

    name: str
    entity: str | Entity
    source: str | Source
    features: Mapping[str, str | Feature] = field(default_factory=dict)
    ttl: str | dt.timedelta | None = None
    description: str | None = None
    owner: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    aggregates: Sequence[Aggregate] = ()
    hop: str | dt.timedelta | None = None

    def __post_init__(self) -> None:
        for name in ("ttl", "hop"):
            if isinstance(getattr(self, name), dt.timedelta):
                object.__setattr__(self, name, _duration(getattr(self, name)))
        _check_texts(self, "name", optional=("ttl", "hop", *_ABOUT))
        _check_mapping(self, "tags")
        for name, of in (("entity", Entity), ("source", Source)):
            if not isinstance(getattr(self, name), (str, of)):
                raise _wrong(self, name, getattr(self, name), f"a name or a {of.__name__}")
        if not isinstance(self.features, Mapping):
            raise _wrong(self, "features", self.features, 'a dict of types, such as {"temp": "float64"}')
        for name, feature in self.features.items():
            if not isinstance(feature, (str, Feature)):
                raise _wrong(self, f"features[{name!r}]", feature, 'a type such as "float64", or a Feature')
        aggregates = _list(self, "aggregates", (Aggregate,), "a list of Aggregate objects")
        object.__setattr__(self, "aggregates", aggregates)

    def to_toml(self) -> str:
        """The definition as a file writes it."""
        text = _lines(
            "view",
            [
                ("name", _text(self.name)),
                ("entity", _text(_name(self.entity))),
                ("source", _text(_name(self.source))),
                ("ttl", None if self.ttl is None else _text(str(self.ttl))),
                ("hop", None if self.hop is None else _text(str(self.hop))),
                *_notes(self),
            ],
        )
        text += "".join(aggregate._block() for aggregate in self.aggregates)
        if self.aggregates and not self.features:
            return text
        features = {
            name: Feature(feature) if isinstance(feature, str) else feature
            for name, feature in self.features.items()
        }
        lines = [f"{_key(name)} = {feature._value()}" for name, feature in features.items()]
        return text + "\n".join(["[view.features]", *lines]) + "\n"


@dataclass(frozen=True)
class OnDemandFeature:
    """A feature of an :class:`OnDemand`.

    Args:
        type: The type of its values, such as ``"float64"``.
        expression: What gives them, over features (``view.feature``) and request columns, such as
            ``"airport_weather.wind_speed * cos(radians(bearing))"``.
        description: For whoever looks for it.
    """

    type: str
    expression: str
    description: str | None = None

    def __post_init__(self) -> None:
        _check_texts(self, "type", "expression", optional=("description",))

    def _value(self) -> str:
        values = {"type": self.type, "expression": self.expression, "description": self.description}
        return _texts({name: value for name, value in values.items() if value is not None})


@dataclass(frozen=True)
class OnDemand:
    """A named set of features that are computed, when they are asked for, of other features and of what the caller gives.

    Args:
        name: Its name, which no view has.
        features: The features, each by its name.
        request: The columns that the caller gives and their types, such as ``{"bearing": "float64"}``: columns of the
            spine, or of the request.
        description, owner, tags: For whoever looks for it.
    """

    name: str
    features: Mapping[str, OnDemandFeature]
    request: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
    owner: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_texts(self, "name", optional=_ABOUT)
        _check_mapping(self, "request")
        _check_mapping(self, "tags")
        if not isinstance(self.features, Mapping):
            raise _wrong(self, "features", self.features, "a dict of OnDemandFeature objects")
        for name, feature in self.features.items():
            if not isinstance(feature, OnDemandFeature):
                raise _wrong(self, f"features[{name!r}]", feature, "an OnDemandFeature")

    def to_toml(self) -> str:
        """The definition as a file writes it."""
        text = _lines(
            "on_demand",
            [
                ("name", _text(self.name)),
                ("request", _texts(self.request) if self.request else None),
                *_notes(self),
            ],
        )
        lines = [f"{_key(name)} = {feature._value()}" for name, feature in self.features.items()]
        return text + "\n".join(["[on_demand.features]", *lines]) + "\n"


@dataclass(frozen=True)
class Service:
    """The named, frozen list of features that a model uses.

    Args:
        name: Its name.
        features: Each ``"view:feature"`` or ``"view:*"``, a view or an :class:`OnDemand` for all of its features, or a
            mapping such as
            ``{"view": "airport_weather", "features": ["temp"], "keys": {"origin": "dest"}, "prefix": "dest"}``:
            what of it, by which of the caller's columns, and under which prefix.
        description, owner, tags: For whoever looks for it.
    """

    name: str
    features: Sequence[str | View | OnDemand | Mapping[str, object]]
    description: str | None = None
    owner: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_texts(self, "name", optional=_ABOUT)
        _check_mapping(self, "tags")
        if isinstance(self.features, (str, Mapping)) or not hasattr(self.features, "__iter__"):
            raise _wrong(self, "features", self.features, 'a list, such as ["view:feature", "view:*"]')
        entries = tuple(_entry_of(entry) for entry in self.features)
        for place, entry in enumerate(entries):
            if not isinstance(entry, (str, Mapping)):
                raise _wrong(self, f"features[{place}]", entry, 'a string such as "view:feature", a View or a dict')
            for name, value in entry.items() if isinstance(entry, Mapping) else ():
                if not isinstance(value, (str, Mapping, list, tuple)):
                    raise _wrong(self, f"features[{place}][{name!r}]", value, "a string, a list or a dict")
        object.__setattr__(self, "features", entries)

    def to_toml(self) -> str:
        """The definition as a file writes it."""
        entries = ",\n".join(f"  {_entry(entry)}" for entry in self.features)
        features = f"[\n{entries},\n]" if entries else "[]"
        return _lines("service", [("name", _text(self.name)), ("features", features), *_notes(self)])


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    Definition = Union[Entity, Source, View, OnDemand, Service]
    #: What can be planned: definitions, and directories of projects or files with definitions.
    Definitions = Union[str, os.PathLike[str], Definition, Iterable[Union[Definition, str, os.PathLike[str]]]]


def _name(of: str | Entity | Source) -> str:
    return of if isinstance(of, str) else of.name


def _entry_of(given: object) -> Any:
    """A view or a set of on-demand features as the entry for all of its features."""
    return f"{given.name}:*" if isinstance(given, (View, OnDemand)) else given


def _entry(given: object) -> str:
    entry: Any = _entry_of(given)
    if isinstance(entry, str):
        return _text(entry)
    return _inline({name: _value(value) for name, value in entry.items()})


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return _inline({str(name): _value(inner) for name, inner in value.items()})
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return str(value)


def _notes(of: Entity | Source | View | OnDemand | Service) -> list[tuple[str, str | None]]:
    return [
        ("description", _optional(of.description)),
        ("owner", _optional(of.owner)),
        ("tags", _texts(of.tags) if of.tags else None),
    ]


_KINDS = (Entity, Source, View, OnDemand, Service)


def files_of(definitions: Definitions) -> list[tuple[str, bytes]]:
    """Definition files with what is given: those of directories, others as they are, and one of the objects."""
    if isinstance(definitions, (str, os.PathLike, *_KINDS)):
        definitions = [definitions]
    if isinstance(definitions, (bytes, Mapping)) or not hasattr(definitions, "__iter__"):
        raise InvalidArgumentError(
            f"{type(definitions).__name__} is no definition: give Entity, Source, View, OnDemand or Service objects, or paths",
            "INVALID_ARGUMENT",
        )
    files: list[tuple[str, bytes]] = []
    objects: list[Definition] = []
    for given in definitions:
        if isinstance(given, _KINDS):
            objects.append(given)
        elif isinstance(given, (str, os.PathLike)):
            path = os.fspath(given)
            if os.path.isdir(path):
                files += _asof.definition_files(path)
            else:
                with open(path, "rb") as file:
                    files.append((path.replace(os.sep, "/"), file.read()))
        else:
            raise InvalidArgumentError(
                f"{type(given).__name__} is no definition: give Entity, Source, View, OnDemand or Service objects, or paths",
                "INVALID_ARGUMENT",
            )
    if objects:
        text = "\n".join(definition.to_toml() for definition in objects)
        files.append(("features/python.toml", text.encode()))
    return files
